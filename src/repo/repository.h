// An open repository: a store, the identity written in its pgark.json, and how its frames are sealed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "codec/compress.h"
#include "codec/hash.h"
#include "core/clock.h"
#include "store/object_store.h"

namespace pgark {

/// Version of every byte this program writes; readers refuse a higher one.
inline constexpr uint32_t kRepositoryFormat = 1;

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

class Repository {
 public:
  /// Open the repository in `store`.
  /// Errors: kNotFound if there is no pgark.json (with the hint to run stanza-create); kUnsupported if its format is
  /// newer;
  ///         kCorrupt if it does not parse.
  static Result<std::unique_ptr<Repository>> open(ObjectStore& store);
  /// Open it, or make it with a new id if pgark.json is absent. Of two racing makers one wins and both open the same.
  static Result<std::unique_ptr<Repository>> open_or_create(ObjectStore& store, Clock& clock);

  ObjectStore& store() const { return store_; }
  const RepositoryId& id() const { return id_; }
  SealKind seal_kind() const { return SealKind::kChecksum; }

  /// Tag of sealed bytes at a place. One pass, thread-safe.
  Tag tag(const FrameIdentity& identity, Bytes sealed) const;

 private:
  Repository(ObjectStore& store, const RepositoryId& id) : store_(store), id_(id) {}

  ObjectStore& store_;
  RepositoryId id_;
};

}  // namespace pgark
