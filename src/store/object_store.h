// ObjectStore: the one interface to every place a repository can live.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// Name of an object: components of [A-Za-z0-9._-] joined by single slashes, none of them "." or "..", none beginning
/// with ".tmp-", each at most 255 bytes, at most 512 bytes in all: with a prefix of a bucket as long, the 1024 bytes
/// that S3, Azure and GCS take.
struct ObjectKey {
  std::string value;
  auto operator<=>(const ObjectKey&) const = default;
};

/// Errors: kInvalid, naming the key and the rule it breaks.
Result<ObjectKey> make_object_key(std::string value);
/// The same rules for a key built by hand; every store checks them again, so that no key leaves the repository.
Result<> check_object_key(const ObjectKey& key);
/// Whether `name` may be one component of a key.
bool is_key_component(std::string_view name);

struct ObjectInfo {
  ObjectKey key;
  uint64_t bytes = 0;
  Timestamp modified{};  // As the store tells it; for people and grace periods, never for correctness.
};

/// What to list: keys that begin with `prefix` and sort after `after`, in byte order, at most `limit`.
struct ListRequest {
  std::string prefix{};  // Any string, "" for everything; need not end at a slash.
  std::string after{};   // Exclusive; "" to begin.
  size_t limit = 1000;   // At least 1.
};

struct ListPage {
  std::vector<ObjectInfo> objects;
  bool more = false;  // Another page follows: ask again with `after` = the last key here.
};

/// What a store can do, as data.
struct StoreCaps {
  std::string kind;                // "posix", "memory", "s3", ...
  bool atomic_create_only = true;  // Of two racing commits of one name exactly one wins, by the store's own means.
  bool far = false;  // A store of a kind that is near as a rule, found to answer as late as one behind a network.
};

/// What ObjectStore::remove_stale_temporaries() found.
struct StaleTemporaries {
  uint64_t removed = 0;
  uint64_t removed_bytes = 0;  // As far as the store tells.
  uint64_t kept = 0;           // Too young, or their writer lives.
};

/// One object being written. Readers see nothing until commit() returns ok.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;  // Destroying an uncommitted writer aborts it; it never commits.
  virtual Result<> append(Bytes data) = 0;
  /// Make the object durable and visible, whole. Reports the error of an append() that failed before.
  /// Errors: kAlreadyExists if the name is taken (the first object stays as it was, the new bytes are dropped);
  ///         kOutcomeUnknown if it may or may not exist now;
  ///         kInvalid, in stores that have directories, if the name is a directory of other objects or runs through
  ///         one.
  virtual Result<ObjectInfo> commit() && = 0;
};

/// A flat namespace of immutable objects. Callers never use one name as an object and as a directory ("a" and "a/b").
/// Every implementation guarantees:
/// - Write once: no call changes or replaces an object; of racing commits of one name exactly one returns ok.
/// - Whole: an object is seen complete or not at all, also after a crash of the writer or the store.
/// - Durable: once commit() returned ok, the object survives the loss of power. So does one of which kAlreadyExists was
///   said: whoever finds "his" bytes under the name may acknowledge them, though the writer died before it could.
/// - Read your writes: what commit(), remove() or list() reported is what later calls of any client see.
/// - Proven absence: kNotFound (or an empty optional, or a missing list entry) only if the store said so; a failure to
///   reach it is kTransient or kPermission, never absence.
/// - Every error names the operation and the key, and where the store is.
/// - A key outside the rules of ObjectKey is kInvalid in every call.
/// - All calls are safe from several threads; a writer belongs to one thread at a time.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual StoreCaps caps() const = 0;
  /// Where this is, for messages: "repo1 at /var/lib/pgark". Holds no secret.
  virtual std::string describe() const = 0;

  /// Begin a new object. May already report what commit() reports of the name.
  virtual Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) = 0;
  /// Size and time; no value if absent.
  virtual Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) = 0;
  /// Fill `into` from `offset`; the count read, short only at the object's end. kNotFound if absent.
  virtual Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) = 0;
  virtual Result<ListPage> list(const ListRequest& request) = 0;
  /// Delete; false if it was absent already.
  virtual Result<bool> remove(const ObjectKey& key) = 0;
  /// Delete several, in no particular order, where the store can with fewer requests: for each key, in their order,
  /// what remove() would say, but that true may stand for false.
  virtual std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys);

  /// Remove what writers that died left behind and no reader ever sees (temporary files, uploads without an end), where
  /// nothing was written for `age_min`; from what a living writer sends, its age or a lock keeps it. Stores that leave
  /// nothing behind do nothing.
  virtual Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min);

  /// Like read(), but kCorrupt if the object ends before `into` is full.
  Result<> read_exact(const ObjectKey& key, uint64_t offset, MutableBytes into);
  /// create, append, commit.
  Result<ObjectInfo> put(const ObjectKey& key, Bytes data);
  /// The whole object; kInvalid if larger than `bytes_max`.
  Result<Buffer> get(const ObjectKey& key, uint64_t bytes_max = 64u << 20);
  /// Every object with `prefix`, page after page.
  Result<std::vector<ObjectInfo>> list_all(const std::string& prefix);
};

}  // namespace pgark
