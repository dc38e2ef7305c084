// A cache of pack lists, reduced to what a look-up by extent needs: the offsets of the extents and the hashes of their
// blocks.
#include "repo/block_hashes.h"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/thread_annotations.h"

namespace pgark {
namespace {

/// The hashes of one pack.
class HashList {
 public:
  static Result<HashList> read(const Repository& repository, const ObjectKey& key) {
    HashList list;
    TRY(visit_pack_listing(repository, key, [&list](const ListedExtent& extent) -> Result<> {
      list.offsets_.push_back(extent.ref.offset);
      list.hashes_.insert(list.hashes_.end(), extent.block_hashes.begin(), extent.block_hashes.end());
      list.ends_.push_back(static_cast<uint32_t>(list.hashes_.size()));
      return {};
    }));
    list.offsets_.shrink_to_fit();
    list.ends_.shrink_to_fit();
    list.hashes_.shrink_to_fit();
    return list;
  }

  /// The hashes of the extent at `offset`; none if there is no such extent.
  std::span<const uint64_t> find(uint64_t offset) const {
    // Frames lie in the order of their offsets: the index of a container admits no other.
    const auto at = std::lower_bound(offsets_.begin(), offsets_.end(), offset);
    if (at == offsets_.end() || *at != offset) return {};
    const auto index = static_cast<size_t>(at - offsets_.begin());
    const uint32_t begin = index == 0 ? 0 : ends_[index - 1];
    return {hashes_.data() + begin, ends_[index] - begin};
  }

  size_t bytes() const {
    return sizeof(*this) + offsets_.size() * sizeof(uint64_t) + ends_.size() * sizeof(uint32_t) +
           hashes_.size() * sizeof(uint64_t);
  }

 private:
  std::vector<uint64_t> offsets_;  // Of the extents.
  std::vector<uint32_t> ends_;     // Where in hashes_ those of each extent end.
  std::vector<uint64_t> hashes_;
};

}  // namespace

struct BlockHashes::State {
  State(const Repository& repo, std::string stanza_name, std::vector<PackName> pack_table, size_t budget)
      : repository(repo), stanza(std::move(stanza_name)), packs(std::move(pack_table)), bytes_max(budget) {}

  struct Entry {
    // Null while a thread reads it. Owned as well by those who are looking something up in it while it is evicted.
    std::shared_ptr<const HashList> list;
    std::list<uint32_t>::iterator used;  // Its place in `recent`, once it is read.
  };

  /// The list of a pack: kept, or read by this thread, or by another for which this one waits.
  Result<std::shared_ptr<const HashList>> get(uint32_t pack) EXCLUDES(mu) {
    MutexLock lock(mu);
    for (;;) {
      const auto [at, absent] = entries.try_emplace(pack);
      if (absent) break;
      if (at->second.list != nullptr) {
        recent.splice(recent.begin(), recent, at->second.used);
        return at->second.list;
      }
      changed.wait(mu);  // Afterwards it may be there, or gone because it could not be read.
    }
    lock.unlock();
    auto list = HashList::read(repository, key_of(pack));
    lock.lock();
    ++reads;
    changed.notify_all();
    if (!list.has_value()) {
      entries.erase(pack);
      return Error(std::move(list).error()).with_context("read list of pack " + key_of(pack).value);
    }
    Entry& entry = entries.at(pack);
    entry.list = std::make_shared<const HashList>(std::move(*list));
    recent.push_front(pack);
    entry.used = recent.begin();
    bytes += entry.list->bytes();
    std::shared_ptr<const HashList> found = entry.list;
    evict();
    return found;
  }

  /// Let go of the lists used longest ago until the budget is kept, or only one is left.
  void evict() REQUIRES(mu) {
    while (bytes > bytes_max && recent.size() > 1) {
      const auto at = entries.find(recent.back());
      bytes -= at->second.list->bytes();
      entries.erase(at);
      recent.pop_back();
    }
  }

  ObjectKey key_of(uint32_t pack) const { return pack_key(stanza, packs[pack].label, packs[pack].number); }

  /// What `list` has of an extent.
  Result<std::span<const uint64_t>> find(const HashList& list, const ExtentRef& extent) const {
    const std::span<const uint64_t> hashes = list.find(extent.offset);
    if (!hashes.empty() && hashes.size() == extent.raw_bytes / kHashBlockBytes) return hashes;
    return Error(Errc::kCorrupt, fmt::format("pack {} lists no extent of {} bytes at {}", key_of(extent.pack).value,
                                             extent.raw_bytes, extent.offset));
  }

  const Repository& repository;
  const std::string stanza;
  const std::vector<PackName> packs;
  const size_t bytes_max;
  Mutex mu;
  CondVar changed;  // A list was read, or could not be.
  std::unordered_map<uint32_t, Entry> entries GUARDED_BY(mu);
  std::list<uint32_t> recent GUARDED_BY(mu);  // Packs whose list is there, the one used last first.
  size_t bytes GUARDED_BY(mu) = 0;
  uint64_t reads GUARDED_BY(mu) = 0;
};

BlockHashes::BlockHashes(const Repository& repository, std::string stanza, std::vector<PackName> packs,
                         size_t bytes_max)
    : state_(std::make_unique<State>(repository, std::move(stanza), std::move(packs), bytes_max)) {}
BlockHashes::~BlockHashes() = default;
BlockHashes::BlockHashes(BlockHashes&&) noexcept = default;
BlockHashes& BlockHashes::operator=(BlockHashes&&) noexcept = default;

Result<> BlockHashes::of(const ExtentRef& extent, std::vector<uint64_t>& hashes) {
  CHECK(extent.pack < state_->packs.size());
  hashes.clear();
  TRY_ASSIGN(const auto list, state_->get(extent.pack));
  TRY_ASSIGN(const auto found, state_->find(*list, extent));
  hashes.assign(found.begin(), found.end());
  return {};
}

Result<uint64_t> BlockHashes::of_block(const ExtentRef& extent, uint32_t extent_offset) {
  CHECK(extent.pack < state_->packs.size() && extent_offset % kHashBlockBytes == 0);
  TRY_ASSIGN(const auto list, state_->get(extent.pack));
  TRY_ASSIGN(const auto found, state_->find(*list, extent));
  const size_t block = extent_offset / kHashBlockBytes;
  if (block < found.size()) return found[block];
  return Error(Errc::kCorrupt, fmt::format("pack {}: its extent at {} has no byte {}",
                                           state_->key_of(extent.pack).value, extent.offset, extent_offset));
}

const std::vector<PackName>& BlockHashes::packs() const { return state_->packs; }

size_t BlockHashes::bytes() const {
  const MutexLock lock(state_->mu);
  return state_->bytes;
}

uint64_t BlockHashes::reads() const {
  const MutexLock lock(state_->mu);
  return state_->reads;
}

}  // namespace pgark
