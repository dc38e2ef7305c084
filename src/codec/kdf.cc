#include "codec/kdf.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/libcrypto.h"
#include "codec/secret.h"
#include "core/check.h"

namespace pgark {
namespace {

// Bounds of the single parameters keep the products below from overflowing.
constexpr uint32_t kLogNMax = 24;
constexpr uint32_t kRMax = 1024;
constexpr uint32_t kPMax = 1024;
// Work is proportional to N * r * p; this is 64 times the default, a few seconds.
constexpr uint64_t kWorkMax = uint64_t{1} << 24;

// OpenSSL counts a little more than the large array; its limit must not refuse what ours allows.
constexpr uint64_t kOpensslSlackBytes = uint64_t{4} << 20;

}  // namespace

void hkdf_sha256(Bytes input_key, Bytes salt, Bytes info, MutableBytes out) {
  CHECK(out.size() <= 255 * sizeof(Sha256Digest));
  Sha256Digest pseudo_random_key = hmac_sha256(salt, input_key);
  Sha256Digest block;
  std::vector<std::byte> message;
  message.reserve(sizeof block + info.size() + 1);
  uint8_t counter = 0;
  for (size_t at = 0; at < out.size(); at += sizeof block) {
    message.insert(message.end(), info.begin(), info.end());
    message.push_back(std::byte{++counter});
    block = hmac_sha256(pseudo_random_key, message);
    std::copy_n(block.begin(), std::min(sizeof block, out.size() - at), out.begin() + static_cast<ptrdiff_t>(at));
    wipe(message);
    message.assign(block.begin(), block.end());
  }
  wipe(message);
  wipe(block);
  wipe(pseudo_random_key);
}

Result<> check_scrypt_cost(const ScryptCost& cost) {
  const auto error = [&](std::string_view what) {
    return Error(Errc::kInvalid,
                 fmt::format("check scrypt parameters log_n={}, r={}, p={}: {}", cost.log_n, cost.r, cost.p, what));
  };
  if (cost.log_n < 1 || cost.r < 1 || cost.p < 1) return error("each must be at least 1");
  if (cost.log_n > kLogNMax || cost.r > kRMax || cost.p > kPMax) return error("beyond anything reasonable");
  const uint64_t n = uint64_t{1} << cost.log_n;
  if (128 * cost.r * n > kScryptMemoryBytesMax) return error("would take more than 256 MiB of memory");
  if (n * cost.r * cost.p > kWorkMax) return error("would take more than a few seconds");
  return {};
}

Result<> scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost, MutableBytes out) {
  TRY(check_scrypt_cost(cost));
  const int done = crypto().EVP_PBE_scrypt(
      reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
      reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), uint64_t{1} << cost.log_n, cost.r, cost.p,
      kScryptMemoryBytesMax + kOpensslSlackBytes, reinterpret_cast<unsigned char*>(out.data()), out.size());
  if (done == 1) return {};
  crypto().ERR_clear_error();
  return Error(Errc::kUnsupported,
               "derive a key with scrypt: OpenSSL refused; too little memory, or forbidden by the "
               "cryptographic policy of this system");
}

}  // namespace pgark
