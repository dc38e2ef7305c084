// How the frames of a sealed repository are encrypted: which key each object and each frame has, and what binds a frame
// to its place. docs/format/seal.md is normative.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "codec/aead.h"
#include "codec/secret.h"
#include "codec/x25519.h"
#include "core/thread_annotations.h"
#include "store/object_store.h"

namespace pgark {

enum class FrameType : uint8_t;

/// The inner secrets of a sealed repository, made with it and never changed: the keyring wraps them for passphrases and
/// recipients.
struct RepositoryKeys {
  Secret metadata_key;                   // 32 bytes: manifests, lists, documents, indexes.
  X25519Public data_public{};            // To seal data for whoever has...
  std::optional<Secret> data_private{};  // ...this. None on a host that writes backups it cannot read.
  std::string repo = "repo1";            // Beginning of option names in messages.
};

/// The keys of one object. Each object has its own, so that a nonce need be unique within one object only.
struct ObjectKeys {
  Secret metadata;             // 32 bytes.
  std::optional<Secret> data;  // 32 bytes; none until a data frame is written or read.
  X25519Public data_sender{};  // Stored in the object's key frame: with the private key it gives `data`.

  /// The one that frames of this type have in `object`, of which these are the keys. With a frame that holds data
  /// (is_data_frame) there must be a data key.
  const Secret& of_frame(FrameType type, const ObjectKey& object) const;
};

/// Derives the keys of objects and remembers those used lately. Safe from several threads.
class ObjectKeyring {
 public:
  ObjectKeyring(Bytes repository_id, RepositoryKeys keys);

  const std::string& option_prefix() const { return keys_.repo; }
  bool can_open_data() const { return keys_.data_private.has_value(); }
  /// Keys for an object about to be written, with new data keys if it will hold data.
  Result<std::shared_ptr<const ObjectKeys>> make(const ObjectKey& key, bool with_data) const;
  /// Keys to read the metadata of an object.
  std::shared_ptr<const ObjectKeys> metadata(const ObjectKey& key);
  /// Keys to read its data, if they are known already.
  std::shared_ptr<const ObjectKeys> find_data(const ObjectKey& key);
  /// The same from the sender of its key frame.
  /// Errors: kPermission if this host has no key for data, with the hint what to configure; kCorrupt for a key frame
  ///         that is none.
  Result<std::shared_ptr<const ObjectKeys>> open_data(const ObjectKey& key, const X25519Public& sender);

 private:
  Secret derive_metadata(const ObjectKey& key) const;
  Secret derive_data(const ObjectKey& key, const Secret& shared, const X25519Public& sender) const;
  std::shared_ptr<const ObjectKeys> remember(const ObjectKey& key, std::shared_ptr<const ObjectKeys> keys);

  const std::vector<std::byte> repository_id_;
  const RepositoryKeys keys_;
  Mutex mu_;
  struct Cached {
    std::string name;
    std::shared_ptr<const ObjectKeys> keys;
  };
  std::list<Cached> by_use_ GUARDED_BY(mu_);  // Most recently used first.
  std::map<std::string, std::list<Cached>::iterator, std::less<>> by_name_ GUARDED_BY(mu_);
};

/// Encrypt `coded`, whose first 8 bytes give way to the random part of the nonce, and make its tag. `offset` is of the
/// frame in its object.
Result<> seal_frame(const Secret& key, Bytes identity, uint64_t offset, MutableBytes coded,
                    std::span<std::byte, kAeadTagBytes> tag);
/// The reverse; the first 8 bytes stay as they are.
/// Errors: kCorrupt if the tag does not match.
Result<> open_frame(const Secret& key, Bytes identity, uint64_t offset, MutableBytes coded,
                    std::span<const std::byte, kAeadTagBytes> tag);

}  // namespace pgark
