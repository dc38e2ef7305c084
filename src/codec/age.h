// age v1 files (https://age-encryption.org/v1) for X25519 recipients: small secrets sealed so that only the holders of
// identities, which may be kept far from here, can open them. Interchangeable with the programs age and age-keygen.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/secret.h"
#include "codec/x25519.h"
#include "core/bytes.h"

namespace pgark {

/// A public key: "age1...".
struct AgeRecipient {
  X25519Public key;
  auto operator<=>(const AgeRecipient&) const = default;
};

/// A private key, "AGE-SECRET-KEY-1...", and the recipient it belongs to.
struct AgeIdentity {
  Secret private_key;
  AgeRecipient recipient;
};

std::string to_string(const AgeRecipient& recipient);

/// Parse "age1...".
/// Errors: kInvalid, naming the text unless it may be a secret; kUnsupported for SSH keys, plug-ins and other kinds.
Result<AgeRecipient> parse_age_recipient(std::string_view text);

/// Make an identity.
/// Errors: as x25519_generate().
Result<AgeIdentity> generate_age_identity();

/// "AGE-SECRET-KEY-1...".
Secret format_age_identity(const AgeIdentity& identity);

/// The lines age-keygen writes: when it was made, the recipient, the identity. `created` is RFC 3339 text.
Secret format_age_identity_file(const AgeIdentity& identity, std::string_view created);

/// Parse an identity file: one identity a line, comments and empty lines between.
/// Errors: kInvalid, naming the line but not its text, or if there is no identity; kUnsupported for identity files that
///         are encrypted themselves, for SSH keys and plug-ins.
Result<std::vector<AgeIdentity>> parse_age_identities(std::string_view text);

/// Encrypts what passes by, in memory of one chunk (64 KiB) whatever the size. What was written without finish() does
/// not decrypt.
class AgeEncryptor {
 public:
  using Sink = std::function<Result<>(Bytes)>;

  /// Write the head of the file to `sink`: to every one of `recipients`.
  /// Errors: kInvalid without recipients; kTransient without randomness; of `sink`.
  static Result<AgeEncryptor> start(std::span<const AgeRecipient> recipients, Sink sink);
  AgeEncryptor(AgeEncryptor&&) = default;
  AgeEncryptor& operator=(AgeEncryptor&&) = default;

  /// Errors: of `sink`.
  Result<> write(Bytes plaintext);
  Result<> finish();

 private:
  AgeEncryptor(Secret key, Sink sink);
  Result<> seal_chunk(bool is_last);

  Secret key_;    // Of the payload.
  Secret chunk_;  // Plaintext gathered, then sealed in place, with its tag behind it.
  size_t gathered_ = 0;
  uint64_t index_ = 0;
  Sink sink_;
};

/// Encrypt to every one of `recipients`.
/// Errors: kInvalid without recipients; kTransient without randomness.
Result<std::vector<std::byte>> age_encrypt(std::span<const AgeRecipient> recipients, Bytes plaintext);

/// Decrypt a file with the first identity that fits. Memory follows the size of the file; the caller bounds it.
/// Errors: kPermission if no identity is among the recipients; kCorrupt if the file was damaged or changed;
///         kUnsupported for another version of the format, or an armored file.
Result<Secret> age_decrypt(std::span<const AgeIdentity> identities, Bytes file);

}  // namespace pgark
