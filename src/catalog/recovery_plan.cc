// The target planner: one function for each kind of target, all of them a walk over the WAL behind a backup.
#include "catalog/recovery_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "catalog/recovery_candidates.h"
#include "core/check.h"

namespace pgark {
namespace {

using Candidate = RecoveryCandidate;

/// What was found out about where recovery ends.
struct Found {
  TargetKind server_target = TargetKind::kLsn;
  std::optional<RecoveryStop> stop;
  bool clamped = false;
  Lsn end;
  Lsn read_to;  // End of the last record the server has to read.
  std::optional<pg::WalCommit> last_commit;
  std::optional<pg::WalCommit> next_commit;
};

struct FoundPoint {
  pg::WalRestorePoint point;
  pg::WalSegment segment;
  const Candidate* from = nullptr;  // The newest backup that ends before it.
};

class Planner {
 public:
  Planner(WalCatalog& wal, const PlanRequest& request, const RecoveryCandidates& candidates)
      : wal_(wal), request_(request), target_(request.target), candidates_(candidates) {}

  Result<RecoveryPlan> plan();

 private:
  Result<RecoveryPlan> plan_without_wal();
  Result<RecoveryPlan> plan_standby();
  Result<RecoveryPlan> plan_default();
  Result<RecoveryPlan> plan_immediate();
  Result<RecoveryPlan> plan_time();
  Result<RecoveryPlan> plan_lsn();
  Result<RecoveryPlan> plan_xid();
  Result<RecoveryPlan> plan_name();

  Result<const Candidate*> newest_usable(const std::function<bool(const BackupMeta&)>& serves);
  Result<Found> end_of_wal(const Candidate& from, bool gap_is_error);
  Result<Found> look_for_time(const Candidate& from);
  Result<Found> look_for_lsn(const Candidate& from);
  Result<std::optional<Found>> look_for_xid(const Candidate& from, size_t last_index);
  Result<std::vector<FoundPoint>> look_for_name();
  Result<Found> around_point(const FoundPoint& found);
  Result<std::optional<pg::WalCommit>> first_commit_behind(PathWalk& walk);
  Result<Found> clamp_to_last_commit(const Candidate& from, const PathWalk& walk,
                                     const std::optional<pg::WalCommit>& last);

  std::string name_of(const pg::WalSegment& segment) const { return pg::segment_name(segment, wal_.segment_bytes()); }
  /// The target as it is told to the user: "target xid 731".
  std::string subject() const {
    return target_.kind == TargetKind::kDefault ? "the end of the WAL" : "target " + describe_target(target_);
  }
  bool serves_time(Timestamp time) const { return target_.exclusive ? time < target_.time : time <= target_.time; }
  void note(std::string text) { notes_.push_back(std::move(text)); }

  Error gap_error(const Candidate& from, const PathGap& gap, const std::optional<pg::WalCommit>& last);
  Error before_reach();
  Error not_found(std::string_view what, std::string_view hint,
                  const std::function<Result<bool>(const pg::WalIndex&)>& holds);

  RecoveryPlan finish(const Candidate& from, const Found& found);
  std::string server_timeline(const Candidate& from, const Found& found) const;

  WalCatalog& wal_;
  const PlanRequest& request_;
  const RestoreTarget& target_;
  const RecoveryCandidates& candidates_;
  std::vector<std::string> notes_;
  std::set<pg::WalSegment> seen_;  // Walked over in search of a name or transaction.
};

// -- From what was found to the plan.

std::string Planner::server_timeline(const Candidate& from, const Found& found) const {
  const bool as_asked = found.server_target != TargetKind::kLsn &&
                        (found.server_target != TargetKind::kImmediate || target_.kind == TargetKind::kImmediate);
  if (as_asked) {
    if (request_.timeline.empty()) return target_.kind == TargetKind::kImmediate ? "current" : "";
    const auto wish = parse_timeline_wish(request_.timeline);
    CHECK(wish.has_value());
    return wish->kind == TimelineWish::Kind::kNumber ? std::to_string(wish->number.value) : request_.timeline;
  }
  // A position means something on one timeline only: which one that is must not depend on what is archived until the
  // server starts. A server does not take the number of a timeline whose history it cannot find.
  if (!candidates_.has_history(from.timeline())) return "current";
  return std::to_string(from.timeline().value);
}

RecoveryPlan Planner::finish(const Candidate& from, const Found& found) {
  const bool goes_on = found.server_target == TargetKind::kDefault || found.server_target == TargetKind::kStandby;
  RecoveryPlan plan;
  plan.backup = *from.backup;
  plan.timeline = from.timeline();
  plan.wal_segment_bytes = wal_.segment_bytes();
  plan.target = target_;
  plan.server_target = found.server_target;
  plan.stop = found.stop;
  plan.clamped = found.clamped;
  plan.server_timeline = server_timeline(from, found);
  plan.end = found.end;
  plan.last_commit = found.last_commit;
  plan.next_commit = found.next_commit;
  plan.path = from.spans(found.end, goes_on);
  if (from.usable() && found.end.bytes != 0) {
    plan.wal = from.wal_to(std::max(found.read_to, found.end));
    const size_t to_the_end = from.run->last - from.path->index_of(*from.run, from.first_number) + 1;
    plan.gap_follows = !from.path->is_last(*from.run) && plan.wal_segment_count() == to_the_end;
  }
  plan.notes = std::move(notes_);
  return plan;
}

// -- Refusals.

Error Planner::gap_error(const Candidate& from, const PathGap& gap, const std::optional<pg::WalCommit>& last) {
  std::string reached = fmt::format("from backup {} recovery ends at {}", from.backup->label, to_string(gap.begin));
  if (last) reached += ", after " + describe_commit(*last);
  // What is known of the other side.
  const PathRun* behind = nullptr;
  for (const PathRun& run : from.path->runs())
    if (behind == nullptr && run.first > from.run->first) behind = &run;
  if (behind != nullptr) {
    PathWalk walk(wal_, *from.path, *behind, behind->first, Lsn{});
    const auto next = first_commit_behind(walk);
    if (next && *next)
      reached += fmt::format("; the first that is known behind the gap is {}", describe_commit(**next));
  }
  Error error(Errc::kNotFound, fmt::format("{} cannot be reached: {}: {}; {}", subject(), gap.what, reached,
                                           candidates_.reach(wal_, from)));
  if (last)
    error = std::move(error).with_hint(fmt::format("for all that lies before the gap: --type=lsn --target={}{}",
                                                   to_string(last->lsn),
                                                   candidates_.is_set() ? " --set=" + from.backup->label : ""));
  else
    error = std::move(error).with_hint(
        fmt::format("for the state of the backup itself: --type=immediate --set={}", from.backup->label));
  return std::move(error).with_hint(
      "if a server still has the WAL in pg_wal, bring it into the archive: pgark archive-heal");
}

Error Planner::before_reach() {
  const Candidate& newest = candidates_.all().front();
  const Candidate* oldest = candidates_.oldest_usable(newest);
  if (oldest == nullptr) return candidates_.missing_wal(newest);
  return Error(Errc::kInvalid, fmt::format("{} is before the end of {} backup {}: {}", subject(),
                                           candidates_.is_set() ? "the chosen" : "the oldest", oldest->backup->label,
                                           candidates_.reach(wal_, *oldest)))
      .with_hint(candidates_.is_set() ? "leave out --set to have the right backup chosen"
                                      : "a backup is consistent from its end on: choose a target after it, or "
                                        "--type=immediate");
}

/// Refuse a name or transaction that no walk has met, and say where else it is, if it is: before the oldest backup,
/// behind a gap, or on another timeline.
Error Planner::not_found(std::string_view what, std::string_view hint,
                         const std::function<Result<bool>(const pg::WalIndex&)>& holds) {
  const Candidate& newest = candidates_.all().front();
  std::string elsewhere;
  std::string way_there(hint);
  for (const TimelineId timeline : wal_.timelines()) {
    for (const uint64_t number : wal_.segments_of(timeline)) {
      const pg::WalSegment segment{timeline, number};
      if (seen_.contains(segment) || !elsewhere.empty()) continue;
      const auto index = wal_.index(segment);
      if (!index) continue;  // A damaged segment of another timeline is no news here.
      const auto held = holds(*index);
      if (!held || !*held) continue;
      const auto& own = newest.path->segments();
      const bool on_path = std::ranges::find(own, segment) != own.end();
      elsewhere = fmt::format("; it is in segment {}, which {}", name_of(segment),
                              on_path ? "no backup reaches" : fmt::format("belongs to timeline {}", timeline.value));
      if (!on_path) way_there = fmt::format("to recover along that timeline give --target-timeline={}", timeline.value);
    }
  }
  return Error(Errc::kNotFound, fmt::format("{} is not in the WAL on the way to timeline {}{}; {}", what,
                                            newest.timeline().value, elsewhere, candidates_.reach(wal_, newest)))
      .with_hint(std::move(way_there));
}

// -- Walks.

Result<const Candidate*> Planner::newest_usable(const std::function<bool(const BackupMeta&)>& serves) {
  const Candidate* passed = nullptr;
  for (const Candidate& candidate : candidates_.all()) {
    if (!serves(*candidate.backup)) continue;
    if (candidate.usable()) {
      if (passed != nullptr)
        note(fmt::format("backup {} is passed over: {}", passed->backup->label,
                         candidates_.missing_wal(*passed).message()));
      return &candidate;
    }
    if (passed == nullptr) passed = &candidate;
  }
  if (passed != nullptr) return candidates_.missing_wal(*passed);
  return before_reach();
}

/// The first commit in what the walk has not gone over yet.
Result<std::optional<pg::WalCommit>> Planner::first_commit_behind(PathWalk& walk) {
  for (;;) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) return std::optional<pg::WalCommit>();
    if (!walk.index().first_commit) continue;
    if (walk.has(walk.index().first_commit->lsn)) return walk.index().first_commit;
    TRY_ASSIGN(const auto ends, walk.ends());
    for (const pg::WalTransactionEnd& end : ends)
      if (!end.aborted) return std::optional<pg::WalCommit>(end);
  }
}

/// The end of the WAL behind a backup. Reads the last two segments of the run, and more from behind while they hold no
/// commit.
Result<Found> Planner::end_of_wal(const Candidate& from, bool gap_is_error) {
  const PathRun& run = *from.run;
  const size_t first = from.stop_index();
  PathWalk walk(wal_, *from.path, run, run.last > first ? run.last - 1 : first, from.backup->stop_lsn);
  for (;;) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) break;
  }
  Found found;
  found.server_target = target_.kind;
  found.end = std::max(walk.end(), from.backup->stop_lsn);
  TRY_ASSIGN(found.last_commit, find_last_commit(wal_, *from.path, run, first, run.last, from.backup->stop_lsn));
  if (walk.gap() && gap_is_error) return gap_error(from, *walk.gap(), found.last_commit);
  if (walk.gap()) note(fmt::format("{}: recovery from the archive ends at {}", walk.gap()->what, to_string(found.end)));
  return found;
}

/// End a recovery whose target lies behind everything with the last commit there is.
Result<Found> Planner::clamp_to_last_commit(const Candidate& from, const PathWalk& walk,
                                            const std::optional<pg::WalCommit>& last) {
  Found found;
  found.clamped = true;
  found.last_commit = last;
  note(
      "if the primary lives, what it has not archived yet is missing here: run pg_switch_wal() there, wait until the "
      "segment is archived, and look again");
  if (!last) {
    found.server_target = TargetKind::kImmediate;
    found.end = found.read_to = from.backup->stop_lsn;
    note(fmt::format("no transaction is known to have ended after backup {}, which ended at {}: recovery ends with it",
                     from.backup->label, describe_moment(from.backup->stopped, from.backup->stop_lsn)));
    return found;
  }
  found.stop = RecoveryStop{last->lsn, true};
  found.end = found.read_to = last->end;
  note(fmt::format("{} lies behind the last commit in the archived WAL: recovery ends with that, {}", subject(),
                   describe_commit(*last)));
  if (walk.end() > last->end)
    note(fmt::format("the archived WAL goes on to {} without a commit", to_string(walk.end())));
  return found;
}

Result<Found> Planner::look_for_time(const Candidate& from) {
  PathWalk walk = from.walk(wal_);
  Found found;
  for (;;) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) break;
    if (!walk.index().has_ends || serves_time(walk.index().end_time_max)) {
      TRY_ASSIGN(const auto last, walk.last_commit());
      if (last) found.last_commit = last;
      continue;
    }
    TRY_ASSIGN(const auto ends, walk.ends());
    for (const pg::WalTransactionEnd& end : ends) {
      if (!found.stop && !serves_time(end.time)) {
        found.stop = RecoveryStop{end.lsn, false};
        found.end = end.lsn;
        found.read_to = end.end;
      }
      if (end.aborted) continue;
      if (!found.stop) {
        found.last_commit = end;
      } else if (!found.next_commit) {
        found.next_commit = end;
      }
    }
    if (!found.stop) continue;
    if (!found.next_commit) {
      TRY_ASSIGN(found.next_commit, first_commit_behind(walk));
    }
    return found;
  }
  if (walk.gap()) return gap_error(from, *walk.gap(), found.last_commit);
  return clamp_to_last_commit(from, walk, found.last_commit);
}

Result<Found> Planner::look_for_lsn(const Candidate& from) {
  const RecoveryPath& path = *from.path;
  const PathRun& run = *from.run;
  const uint64_t number = target_.lsn.bytes / wal_.segment_bytes();
  const size_t stop_index = from.stop_index();
  Found found;
  found.stop = RecoveryStop{target_.lsn, !target_.exclusive};
  found.end = target_.lsn;
  // Begin one segment early, so that the record that crosses into the one of the target is seen.
  const size_t wanted = std::min(run.last, path.index_of(run, std::max(number, from.last_number)));
  const size_t first = wanted > stop_index ? wanted - 1 : stop_index;
  PathWalk walk(wal_, path, run, first, from.backup->stop_lsn);
  std::optional<Lsn> last_record;  // That can be replayed.
  bool next_is_known = false;
  while (!next_is_known || !last_record || *last_record < target_.lsn) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) break;
    if (walk.index().last_record && (!run.cut || *walk.index().last_record < *run.cut)) {
      last_record = walk.index().last_record;
      if (*last_record >= target_.lsn && found.read_to.bytes == 0) found.read_to = walk.end();
    }
    if (next_is_known || !walk.index().has_ends) continue;
    TRY_ASSIGN(const auto ends, walk.ends());
    for (const pg::WalTransactionEnd& end : ends) {
      if (end.aborted) continue;
      // Inclusive, the server replays the first record that begins at the target or behind it, whatever it is.
      const bool is_first_behind = end.lsn == target_.lsn || (end.prev.bytes != 0 && end.prev < target_.lsn);
      if (end.lsn < target_.lsn || (!target_.exclusive && is_first_behind)) {
        found.last_commit = end;
        found.end = std::max(found.end, end.lsn < target_.lsn ? found.end : end.end);
      } else if (!next_is_known) {
        found.next_commit = end;
        next_is_known = true;
      }
    }
  }
  if (!found.last_commit && first > stop_index) {
    TRY_ASSIGN(found.last_commit, find_last_commit(wal_, path, run, stop_index, first, from.backup->stop_lsn));
  }
  if (last_record && *last_record >= target_.lsn) return found;

  if (walk.gap()) return gap_error(from, *walk.gap(), found.last_commit);
  if (last_record && *last_record >= from.backup->stop_lsn && target_.lsn <= walk.end()) {
    note(
        fmt::format("no record begins at {} or later in the archived WAL, which ends at {}: recovery ends with the "
                    "last one, at {}",
                    to_string(target_.lsn), to_string(walk.end()), to_string(*last_record)));
    found.clamped = true;
    found.stop = RecoveryStop{*last_record, true};
    found.end = found.read_to = walk.end();
    return found;
  }
  return Error(Errc::kInvalid,
               fmt::format("{} is past the archived WAL, which ends at {}: segment {} is not in the repository; {}",
                           subject(), to_string(walk.end()),
                           name_of(pg::segment_at(from.timeline(), target_.lsn, wal_.segment_bytes())),
                           candidates_.reach(wal_, from)))
      .with_hint("if the primary lives, run pg_switch_wal() there and wait until the segment is archived");
}

/// Search the WAL behind a backup up to a segment.
Result<std::optional<Found>> Planner::look_for_xid(const Candidate& from, size_t last_index) {
  PathWalk walk = from.walk(wal_);
  Found found;
  for (size_t i = from.stop_index(); i <= last_index; ++i) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) break;
    seen_.insert(walk.index().segment);
    if (!walk.index().may_hold(target_.xid)) {
      TRY_ASSIGN(const auto last, walk.last_commit());
      if (last) found.last_commit = last;
      continue;
    }
    TRY_ASSIGN(const auto ends, walk.ends());
    for (const pg::WalTransactionEnd& end : ends) {
      const bool is_sub = std::ranges::find(end.subxids, target_.xid) != end.subxids.end();
      const bool is_it = !found.stop && (end.xid == target_.xid || is_sub);
      if (is_it) {
        found.stop = RecoveryStop{end.lsn, !target_.exclusive};
        found.end = target_.exclusive ? end.lsn : end.end;
        found.read_to = end.end;
        if (is_sub) note(fmt::format("{} is a subtransaction of transaction {}", target_.xid.value, end.xid.value));
        if (end.aborted)
          note(fmt::format("transaction {} was rolled back at {}", end.xid.value, describe_moment(end.time, end.lsn)));
      }
      if (end.aborted) continue;
      if (!found.stop || (is_it && !target_.exclusive)) {
        found.last_commit = end;
      } else if (!found.next_commit) {
        found.next_commit = end;
      }
    }
    if (!found.stop) continue;
    if (!found.next_commit) {
      TRY_ASSIGN(found.next_commit, first_commit_behind(walk));
    }
    return std::optional(found);
  }
  return std::optional<Found>();
}

/// All restore points of the name behind the oldest backup, on the way of any candidate.
Result<std::vector<FoundPoint>> Planner::look_for_name() {
  std::vector<FoundPoint> hits;
  std::set<std::pair<const PathRun*, size_t>> walked;
  // Newest backup first, so that each point is met first by the newest one that ends before it.
  for (const Candidate& candidate : candidates_.all()) {
    if (!candidate.usable()) continue;
    PathWalk walk = candidate.walk(wal_);
    for (size_t i = candidate.stop_index();; ++i) {
      TRY_ASSIGN(const bool more, walk.next());
      if (!more) break;
      seen_.insert(walk.index().segment);
      for (const pg::WalRestorePoint& point : walk.restore_points()) {
        if (point.name != target_.text) continue;
        const bool known = std::ranges::any_of(hits, [&](const FoundPoint& hit) { return hit.point == point; });
        if (!known) hits.push_back({point, walk.index().segment, &candidate});
      }
      // From here on a newer backup has walked already; its first segment was walked again for what lies before its
      // end.
      if (!walked.insert({candidate.run, i}).second) break;
    }
  }
  std::ranges::sort(hits, {}, [](const FoundPoint& hit) { return hit.point.lsn; });
  return hits;
}

Result<Found> Planner::around_point(const FoundPoint& found_point) {
  const Candidate& from = *found_point.from;
  const pg::WalRestorePoint& point = found_point.point;
  Found found;
  found.stop = RecoveryStop{point.lsn, true};
  found.end = found.read_to = point.end;
  const size_t at = from.path->index_of(*from.run, found_point.segment.number);
  const size_t first = std::max(from.stop_index(), at > 0 ? at - 1 : at);
  PathWalk walk(wal_, *from.path, *from.run, first, from.backup->stop_lsn);
  while (!found.next_commit) {
    TRY_ASSIGN(const bool more, walk.next());
    if (!more) break;
    TRY_ASSIGN(const auto ends, walk.ends());
    for (const pg::WalTransactionEnd& end : ends) {
      if (end.aborted) continue;
      if (end.lsn < point.lsn) {
        found.last_commit = end;
      } else if (!found.next_commit) {
        found.next_commit = end;
      }
    }
  }
  if (!found.last_commit && first > from.stop_index()) {
    TRY_ASSIGN(found.last_commit,
               find_last_commit(wal_, *from.path, *from.run, from.stop_index(), first, from.backup->stop_lsn));
  }
  return found;
}

// -- Kinds of targets.

Result<RecoveryPlan> Planner::plan_without_wal() {
  Found found;
  found.server_target = target_.kind;
  return finish(candidates_.all().front(), found);
}

Result<RecoveryPlan> Planner::plan_standby() {
  TRY_ASSIGN(const Candidate* from, newest_usable([](const BackupMeta&) { return true; }));
  // What the archive lacks a standby may stream.
  TRY_ASSIGN(const Found found, end_of_wal(*from, false));
  return finish(*from, found);
}

Result<RecoveryPlan> Planner::plan_default() {
  TRY_ASSIGN(const Candidate* from, newest_usable([](const BackupMeta&) { return true; }));
  TRY_ASSIGN(Found found, end_of_wal(*from, true));
  if (from->run->cut) {
    // The server would read on in the parent's segment, past the point where the timeline left it.
    const TimelineId parent = from->path->segments()[from->run->last].timeline;
    note(fmt::format(
        "no WAL of timeline {} behind timeline {} is in the repository: recovery ends where it began, at {}",
        from->timeline().value, parent.value, to_string(*from->run->cut)));
    found.server_target = TargetKind::kLsn;
    found.stop = RecoveryStop{*from->run->cut, false};
    found.end = found.read_to = *from->run->cut;
  }
  return finish(*from, found);
}

Result<RecoveryPlan> Planner::plan_immediate() {
  TRY_ASSIGN(const Candidate* from, newest_usable([](const BackupMeta&) { return true; }));
  Found found;
  found.server_target = TargetKind::kImmediate;
  found.end = found.read_to = from->backup->stop_lsn;
  return finish(*from, found);
}

Result<RecoveryPlan> Planner::plan_time() {
  TRY_ASSIGN(const Candidate* from,
             newest_usable([this](const BackupMeta& backup) { return backup.stopped <= target_.time; }));
  for (const Candidate& older : candidates_.all())
    if (older.path == from->path && older.backup->stop_lsn < from->backup->stop_lsn &&
        older.backup->stopped > from->backup->stopped) {
      note(fmt::format(
          "the clock of the primary was set back between backups {} and {}: the target is looked for behind "
          "the latter; for a moment before that give --set={}",
          older.backup->label, from->backup->label, older.backup->label));
      break;
    }
  TRY_ASSIGN(const Found found, look_for_time(*from));
  return finish(*from, found);
}

Result<RecoveryPlan> Planner::plan_lsn() {
  TRY_ASSIGN(const Candidate* from,
             newest_usable([this](const BackupMeta& backup) { return backup.stop_lsn <= target_.lsn; }));
  TRY_ASSIGN(const Found found, look_for_lsn(*from));
  return finish(*from, found);
}

Result<RecoveryPlan> Planner::plan_xid() {
  const Candidate* newer = nullptr;  // Nothing was found behind it.
  for (const Candidate& candidate : candidates_.all()) {
    if (!candidate.usable()) continue;
    const bool meets = newer != nullptr && newer->run == candidate.run;
    TRY_ASSIGN(const auto found, look_for_xid(candidate, meets ? newer->stop_index() : candidate.run->last));
    if (found) return finish(candidate, *found);
    newer = &candidate;
  }
  if (newer == nullptr) return candidates_.missing_wal(candidates_.all().front());
  return not_found(fmt::format("transaction {}", target_.xid.value),
                   "a transaction that changed nothing, or has not ended, leaves no trace in the archived WAL",
                   [this](const pg::WalIndex& index) -> Result<bool> {
                     if (!index.may_hold(target_.xid)) return false;
                     TRY_ASSIGN(const auto ends, wal_.transaction_ends(index.segment));
                     return std::ranges::any_of(ends, [this](const pg::WalTransactionEnd& end) {
                       return end.xid == target_.xid ||
                              std::ranges::find(end.subxids, target_.xid) != end.subxids.end();
                     });
                   });
}

Result<RecoveryPlan> Planner::plan_name() {
  TRY_ASSIGN(const auto hits, look_for_name());
  if (hits.size() > 1) {
    std::string all;
    for (const FoundPoint& hit : hits)
      all += fmt::format("{}{} on timeline {}", all.empty() ? "" : "; ", describe_moment(hit.point.time, hit.point.lsn),
                         hit.from->path->history().owner_of(hit.point.lsn).value);
    return Error(Errc::kInvalid,
                 fmt::format("restore point '{}' was made {} times: {}", target_.text, hits.size(), all))
        .with_hint(
            fmt::format("name the one by its position: --type=lsn --target={}", to_string(hits.back().point.lsn)));
  }
  if (hits.empty()) {
    if (seen_.empty()) return candidates_.missing_wal(candidates_.all().front());
    return not_found(fmt::format("restore point '{}'", target_.text),
                     "names are compared as they were given to pg_create_restore_point(), case included",
                     [this](const pg::WalIndex& index) -> Result<bool> {
                       return std::ranges::any_of(index.restore_points, [this](const pg::WalRestorePoint& point) {
                         return point.name == target_.text;
                       });
                     });
  }
  TRY_ASSIGN(const Found found, around_point(hits.front()));
  return finish(*hits.front().from, found);
}

Result<RecoveryPlan> Planner::plan() {
  switch (target_.kind) {
    case TargetKind::kDefault:
      return plan_default();
    case TargetKind::kImmediate:
      return plan_immediate();
    case TargetKind::kTime:
      return plan_time();
    case TargetKind::kXid:
      return plan_xid();
    case TargetKind::kLsn:
      return plan_lsn();
    case TargetKind::kName:
      return plan_name();
    case TargetKind::kStandby:
      return plan_standby();
    case TargetKind::kPreserve:
    case TargetKind::kNone:
      return plan_without_wal();
  }
  return Error(Errc::kInternal, "unknown kind of target");
}

}  // namespace

uint64_t RecoveryPlan::wal_segment_count() const {
  uint64_t count = 0;
  for (const PlannedWal& part : wal) count += part.segment_count;
  return count;
}

Result<RecoveryPlan> plan_recovery(const std::vector<BackupMeta>& backups, WalCatalog& wal,
                                   const PlanRequest& request) {
  std::string wished = request.timeline;
  // The end of the backup lies on its own timeline, wherever the newest one went.
  if (wished.empty() && request.target.kind == TargetKind::kImmediate) wished = "current";
  TRY_ASSIGN(const TimelineWish wish, parse_timeline_wish(wished));
  TRY_ASSIGN(const RecoveryCandidates candidates, RecoveryCandidates::find(backups, wal, wish, request.set));
  return Planner(wal, request, candidates).plan();
}

}  // namespace pgark
