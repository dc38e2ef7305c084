#include "ops/prefetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "catalog/wal.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/wal_fetch.h"
#include "ops/wal_hole.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr auto kRoomPause = std::chrono::milliseconds(10);
constexpr auto kRoomPauseAhead = std::chrono::milliseconds(40);  // With segments enough waiting there is no hurry.
/// Segments of a timeline that are looked for first; later ones while these are fetched. Where a listing looks at each
/// entry, more would make the first plan late, and the server fetches its segments itself until there is one.
constexpr uint64_t kAheadFirst = 8;

/// Segments that are enough to wait: from then on one at a time is fetched. Recovery takes them one by one, and all
/// that works beside it takes processors and memory from it.
constexpr uint64_t kReadyEnough = 4;

/// A segment to fetch and the repository that has it.
struct Planned {
  pg::WalSegment segment;
  const Repository* repository = nullptr;
  ClusterRecord cluster;
};

/// The newest span of a history that had begun at a segment, which the server tries first, then the older ones.
std::vector<TimelineId> timelines_at(const pg::TimelineHistory& history, uint64_t number, TimelineId oldest,
                                     uint32_t segment_bytes) {
  std::vector<TimelineId> timelines;
  const auto spans = history.spans();
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->timeline < oldest) break;
    if (pg::segment_at(span->timeline, span->begin, segment_bytes).number <= number)
      timelines.push_back(span->timeline);
  }
  return timelines;
}

/// What one repository has for recovery after `wanted`, in order: of each timeline up to `ahead` segments.
Result<std::vector<Planned>> plan_of(const ArchiveSource& source, const ClusterRecord& asking,
                                     const PrefetchOptions& options, uint64_t ahead) {
  TRY_ASSIGN(const Repository* repository, source.open());
  TRY_ASSIGN(const auto records, list_clusters(*repository, options.stanza));
  const auto cluster = std::find_if(records.rbegin(), records.rend(), [&](const ClusterRecord& record) {
    return record.system_identifier == asking.system_identifier && record.pg_major == asking.pg_major;
  });
  if (cluster == records.rend()) return Error(Errc::kNotFound, "stanza does not have the cluster that asks");
  TRY_ASSIGN(const auto histories, read_timeline_histories(*repository, options.stanza, *cluster));
  const uint32_t segment_bytes = cluster->wal_segment_bytes;
  const pg::TimelineHistory history = guess_history(histories, options.wanted, segment_bytes);
  std::vector<std::string> listed;
  for (const pg::TimelineSpan& span : history.spans()) {
    if (span.timeline < options.wanted.timeline) continue;
    const std::string after = pg::segment_name({span.timeline, options.wanted.number}, segment_bytes);
    TRY_ASSIGN(const auto names, list_wal_segments_after(*repository, options.stanza, cluster->number, after, ahead));
    listed.insert(listed.end(), names.begin(), names.end());
  }
  std::vector<Planned> plan;
  for (const pg::WalSegment& segment : plan_prefetch(history, options.wanted, listed, segment_bytes)) {
    plan.push_back({segment, repository, *cluster});
  }
  return plan;
}

/// For each number the first repository that has it.
/// Errors: of the first repository if none could be searched.
Result<std::vector<Planned>> plan_of_all(std::span<const ArchiveSource> sources, const WalSpool& spool,
                                         const PrefetchOptions& options, uint64_t ahead) {
  std::map<uint64_t, Planned> chosen;
  std::optional<Error> failure;
  bool searched = false;
  for (const ArchiveSource& source : sources) {
    auto plan = plan_of(source, spool.cluster(), options, ahead);
    searched = searched || plan.has_value();
    if (!plan) {
      log_detail("prefetch nothing from {}: {}", source.name, plan.error().message());
      if (!failure) failure = std::move(plan).error();
      continue;
    }
    for (Planned& planned : *plan) chosen.emplace(planned.segment.number, std::move(planned));
  }
  if (!searched && failure) return std::move(*failure);
  std::vector<Planned> plan;
  for (auto& [number, planned] : chosen) plan.push_back(std::move(planned));
  return plan;
}

class Prefetcher {
 public:
  /// `oldest`: recovery never asks for an older one unless it goes elsewhere.
  Prefetcher(const WalSpool& spool, Clock& clock, const CancelToken& cancel, const PrefetchOptions& options,
             std::vector<Planned> plan, uint64_t oldest)
      : spool_(spool),
        clock_(clock),
        cancel_(cancel),
        options_(options),
        plan_(std::move(plan)),
        oldest_(oldest),
        queue_bytes_(options.queue_bytes),
        moved_at_(clock.steady()) {}

  Result<PrefetchReport> run() {
    TaskGroup group(&cancel_);
    const size_t workers = std::min<size_t>(options_.threads, plan_.size());
    for (size_t i = 0; i < workers; ++i) group.spawn([&] { return work(group.cancel()); });
    const auto ended = group.wait();
    if (!ended && ended.error().code() != Errc::kCancelled) return Error(ended.error());
    MutexLock lock(mu_);
    finished_plan_ = !cancel_.cancelled() && !done_ && again_.empty() && next_ == plan_.size();
    return report_;
  }
  /// Whether all of the plan was fetched or passed, so that there may be more behind it.
  bool finished_plan() const { return finished_plan_; }

 private:
  Result<> work(const CancelToken& cancel) {
    for (;;) {
      TRY_ASSIGN(const Planned* next, take_next(cancel));
      if (next == nullptr) return {};
      const auto fetched = fetch(*next);
      MutexLock lock(mu_);
      --in_flight_;
      if (fetched) {
        ++report_.segment_count;
        report_.bytes += next->cluster.wal_segment_bytes;
        continue;
      }
      note_failure(*next, fetched.error());
    }
  }

  /// The next segment to fetch, once there is room and need for it; null when the work is done.
  Result<const Planned*> take_next(const CancelToken& cancel) {
    for (;;) {
      TRY(cancel.check());
      auto pause = kRoomPause;
      {
        MutexLock lock(mu_);
        TRY_ASSIGN(const bool room, has_room());
        skip_passed();
        if (done_ || (again_.empty() && next_ == plan_.size())) return nullptr;
        if (room && (in_flight_ == 0 || waiting_count_ + in_flight_ < kReadyEnough)) return next_planned();
        if (!room && clock_.steady() - moved_at_ > options_.patience) return nullptr;
        if (waiting_count_ >= kReadyEnough) pause = kRoomPauseAhead;
      }
      clock_.sleep_for(pause);
    }
  }

  const Planned* next_planned() REQUIRES(mu_) {
    ++in_flight_;
    if (again_.empty()) return &plan_[next_++];
    const Planned* oldest = again_.front();
    again_.erase(again_.begin());
    return oldest;
  }

  /// Whether one more fits. What waits was taken, or trimmed: patience begins anew.
  Result<bool> has_room() REQUIRES(mu_) {
    TRY_ASSIGN(const auto waiting, spool_.list());
    waiting_bytes_ = waiting.size() * uint64_t{spool_.cluster().wal_segment_bytes};
    if (waiting.size() != waiting_count_) moved_at_ = clock_.steady();
    waiting_count_ = waiting.size();
    return waiting_bytes_ + (in_flight_ + 1) * uint64_t{spool_.cluster().wal_segment_bytes} <= queue_bytes_;
  }

  /// Leave out what recovery has fetched itself while this was slower; end if it went elsewhere.
  void skip_passed() REQUIRES(mu_) {
    const auto wanted = spool_.noted_wanted();
    if (!wanted || plan_.empty()) return;
    if (wanted->number < oldest_ || wanted->number > plan_.back().segment.number) done_ = true;
    while (next_ < plan_.size() && plan_[next_].segment.number <= wanted->number) ++next_;
    std::erase_if(again_, [&](const Planned* each) { return each->segment.number <= wanted->number; });
  }

  Result<> fetch(const Planned& planned) const {
    if (spool_.holds(planned.segment)) return {};
    const std::string name = pg::segment_name(planned.segment, planned.cluster.wal_segment_bytes);
    TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
    TRY_ASSIGN(const ObjectKey key, wal_key(options_.stanza, planned.cluster.number, name));
    TRY_ASSIGN(TemporaryFile file, spool_.begin(planned.segment));
    TRY_ASSIGN(const FetchedWal wal, fetch_wal_file(*planned.repository, key, parsed, planned.cluster, 1, file.file()));
    // Whether recovery may end there is for archive-get to find out.
    if (!wal.end_reason.empty()) return Error(Errc::kCorrupt, "WAL ends early in it: " + wal.end_reason);
    return spool_.finish(std::move(file), planned.segment);
  }

  void note_failure(const Planned& planned, const Error& error) REQUIRES(mu_) {
    if (error.code() == Errc::kNoSpace) return make_do_with(error, planned);
    log_detail("leave {} to archive-get: {}", pg::segment_name(planned.segment, planned.cluster.wal_segment_bytes),
               error.message());
    // A damaged segment is one segment; anything else will be in the way of the next one too.
    if (error.code() != Errc::kCorrupt && error.code() != Errc::kInvalid) done_ = true;
  }

  /// The file system is full: go on with what there is room for, if for anything.
  void make_do_with(const Error& error, const Planned& planned) REQUIRES(mu_) {
    if (!report_.full && spool_.mark_full()) {
      log_warn("prefetch no more than there is room for in '{}': {}", spool_.path(), error.message());
    }
    report_.full = true;
    const uint64_t segment_bytes = planned.cluster.wal_segment_bytes;
    queue_bytes_ = std::min(queue_bytes_ - segment_bytes, waiting_bytes_ + in_flight_ * segment_bytes);
    if (queue_bytes_ < segment_bytes) done_ = true;
    again_.insert(std::ranges::upper_bound(again_, planned.segment.number, {},
                                           [](const Planned* each) { return each->segment.number; }),
                  &planned);
  }

  const WalSpool& spool_;
  Clock& clock_;
  const CancelToken& cancel_;
  const PrefetchOptions& options_;
  const std::vector<Planned> plan_;
  const uint64_t oldest_;
  Mutex mu_;
  size_t next_ GUARDED_BY(mu_) = 0;
  std::vector<const Planned*> again_ GUARDED_BY(mu_);  // For which there was no room; oldest first.
  uint64_t queue_bytes_ GUARDED_BY(mu_);
  uint64_t waiting_bytes_ GUARDED_BY(mu_) = 0;
  uint64_t in_flight_ GUARDED_BY(mu_) = 0;
  size_t waiting_count_ GUARDED_BY(mu_) = 0;
  std::chrono::steady_clock::time_point moved_at_ GUARDED_BY(mu_);  // When that last changed.
  bool done_ GUARDED_BY(mu_) = false;
  bool finished_plan_ = false;
  PrefetchReport report_ GUARDED_BY(mu_);
};

}  // namespace

pg::TimelineHistory guess_history(const std::vector<pg::TimelineHistory>& histories, const pg::WalSegment& wanted,
                                  uint32_t segment_bytes) {
  const pg::TimelineHistory* best = nullptr;
  for (const pg::TimelineHistory& history : histories) {
    if (!history.contains(wanted.timeline)) continue;
    const auto end = history.end_of(wanted.timeline);
    // Where a history left the timeline within the segment, recovery along it reads the child's.
    if (end && pg::segment_at(wanted.timeline, *end, segment_bytes).number <= wanted.number) continue;
    if (best == nullptr || history.timeline() > best->timeline()) best = &history;
  }
  return best != nullptr ? *best : pg::TimelineHistory(wanted.timeline);
}

std::vector<pg::WalSegment> plan_prefetch(const pg::TimelineHistory& history, const pg::WalSegment& wanted,
                                          const std::vector<std::string>& listed, uint32_t segment_bytes) {
  const std::set<std::string> names(listed.begin(), listed.end());
  std::vector<pg::WalSegment> plan;
  TimelineId oldest = wanted.timeline;
  for (uint64_t number = wanted.number + 1;; ++number) {
    std::optional<pg::WalSegment> found;
    for (const TimelineId timeline : timelines_at(history, number, oldest, segment_bytes)) {
      const pg::WalSegment segment{timeline, number};
      if (!names.contains(pg::segment_name(segment, segment_bytes))) continue;
      found = segment;
      break;
    }
    if (!found) return plan;
    oldest = found->timeline;  // Recovery does not go back to a parent.
    plan.push_back(*found);
  }
}

Result<PrefetchReport> prefetch_wal(std::span<const ArchiveSource> sources, const WalSpool& spool, Clock& clock,
                                    const CancelToken& cancel, const PrefetchOptions& options) {
  if (options.queue_bytes < spool.cluster().wal_segment_bytes) return PrefetchReport{};
  TRY_CTX(spool.prepare(), "prefetch WAL");
  const uint64_t ahead_max = std::max(kAheadFirst, 2 * options.queue_bytes / spool.cluster().wal_segment_bytes);
  PrefetchReport total;
  PrefetchOptions part = options;
  uint64_t ahead = kAheadFirst;
  TRY_ASSIGN(std::vector<Planned> plan, plan_of_all(sources, spool, part, ahead));
  while (!plan.empty()) {
    const bool full = plan.size() >= ahead;
    ahead = ahead_max;
    part.wanted = plan.back().segment;
    Result<std::vector<Planned>> next;
    TaskGroup planner;
    if (full) {  // There is more, most likely: look for it meanwhile.
      planner.spawn([&]() -> Result<> {
        next = plan_of_all(sources, spool, part, ahead);
        return {};
      });
    }
    Prefetcher prefetcher(spool, clock, cancel, part, std::move(plan), options.wanted.number);
    const auto report = prefetcher.run();
    TRY(planner.wait());
    TRY(report);
    total.segment_count += report->segment_count;
    total.bytes += report->bytes;
    total.full = report->full;
    if (report->full || !prefetcher.finished_plan()) break;
    if (!next || next->empty()) next = plan_of_all(sources, spool, part, ahead);
    TRY_ASSIGN(plan, std::move(next));
  }
  if (total.segment_count > 0 && !total.full) spool.unmark_full();
  return total;
}

}  // namespace pgark
