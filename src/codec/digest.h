// Cryptographic digests: SHA-256, HMAC-SHA256, the MD5 that old protocols ask for, and comparison in constant time.
#pragma once

#include <array>

#include "core/bytes.h"

namespace pgark {

using Sha256Digest = std::array<std::byte, 32>;
using Md5Digest = std::array<std::byte, 16>;

/// SHA-256 of `bytes`.
Sha256Digest sha256(Bytes bytes);
inline Sha256Digest sha256(std::string_view text) { return sha256(as_bytes(text)); }

/// SHA-256 of bytes that arrive in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&& other) noexcept : state_(other.state_) { other.state_ = nullptr; }
  Sha256& operator=(Sha256&&) = delete;

  void update(Bytes bytes);
  void update(std::string_view text) { update(as_bytes(text)); }
  /// The digest of everything since construction or the last finish(); starts over.
  Sha256Digest finish();

 private:
  void* state_;  // EVP_MD_CTX, so that OpenSSL's headers stay out of ours.
};

/// HMAC-SHA256 of `message` under `key`, of any length.
/// Source: RFC 2104.
Sha256Digest hmac_sha256(Bytes key, Bytes message);
inline Sha256Digest hmac_sha256(Bytes key, std::string_view message) { return hmac_sha256(key, as_bytes(message)); }

/// MD5 of `bytes`, for `Content-MD5` and nothing that has to resist anyone.
/// Errors: kUnsupported where the system's cryptographic policy (FIPS) forbids MD5.
Result<Md5Digest> md5(Bytes bytes);

/// Compare without telling by the time it takes where the first difference is. The lengths are no secret.
bool constant_time_equal(Bytes a, Bytes b);

}  // namespace pgark
