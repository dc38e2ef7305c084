// X25519 key agreement (RFC 7748): how data is sealed for somebody whose private key is elsewhere.
#pragma once

#include <array>
#include <span>

#include "codec/secret.h"
#include "core/bytes.h"

namespace pgark {

inline constexpr size_t kX25519KeyBytes = 32;
using X25519Public = std::array<std::byte, kX25519KeyBytes>;
using X25519PrivateView = std::span<const std::byte, kX25519KeyBytes>;

struct X25519KeyPair {
  Secret private_key;
  X25519Public public_key;

  X25519PrivateView private_view() const { return private_key.bytes().first<kX25519KeyBytes>(); }
};

/// Make a key pair.
/// Errors: kTransient without randomness; kUnsupported if OpenSSL does not provide X25519.
Result<X25519KeyPair> x25519_generate();

/// The public key of a private one.
/// Errors: kUnsupported as above.
Result<X25519Public> x25519_public(X25519PrivateView private_key);

/// The secret that the holder of `private_key` shares with the holder of the private key of `peer`: input of a key
/// derivation, not a key.
/// Errors: kInvalid if `peer` is of low order, so that everybody would know the result; kUnsupported as above.
Result<Secret> x25519_shared(X25519PrivateView private_key, const X25519Public& peer);

}  // namespace pgark
