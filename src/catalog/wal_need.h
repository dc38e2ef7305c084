// Which archived WAL the backups of a cluster need, and so which of it may go.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/backup.h"
#include "catalog/wal_expired.h"
#include "core/ids.h"
#include "pg/timeline_history.h"
#include "pg/wal.h"

namespace pgark {

/// What one backup needs: the segments from `first` to `last` to become consistent, and if `whole`, every later one of
/// each timeline that it can be recovered along.
struct WalUser {
  TimelineId start_timeline;
  TimelineId stop_timeline;
  Lsn start_lsn;
  uint64_t first = 0;  // Segment numbers.
  uint64_t last = 0;
  bool whole = true;
};
/// Errors: kCorrupt if the names of its segments are impossible.
Result<WalUser> wal_user(TimelineId start_timeline, TimelineId stop_timeline, Lsn start_lsn,
                         const std::string& wal_start, const std::string& wal_stop, uint32_t wal_segment_bytes);

/// What all of them need together. Pure. Questions cost the same however many backups there are.
class WalNeed {
 public:
  /// `histories` of the timelines that have one that can be read. Of a timeline without, it is taken that every backup
  /// of an earlier timeline can be recovered along it.
  WalNeed(std::vector<WalUser> users, std::vector<pg::TimelineHistory> histories);

  bool empty() const { return users_.empty(); }
  /// Timelines on which there are backups that do without part of the WAL after them, and from where on the WAL is
  /// whole all the same.
  ExpiredWal expired() const;
  /// From which segment on all of the timeline is needed; none if no backup with `whole` leads to it.
  std::optional<uint64_t> whole_from(TimelineId timeline) const;
  /// Whether any of the segments from `first` to `last` is needed.
  bool needs(TimelineId timeline, uint64_t first, uint64_t last) const;
  bool needs(const pg::WalSegment& segment) const { return needs(segment.timeline, segment.number, segment.number); }

 private:
  const pg::TimelineHistory* history_of(TimelineId timeline) const;
  bool leads_to(const WalUser& user, TimelineId timeline) const;
  std::optional<uint64_t> find_whole_from(TimelineId timeline) const;

  std::vector<WalUser> users_;
  std::vector<pg::TimelineHistory> histories_;

  // Made of them once, as there may be very many, and every segment of the archive is asked for.
  std::map<TimelineId, std::optional<uint64_t>> whole_from_;                       // Of timelines with a history.
  std::map<TimelineId, uint64_t> whole_since_;                                     // Of `whole` users, by their start.
  std::map<TimelineId, std::vector<std::pair<uint64_t, uint64_t>>> own_segments_;  // First, last; apart, ascending.
  std::vector<WalUser> spanning_;                                                  // Users of several timelines: few.
};

/// A WAL object by what follows "<stanza>/wal/<n>/" in its key.
struct ArchivedWal {
  enum class Kind : uint8_t { kSegment, kPartial, kBackup, kHistory, kDropped };
  Kind kind = Kind::kSegment;
  pg::WalSegment segment;  // Of kHistory only its timeline; of kDropped the first of the run.
  unsigned generation = 0;
};
/// None if it is an object of another kind, or its name is impossible with this segment size.
std::optional<ArchivedWal> parse_archived_wal(std::string_view below, uint32_t wal_segment_bytes);

}  // namespace pgark
