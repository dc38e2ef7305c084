#include "codec/digest.h"

#include <climits>
#include <utility>

#include "codec/libcrypto.h"
#include "core/check.h"

namespace pgark {
namespace {

unsigned char* raw(std::byte* at) { return reinterpret_cast<unsigned char*>(at); }
const unsigned char* raw(const std::byte* at) { return reinterpret_cast<const unsigned char*>(at); }

// Fetched once: EVP_sha256() looks the implementation up again at every use.
const EVP_MD* sha256_algorithm() {
  static EVP_MD* const algorithm = crypto().EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(algorithm != nullptr);
  return algorithm;
}

void start(EVP_MD_CTX* state) { CHECK(crypto().EVP_DigestInit_ex2(state, sha256_algorithm(), nullptr) == 1); }

}  // namespace

Sha256Digest sha256(Bytes bytes) {
  Sha256Digest digest;
  CHECK(crypto().EVP_Digest(bytes.data(), bytes.size(), raw(digest.data()), nullptr, sha256_algorithm(), nullptr) == 1);
  return digest;
}

Sha256::Sha256() : state_(crypto().EVP_MD_CTX_new()) {
  CHECK(state_ != nullptr);
  start(static_cast<EVP_MD_CTX*>(state_));
}

Sha256::~Sha256() { crypto().EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(state_)); }

void Sha256::update(Bytes bytes) {
  CHECK(crypto().EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(state_), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  auto* state = static_cast<EVP_MD_CTX*>(state_);
  CHECK(crypto().EVP_DigestFinal_ex(state, raw(digest.data()), nullptr) == 1);
  start(state);
  return digest;
}

Sha256Digest hmac_sha256(Bytes key, Bytes message) {
  Sha256Digest digest;
  CHECK(key.size() <= INT_MAX);
  // A null key would mean "the key of the last call".
  static constexpr std::byte kNoKey{};
  const std::byte* key_at = key.empty() ? &kNoKey : key.data();
  CHECK(crypto().HMAC(sha256_algorithm(), key_at, static_cast<int>(key.size()), raw(message.data()), message.size(),
                      raw(digest.data()), nullptr) != nullptr);
  return digest;
}

Result<Md5Digest> md5(Bytes bytes) {
  static EVP_MD* const algorithm = crypto().EVP_MD_fetch(nullptr, "MD5", nullptr);
  Md5Digest digest;
  if (algorithm == nullptr ||
      crypto().EVP_Digest(bytes.data(), bytes.size(), raw(digest.data()), nullptr, algorithm, nullptr) != 1) {
    crypto().ERR_clear_error();
    return Error(Errc::kUnsupported, "compute MD5: the cryptographic policy of this system forbids it");
  }
  return digest;
}

bool constant_time_equal(Bytes a, Bytes b) {
  if (a.size() != b.size()) return false;
  // Volatile: a compiler that saw through this could end at the first difference.
  volatile unsigned differing = 0;
  for (size_t i = 0; i < a.size(); ++i) differing = differing | std::to_integer<unsigned>(a[i] ^ b[i]);
  return differing == 0;
}

}  // namespace pgark
