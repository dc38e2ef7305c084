#include "core/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace pgark {
namespace {

// Memory and disk are looked at in windows of this size, at multiples of it: the kernel keeps what was read ahead in
// folios of up to as much, and drops a folio only whole.
constexpr uint64_t kWindowBytes = 2u << 20;

constexpr size_t kForgetMin = 64;

// As in linux/mman.h of Linux 6.5, which is newer than the headers we are built with.
struct CacheStatRange {
  uint64_t offset = 0, bytes = 0;
};
struct CacheStat {
  uint64_t cached = 0, dirty = 0, written_back = 0, evicted = 0, recently_evicted = 0;  // Pages.
};
constexpr long kCacheStatCall = 451;

uint64_t page_bytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}
uint64_t page_floor(uint64_t offset) { return offset / page_bytes() * page_bytes(); }
uint64_t page_ceil(uint64_t offset) { return page_floor(offset + page_bytes() - 1); }

}  // namespace

Result<std::vector<bool>> cached_pages(const File& file, uint64_t begin, uint64_t end) {
  const uint64_t from = page_floor(begin);
  const auto bytes = static_cast<size_t>(page_ceil(std::max(begin, end)) - from);
  std::vector<unsigned char> states(bytes / page_bytes());
  if (states.empty()) return std::vector<bool>();
  void* const mapped = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE, file.fd(), static_cast<off_t>(from));
  if (mapped == MAP_FAILED) return errno_error(errno, "map '" + file.path() + "'");
  const int failure = ::mincore(mapped, bytes, states.data()) == 0 ? 0 : errno;
  ::munmap(mapped, bytes);
  if (failure != 0) return errno_error(failure, "ask which pages are in memory of '" + file.path() + "'");
  std::vector<bool> cached(states.size());
  std::transform(states.begin(), states.end(), cached.begin(), [](unsigned char state) { return (state & 1) != 0; });
  return cached;
}

CachePass::~CachePass() { passed(UINT64_MAX); }

void CachePass::announce(uint64_t begin, uint64_t end, bool read_ahead) {
  begin = std::max(begin, announced_until_);
  while (begin < end) {
    const uint64_t until = std::min(end, begin / kWindowBytes * kWindowBytes + kWindowBytes);
    const Known known = look(begin, until);
    if (known == Known::kNoneCached) absent_.push_back({begin, until});
    if (read_ahead && known != Known::kAllCached)
      ::posix_fadvise(file_.fd(), static_cast<off_t>(begin), static_cast<off_t>(until - begin), POSIX_FADV_WILLNEED);
    announced_until_ = begin = until;
  }
}

CachePass::Known CachePass::look(uint64_t begin, uint64_t end) {
  static std::atomic<bool> has_cachestat = true;
  if (ask_ == Ask::kCacheStat && has_cachestat.load(std::memory_order_relaxed)) {
    const uint64_t from = page_floor(begin);
    const CacheStatRange range{from, page_ceil(end) - from};
    CacheStat found;
    if (::syscall(kCacheStatCall, file_.fd(), &range, &found, 0) == 0) {
      if (found.cached == 0) return Known::kNoneCached;
      if (found.cached * page_bytes() >= range.bytes) return Known::kAllCached;
    } else if (errno == ENOSYS) {
      has_cachestat.store(false, std::memory_order_relaxed);
    } else {
      return Known::kNothing;
    }
  }
  return look_at_pages(begin, end);
}

CachePass::Known CachePass::look_at_pages(uint64_t begin, uint64_t end) {
  const auto cached = cached_pages(file_, begin, end);
  if (!cached.has_value()) return Known::kNothing;
  uint64_t at = page_floor(begin);
  for (auto run = cached->begin(); run != cached->end();) {
    const auto next = std::find(run, cached->end(), !*run);
    const uint64_t bytes = static_cast<uint64_t>(next - run) * page_bytes();
    if (!*run) absent_.push_back({at, at + bytes});
    at += bytes;
    run = next;
  }
  return Known::kSomeCached;
}

void CachePass::passed(uint64_t offset) {
  for (; next_ < absent_.size() && absent_[next_].end <= offset; ++next_) drop(absent_[next_]);
  // Few at a time are ahead of the pass: what is behind it is forgotten before it amounts to much.
  if (next_ < absent_.size() && next_ < kForgetMin) return;
  absent_.erase(absent_.begin(), absent_.begin() + static_cast<ptrdiff_t>(next_));
  next_ = 0;
}

void CachePass::drop(const Stretch& stretch) const {
  // Of whole pages only: parts of one are kept by the kernel.
  const uint64_t from = page_floor(stretch.begin);
  ::posix_fadvise(file_.fd(), static_cast<off_t>(from), static_cast<off_t>(page_ceil(stretch.end) - from),
                  POSIX_FADV_DONTNEED);
}

}  // namespace pgark
