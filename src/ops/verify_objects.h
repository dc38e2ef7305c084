// The checks of verify on single objects: packs, extents, WAL segments and files, records. Damage is a result here, an
// error is what keeps from looking.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "catalog/damage.h"
#include "core/cancel.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "pg/wal_index.h"
#include "repo/pack.h"

namespace pgark {

/// A random share of things with names: the same for the same seed.
class VerifySample {
 public:
  VerifySample(double share, uint64_t seed);
  bool whole() const { return whole_; }
  bool takes(std::string_view name, uint64_t place = 0) const;

 private:
  bool whole_;
  uint64_t below_;
  uint64_t seed_;
};

/// Where the extents of a pack lie, by offset.
using PackExtents = std::vector<ExtentRef>;

struct PackCheck {
  PackDamage damage;
  bool harmless = false;      // A restore does without what is damaged.
  std::string cause;          // Empty: the pack is good.
  uint64_t extent_count = 0;  // Decoded.
  uint64_t read_bytes = 0;
  std::shared_ptr<const PackExtents> extents;  // Null if the index cannot be read.
};

/// Read a pack, or a sample of it, and check header, index, frames, and the list of pieces with its block hashes.
/// Shape:  bytes read are added to `done` as they are.
/// Errors: of the store; kCancelled.
Result<PackCheck> check_pack(const Repository& repository, const ObjectKey& key, const VerifySample& sample,
                             const CancelToken& cancel, std::atomic<uint64_t>& done);

/// Read one extent as a restore does. What is wrong with it; empty if it is good.
/// Errors: of the store.
Result<std::string> check_extent(const Repository& repository, const ObjectKey& key, const ExtentRef& extent);

/// Indexes of packs, those used last, up to a budget. Thread-safe.
class PackIndexes {
 public:
  PackIndexes(const Repository& repository, std::string stanza, size_t bytes_max = 32u << 20)
      : repository_(repository), stanza_(std::move(stanza)), bytes_max_(bytes_max) {}

  void put(const PackName& pack, std::shared_ptr<const PackExtents> extents);
  /// Null if it cannot be read, or is not there. Errors: of the store.
  Result<std::shared_ptr<const PackExtents>> get(const PackName& pack);

 private:
  struct Entry {
    std::shared_ptr<const PackExtents> extents;
    uint64_t used = 0;
  };

  const Repository& repository_;
  const std::string stanza_;
  const size_t bytes_max_;
  Mutex mu_;
  std::map<PackName, Entry> entries_ GUARDED_BY(mu_);
  size_t bytes_ GUARDED_BY(mu_) = 0;
  uint64_t clock_ GUARDED_BY(mu_) = 0;
};

struct SegmentCheck {
  bool vanished = false;              // No copy is there any more.
  std::string damage;                 // Empty: good.
  bool usable = true;                 // archive-get serves it whole.
  ObjectKey key;                      // The copy that was judged.
  std::optional<pg::WalIndex> index;  // Made from the content, if usable.
  uint64_t read_bytes = 0;
};

/// Judge a stored segment by the copy archive-get would serve. `is_last`: it may end early. `whole`: also read the
/// header of the object and the stored index, which archive-get does without.
/// Errors: of the store.
Result<SegmentCheck> check_stored_segment(const Repository& repository, const std::string& stanza,
                                          const ClusterRecord& cluster, const pg::WalSegment& segment, bool is_last,
                                          unsigned threads, bool whole);

inline constexpr std::string_view kDoesNotJoin = "it does not join the segment before";
/// Whether `index`, made without what came before, goes on with what `before` left open; `before` is completed itself
/// where that is known. Empty, or what is wrong. `index` is completed.
std::string join_segments(const pg::WalIndex& before, pg::WalIndex& index);

/// What is wrong with a file kept whole (a history, a partial segment, ...) that is named `name`; empty if some copy of
/// `copies` is good. Errors: of the store.
Result<std::string> check_wal_file(const Repository& repository, const std::vector<ObjectKey>& copies,
                                   const std::string& name, const ClusterRecord& cluster);

/// What is wrong with a container of any kind that is no part of a backup or of WAL; empty if it is good, is gone, or
/// is of a kind that this version does not know. Errors: of the store.
Result<std::string> check_record(const Repository& repository, const ObjectKey& key);

/// Whether an error tells of the object's bytes, and not of the way to them.
bool is_object_damage(const Error& error);

/// Look at an object, and again if it cannot be read, to tell an object that cannot (a bad sector, wrong permissions)
/// from a repository that cannot be reached: the first becomes kCorrupt, the second stays what it is.
template <typename Look>
auto insist(const Repository& repository, Look look) -> decltype(look()) {
  for (int attempt = 1;; ++attempt) {
    auto looked = look();
    if (looked) return looked;
    const Errc code = looked.error().code();
    if (code != Errc::kTransient && code != Errc::kPermission) return looked;
    if (!repository.store().get({"pgark.json"})) return looked;
    if (attempt == 2) return Error(Errc::kCorrupt, "it cannot be read: " + looked.error().message());
  }
}

}  // namespace pgark
