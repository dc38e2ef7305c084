#include "codec/secret.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace pgark {

Secret::Secret(size_t size) {
  if (size == 0) return;
  static const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t mapped_bytes = (size + page_bytes - 1) / page_bytes * page_bytes;
  void* pages = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
  // What the kernel or a limit refuses costs secrecy in a core file or in swap, not correctness.
  ::madvise(pages, mapped_bytes, MADV_DONTDUMP);
  ::mlock(pages, mapped_bytes);
  data_ = static_cast<std::byte*>(pages);
  size_ = size;
  mapped_bytes_ = mapped_bytes;
}

Secret::~Secret() {
  if (data_ == nullptr) return;
  ::explicit_bzero(data_, mapped_bytes_);
  ::munmap(data_, mapped_bytes_);
}

Secret Secret::copy_of(Bytes bytes) {
  Secret secret(bytes.size());
  std::copy(bytes.begin(), bytes.end(), secret.data_);
  return secret;
}

Secret Secret::from_text(std::string&& text) {
  Secret secret = copy_of(as_bytes(text));
  wipe(text);
  return secret;
}

void Secret::truncate(size_t size) {
  CHECK(size <= size_);
  wipe(bytes().subspan(size));
  size_ = size;
}

void wipe(MutableBytes bytes) {
  if (!bytes.empty()) ::explicit_bzero(bytes.data(), bytes.size());
}

void wipe(std::string& text) {
  text.resize(text.capacity());
  ::explicit_bzero(text.data(), text.size());
  text.clear();
}

// From the kernel, and not from a generator of OpenSSL's: that one is seeded from here as well, and setting it up took
// a process that asks for a few bytes more than a millisecond.
Result<> random_bytes(MutableBytes out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return errno_error(errno, "draw random bytes").with_code(Errc::kTransient);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

}  // namespace pgark
