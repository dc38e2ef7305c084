// The WAL of one history, from the listing and index by index.
#include "catalog/recovery_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/check.h"

namespace pgark {
RecoveryPath::RecoveryPath(const WalCatalog& wal, pg::TimelineHistory history)
    : history_(std::move(history)), segment_bytes_(wal.segment_bytes()) {
  struct Found {
    TimelineId timeline;
    std::optional<Lsn> cut;
  };
  std::map<uint64_t, Found> found;
  // Oldest first, so that a newer timeline replaces the copy of its parent from the segment of the switch on.
  for (const pg::TimelineSpan& span : history_.spans()) {
    for (const uint64_t number : wal.segments_of(span.timeline)) {
      const pg::WalSegment segment{span.timeline, number};
      if (pg::segment_end(segment, segment_bytes_) <= span.begin) continue;
      if (span.end && pg::segment_start(segment, segment_bytes_) >= *span.end) break;
      const bool is_cut = span.end && *span.end < pg::segment_end(segment, segment_bytes_);
      found.insert_or_assign(number, Found{span.timeline, is_cut ? span.end : std::nullopt});
    }
  }

  segments_.reserve(found.size());
  for (const auto& [number, segment] : found) {
    const size_t index = segments_.size();
    const bool joins = !runs_.empty() && !runs_.back().cut && segments_.back().number + 1 == number;
    if (!joins) runs_.push_back({index, index, {}});
    runs_.back().last = index;
    runs_.back().cut = segment.cut;
    segments_.push_back({segment.timeline, number});
  }
}

pg::WalSegment RecoveryPath::named(uint64_t number) const {
  // The newest timeline that had begun by its end wrote the segment, or finished it.
  return {history_.owner_of(Lsn{(number + 1) * segment_bytes_ - 1}), number};
}

const PathRun* RecoveryPath::run_with(uint64_t first, uint64_t last) const {
  for (const PathRun& run : runs_)
    if (segments_[run.first].number <= first && last <= segments_[run.last].number) return &run;
  return nullptr;
}

std::optional<pg::WalSegment> RecoveryPath::missing_of(uint64_t first, uint64_t last) const {
  for (uint64_t number = first; number <= last; ++number) {
    const auto at = std::ranges::lower_bound(segments_, number, {}, &pg::WalSegment::number);
    if (at == segments_.end() || at->number != number) return named(number);
  }
  return std::nullopt;
}

std::optional<PathGap> RecoveryPath::gap_behind(const PathRun& run) const {
  if (is_last(run)) return std::nullopt;
  const uint64_t first = segments_[run.last].number + (run.cut ? 0 : 1);
  const uint64_t count = segments_[run.last + 1].number - first;
  const std::string name = pg::segment_name(named(first), segment_bytes_);
  if (count == 1) return PathGap{{}, fmt::format("WAL segment {} is not in the repository", name)};
  return PathGap{{},
                 fmt::format("WAL segments {} to {} ({}) are not in the repository", name,
                             pg::segment_name(named(first + count - 1), segment_bytes_), count)};
}

PathWalk::PathWalk(WalCatalog& wal, const RecoveryPath& path, const PathRun& run, size_t first, Lsn from)
    : wal_(&wal),
      path_(&path),
      run_(run),
      last_run_(path.is_last(run)),
      next_(first),
      from_(from),
      walk_(wal, path.history(), pg::segment_start(path.segments()[first], path.segment_bytes())),
      end_(pg::segment_start(path.segments()[first], path.segment_bytes())) {
  CHECK(first >= run.first && first <= run.last);
}

void PathWalk::note_damage(const pg::WalSegment& segment, std::string_view why) {
  ended_ = true;
  gap_ = PathGap{end_,
                 fmt::format("WAL segment {} is damaged: {}", pg::segment_name(segment, path_->segment_bytes()), why)};
}

Result<bool> PathWalk::next() {
  if (ended_) return false;
  if (next_ > run_.last) {
    ended_ = true;
    gap_ = last_run_ ? std::nullopt : path_->gap_behind(run_);
    if (gap_) gap_->begin = end_;
    return false;
  }
  const pg::WalSegment segment = path_->segments()[next_];
  auto index = walk_.next();
  if (!index && index.error().code() == Errc::kCorrupt) {
    note_damage(segment, index.error().message());
    return false;
  }
  if (!index) return std::move(index).error();
  if (!*index || (*index)->segment != segment)
    return Error(Errc::kNotFound, fmt::format("WAL segment {} is not in the repository any more",
                                              pg::segment_name(segment, path_->segment_bytes())))
        .with_hint("something removes WAL right now: run the command again");
  index_ = std::move(**index);
  end_ = std::min(index_.valid_to, run_.cut && next_ == run_.last ? *run_.cut : index_.valid_to);
  const bool has_more = next_ < run_.last || !last_run_;
  ++next_;
  // WAL that ends within a segment is the end of all of it if nothing follows: the last segment of a server that died.
  if (!index_.is_complete() && has_more && !(run_.cut && end_ == *run_.cut)) note_damage(segment, index_.end_reason);
  return true;
}

Result<std::vector<pg::WalTransactionEnd>> PathWalk::ends() {
  if (!index_.has_ends) return std::vector<pg::WalTransactionEnd>();
  TRY_ASSIGN(auto ends, wal_->transaction_ends(index_.segment, walk_.before()));
  std::erase_if(ends, [this](const pg::WalTransactionEnd& end) { return !has(end.lsn); });
  return ends;
}

Result<std::optional<pg::WalCommit>> PathWalk::last_commit() {
  if (!index_.last_commit || index_.last_commit->lsn < from_) return std::optional<pg::WalCommit>();
  if (has(index_.last_commit->lsn)) return index_.last_commit;
  TRY_ASSIGN(const auto all, ends());
  std::optional<pg::WalCommit> last;
  for (const pg::WalTransactionEnd& end : all)
    if (!end.aborted) last = end;
  return last;
}

std::vector<pg::WalRestorePoint> PathWalk::restore_points() const {
  std::vector<pg::WalRestorePoint> points = index_.restore_points;
  std::erase_if(points, [this](const pg::WalRestorePoint& point) { return !has(point.lsn); });
  return points;
}

Result<std::optional<pg::WalCommit>> find_last_commit(WalCatalog& wal, const RecoveryPath& path, const PathRun& run,
                                                      size_t first, size_t last, Lsn from) {
  for (size_t i = last + 1; i-- > first;) {
    // A record may begin in the segment before, or in one further back if it is longer than a segment.
    size_t begin = i > first ? i - 1 : i;
    std::optional<pg::WalCommit> commit;
    for (bool whole = false; !whole;) {
      PathWalk walk(wal, path, run, begin, from);
      whole = true;
      for (size_t at = begin; at <= i; ++at) {
        TRY_ASSIGN(const bool more, walk.next());
        if (!more) return std::optional<pg::WalCommit>();
        if (at == begin && begin < i && begin > first && walk.index().continuation_reaches_end) {
          --begin;
          whole = false;
          break;
        }
      }
      if (whole) {
        TRY_ASSIGN(commit, walk.last_commit());
      }
    }
    if (commit) return commit;
  }
  return std::optional<pg::WalCommit>();
}

}  // namespace pgark
