// Order of work and memory of the background pusher.
#include "ops/push_engine.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "ops/push_drops.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

/// Files of a repository that are in memory although no thread compresses them yet: the store is asked to begin them.
constexpr unsigned kBegunAhead = 2;

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// Errors that say something of the file alone: the repository works, and other files may well be taken.
bool is_of_file(Errc code) { return code == Errc::kInvalid || code == Errc::kCorrupt || code == Errc::kNotFound; }

bool is_same(const ClusterRecord& a, const ClusterRecord& b) {
  return a.number == b.number && a.system_identifier == b.system_identifier && a.created == b.created;
}

std::string utc_text(Timestamp time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

}  // namespace

PushEngine::PushEngine(std::vector<PushTarget> targets, Clock& clock, PushEngineOptions options)
    : clock_(clock), options_(std::move(options)) {
  MutexLock lock(mu_);
  lanes_.resize(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) lanes_[i].target = std::move(targets[i]);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    // Besides those that compress, others wait for the store.
    const unsigned threads = std::max(1u, options_.threads) + kCallsAtOnce;
    for (unsigned n = 0; n < threads; ++n) group_.spawn([this, i] { return run_lane(i); });
  }
}

PushEngine::~PushEngine() { stop(); }

void PushEngine::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (auto ended = group_.wait(); !ended) log_error("a thread of the pusher ended: {}", ended.error().message());
}

// -- What the server's side tells and asks.

void PushEngine::offer(const std::string& wal_directory, ReadyFiles ready) {
  MutexLock lock(mu_);
  wal_directory_ = wal_directory;
  ready_ = std::move(ready);
  for (Lane& lane : lanes_) lane.cursor = 0;
  const std::vector<std::string>& names = ready_.names;  // For the analysis, which does not look into lambdas.
  std::erase_if(jobs_, [&](const auto& entry) {
    const auto& [path, job] = entry;
    if (job.waiters > 0) return false;
    for (const Attempt& attempt : job.attempts)
      if (attempt.state == State::kRunning) return false;
    const size_t slash = path.rfind('/');
    if (path.compare(0, slash, wal_directory) != 0) return true;
    return !std::binary_search(names.begin(), names.end(), path.substr(slash + 1), ready_before);
  });
  changed_.notify_all();
}

PushEngine::Job& PushEngine::job_of(const std::string& path) {
  const auto [found, added] = jobs_.try_emplace(path);
  Job& job = found->second;
  if (added) {
    job.attempts.resize(lanes_.size());
    if (const auto parsed = pg::parse_wal_file_name(name_of(path))) {
      job.timeline = timeline_of(*parsed);
      job.is_segment = std::holds_alternative<pg::WalSegmentName>(*parsed);
    }
  }
  return job;
}

void PushEngine::request(const std::string& path) {
  MutexLock lock(mu_);
  Job& job = job_of(path);
  if (job.waiters++ == 0) {
    requested_.push_back(path);
    std::sort(requested_.begin(), requested_.end(),
              [](const auto& a, const auto& b) { return ready_before(name_of(a), name_of(b)); });
  }
  for (Attempt& attempt : job.attempts)
    if (attempt.state == State::kFailed) attempt = Attempt{};
  for (Lane& lane : lanes_) lane.open_error.reset();
  changed_.notify_all();
}

void PushEngine::release(const std::string& path) {
  MutexLock lock(mu_);
  const auto found = jobs_.find(path);
  if (found != jobs_.end() && --found->second.waiters == 0) std::erase(requested_, path);
}

bool PushEngine::trusted(const Lane& lane) {
  return lane.open != nullptr && clock_.steady() - lane.opened_at < options_.trust;
}

std::optional<Result<>> PushEngine::answer(const std::string& path) {
  const auto identity = file_identity(path);
  MutexLock lock(mu_);
  Job& job = job_of(path);
  std::vector<Error> errors;
  bool pending = false;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    Attempt& attempt = job.attempts[i];
    if (attempt.state == State::kDone && identity && attempt.identity != *identity) attempt = Attempt{};
    if (attempt.state == State::kFailed) {
      Error error = *attempt.error;
      if (lanes_.size() > 1) error = std::move(error).with_context(lanes_[i].target.name);
      if (lanes_[i].last_error) error = std::move(error).with_hint(lag_text(i));
      errors.push_back(std::move(error));
    } else if (attempt.state != State::kDone) {
      pending = true;
    } else if (!trusted(lanes_[i])) {
      // Durable where it was stored: but is that still the repository the settings name?
      if (lanes_[i].open_error)
        errors.push_back(Error(*lanes_[i].open_error).with_context(lanes_[i].target.name));
      else
        pending = true;
    }
  }
  if (pending) {
    changed_.notify_all();
    return std::nullopt;
  }
  const std::string context = "push " + name_of(path);
  if (!errors.empty()) return Result<>(join_push_errors(std::move(errors), lanes_.size()).with_context(context));
  if (!identity) return Result<>(Error(identity.error()).with_context(context));
  return Result<>();
}

std::string PushEngine::lag_text(size_t lane_index) {
  const Lane& lane = lanes_[lane_index];
  size_t waiting = 0;
  for (const std::string& name : ready_.names) {
    const auto job = jobs_.find(wal_directory_ + "/" + name);
    if (job == jobs_.end() || job->second.attempts[lane_index].state != State::kDone) ++waiting;
  }
  std::string text = fmt::format("{} files wait for {}", waiting, lane.target.name);
  if (lane.last_error) text += fmt::format(", which fails since {}", utc_text(lane.failing_since));
  return text;
}

Error PushEngine::lag(const std::string& path) {
  MutexLock lock(mu_);
  const Job& job = job_of(path);
  std::string text;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (job.attempts[i].state == State::kDone && trusted(lanes_[i])) continue;
    if (!text.empty()) text += "; ";
    text += fmt::format("{} lags: {}", lanes_[i].target.name, lag_text(i));
    if (lanes_[i].last_error) text += fmt::format(" ({})", lanes_[i].last_error->message());
  }
  return Error(Errc::kTransient,
               fmt::format("push {}: not in every repository within archive-timeout: {}", name_of(path), text))
      .with_hint("the server keeps the segment and asks again; what waits is pushed meanwhile");
}

std::vector<std::string> PushEngine::missing_in(const std::string& path) {
  const auto identity = file_identity(path);
  MutexLock lock(mu_);
  std::vector<std::string> missing;
  const auto found = jobs_.find(path);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const bool has = found != jobs_.end() && found->second.attempts[i].state == State::kDone && identity &&
                     found->second.attempts[i].identity == *identity;
    if (!has) missing.push_back(lanes_[i].target.name);
  }
  return missing;
}

void PushEngine::drops_added() {
  MutexLock lock(mu_);
  for (Lane& lane : lanes_) lane.drops_pending = true;
  changed_.notify_all();
}

bool PushEngine::busy() {
  MutexLock lock(mu_);
  return !requested_.empty() ||
         std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.running > 0; });
}

// -- What a lane does next.

std::optional<PushEngine::Work> PushEngine::pick(size_t lane_index) {
  Lane& lane = lanes_[lane_index];
  const bool may_hold = lane.holding < std::max(1u, options_.threads) + kBegunAhead;
  for (const std::string& path : requested_) {
    if (!may_hold) break;
    if (job_of(path).attempts[lane_index].state != State::kIdle) continue;
    const auto identity = file_identity(path);
    return begin(lane_index, path, identity ? identity->bytes : 0);
  }
  if (!requested_.empty() && !trusted(lane) && !lane.open_error && !lane.verifying) {
    lane.verifying = true;
    ++lane.running;
    return Work{.kind = Kind::kVerify, .path = {}, .bytes = 0};
  }
  if (clock_.steady() < lane.paused_until) return std::nullopt;
  if (lane.drops_pending && !lane.drops_running) {
    lane.drops_pending = false;
    lane.drops_running = true;
    ++lane.running;
    return Work{.kind = Kind::kDrops, .path = {}, .bytes = 0};
  }
  return may_hold ? pick_ahead(lane_index) : std::nullopt;
}

bool PushEngine::may_go_ahead(const Lane& lane, const std::string& path, size_t lane_index, Steady now) {
  const auto found = jobs_.find(path);
  if (found != jobs_.end()) {
    const Attempt& attempt = found->second.attempts[lane_index];
    if (attempt.state == State::kFailed && now < attempt.retry_at) return false;
    if (attempt.state != State::kIdle && attempt.state != State::kFailed) return false;
  } else if (jobs_.size() >= options_.files_max) {
    return false;
  }
  const auto parsed = pg::parse_wal_file_name(name_of(path));
  if (!parsed) return false;
  const auto timeline = lane.timelines.find(timeline_of(*parsed));
  return timeline == lane.timelines.end() || now >= timeline->second.blocked_until;
}

std::optional<PushEngine::Work> PushEngine::pick_ahead(size_t lane_index) {
  Lane& lane = lanes_[lane_index];
  const Steady now = clock_.steady();
  for (; lane.cursor < ready_.names.size(); ++lane.cursor) {
    const std::string path = wal_directory_ + "/" + ready_.names[lane.cursor];
    if (!may_go_ahead(lane, path, lane_index, now)) continue;
    const auto identity = file_identity(path);
    if (!identity) continue;
    const Job& job = job_of(path);
    const Timeline& timeline = lane.timelines[job.timeline];
    // One at a time until the repository has taken a segment of this timeline: see the class comment.
    if (!timeline.accepted && timeline.running > 0) return std::nullopt;
    const uint64_t share = options_.bytes_max / lanes_.size();
    if (lane.running_bytes > 0 && lane.running_bytes + identity->bytes > share) return std::nullopt;
    ++lane.cursor;
    return begin(lane_index, path, identity->bytes);
  }
  return std::nullopt;
}

PushEngine::Work PushEngine::begin(size_t lane_index, const std::string& path, uint64_t bytes) {
  Lane& lane = lanes_[lane_index];
  Job& job = job_of(path);
  job.attempts[lane_index] = Attempt{.state = State::kRunning, .identity = {}, .error = {}, .retry_at = {}};
  ++lane.timelines[job.timeline].running;
  ++lane.running;
  ++lane.holding;
  lane.running_bytes += bytes;
  return Work{.kind = Kind::kFile, .path = path, .bytes = bytes};
}

// -- The work.

Result<> PushEngine::run_lane(size_t lane_index) {
  for (;;) {
    std::optional<Work> work;
    Buffer room;
    {
      MutexLock lock(mu_);
      while (!stopping_ && !(work = pick(lane_index))) {
        if (lanes_[lane_index].running == 0) rooms_.clear();  // An idle worker holds no memory.
        changed_.wait(mu_);
      }
      if (!work) return {};
      if (work->kind == Kind::kFile && !rooms_.empty()) {
        room = std::move(rooms_.back());
        rooms_.pop_back();
      }
    }
    if (work->kind == Kind::kFile) {
      Outcome outcome = push_file(lane_index, work->path, std::move(room));
      MutexLock lock(mu_);
      finish_file(lane_index, *work, std::move(outcome));
    } else {
      const bool drops = work->kind == Kind::kDrops;
      auto done = drops ? carry_drops(lane_index) : Result<>();
      if (!drops) {
        if (auto opened = open_lane(lane_index); !opened) done = Error(std::move(opened).error());
      }
      MutexLock lock(mu_);
      Lane& lane = lanes_[lane_index];
      --lane.running;
      (drops ? lane.drops_running : lane.verifying) = false;
      if (!done && drops) lane.drops_pending = true;
      // Notes that say nothing reach no repository: only the look at it tells that it works.
      if (done && !drops) note_success(lane);
      if (!done) note_failure(lane, done.error());
      changed_.notify_all();
    }
    if (options_.on_change) options_.on_change();
  }
}

Result<std::shared_ptr<PushEngine::Open>> PushEngine::open_lane(size_t lane_index) {
  std::function<Result<PushTarget::Opened>()> open;
  {
    MutexLock lock(mu_);
    Lane& lane = lanes_[lane_index];
    while (lane.opening) {
      changed_.wait(mu_);
      // Another thread has just tried: its failure is ours.
      if (!lane.opening && lane.open == nullptr && lane.open_error) return Error(*lane.open_error);
    }
    if (trusted(lane)) return lane.open;
    lane.opening = true;
    open = lane.target.open;
  }
  auto fresh = std::make_shared<Open>();
  auto result = [&]() -> Result<> {
    TRY_ASSIGN(fresh->repository, open());
    TRY_ASSIGN(fresh->pusher, StanzaPusher::open(*fresh->repository.repository, clock_, options_.push));
    return {};
  }();
  MutexLock lock(mu_);
  Lane& lane = lanes_[lane_index];
  lane.opening = false;
  changed_.notify_all();
  if (!result) {
    lane.open_error = result.error();
    return Error(std::move(result).error());
  }
  const RepositoryId& id = fresh->repository.repository->id();
  const ClusterRecord& cluster = fresh->pusher->cluster();
  if (lane.known_id && (*lane.known_id != id || !is_same(lane.known_cluster, cluster))) {
    log_warn("{} is another repository or stanza than before: what it was believed to hold is pushed again",
             lane.target.name);
    for (auto& [path, job] : jobs_)
      if (job.attempts[lane_index].state == State::kDone) job.attempts[lane_index] = Attempt{};
    lane.timelines.clear();
  }
  lane.known_id = id;
  lane.known_cluster = cluster;
  lane.open = std::move(fresh);
  lane.open_error.reset();
  lane.opened_at = clock_.steady();
  return lane.open;
}

void PushEngine::begin_work(size_t lane_index, const std::string& name, Share& share) {
  MutexLock lock(mu_);
  Lane& lane = lanes_[lane_index];
  const auto turn = lane.turns.insert(name);
  while (lane.computing >= std::max(1u, options_.threads) || turn != lane.turns.begin()) turn_.wait(mu_);
  lane.turns.erase(turn);
  ++lane.computing;
  share.computes = true;
  turn_.notify_all();
}

void PushEngine::end_work(size_t lane_index, Share& share, Buffer room) {
  MutexLock lock(mu_);
  Lane& lane = lanes_[lane_index];
  if (std::exchange(share.computes, false)) {
    --lane.computing;
    turn_.notify_all();
  }
  if (!std::exchange(share.holds, false)) return;
  --lane.holding;
  rooms_.push_back(std::move(room));
  changed_.notify_all();
}

PushEngine::Outcome PushEngine::push_file(size_t lane_index, const std::string& path, Buffer room) {
  Share share;
  auto opened = open_lane(lane_index);
  auto source = opened ? read_push_source(path, std::move(room)) : Result<PushSource>(Error(opened.error()));
  if (!source) {
    end_work(lane_index, share, {});
    return {.result = Error(std::move(source).error()), .identity = {}, .of_repository = !opened.has_value()};
  }
  auto pushed = (*opened)->pusher->push(
      *source, {.before_work = [&] { begin_work(lane_index, source->name, share); },
                .after_work = [&] { end_work(lane_index, share, std::exchange(source->content, Buffer())); }});
  end_work(lane_index, share, std::move(source->content));
  if (!pushed) {
    const bool of_repository = !is_of_file(pushed.error().code());
    return {.result = Error(std::move(pushed).error()), .identity = {}, .of_repository = of_repository};
  }
  if (pushed->outcome == ArchivePushOutcome::kAlreadyThere) {
    log_detail("{} is in {} already, with the same content", source->name,
               (*opened)->pusher->repository().store().describe());
  } else {
    log_detail("pushed {} to {}", pushed->key.value, (*opened)->pusher->repository().store().describe());
  }
  return {.result = {}, .identity = source->identity, .of_repository = false};
}

void PushEngine::finish_file(size_t lane_index, const Work& work, Outcome outcome) {
  Lane& lane = lanes_[lane_index];
  Job& job = job_of(work.path);
  Attempt& attempt = job.attempts[lane_index];
  Timeline& timeline = lane.timelines[job.timeline];
  --lane.running;
  lane.running_bytes -= work.bytes;
  if (timeline.running > 0) --timeline.running;
  if (outcome.result) {
    attempt.state = State::kDone;
    attempt.identity = outcome.identity;
    timeline.accepted = timeline.accepted || job.is_segment;
    timeline.blocked_until = {};
    note_success(lane);
  } else {
    const Error& error = outcome.result.error();
    attempt.state = State::kFailed;
    attempt.error = error;
    attempt.retry_at = clock_.steady() + options_.retry_max;
    if (error.code() == Errc::kInvalid) {
      timeline.accepted = false;
      timeline.blocked_until = clock_.steady() + options_.retry_max;
    }
    if (outcome.of_repository) {
      note_failure(lane, error);
      attempt.retry_at = lane.paused_until;
    } else if (job.waiters == 0) {
      log_detail("push {} to {} ahead of its time: {}", name_of(work.path), lane.target.name, error.message());
    }
  }
  changed_.notify_all();
}

void PushEngine::note_failure(Lane& lane, const Error& error) {
  if (!lane.last_error) {
    lane.failing_since = clock_.now();
    log_warn("{} fails: {}", lane.target.name, error.message());
  }
  lane.last_error = error;
  lane.open.reset();  // It may be another file system by the time it works again.
  lane.pause = lane.pause.count() == 0 ? options_.retry_first : std::min(2 * lane.pause, options_.retry_max);
  lane.paused_until = clock_.steady() + lane.pause;
}

void PushEngine::note_success(Lane& lane) {
  if (lane.last_error) log_warn("{} works again", lane.target.name);
  lane.last_error.reset();
  lane.pause = std::chrono::milliseconds(0);
  lane.paused_until = {};
}

Result<> PushEngine::carry_drops(size_t lane_index) {
  const DropNotes notes(options_.spool_directory);
  std::string name;
  {
    MutexLock lock(mu_);
    name = lanes_[lane_index].target.name;
  }
  TRY_ASSIGN(const auto waiting, notes.waiting_for(name));
  if (waiting.empty()) return {};
  TRY_ASSIGN(const auto opened, open_lane(lane_index));
  const ClusterRecord& cluster = opened->pusher->cluster();
  return notes.carry_over(name, *opened->repository.repository, options_.push.stanza, cluster.number,
                          cluster.wal_segment_bytes);
}

}  // namespace pgark
