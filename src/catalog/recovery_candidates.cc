// Backups on the way to a timeline, their WAL, and how far it reaches.
#include "catalog/recovery_candidates.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {
namespace {

const pg::TimelineHistory* find_history(const WalCatalog& wal, TimelineId timeline) {
  const auto& histories = wal.histories();
  const auto found = std::ranges::find_if(histories, [&](const auto& h) { return h.timeline() == timeline; });
  return found == histories.end() ? nullptr : &*found;
}

/// The timeline recovery from `backup` follows, found as the server finds it: "latest" probes one number after the
/// other and ends at the first gap.
TimelineId followed_timeline(const BackupMeta& backup, const TimelineWish& wish, const WalCatalog& wal) {
  if (wish.kind == TimelineWish::Kind::kNumber) return wish.number;
  TimelineId timeline = backup.start_timeline;
  if (wish.kind == TimelineWish::Kind::kLatest)
    while (find_history(wal, {timeline.value + 1}) != nullptr) ++timeline.value;
  return timeline;
}

Result<> check_timeline(const std::vector<BackupMeta>& backups, const WalCatalog& wal, const TimelineWish& wish) {
  if (wish.kind != TimelineWish::Kind::kNumber || find_history(wal, wish.number) != nullptr) return {};
  if (std::ranges::any_of(backups, [&](const BackupMeta& b) { return b.stop_timeline == wish.number; })) return {};
  return Error(Errc::kNotFound, fmt::format("timeline {} has no history file in the repository", wish.number.value))
      .with_hint("run info to see the timelines");
}

Error off_timeline(const std::string& subject, TimelineId timeline) {
  return Error(Errc::kInvalid, fmt::format("{} does not lie on the way to timeline {}", subject, timeline.value))
      .with_hint(
          "run info to see the timelines, or give --target-timeline=current to stay on the timeline of the backup");
}

/// Fill in which WAL of the path the backup needs itself.
Result<> find_own_wal(RecoveryCandidate& candidate) {
  const BackupMeta& backup = *candidate.backup;
  const uint32_t segment_bytes = candidate.path->segment_bytes();
  const std::string context = "backup " + backup.label;
  TRY_ASSIGN_CTX(const auto first, pg::parse_segment_name(backup.wal_start, segment_bytes), context);
  TRY_ASSIGN_CTX(const auto last, pg::parse_segment_name(backup.wal_stop, segment_bytes), context);
  candidate.first_number = first.number;
  candidate.last_number = last.number;
  candidate.run = candidate.path->run_with(first.number, last.number);
  if (candidate.run != nullptr) return {};
  candidate.missing = candidate.path->missing_of(first.number, last.number);
  // All are there, but one of them is of a timeline that the history had left by then.
  if (!candidate.missing) candidate.missing = last;
  return {};
}

std::string end_of_run(WalCatalog& wal, const RecoveryPath& path, const PathRun& run, size_t first, Lsn from) {
  const size_t before_last = run.last > first ? run.last - 1 : first;
  PathWalk walk(wal, path, run, before_last, from);
  for (;;) {
    const auto more = walk.next();
    if (!more) return "the end of the archived WAL";
    if (!*more) break;
  }
  const auto last = find_last_commit(wal, path, run, first, run.last, from);
  if (!last || !*last) return fmt::format("{}, no transaction committed since", to_string(walk.end()));
  return fmt::format("{}, last commit {}", to_string(walk.end()), format_timestamp_both((*last)->time));
}

}  // namespace

std::string describe_moment(Timestamp time, Lsn lsn) {
  return fmt::format("{}, {}", format_timestamp_both(time), to_string(lsn));
}

std::string describe_commit(const pg::WalCommit& commit) {
  return fmt::format("transaction {} at {}", commit.xid.value, describe_moment(commit.time, commit.lsn));
}

std::vector<pg::TimelineSpan> RecoveryCandidate::spans(Lsn end, bool goes_on) const {
  std::vector<pg::TimelineSpan> out;
  for (pg::TimelineSpan span : path->history().spans()) {
    span.begin = std::max(span.begin, backup->start_lsn);
    if (!goes_on && (!span.end || *span.end > end)) span.end = end;
    if (!span.end || *span.end > span.begin) out.push_back(span);
  }
  return out;
}

std::vector<PlannedWal> RecoveryCandidate::wal_to(Lsn end) const {
  std::vector<PlannedWal> out;
  const uint32_t segment_bytes = path->segment_bytes();
  for (size_t i = path->index_of(*run, first_number); i <= run->last; ++i) {
    const pg::WalSegment& segment = path->segments()[i];
    if (segment.number > last_number && pg::segment_start(segment, segment_bytes) >= end) break;
    const std::string name = pg::segment_name(segment, segment_bytes);
    if (out.empty() || out.back().timeline != segment.timeline) out.push_back({segment.timeline, name, {}, 0});
    out.back().last = name;
    ++out.back().segment_count;
  }
  return out;
}

const RecoveryPath& RecoveryCandidates::path_to(WalCatalog& wal, TimelineId timeline) {
  auto& path = paths_[timeline];
  if (!path) {
    const pg::TimelineHistory* history = find_history(wal, timeline);
    path = std::make_unique<RecoveryPath>(wal, history != nullptr ? *history : pg::TimelineHistory(timeline));
  }
  return *path;
}

Result<RecoveryCandidates> RecoveryCandidates::find(const std::vector<BackupMeta>& backups, WalCatalog& wal,
                                                    const TimelineWish& wish, const std::optional<std::string>& set) {
  if (backups.empty())
    return Error(Errc::kNotFound, "there is no backup to restore")
        .with_hint("run info to see what the repository holds");
  TRY(check_timeline(backups, wal, wish));
  RecoveryCandidates out;
  out.is_set_ = set.has_value();
  for (const pg::TimelineHistory& history : wal.histories()) out.known_.push_back(history.timeline());
  bool set_found = false;
  for (auto backup = backups.rbegin(); backup != backups.rend(); ++backup) {
    if (set && backup->label != *set) continue;
    set_found = true;
    RecoveryCandidate candidate;
    candidate.backup = &*backup;
    candidate.path = &out.path_to(wal, followed_timeline(*backup, wish, wal));
    if (!candidate.path->history().contains(backup->stop_timeline, backup->stop_lsn)) continue;
    TRY(find_own_wal(candidate));
    out.candidates_.push_back(candidate);
  }
  if (set && !set_found)
    return Error(Errc::kNotFound, fmt::format("backup set {} does not exist", *set))
        .with_hint(fmt::format("there are {} backups from {} to {}: run info to list them", backups.size(),
                               backups.front().label, backups.back().label));
  if (!out.candidates_.empty()) return out;
  const auto subject = std::ranges::find_if(backups, [&](const auto& b) { return set && b.label == *set; });
  return off_timeline(set ? "backup " + *set : "no backup",
                      followed_timeline(subject != backups.end() ? *subject : backups.back(), wish, wal));
}

bool RecoveryCandidates::has_history(TimelineId timeline) const {
  return timeline.value == 1 || std::ranges::find(known_, timeline) != known_.end();
}

const RecoveryCandidate* RecoveryCandidates::oldest_usable(const RecoveryCandidate& of) const {
  const RecoveryCandidate* oldest = nullptr;
  for (const RecoveryCandidate& candidate : candidates_)
    if (candidate.path == of.path && candidate.usable()) oldest = &candidate;
  return oldest;
}

std::string RecoveryCandidates::reach(WalCatalog& wal, const RecoveryCandidate& of) const {
  std::string ranges;
  for (const PathRun& run : of.path->runs()) {
    const RecoveryCandidate* oldest = nullptr;
    for (const RecoveryCandidate& candidate : candidates_)
      if (candidate.run == &run) oldest = &candidate;
    if (oldest == nullptr) continue;
    const BackupMeta& backup = *oldest->backup;
    ranges += fmt::format("{}{} (backup {}) to {}", ranges.empty() ? "reachable are " : "; and ",
                          describe_moment(backup.stopped, backup.stop_lsn), backup.label,
                          end_of_run(wal, *of.path, run, oldest->stop_index(), backup.stop_lsn));
  }
  return ranges.empty() ? "nothing is reachable" : ranges;
}

Error RecoveryCandidates::missing_wal(const RecoveryCandidate& candidate) const {
  Error error(Errc::kNotFound,
              fmt::format("backup {} needs WAL segment {}, which is not in the repository", candidate.backup->label,
                          pg::segment_name(*candidate.missing, candidate.path->segment_bytes())));
  const bool another = std::ranges::any_of(candidates_, &RecoveryCandidate::usable);
  return std::move(error).with_hint(is_set_ || another
                                        ? "without it the backup cannot become consistent: restore another one"
                                        : "without it the backup cannot become consistent: make a new backup");
}

}  // namespace pgark
