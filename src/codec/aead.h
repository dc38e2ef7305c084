// Authenticated encryption in place: AES-256-GCM for what repositories hold, ChaCha20-Poly1305 for age files.
#pragma once

#include <span>

#include "core/bytes.h"

namespace pgark {

enum class Aead : unsigned char { kAes256Gcm, kChaCha20Poly1305 };

inline constexpr size_t kAeadKeyBytes = 32;
inline constexpr size_t kAeadNonceBytes = 12;
inline constexpr size_t kAeadTagBytes = 16;
using AeadKey = std::span<const std::byte, kAeadKeyBytes>;
using AeadNonce = std::span<const std::byte, kAeadNonceBytes>;

/// Encrypt `data` in place and write the tag that authenticates it together with `aad`. No nonce may be used twice
/// under one key: that would give away both contents and the means to forge. Thread-safe; allocates nothing after a
/// thread's first call. Errors: kUnsupported if OpenSSL does not provide the cipher. Source: NIST SP 800-38D; RFC 8439.
Result<> aead_seal(AeadKey key, AeadNonce nonce, Bytes aad, MutableBytes data, std::span<std::byte, kAeadTagBytes> tag,
                   Aead kind = Aead::kAes256Gcm);

/// Decrypt `data` in place if `tag` proves that it and `aad` are what was sealed; otherwise `data` becomes zeros.
/// Errors: kCorrupt if the tag does not match: damage, another key, nonce, or aad; kUnsupported as aead_seal().
Result<> aead_open(AeadKey key, AeadNonce nonce, Bytes aad, MutableBytes data,
                   std::span<const std::byte, kAeadTagBytes> tag, Aead kind = Aead::kAes256Gcm);

}  // namespace pgark
