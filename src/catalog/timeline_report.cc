#include "catalog/timeline_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

namespace pgark {
namespace {

constexpr std::array<std::string_view, 12> kKindNames = {
    "commits",         "restore_point",   "drop",   "truncate", "rewrite", "delete", "drop_database",
    "drop_tablespace", "create_database", "shrink", "fork",     "gap"};

/// The primary's clock may have been set back by this much without hiding an event from --since and --until.
constexpr std::chrono::hours kClockSlack{2};
constexpr std::chrono::hours kDefaultSpan{24};
/// Blocks written to a file that TRUNCATE made: none in the table, the first few of an empty index.
constexpr uint32_t kEmptyFileBlocksMax = 4;
/// Files created by transactions of which no end was seen; beyond that the oldest knowledge is given up.
constexpr size_t kCreatedMax = 200'000;

class Reporter {
 public:
  Reporter(WalCatalog& wal, const TimelineReportOptions& options) : wal_(wal), options_(options) {
    report_.until = options.until;
  }

  Result<TimelineReport> run() {
    TRY(find_bounds());
    TRY_ASSIGN(uint64_t number, choose_start());
    while (number <= last_number_) {
      TRY_ASSIGN(const auto missing, walk_from(number));
      if (!missing) break;
      TRY_ASSIGN(number, note_gap(*missing));
    }
    return std::move(report_);
  }

 private:
  Lsn start_of(uint64_t number) const {
    return pg::segment_start(pg::WalSegment{options_.history.timeline(), number}, wal_.segment_bytes());
  }
  std::optional<pg::WalSegment> at(uint64_t number) const { return find_segment_on(wal_, options_.history, number); }
  bool wanted(TimelineKind kind) const {
    if (options_.kinds.empty()) return kind != TimelineKind::kShrink;
    return std::find(options_.kinds.begin(), options_.kinds.end(), kind) != options_.kinds.end();
  }
  bool in_time(Timestamp time) const { return time >= report_.since && (!options_.until || time <= *options_.until); }

  Result<> find_bounds() {
    bool any = false;
    for (const TimelineId timeline : wal_.timelines()) {
      if (!options_.history.contains(timeline)) continue;
      for (const uint64_t number : wal_.segments_of(timeline)) {
        if (!at(number)) continue;  // Behind the point where the history left the timeline.
        first_number_ = any ? std::min(first_number_, number) : number;
        last_number_ = any ? std::max(last_number_, number) : number;
        any = true;
      }
    }
    if (any) return {};
    return Error(Errc::kNotFound,
                 fmt::format("no WAL of timeline {} is in the repository", options_.history.timeline().value));
  }

  /// The last index with an end of a transaction at or before `number`, looking at most at `tries` segments.
  Result<std::optional<pg::WalIndex>> index_with_end(uint64_t number, int tries) {
    for (; tries > 0 && number >= first_number_; --tries, --number) {
      if (const auto segment = at(number)) {
        TRY_ASSIGN(pg::WalIndex index, wal_.index(*segment));
        if (index.has_ends) return std::optional(std::move(index));
      }
      if (number == 0) break;
    }
    return std::optional<pg::WalIndex>();
  }

  /// Steps back from the end, further each time, until a segment lies before the time asked for.
  Result<uint64_t> choose_start() {
    constexpr int kTries = 16;
    if (options_.since) {
      report_.since = *options_.since;
    } else {
      TRY_ASSIGN(const auto last, index_with_end(last_number_, kTries));
      if (!last) return first_number_;
      report_.since = last->end_time_max - kDefaultSpan;
    }
    uint64_t number = last_number_;
    for (uint64_t step = 1; number > first_number_; step *= 2) {
      number = number - first_number_ > step ? number - step : first_number_;
      TRY_ASSIGN(const auto index, index_with_end(number, kTries));
      if (index && index->end_time_max < report_.since - kClockSlack) break;
    }
    return number;
  }

  /// The first number that is missing; none where all was read, or the time asked for is over.
  Result<std::optional<uint64_t>> walk_from(uint64_t number) {
    WalWalk walk(wal_, options_.history, start_of(number));
    for (;; ++number) {
      TRY_ASSIGN(const auto index, walk.next());
      if (!index) return number <= last_number_ ? std::optional(number) : std::nullopt;
      if (options_.until && index->has_ends && index->end_time_min > *options_.until + kClockSlack) {
        return std::optional<uint64_t>();
      }
      note_forks(*index);
      TRY(take(*index, walk));
    }
  }

  Result<uint64_t> note_gap(uint64_t missing) {
    uint64_t next = missing;
    while (next <= last_number_ && !at(next)) ++next;
    if (wanted(TimelineKind::kGap)) {
      const TimelineId owner = options_.history.owner_of(start_of(missing));
      TimelineEntry entry{.kind = TimelineKind::kGap, .timeline = owner, .lsn = start_of(missing)};
      entry.count = next - missing;
      entry.name = pg::segment_name({owner, missing}, wal_.segment_bytes());
      report_.entries.push_back(std::move(entry));
    }
    // A transaction that ended in the gap is never seen to end.
    pending_.clear();
    created_.clear();
    return next;
  }

  void note_forks(const pg::WalIndex& index) {
    const Lsn begin = pg::segment_start(index.segment, wal_.segment_bytes());
    const Lsn end = pg::segment_end(index.segment, wal_.segment_bytes());
    const auto& ancestors = options_.history.ancestors();
    for (size_t i = 0; i < ancestors.size(); ++i) {
      if (ancestors[i].end < begin || ancestors[i].end >= end || !wanted(TimelineKind::kFork)) continue;
      TimelineEntry entry{.kind = TimelineKind::kFork, .lsn = ancestors[i].end};
      entry.timeline = i + 1 < ancestors.size() ? ancestors[i + 1].timeline : options_.history.timeline();
      entry.name = ancestors[i].reason;
      report_.entries.push_back(std::move(entry));
    }
  }

  Result<> take(const pg::WalIndex& index, const WalWalk& walk) {
    const size_t first = report_.entries.size();
    take_minutes(index);
    for (const pg::WalRestorePoint& point : index.restore_points) {
      if (!wanted(TimelineKind::kRestorePoint) || !in_time(point.time)) continue;
      TimelineEntry entry{.kind = TimelineKind::kRestorePoint, .timeline = index.last_timeline, .lsn = point.lsn};
      entry.time = point.time;
      entry.name = point.name;
      report_.entries.push_back(std::move(entry));
    }
    for (const pg::WalEvent& event : index.events) take_event(index, event);
    TRY(end_pending(index, walk));
    // Minutes stay where their first commit was: before what happened in them.
    std::stable_sort(report_.entries.begin() + static_cast<std::ptrdiff_t>(first), report_.entries.end(),
                     [](const TimelineEntry& a, const TimelineEntry& b) { return a.lsn < b.lsn; });
    return {};
  }

  void take_minutes(const pg::WalIndex& index) {
    if (!wanted(TimelineKind::kCommits)) return;
    for (const pg::WalMinute& minute : index.minutes) {
      if (!in_time(minute.minute + std::chrono::seconds(59)) && !in_time(minute.minute)) continue;
      if (open_minute_ && report_.entries[*open_minute_].time == minute.minute) {
        report_.entries[*open_minute_].count += minute.commit_count;
        report_.entries[*open_minute_].abort_count += minute.abort_count;
        continue;
      }
      TimelineEntry entry{.kind = TimelineKind::kCommits, .timeline = index.last_timeline};
      entry.lsn = pg::segment_start(index.segment, wal_.segment_bytes());
      entry.time = minute.minute;
      entry.count = minute.commit_count;
      entry.abort_count = minute.abort_count;
      report_.entries.push_back(std::move(entry));
      open_minute_ = report_.entries.size() - 1;
    }
  }

  void take_event(const pg::WalIndex& index, const pg::WalEvent& event) {
    switch (event.kind) {
      case pg::WalEventKind::kCreate:
        if (created_.size() >= kCreatedMax) created_.clear();
        created_[event.xid][event.relation] += event.count;
        return;
      case pg::WalEventKind::kDrop:
        take_drop(index, event);
        return;
      case pg::WalEventKind::kDelete:
        if (wanted(TimelineKind::kDelete)) pending_[event.xid].deletes[event.relation] += event.count;
        return;
      case pg::WalEventKind::kTruncate:
        return;  // Only with wal_level=logical, and the commit shows it as well.
      case pg::WalEventKind::kShrink:
        if (wanted(TimelineKind::kShrink)) pending_[event.xid].others.emplace_back(TimelineKind::kShrink, event);
        return;
      case pg::WalEventKind::kCreateDatabase:
        if (wanted(TimelineKind::kCreateDatabase))
          pending_[event.xid].others.emplace_back(TimelineKind::kCreateDatabase, event);
        return;
      case pg::WalEventKind::kDropDatabase:
        if (wanted(TimelineKind::kDropDatabase))
          pending_[event.xid].others.emplace_back(TimelineKind::kDropDatabase, event);
        return;
      case pg::WalEventKind::kDropTablespace:
        if (wanted(TimelineKind::kDropTablespace))
          pending_[event.xid].others.emplace_back(TimelineKind::kDropTablespace, event);
        return;
    }
  }

  /// One entry for a transaction, whatever number of files it removed.
  void take_drop(const pg::WalIndex& index, const pg::WalEvent& event) {
    TimelineEntry* entry = nullptr;
    if (!report_.entries.empty() && report_.entries.back().lsn == event.lsn &&
        report_.entries.back().xid == event.xid && is_removal(report_.entries.back().kind)) {
      entry = &report_.entries.back();
    } else if (skipped_drop_ == event.lsn) {
      return;
    } else {
      TimelineEntry fresh{.kind = TimelineKind::kDrop, .timeline = index.last_timeline, .lsn = event.lsn};
      fresh.time = event.time;
      fresh.xid = event.xid;
      classify(fresh);
      if (!wanted(fresh.kind) || !in_time(event.time)) {
        skipped_drop_ = event.lsn;
        return;
      }
      report_.entries.push_back(std::move(fresh));
      entry = &report_.entries.back();
    }
    entry->relations.push_back(event.relation);
  }

  static bool is_removal(TimelineKind kind) {
    return kind == TimelineKind::kDrop || kind == TimelineKind::kTruncate || kind == TimelineKind::kRewrite;
  }

  void classify(TimelineEntry& entry) {
    const auto made = created_.find(entry.xid);
    if (made == created_.end()) return;
    uint32_t most = 0;
    for (const auto& [relation, blocks] : made->second) {
      entry.replaced_by.push_back(relation);
      most = std::max(most, blocks);
    }
    entry.kind = most <= kEmptyFileBlocksMax ? TimelineKind::kTruncate : TimelineKind::kRewrite;
    created_.erase(made);
  }

  /// Transactions that did something worth telling and whose end is in this segment: only now are time and outcome
  /// known.
  Result<> end_pending(const pg::WalIndex& index, const WalWalk& walk) {
    if (pending_.empty() || !index.has_ends) return {};
    const bool too_old = index.end_time_max < report_.since - kClockSlack;
    bool any = false;
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      const bool here = index.may_hold(entry->first);
      // What ended before the time asked for is not worth reading a segment for.
      if (here && too_old) {
        entry = pending_.erase(entry);
        continue;
      }
      any = any || here || entry->first.value == 0;
      ++entry;
    }
    if (!any) return {};
    TRY_ASSIGN(const auto ends, wal_.transaction_ends(index.segment, walk.before()));
    for (const pg::WalTransactionEnd& end : ends) {
      std::vector<Xid> xids = end.subxids;
      xids.push_back(end.xid);
      Pending all;
      for (const Xid xid : xids) {
        const auto found = pending_.find(xid);
        if (found == pending_.end()) continue;
        all.merge(std::move(found->second));
        pending_.erase(found);
      }
      if (!end.aborted && in_time(end.time)) tell(index, end, all);
    }
    return {};
  }

  struct Pending {
    std::map<pg::WalRelation, uint64_t> deletes;
    std::vector<std::pair<TimelineKind, pg::WalEvent>> others;

    void merge(Pending&& more) {
      for (const auto& [relation, count] : more.deletes) deletes[relation] += count;
      others.insert(others.end(), more.others.begin(), more.others.end());
    }
  };

  void tell(const pg::WalIndex& index, const pg::WalTransactionEnd& end, const Pending& what) {
    TimelineEntry base{.kind = TimelineKind::kDelete, .timeline = index.last_timeline, .lsn = end.lsn};
    base.time = end.time;
    base.xid = end.xid;
    for (const auto& [relation, count] : what.deletes) {
      if (count < options_.deletes_min) continue;
      TimelineEntry entry = base;
      entry.count = count;
      entry.relations = {relation};
      report_.entries.push_back(std::move(entry));
    }
    for (const auto& [kind, event] : what.others) {
      TimelineEntry entry = base;
      entry.kind = kind;
      entry.count = event.count;
      entry.relations = {event.relation};
      report_.entries.push_back(std::move(entry));
    }
  }

  WalCatalog& wal_;
  const TimelineReportOptions& options_;
  TimelineReport report_;
  uint64_t first_number_ = 0;
  uint64_t last_number_ = 0;
  std::optional<size_t> open_minute_;  // Entry of the last minute.
  Lsn skipped_drop_;
  std::map<Xid, std::map<pg::WalRelation, uint32_t>> created_;  // Blocks written by the transaction itself.
  std::map<Xid, Pending> pending_;
};

}  // namespace

std::string_view timeline_kind_name(TimelineKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

Result<TimelineKind> parse_timeline_kind(std::string_view name) {
  const auto found = std::find(kKindNames.begin(), kKindNames.end(), name);
  if (found != kKindNames.end()) return static_cast<TimelineKind>(found - kKindNames.begin());
  return Error(Errc::kInvalid, fmt::format("kind '{}' is not known", name))
      .with_hint(fmt::format("allowed are {}", fmt::join(kKindNames, ", ")));
}

Result<TimelineReport> report_timeline(WalCatalog& wal, const TimelineReportOptions& options) {
  return Reporter(wal, options).run();
}

}  // namespace pgark
