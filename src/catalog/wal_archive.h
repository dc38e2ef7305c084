// WAL as the repository holds it, by content: the index of each segment, and the segments of one way through the
// timelines, in order.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/result.h"
#include "pg/timeline_history.h"
#include "pg/wal_index.h"
#include "repo/repository.h"

namespace pgark {

/// Where WAL is looked up by segment. Tests fill one by hand; RepositoryWal reads a repository.
class WalCatalog {
 public:
  virtual ~WalCatalog() = default;
  virtual uint32_t segment_bytes() const = 0;
  /// Whether a listing has the segment.
  virtual bool has(const pg::WalSegment& segment) const = 0;
  /// Segments of a timeline in order, as numbers; and timelines with any.
  virtual std::vector<uint64_t> segments_of(TimelineId timeline) const = 0;
  virtual std::vector<TimelineId> timelines() const = 0;
  /// Histories that are there; timeline 1 needs none.
  virtual const std::vector<pg::TimelineHistory>& histories() const = 0;
  /// Its index: of records that lie in it alone; `before` completes it with the record that crosses in.
  /// Errors: kNotFound if the segment is not there; kCorrupt naming it if no copy can be used.
  virtual Result<pg::WalIndex> index(const pg::WalSegment& segment, const pg::WalIndex* before = nullptr) = 0;
  /// Transactions that ended in it; as index().
  virtual Result<std::vector<pg::WalTransactionEnd>> transaction_ends(const pg::WalSegment& segment,
                                                                      const pg::WalIndex* before = nullptr) = 0;
};

/// A cluster's WAL in a repository, listed once. An index that a segment lacks is made from the segment.
class RepositoryWal final : public WalCatalog {
 public:
  /// Errors: of the store; kCorrupt if a history cannot be read.
  static Result<RepositoryWal> open(const Repository& repository, std::string stanza, const ClusterRecord& cluster);
  /// The same for who has listed it: `names` as list_wal_segments() gives them, of all timelines.
  static Result<RepositoryWal> open(const Repository& repository, std::string stanza, const ClusterRecord& cluster,
                                    const std::vector<std::string>& names);

  uint32_t segment_bytes() const override { return cluster_.wal_segment_bytes; }
  bool has(const pg::WalSegment& segment) const override;
  std::vector<uint64_t> segments_of(TimelineId timeline) const override;
  std::vector<TimelineId> timelines() const override;
  const std::vector<pg::TimelineHistory>& histories() const override { return histories_; }
  Result<pg::WalIndex> index(const pg::WalSegment& segment, const pg::WalIndex* before = nullptr) override;
  Result<std::vector<pg::WalTransactionEnd>> transaction_ends(const pg::WalSegment& segment,
                                                              const pg::WalIndex* before = nullptr) override;
  const ClusterRecord& cluster() const { return cluster_; }

 private:
  RepositoryWal(const Repository& repository, std::string stanza, const ClusterRecord& cluster)
      : repository_(&repository), stanza_(std::move(stanza)), cluster_(cluster) {}

  /// A segment's bytes, checked, from the first copy that is good.
  Result<Buffer> read_segment(const pg::WalSegment& segment) const;
  /// The index as stored; none if the segment was archived without one that can be read here.
  Result<std::optional<pg::WalIndex>> read_index(const pg::WalSegment& segment) const;

  const Repository* repository_;
  std::string stanza_;
  ClusterRecord cluster_;
  std::map<TimelineId, std::vector<uint64_t>> segments_;  // Sorted.
  std::vector<pg::TimelineHistory> histories_;
};

/// Walk the WAL of a history from the segment of `begin` on, as recovery along it would: for each number the segment of
/// the newest timeline of the history that had begun by then, or of an ancestor if that one is not there.
class WalWalk {
 public:
  WalWalk(WalCatalog& wal, pg::TimelineHistory history, Lsn begin);

  /// The next segment's complete index; none where the WAL ends: segment() is then the first that is missing.
  /// Errors: of WalCatalog::index(); kCorrupt if two segments do not join.
  Result<std::optional<pg::WalIndex>> next();
  /// The segment next() read last, or the missing one.
  const pg::WalSegment& segment() const { return segment_; }
  /// The index before the one next() read last, for WalCatalog::transaction_ends(); null for the first.
  const pg::WalIndex* before() const { return before_ ? &*before_ : nullptr; }

 private:
  WalCatalog* wal_;
  pg::TimelineHistory history_;
  uint64_t next_number_;
  pg::WalSegment segment_;
  std::optional<pg::WalIndex> before_;
  std::optional<pg::WalIndex> current_;
};

/// The segment recovery along `history` reads for `number`: none if no timeline of the history has it in the catalog.
std::optional<pg::WalSegment> find_segment_on(const WalCatalog& wal, const pg::TimelineHistory& history,
                                              uint64_t number);

}  // namespace pgark
