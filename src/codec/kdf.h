// Keys from keys and keys from passphrases: HKDF-SHA256 and scrypt. Digests and HMAC are in codec/digest.h, base64 and
// hexadecimal in codec/encoding.h.
#pragma once

#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/bytes.h"

namespace pgark {

/// Fill `out` (at most 255 * 32 bytes) with key material from `input_key`, which has full entropy; `info` names the
/// purpose. An empty salt is 32 zero bytes.
/// Source: RFC 5869, extract and expand with SHA-256.
void hkdf_sha256(Bytes input_key, Bytes salt, Bytes info, MutableBytes out);
inline void hkdf_sha256(Bytes input_key, Bytes salt, std::string_view info, MutableBytes out) {
  hkdf_sha256(input_key, salt, as_bytes(info), out);
}

/// What a guess of a passphrase costs: 128 * r * 2^log_n bytes of memory, and p times the time.
struct ScryptCost {
  uint32_t log_n = 15;
  uint32_t r = 8;
  uint32_t p = 1;
  auto operator<=>(const ScryptCost&) const = default;
};

/// Memory that scrypt may take, whatever a file asks for.
inline constexpr uint64_t kScryptMemoryBytesMax = uint64_t{256} << 20;

/// Check that parameters make sense and cost no more than 256 MiB and a few seconds: they may come from a file that
/// somebody else wrote.
/// Errors: kInvalid, naming the parameters.
Result<> check_scrypt_cost(const ScryptCost& cost);

/// Fill `out` with a key from a passphrase.
/// Errors: as check_scrypt_cost(); kUnsupported where the cryptographic policy of the system (FIPS) forbids scrypt.
/// Source: RFC 7914.
Result<> scrypt(Bytes passphrase, Bytes salt, const ScryptCost& cost, MutableBytes out);

}  // namespace pgark
