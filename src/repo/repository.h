// An open repository: a store, the identity written in its pgark.json, and how its frames are sealed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "codec/compress.h"
#include "codec/hash.h"
#include "core/clock.h"
#include "repo/seal.h"
#include "store/object_store.h"

namespace pgark {

/// Highest version of the bytes this program reads and writes; it refuses a higher one.
inline constexpr uint32_t kRepositoryFormat = 2;
/// Versions it writes: sealed repositories have their own, so that a program that does not know them says so.
inline constexpr uint32_t kPlainFormat = 1;
inline constexpr uint32_t kSealedFormat = 2;

/// "pgark.json": its presence makes a repository.
extern const ObjectKey kRepositoryRootKey;

using RepositoryId = std::array<std::byte, 16>;

/// How frames of an object are protected. The values are on disk.
enum class SealKind : uint8_t { kChecksum = 0, kAes256Gcm = 1 };

/// What a frame is, for its tag: the same bytes at another place, or another's bytes at this place, fail.
struct FrameIdentity {
  const ObjectKey& key;
  uint64_t offset = 0;  // Of the frame in its object.
  uint8_t type = 0;
  Codec codec = Codec::kNone;
  uint32_t raw_bytes = 0;
};

struct KeyConfig;

class Repository {
 public:
  /// Open the repository in `store`, with the keys of `config`, which must outlive the call only.
  /// Errors: kNotFound if there is no pgark.json (with the hint to run stanza-create); kUnsupported if its format is
  ///         newer; kCorrupt if it does not parse; kInvalid if `config` wants it sealed and it is not, or the reverse;
  ///         kPermission if no key opens it.
  static Result<std::unique_ptr<Repository>> open(ObjectStore& store, const KeyConfig& config);
  static Result<std::unique_ptr<Repository>> open(ObjectStore& store);  // One that is not sealed.
  /// Open it, or make it with a new id if pgark.json is absent. Of two racing makers one wins and both open the same.
  static Result<std::unique_ptr<Repository>> open_or_create(ObjectStore& store, Clock& clock, const KeyConfig& config);
  static Result<std::unique_ptr<Repository>> open_or_create(ObjectStore& store, Clock& clock);

  /// One whose id and keys (none: not sealed) are known already.
  static std::unique_ptr<Repository> unlocked(ObjectStore& store, const RepositoryId& id,
                                              std::optional<RepositoryKeys> keys);

  ObjectStore& store() const { return store_; }
  const RepositoryId& id() const { return id_; }
  SealKind seal_kind() const { return keyring_ ? SealKind::kAes256Gcm : SealKind::kChecksum; }
  uint32_t format() const { return keyring_ ? kSealedFormat : kPlainFormat; }
  /// Whether data (extents, WAL) can be read here: not on a host that only has the key of the metadata.
  bool can_open_data() const { return !keyring_ || keyring_->can_open_data(); }

  /// Refuse what needs to read data, if that cannot be done here. Errors: kPermission.
  Result<> check_can_open_data(std::string_view verb_object) const;

  /// Keys of objects; null if the repository is not sealed.
  ObjectKeyring* keyring() const { return keyring_.get(); }
  /// What binds a frame of a sealed repository to its place.
  std::vector<std::byte> identity_bytes(const FrameIdentity& identity) const;
  /// Tag of the bytes of a frame that is not encrypted, the last of which may lie elsewhere. One pass, thread-safe.
  Tag tag(const FrameIdentity& identity, Bytes coded, Bytes following = {}) const;

 private:
  Repository(ObjectStore& store, const RepositoryId& id, std::unique_ptr<ObjectKeyring> keyring)
      : store_(store), id_(id), keyring_(std::move(keyring)) {}

  ObjectStore& store_;
  RepositoryId id_;
  std::unique_ptr<ObjectKeyring> keyring_;
};

}  // namespace pgark
