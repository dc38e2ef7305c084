// Where prefetched segments wait for the server that recovers: one directory for each data directory, of this boot of
// the machine only. Files appear in it whole, by rename, and are never synced: after a loss of power the boot id is
// another one, and nothing of before is believed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/cluster.h"
#include "core/result.h"
#include "ops/wal_fetch.h"
#include "pg/wal.h"

namespace pgark {

class WalSpool {
 public:
  /// Name the spool of the cluster in `data_directory`; nothing is created.
  /// Shape:  "<spool-path>/archive/<stanza>/in/<boot id>/<system id>-<hash of the data directory>".
  /// Errors: of reading the boot id.
  static Result<WalSpool> locate(const std::string& spool_path, const std::string& stanza, std::string data_directory,
                                 const ClusterRecord& cluster);

  const std::string& path() const { return path_; }
  /// What the lock of its prefetcher is called: LocalLock's `what`.
  const std::string& lock_name() const { return lock_name_; }
  const ClusterRecord& cluster() const { return cluster_; }

  /// Segments that wait. Errors: of reading the directory; one that is not there is empty.
  Result<std::vector<pg::WalSegment>> list() const;
  bool holds(const pg::WalSegment& segment) const;
  /// Whether a prefetcher is in the middle of it, or was when it died.
  bool is_coming(const pg::WalSegment& segment) const;

  /// Move a segment to `destination`; false if it does not wait, or does not pass the check and is removed.
  /// Errors: of moving it; it is then gone from the spool, and the destination is as it was or has it.
  Result<bool> take(const pg::WalSegment& segment, const std::string& destination) const;

  /// Remove what recovery will not ask for now that it asked for `wanted`.
  /// Shape:  `delivered`: that segment was not waiting and came from the repository; what lies more than `queue_bytes`
  ///         ahead, or on a newer timeline that recovery turned out not to follow, is then removed too.
  /// Returns how many bytes wait.
  Result<uint64_t> trim(const pg::WalSegment& wanted, bool delivered, uint64_t queue_bytes) const;

  /// Make the directory: it tells right away whether a prefetcher could write there.
  Result<> create() const;

  // -- For the prefetcher, which holds the lock.

  /// Remove what killed prefetchers, earlier boots and recoveries that ended left behind.
  Result<> prepare() const;
  /// A file to fill for a segment.
  Result<TemporaryFile> begin(const pg::WalSegment& segment) const;
  Result<> finish(TemporaryFile file, const pg::WalSegment& segment) const;

  /// The segment that a server had to fetch itself last, for a prefetcher that runs: it may have gone elsewhere.
  void note_wanted(const pg::WalSegment& segment) const;
  std::optional<pg::WalSegment> noted_wanted() const;
  /// A mark that the lack of room was reported. True if it was not set before.
  bool mark_full() const;
  void unmark_full() const;

 private:
  WalSpool() = default;
  std::string file_path(const pg::WalSegment& segment) const;
  std::string temporary_path(const pg::WalSegment& segment) const;
  void remove_siblings() const;

  std::string root_;  // ".../in"
  std::string boot_;  // "<root>/<boot id>"
  std::string path_;
  std::string lock_name_;
  std::string data_directory_;
  ClusterRecord cluster_;
};

}  // namespace pgark
