// The keys of a sealed repository as they are kept in it: the inner secrets, which never change, wrapped for a
// passphrase and for age recipients. docs/format/keyring.md is normative.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/age.h"
#include "codec/secret.h"
#include "repo/repository.h"
#include "repo/seal.h"

namespace pgark {

/// A secret, and what a message calls the place it came from.
struct NamedSecret {
  std::string source;  // "repo1-cipher-pass-file", or "/etc/pgark/identity of repo1-identity-file".
  Secret text;
};

/// What the configuration says about the keys of one repository.
struct KeyConfig {
  bool sealed = false;
  std::string repo = "repo1";             // Beginning of option names in messages.
  std::optional<NamedSecret> passphrase;  // As given; no byte is changed.
  std::vector<std::string> recipients;    // "age1...".
  std::vector<NamedSecret> identities;    // Content of identity files.

  /// Whether there is anything to open a sealed repository with.
  bool has_keys() const { return passphrase.has_value() || !identities.empty(); }
};

/// One way to open a repository, as `pgark key list` and `check` show it.
struct KeyringKey {
  std::optional<AgeRecipient> recipient;  // None: the passphrase.
  bool opens_data = false;                // Not the passphrase of a repository with recipients.
};

struct KeyringDescription {
  unsigned number = 0;
  X25519Public
      data_public{};  // Tells one repository's keys from any other's; nobody can copy it without its private half.
  std::vector<KeyringKey> keys;
  bool has_single_key = false;           // One key alone opens the data.
  std::vector<std::string> differences;  // Recipients that are configured and those of the keyring, where they differ.

  /// What the operator should be warned of.
  std::vector<std::string> warnings() const;
};

/// What one configured key did.
struct KeyTrial {
  std::string source;
  std::optional<Error> error;  // None: it opened the repository.
  bool opens_data = false;
};

/// An immutable keyring document. What changes it returns the next one, for the same inner secrets.
class Keyring {
 public:
  /// Make the inner secrets of a new repository and its first keyring. With recipients, the passphrase opens metadata
  /// only, so that a host that has it can write backups and not read them. Errors: kInvalid if the configuration names
  /// no key, or none with which this host could open the repository again.
  static Result<Keyring> create(const RepositoryId& id, const KeyConfig& config);

  /// Parse the document of object "keyring.<number>". Nothing in it is authentic before unlock().
  /// Errors: kCorrupt if it is damaged or belongs under another number; kUnsupported if its version is newer.
  static Result<Keyring> parse(std::string_view text, unsigned number);

  std::string text() const;
  unsigned number() const;
  const RepositoryId& repository_id() const;
  /// Names and kinds of the keys, without secrets.
  KeyringDescription describe(const KeyConfig& config) const;

  /// Open with each configured key by itself.
  std::vector<KeyTrial> try_each(const KeyConfig& config) const;

  /// Open with every key that is configured, and check that the document is what a holder of the keys wrote.
  /// With a passphrase and an identity both must fit: an identity alone does not prove who wrote a keyring, since
  /// anybody can encrypt to its recipient. Errors: kPermission, naming the option, if a key is wrong; kInvalid if no
  /// key is configured, or recipients are and the
  ///         repository has none; kCorrupt if the document was changed by somebody without the keys.
  Result<RepositoryKeys> unlock(const KeyConfig& config) const;

  /// The same keys with another passphrase, or with one if there was none. Needs no identity.
  /// Errors: kInvalid if the passphrase is empty.
  Result<Keyring> with_passphrase(const RepositoryKeys& keys, const NamedSecret& passphrase) const;

  /// With one recipient more. The first one takes the private key away from the passphrase, so that needs `passphrase`,
  /// unless the repository has none.
  /// Errors: kAlreadyExists if it is one; kPermission if `keys` cannot open data; kInvalid without a passphrase that is
  /// needed.
  Result<Keyring> with_recipient(const RepositoryKeys& keys, const AgeRecipient& recipient,
                                 const std::optional<NamedSecret>& passphrase) const;

  /// With one recipient fewer. When the last one goes, the passphrase opens everything again.
  /// Errors: kNotFound, naming those there are; kPermission if `keys` cannot open data, kInvalid without a passphrase,
  /// when
  ///         the last one goes.
  Result<Keyring> without_recipient(const RepositoryKeys& keys, const AgeRecipient& recipient,
                                    const std::optional<NamedSecret>& passphrase) const;

 private:
  struct Document;
  explicit Keyring(std::shared_ptr<const Document> document) : document_(std::move(document)) {}

  Result<> check_passphrase_is_current(const RepositoryKeys& keys, const NamedSecret& passphrase) const;

  // Shared among copies of one keyring; immutable.
  std::shared_ptr<const Document> document_;
};

}  // namespace pgark
