#include "codec/secret.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

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
  OPENSSL_cleanse(data_, mapped_bytes_);
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
  if (!bytes.empty()) OPENSSL_cleanse(bytes.data(), bytes.size());
}

void wipe(std::string& text) {
  text.resize(text.capacity());
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

Result<> random_bytes(MutableBytes out) {
  CHECK(out.size() <= INT_MAX);
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) == 1) return {};
  ERR_clear_error();
  return Error(Errc::kTransient, "draw random bytes: the system has none to give");
}

}  // namespace pgark
