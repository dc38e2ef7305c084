#include "catalog/coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace pgark {
namespace {

using pg::WalSegment;

/// How many segments without a commit are looked through for the last one before a position.
constexpr unsigned kCommitSearchMax = 64;
/// How many segments beside gaps are found to be of no use before it is taken that more are: a repository none of whose
/// segments can be read must not be read whole.
constexpr size_t kDamageSearchMax = 256;
constexpr uint64_t kEndless = std::numeric_limits<uint64_t>::max();

/// What is kept of an index: the rest of it may be large.
struct Digest {
  std::string damage;  // Not empty: of no use.
  Lsn valid_to;
  std::string end_reason;
  std::optional<pg::WalCommit> last_commit;
};

/// Numbers with none missing, both included.
struct Run {
  uint64_t first = 0;
  uint64_t last = 0;
};

/// The timeline whose segments recovery reads for numbers from `begin` up to `end`, exclusive.
struct Part {
  TimelineId timeline;
  uint64_t begin = 0;
  uint64_t end = kEndless;
};

/// Indexes of the catalog, each looked at once, and what is known to be damaged.
class Segments {
 public:
  Segments(WalCatalog& wal, std::map<WalSegment, std::string> damaged) : wal_(wal), damaged_(std::move(damaged)) {}

  uint32_t bytes() const { return wal_.segment_bytes(); }
  WalCatalog& wal() const { return wal_; }
  uint64_t number(Lsn lsn) const { return lsn.bytes / bytes(); }
  std::string name(const WalSegment& segment) const { return pg::segment_name(segment, bytes()); }
  bool usable(const WalSegment& segment) const { return wal_.has(segment) && !damaged_.contains(segment); }
  const std::map<WalSegment, std::string>& damaged() const { return damaged_; }
  void mark_damaged(const WalSegment& segment, std::string why) { damaged_.emplace(segment, std::move(why)); }
  size_t reads() const { return digests_.size(); }

  /// Errors: not of damage, which the digest tells.
  Result<Digest> digest(const WalSegment& segment) {
    if (const auto known = digests_.find(segment); known != digests_.end()) return known->second;
    Digest digest;
    const auto index = wal_.index(segment);
    if (index) {
      digest.valid_to = index->valid_to;
      digest.end_reason = index->end_reason;
      digest.last_commit = index->last_commit;
    } else {
      const Errc code = index.error().code();
      if (code != Errc::kCorrupt && code != Errc::kNotFound && code != Errc::kUnsupported) return Error(index.error());
      digest.damage = index.error().message();
    }
    digests_.emplace(segment, digest);
    return digest;
  }

 private:
  WalCatalog& wal_;
  std::map<WalSegment, std::string> damaged_;
  std::map<WalSegment, Digest> digests_;
};

/// Where usable WAL ends, and the last commit before that.
struct Reach {
  Lsn end;
  std::optional<pg::WalCommit> last_commit;
};

/// The way to one timeline: which segments recovery reads, and which of them are there.
class Chain {
 public:
  Chain(Segments& segments, pg::TimelineHistory history) : segments_(segments), history_(std::move(history)) {
    const auto spans = history_.spans();
    for (size_t i = 0; i < spans.size(); ++i) {
      const uint64_t begin = segments_.number(spans[i].begin);
      const uint64_t end = i + 1 < spans.size() ? segments_.number(spans[i + 1].begin) : kEndless;
      // Two switches within one segment: only the last timeline's is read.
      if (begin < end) parts_.push_back({spans[i].timeline, begin, end});
    }
  }

  const pg::TimelineHistory& history() const { return history_; }
  const std::vector<Part>& parts() const { return parts_; }
  const std::vector<Run>& runs() const { return runs_; }
  uint64_t known_first() const { return known_first_; }
  uint64_t known_last() const { return known_last_; }
  bool empty() const { return known_first_ > known_last_; }

  TimelineId owner(uint64_t number) const {
    for (auto part = parts_.rbegin(); part != parts_.rend(); ++part)
      if (part->begin <= number) return part->timeline;
    return parts_.front().timeline;
  }
  WalSegment segment(uint64_t number) const { return {owner(number), number}; }

  /// Somebody knows that this number was written.
  void know(uint64_t number) {
    known_first_ = std::min(known_first_, number);
    known_last_ = empty() ? number : std::max(known_last_, number);
  }

  /// Runs of usable segments, anew.
  void find_runs() {
    runs_.clear();
    for (const Part& part : parts_) {
      for (const uint64_t number : segments_.wal().segments_of(part.timeline)) {
        if (number < part.begin || number >= part.end) continue;
        know(number);
        if (!segments_.usable({part.timeline, number})) continue;
        if (!runs_.empty() && runs_.back().last + 1 == number) {
          runs_.back().last = number;
        } else {
          runs_.push_back({number, number});
        }
      }
    }
  }

  const Run* run_with(uint64_t number) const {
    const auto run =
        std::partition_point(runs_.begin(), runs_.end(), [&](const Run& one) { return one.last < number; });
    return run != runs_.end() && run->first <= number ? &*run : nullptr;
  }

  /// Where recovery that reads `run` ends.
  Result<Reach> reach(const Run& run) const {
    TRY_ASSIGN(const Digest digest, segments_.digest(segment(run.last)));
    Reach reach{digest.valid_to, {}};
    TRY_ASSIGN(const auto tail, parent_tail(run.last + 1));
    if (tail) reach = *tail;
    uint64_t number = run.last;
    for (unsigned looked = 0; !reach.last_commit && looked < kCommitSearchMax; ++looked, --number) {
      TRY_ASSIGN(const Digest one, segments_.digest(segment(number)));
      reach.last_commit = one.last_commit;
      if (number == run.first) break;
    }
    return reach;
  }

 private:
  /// The start of a timeline's first segment is also in its parent's of that number: recovery takes it from there when
  /// its own is not there.
  Result<std::optional<Reach>> parent_tail(uint64_t number) const {
    const auto& ancestors = history_.ancestors();
    const auto found = std::find_if(ancestors.rbegin(), ancestors.rend(), [&](const pg::TimelineSwitch& one) {
      const WalSegment segment{one.timeline, number};
      return one.timeline != owner(number) && segments_.usable(segment) &&
             pg::segment_start(segment, segments_.bytes()) < one.end;
    });
    if (found == ancestors.rend()) return std::optional<Reach>{};
    const WalSegment segment{found->timeline, number};
    const Lsn end = found->end;
    TRY_ASSIGN(const Digest digest, segments_.digest(segment));
    if (!digest.damage.empty()) return std::optional<Reach>{};
    Reach reach{std::min(digest.valid_to, end), {}};
    if (digest.last_commit && digest.last_commit->end <= end) {
      reach.last_commit = digest.last_commit;
    } else if (digest.last_commit) {
      const auto ends = segments_.wal().transaction_ends(segment);
      if (!ends && ends.error().code() == Errc::kCorrupt) return std::optional<Reach>{};
      if (!ends) return Error(ends.error());
      for (const pg::WalTransactionEnd& one : *ends)
        if (!one.aborted && one.end <= end) reach.last_commit = one;
    }
    return std::optional<Reach>(reach);
  }

  Segments& segments_;
  pg::TimelineHistory history_;
  std::vector<Part> parts_;
  std::vector<Run> runs_;
  uint64_t known_first_ = kEndless;
  uint64_t known_last_ = 0;
};

/// Every timeline anybody mentions, with the way to it.
std::map<TimelineId, pg::TimelineHistory> all_histories(const WalCatalog& wal, const CoverageRequest& request) {
  std::map<TimelineId, pg::TimelineHistory> all;
  for (const pg::TimelineHistory& history : wal.histories()) all.insert_or_assign(history.timeline(), history);
  // An ancestor whose own history is not there is described by those of its descendants.
  for (const pg::TimelineHistory& history : wal.histories()) {
    std::vector<pg::TimelineSwitch> before;
    for (const pg::TimelineSwitch& one : history.ancestors()) {
      all.emplace(one.timeline, pg::TimelineHistory(one.timeline, before));
      before.push_back(one);
    }
  }
  const auto mention = [&](TimelineId timeline) {
    if (timeline.value != 0) all.emplace(timeline, pg::TimelineHistory(timeline));
  };
  for (const TimelineId timeline : wal.timelines()) mention(timeline);
  for (const BackupMeta& backup : request.backups) {
    mention(backup.start_timeline);
    mention(backup.stop_timeline);
  }
  for (const GivenUpWal& given_up : request.given_up) mention(given_up.first.timeline);
  return all;
}

class Surveyor {
 public:
  Surveyor(WalCatalog& wal, const CoverageRequest& request) : request_(request), segments_(wal, request.damaged) {}

  Result<WalCoverage> run() {
    for (auto& [timeline, history] : all_histories(segments_.wal(), request_)) {
      chains_.emplace(timeline, Chain(segments_, history));
    }
    for (auto& [timeline, chain] : chains_) learn_bounds(chain);
    TRY(find_damage());
    WalCoverage coverage;
    for (auto& [timeline, chain] : chains_) {
      TRY_ASSIGN(TimelineCoverage one, describe(chain));
      coverage.timelines.push_back(std::move(one));
    }
    TRY(add_own_gaps(coverage));
    for (const TimelineCoverage& one : coverage.timelines) {
      for (TimelineCoverage& parent : coverage.timelines)
        if (one.parent == parent.timeline) parent.children.push_back(one.timeline);
    }
    coverage.current = request_.current;
    if (!coverage.current && !coverage.timelines.empty()) coverage.current = coverage.timelines.back().timeline;
    coverage.index_reads = segments_.reads();
    coverage.given_up = request_.given_up;
    coverage.backup_count = request_.backups.size();
    return coverage;
  }

 private:
  /// What must have been written, whether it is there or not.
  void learn_bounds(Chain& chain) {
    chain.find_runs();
    for (const BackupMeta& backup : request_.backups) {
      if (!chain.history().contains(backup.stop_timeline, backup.stop_lsn)) continue;
      chain.know(segments_.number(backup.start_lsn));
      chain.know(stop_number(backup, chain));
    }
    if (chain.empty()) return;
    for (const GivenUpWal& given_up : request_.given_up) {
      for (const Part& part : chain.parts()) {
        if (part.timeline != given_up.first.timeline) continue;
        const uint64_t last = std::min(given_up.last.number, part.end - 1);
        if (last >= part.begin && last >= chain.known_first()) chain.know(last);
      }
    }
    // A timeline that has begun proves that its ancestors were written up to there.
    const Part& own = chain.parts().back();
    if (own.begin > 0 && chain.known_first() < own.begin) chain.know(own.begin - 1);
    // The same of the children, for what is told of this timeline alone.
    for (const auto& [timeline, other] : chains_) {
      const auto end = other.history().end_of(chain.history().timeline());
      if (!end || timeline == chain.history().timeline()) continue;
      const uint64_t number = segments_.number(*end);
      if (number > 0 && number > own.begin && chain.known_first() < number) chain.know(number - 1);
    }
  }

  /// Number of the last segment a backup needs; where a child's segment has not arrived its parent's tail may serve.
  uint64_t stop_number(const BackupMeta& backup, const Chain& chain) const {
    const WalSegment stop = pg::segment_before(backup.stop_timeline, backup.stop_lsn, segments_.bytes());
    const bool parent_serves = chain.owner(stop.number) != stop.timeline && segments_.usable(stop) &&
                               !segments_.wal().has(chain.segment(stop.number));
    return parent_serves && stop.number > 0 ? stop.number - 1 : stop.number;
  }

  /// Look at the ends of all runs until those that are of no use are known.
  Result<> find_damage() {
    const size_t damaged_max = request_.damaged.size() + kDamageSearchMax;
    for (bool found = true; found && segments_.damaged().size() < damaged_max;) {
      found = false;
      for (auto& [timeline, chain] : chains_) {
        chain.find_runs();
        const auto runs = chain.runs();
        for (const Run& run : runs) {
          TRY_ASSIGN(const bool last, is_damaged(chain.segment(run.last), run.last < chain.known_last()));
          found = found || last;
          if (run.first == run.last || run.first == runs.front().first) continue;
          TRY_ASSIGN(const bool first, is_damaged(chain.segment(run.first), true));
          found = found || first;
        }
      }
    }
    for (auto& [timeline, chain] : chains_) chain.find_runs();
    return {};
  }

  /// `later`: WAL after it exists, so it must be whole.
  Result<bool> is_damaged(const WalSegment& segment, bool later) {
    if (!segments_.usable(segment)) return true;
    TRY_ASSIGN(const Digest digest, segments_.digest(segment));
    if (!digest.damage.empty()) {
      segments_.mark_damaged(segment, digest.damage);
      return true;
    }
    if (!later || digest.end_reason.empty()) return false;
    segments_.mark_damaged(segment,
                           fmt::format("its WAL ends at {}: {}", to_string(digest.valid_to), digest.end_reason));
    return true;
  }

  Result<TimelineCoverage> describe(const Chain& chain) {
    TimelineCoverage out;
    const pg::TimelineHistory& history = chain.history();
    out.timeline = history.timeline();
    out.parent = history.parent();
    out.begin = history.begin();
    out.fork = timeline_fork(history);
    if (!history.ancestors().empty()) out.reason = history.ancestors().back().reason;
    const auto& known = segments_.wal().histories();
    // The oldest timeline here needs none: nobody comes to it from another.
    out.history_missing =
        out.timeline > chains_.begin()->first &&
        std::none_of(known.begin(), known.end(), [&](const auto& one) { return one.timeline() == out.timeline; });
    std::vector<std::string> names;
    for (const uint64_t number : segments_.wal().segments_of(out.timeline)) {
      names.push_back(segments_.name({out.timeline, number}));
    }
    out.ranges = wal_ranges(names, segments_.bytes());
    const std::string prefix = fmt::format("{:08X}", out.timeline.value);
    for (const std::string& partial : request_.partials)
      if (partial.starts_with(prefix)) out.partials.push_back(partial);
    if (!chain.runs().empty()) {
      TRY_ASSIGN(const Reach reach, chain.reach(chain.runs().back()));
      out.end = reach.end;
      out.last_commit = reach.last_commit;
    }
    TRY(add_recoverable(chain, out));
    TRY(add_broken(chain, out));
    return out;
  }

  /// Backups that recovery along the chain can begin with, in the order of WAL.
  std::vector<const BackupMeta*> backups_on(const Chain& chain) const {
    std::vector<const BackupMeta*> backups;
    for (const BackupMeta& backup : request_.backups)
      if (chain.history().contains(backup.stop_timeline, backup.stop_lsn)) backups.push_back(&backup);
    std::stable_sort(backups.begin(), backups.end(),
                     [](const BackupMeta* a, const BackupMeta* b) { return a->start_lsn < b->start_lsn; });
    return backups;
  }

  /// The run that holds all WAL a backup needs; none: `missing` is the first segment that lacks.
  const Run* run_of(const Chain& chain, const BackupMeta& backup, std::string* missing = nullptr) const {
    const uint64_t start = segments_.number(backup.start_lsn);
    const uint64_t stop = std::max(start, stop_number(backup, chain));
    const Run* run = chain.run_with(start);
    if (run != nullptr && run->last >= stop) return run;
    if (missing != nullptr) *missing = segments_.name(chain.segment(run == nullptr ? start : run->last + 1));
    return nullptr;
  }

  Result<> add_recoverable(const Chain& chain, TimelineCoverage& out) {
    const Run* open = nullptr;
    for (const BackupMeta* backup : backups_on(chain)) {
      std::string missing;
      const Run* run = run_of(chain, *backup, &missing);
      if (run == nullptr) {
        out.broken_backups.push_back({backup->label, missing});
        continue;
      }
      if (run != open) {
        TRY_ASSIGN(const Reach reach, chain.reach(*run));
        RecoverableRange range{backup->stopped, backup->stop_lsn, {}, std::max(reach.end, backup->stop_lsn), {}};
        if (reach.last_commit && reach.last_commit->end >= backup->stop_lsn) range.to = reach.last_commit->time;
        out.recoverable.push_back(std::move(range));
        open = run;
      }
      RecoverableRange& range = out.recoverable.back();
      range.from = std::min(range.from, backup->stopped);
      range.from_lsn = std::min(range.from_lsn, backup->stop_lsn);
      range.backups.push_back(backup->label);
    }
    return {};
  }

  /// Holes between the runs, as far as a backup could have been recovered across them.
  Result<> add_broken(const Chain& chain, TimelineCoverage& out) {
    const auto backups = backups_on(chain);
    if (backups.empty()) return {};
    const uint64_t oldest = segments_.number(backups.front()->start_lsn);
    for (const Run& hole : holes(chain)) {
      if (hole.last < oldest) continue;
      BrokenRange broken;
      if (const Run* before = chain.run_with(hole.first - 1); hole.first > 0 && before != nullptr) {
        TRY_ASSIGN(const Reach reach, chain.reach(*before));
        broken.from_lsn = reach.end;
        if (reach.last_commit) broken.from = reach.last_commit->time;
      } else {
        broken.from_lsn = pg::segment_start(chain.segment(hole.first), segments_.bytes());
      }
      const auto behind = std::partition_point(backups.begin(), backups.end(), [&](const BackupMeta* one) {
        return segments_.number(one->start_lsn) <= hole.last;
      });
      const auto after =
          std::find_if(behind, backups.end(), [&](const BackupMeta* one) { return run_of(chain, *one) != nullptr; });
      if (after != backups.end()) {
        broken.to = (*after)->stopped;
        broken.to_lsn = (*after)->stop_lsn;
        broken.backup_after = (*after)->label;
      }
      TRY_ASSIGN(broken.gaps, gaps_of(chain, hole));
      out.broken.push_back(std::move(broken));
    }
    return {};
  }

  /// Numbers known to have been written and not usable, in runs.
  static std::vector<Run> holes(const Chain& chain) {
    std::vector<Run> out;
    if (chain.empty()) return out;
    uint64_t next = chain.known_first();
    for (const Run& run : chain.runs()) {
      if (run.first > next) out.push_back({next, run.first - 1});
      next = run.last + 1;
    }
    if (next <= chain.known_last()) out.push_back({next, chain.known_last()});
    return out;
  }

  /// A hole by timeline, missing and damaged segments apart.
  Result<std::vector<CoverageGap>> gaps_of(const Chain& chain, const Run& hole) {
    std::vector<CoverageGap> gaps;
    Run open;  // Of missing segments.
    const auto close = [&](uint64_t next) {
      if (next > open.first) gaps.push_back(make_gap({chain.owner(open.first), open.first}, next - open.first));
      open.first = next;
    };
    open.first = hole.first;
    for (const Part& part : chain.parts()) {
      if (part.end <= hole.first || part.begin > hole.last) continue;
      close(std::max(part.begin, hole.first));
      const auto begin = segments_.damaged().lower_bound({part.timeline, std::max(part.begin, hole.first)});
      for (auto it = begin; it != segments_.damaged().end() && it->first.timeline == part.timeline; ++it) {
        const uint64_t number = it->first.number;
        if (number > hole.last || number >= part.end) break;
        if (!segments_.wal().has(it->first)) continue;
        close(number);
        gaps.push_back(make_gap(it->first, 1));
        gaps.back().damage = it->second;
        open.first = number + 1;
      }
    }
    close(hole.last + 1);
    const Run* before = hole.first > 0 ? chain.run_with(hole.first - 1) : nullptr;
    if (before != nullptr) {
      TRY_ASSIGN(const Reach reach, chain.reach(*before));
      std::optional<Timestamp> since;
      if (reach.last_commit) since = reach.last_commit->time;
      const bool is_commit = since.has_value();
      if (!since && request_.stored_at) {
        TRY_ASSIGN(since, request_.stored_at(chain.segment(before->last)));
      }
      for (CoverageGap& gap : gaps) {
        gap.since = since;
        gap.since_is_commit = is_commit;
      }
    }
    return gaps;
  }

  CoverageGap make_gap(const WalSegment& first, uint64_t count) const {
    const WalSegment last{first.timeline, first.number + count - 1};
    CoverageGap gap;
    gap.timeline = first.timeline;
    gap.first = segments_.name(first);
    gap.last = segments_.name(last);
    gap.count = count;
    gap.begin = pg::segment_start(first, segments_.bytes());
    gap.end = pg::segment_end(last, segments_.bytes());
    for (const GivenUpWal& given_up : request_.given_up) {
      if (given_up.first.timeline == first.timeline && given_up.first.number <= last.number &&
          first.number <= given_up.last.number) {
        gap.dropped = given_up.reason;
      }
    }
    return gap;
  }

  /// Each timeline's own gaps, wherever on the way to it or its descendants they show.
  Result<> add_own_gaps(WalCoverage& coverage) {
    for (TimelineCoverage& out : coverage.timelines) {
      const Chain& chain = chains_.at(out.timeline);
      for (const Run& hole : holes(chain)) {
        TRY_ASSIGN(const auto gaps, gaps_of(chain, hole));
        for (const CoverageGap& gap : gaps)
          if (gap.timeline == out.timeline) out.gaps.push_back(gap);
      }
    }
    return {};
  }

  const CoverageRequest& request_;
  Segments segments_;
  std::map<TimelineId, Chain> chains_;
};

}  // namespace

std::string_view timeline_fork_name(TimelineFork fork) {
  switch (fork) {
    case TimelineFork::kRoot:
      return "root";
    case TimelineFork::kPromotion:
      return "promotion";
    case TimelineFork::kTarget:
      return "target";
    case TimelineFork::kUnknown:
      return "unknown";
  }
  return "unknown";
}

TimelineFork timeline_fork(const pg::TimelineHistory& history) {
  if (history.ancestors().empty()) return TimelineFork::kRoot;
  const std::string& reason = history.ancestors().back().reason;
  if (reason == "no recovery target specified") return TimelineFork::kPromotion;
  for (const std::string_view target : {"before ", "after ", "at restore point ", "reached consistency"}) {
    if (reason.starts_with(target)) return TimelineFork::kTarget;
  }
  return TimelineFork::kUnknown;
}

const TimelineCoverage* WalCoverage::find(TimelineId timeline) const {
  for (const TimelineCoverage& one : timelines)
    if (one.timeline == timeline) return &one;
  return nullptr;
}

bool WalCoverage::needs_backup() const {
  const TimelineCoverage* one = current_timeline();
  if (one == nullptr || backup_count == 0) return false;
  return one->recoverable.empty() || std::any_of(one->broken.begin(), one->broken.end(),
                                                 [](const BrokenRange& range) { return range.needs_backup(); });
}

namespace {

/// Tells which gaps a rule of retention let go: only WAL on the way from one backup to another is.
class ExpiredGaps {
 public:
  ExpiredGaps(const CoverageRequest& request, uint32_t segment_bytes)
      : request_(request), segment_bytes_(segment_bytes) {
    for (const BackupMeta& backup : request.backups) {
      if (backup.start_timeline == backup.stop_timeline)
        own_[backup.start_timeline].push_back({backup.start_lsn, backup.stop_lsn});
      else
        spanning_.push_back(&backup);
    }
    for (auto& [timeline, spans] : own_) {
      std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
      Lsn end;
      for (Span& span : spans) span.end = end = std::max(end, span.end);
    }
  }

  bool has(const CoverageGap& gap) const {
    const auto expired = request_.expired.find(gap.timeline);
    if (expired == request_.expired.end() || !gap.damage.empty()) return false;
    if (expired->second && gap.end > pg::segment_start({gap.timeline, *expired->second}, segment_bytes_)) return false;
    return !is_of_backup(gap);
  }

 private:
  /// WAL of backups that begin up to here; `end` is the furthest of any of them.
  struct Span {
    Lsn begin;
    Lsn end;
  };

  bool is_of_backup(const CoverageGap& gap) const {
    if (const auto own = own_.find(gap.timeline); own != own_.end()) {
      const auto after = std::partition_point(own->second.begin(), own->second.end(),
                                              [&](const Span& span) { return span.begin < gap.end; });
      if (after != own->second.begin() && gap.begin < std::prev(after)->end) return true;
    }
    return std::any_of(spanning_.begin(), spanning_.end(), [&](const BackupMeta* backup) {
      return backup->start_timeline <= gap.timeline && gap.timeline <= backup->stop_timeline &&
             backup->start_lsn < gap.end && gap.begin < backup->stop_lsn;
    });
  }

  const CoverageRequest& request_;
  const uint32_t segment_bytes_;
  std::map<TimelineId, std::vector<Span>> own_;  // Of backups that end on the timeline they began on.
  std::vector<const BackupMeta*> spanning_;      // Others: few.
};

}  // namespace

Result<WalCoverage> wal_coverage(WalCatalog& wal, const CoverageRequest& request) {
  TRY_ASSIGN(WalCoverage coverage, Surveyor(wal, request).run());
  const ExpiredGaps expired_gaps(request, wal.segment_bytes());
  const auto expired = [&](const CoverageGap& gap) { return expired_gaps.has(gap); };
  for (TimelineCoverage& timeline : coverage.timelines) {
    std::erase_if(timeline.gaps, expired);
    for (BrokenRange& range : timeline.broken) std::erase_if(range.gaps, expired);
    std::erase_if(timeline.broken, [](const BrokenRange& range) { return range.gaps.empty(); });
  }
  return coverage;
}

}  // namespace pgark
