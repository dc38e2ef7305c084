// Taking, renewing and releasing leases with objects that are created once.
#include "repo/lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "core/log.h"
#include "core/thread_annotations.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr size_t kDigits = 8;

/// What an object of a lease says by its name.
struct LeaseName {
  enum class Kind : uint8_t { kTaken, kBeat, kEnd };
  uint64_t epoch = 0;
  uint64_t beat = 0;
  Kind kind = Kind::kTaken;
};

std::optional<uint64_t> number_of(std::string_view digits) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.size() < kDigits || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

/// None if it is no object of a lease: the probe of somebody who asks the store for its time.
std::optional<LeaseName> parse_name(std::string_view rest) {
  LeaseName name;
  const size_t dot = rest.find('.');
  const auto epoch = number_of(rest.substr(0, dot));
  if (!epoch) return std::nullopt;
  name.epoch = *epoch;
  if (dot == rest.npos) return name;
  rest.remove_prefix(dot + 1);
  if (rest == "end") {
    name.kind = LeaseName::Kind::kEnd;
    return name;
  }
  if (!rest.starts_with('b')) return std::nullopt;
  const auto beat = number_of(rest.substr(1));
  if (!beat) return std::nullopt;
  name.kind = LeaseName::Kind::kBeat;
  name.beat = *beat;
  return name;
}

/// What a listing tells of a lease.
struct LeaseView {
  uint64_t epoch = 0;  // The highest; 0: it was never taken.
  uint64_t beat = 0;   // The highest of that epoch; 0: not renewed yet.
  Timestamp modified{};
  bool ended = false;
  std::vector<ObjectKey> older;   // Objects of lower epochs.
  std::vector<ObjectKey> probes;  // Of those who asked for the time, and died meanwhile.

  bool same_life(const LeaseView& other) const { return epoch == other.epoch && beat == other.beat; }
};

Result<LeaseView> view_lease(ObjectStore& store, const std::string& prefix) {
  TRY_ASSIGN_CTX(const auto objects, store.list_all(prefix), "list leases");
  LeaseView view;
  std::vector<std::pair<LeaseName, ObjectKey>> named;
  for (const ObjectInfo& object : objects) {
    const auto name = parse_name(std::string_view(object.key.value).substr(prefix.size()));
    if (!name) {
      view.probes.push_back(object.key);
      continue;
    }
    named.emplace_back(*name, object.key);
    if (name->epoch > view.epoch) {
      view.epoch = name->epoch;
      view.beat = 0;
      view.ended = false;
      view.modified = {};
    }
    if (name->epoch < view.epoch) continue;
    if (name->kind == LeaseName::Kind::kEnd) view.ended = true;
    if (name->kind == LeaseName::Kind::kBeat) view.beat = std::max(view.beat, name->beat);
    view.modified = std::max(view.modified, object.modified);
  }
  for (const auto& [name, key] : named)
    if (name.epoch < view.epoch) view.older.push_back(key);
  return view;
}

json holder_json(const LeaseHolder& holder, const std::string& owner) {
  return {{"owner", owner},
          {"host", holder.host},
          {"pid", holder.pid},
          {"command", holder.command},
          {"started_us", holder.started.time_since_epoch().count()}};
}

/// Random enough that no two holders ever write the same bytes: a store may answer with somebody else's success.
std::string owner_id(const LeaseHolder& holder, uint64_t seed) {
  Rng rng(seed ^ static_cast<uint64_t>(holder.pid) << 32);
  return fmt::format("{:016x}{:016x}", rng.next(), rng.next());
}

}  // namespace

struct Lease::State {
  State(const Repository& in, const std::string& stanza, std::string name, LeaseHolder who, Clock& time,
        const CancelToken& stop, uint64_t seed, LeaseTimes spans)
      : repository(in),
        store(in.store()),
        what(std::move(name)),
        prefix(fmt::format("{}/lease/{}.", stanza, what)),
        holder(std::move(who)),
        owner(owner_id(holder, seed)),
        clock(time),
        cancel(stop),
        times(spans) {}

  ObjectKey key(uint64_t number, std::string_view suffix = {}) const {
    return {fmt::format("{}{:08}{}", prefix, number, suffix)};
  }
  ObjectKey beat_key(uint64_t number) const { return key(epoch, fmt::format(".b{:08}", number)); }

  Result<> acquire() {
    TRY_ASSIGN(LeaseView view, view_lease(store, prefix));
    if (view.epoch > 0 && !view.ended) {
      TRY_ASSIGN(view, outlive(std::move(view)));
    }
    renewed = clock.steady();
    epoch = view.epoch + 1;
    TRY(create());
    // Between the listing and now others may have come, gone, and cleared away what would have stood in our way.
    auto now = view_lease(store, prefix);
    if (!now || now->epoch != epoch) {
      (void)store.remove(key(epoch));
      if (!now) return std::move(now).error();
      return taken_by(now->epoch);
    }
    std::vector<ObjectKey> past = std::move(now->older);
    past.insert(past.end(), view.probes.begin(), view.probes.end());
    if (past.empty()) return {};
    for (const auto& removed : store.remove_many(past))
      if (!removed) log_debug("{}", removed.error().message());
    return {};
  }

  /// Watch the holder until it has ended or expired. Errors: kInvalid if it lives.
  Result<LeaseView> outlive(LeaseView view) {
    const auto begin = clock.steady();
    TRY_ASSIGN(const auto age, store_age(view));
    const auto deadline = begin + times.expiry - std::min<std::chrono::milliseconds>(age, times.expiry);
    if (clock.steady() < deadline)
      log_info("the lease \"{}\" of {} is held by {}: wait until it is renewed or has expired", what, store.describe(),
               describe(view.epoch));
    while (clock.steady() < deadline) {
      TRY(cancel.check());
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock.steady());
      clock.sleep_for(std::min(times.poll, left));
      TRY_ASSIGN(LeaseView now, view_lease(store, prefix));
      if (now.epoch == 0 || now.ended) return now;
      if (!now.same_life(view)) return taken_by(now.epoch);
    }
    log_warn("the lease \"{}\" of {} has expired and is taken over: {} has not renewed it for {} s", what,
             store.describe(), describe(view.epoch), times.expiry.count() / 1000);
    return view;
  }

  /// How long ago the lease was renewed, by the time of the store: that of an object written now tells what it is.
  Result<std::chrono::milliseconds> store_age(const LeaseView& view) {
    const ObjectKey probe{fmt::format("{}probe-{}", prefix, owner)};
    TRY_CTX(store.put(probe, as_bytes(owner)), "ask for the time of the store");
    const auto written = store.stat(probe);
    remove(probe);
    if (!written) return Error(written.error());
    const Timestamp none{};
    if (!*written || (*written)->modified == none || view.modified == none) return std::chrono::milliseconds(0);
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>((*written)->modified - view.modified);
    return std::max(age, std::chrono::milliseconds(0));
  }

  Result<> create() {
    auto created = write_record(repository, key(epoch), holder_json(holder, owner).dump());
    if (created) return is_own_where_two_may_win();
    // A request that was sent twice on its way finds the name taken by itself.
    const Errc code = created.error().code();
    if (code != Errc::kAlreadyExists && code != Errc::kOutcomeUnknown)
      return std::move(created).error().with_context("take the lease " + what);
    const auto record = read_record(repository, key(epoch));
    if (!record) return std::move(created).error().with_context("take the lease " + what);
    return owned(*record) ? Result<>() : Result<>(taken_by(epoch));
  }

  /// Where the store cannot decide between two writers, the later one stays: the other finds out here, or at the next
  /// renewal.
  Result<> is_own_where_two_may_win() const {
    if (store.caps().atomic_create_only) return {};
    TRY_ASSIGN_CTX(const std::string record, read_record(repository, key(epoch)), "read lease");
    return owned(record) ? Result<>() : Result<>(taken_by(epoch));
  }

  bool owned(const std::string& record) const {
    const json document = json::parse(record, nullptr, false);
    return document.is_object() && document.value("owner", "") == owner;
  }

  /// "backup with pid 123 on db1 since ..."
  std::string describe(uint64_t number) const {
    const auto record = read_record(repository, key(number));
    const json document = record ? json::parse(*record, nullptr, false) : json();
    if (!document.is_object() || !document.contains("host")) return "another host";
    // What another program wrote may have any types.
    const auto text = [&](const char* name) {
      return document.contains(name) && document[name].is_string() ? document[name].get<std::string>() : std::string();
    };
    const bool has_pid = document.contains("pid") && document["pid"].is_number_integer();
    return fmt::format("{} on {} (pid {})", text("command"), text("host"),
                       has_pid ? document["pid"].get<int64_t>() : 0);
  }

  Error taken_by(uint64_t number) const {
    return Error(Errc::kInvalid, fmt::format("{} runs in {}", describe(number), store.describe()))
        .with_hint(
            fmt::format("wait for it to end; if it died, its lease expires after {} s", times.expiry.count() / 1000));
  }

  Result<> check_highest() const {
    const std::string after = key(epoch, ".z").value;  // Behind all that belongs to this epoch.
    TRY_ASSIGN_CTX(const ListPage page, store.list({.prefix = prefix, .after = after, .limit = 100}), "list leases");
    for (const ObjectInfo& object : page.objects)
      if (const auto name = parse_name(std::string_view(object.key.value).substr(prefix.size()));
          name && name->epoch > epoch)
        return taken_by(name->epoch).with_context("the lease was taken over");
    return is_own_where_two_may_win();
  }

  Result<> renew() {
    const auto begin = clock.steady();
    TRY(check_highest());
    auto written = write_record(repository, beat_key(beat + 1), json{{"owner", owner}}.dump());
    // Nobody else writes names of this epoch: it is what an attempt before has written.
    if (!written && written.error().code() != Errc::kAlreadyExists)
      return std::move(written).error().with_context("renew the lease " + what);
    if (beat > 0) remove(beat_key(beat));
    ++beat;
    renewed = begin;
    return {};
  }

  Result<> release() {
    if (std::exchange(released, true)) return {};
    auto written = write_record(repository, key(epoch, ".end"), json{{"owner", owner}}.dump());
    if (!written && written.error().code() != Errc::kAlreadyExists)
      return std::move(written).error().with_context("release the lease " + what);
    return {};
  }

  /// What may not be removed stays; who takes the lease next tries again.
  void remove(const ObjectKey& old) const {
    if (const auto removed = store.remove(old); !removed) log_debug("{}", removed.error().message());
  }

  const Repository& repository;
  ObjectStore& store;
  const std::string what;
  const std::string prefix;
  const LeaseHolder holder;
  const std::string owner;
  Clock& clock;
  const CancelToken& cancel;
  const LeaseTimes times;
  uint64_t epoch = 0;
  uint64_t beat = 0;
  bool released = false;
  std::atomic<std::chrono::steady_clock::time_point> renewed{};
};

Lease::Lease(std::unique_ptr<State> state) : state_(std::move(state)) {}
Lease::Lease(Lease&&) noexcept = default;
Lease& Lease::operator=(Lease&&) noexcept = default;
Lease::~Lease() = default;

Result<Lease> Lease::acquire(const Repository& repository, const std::string& stanza, const std::string& what,
                             LeaseHolder holder, Clock& clock, const CancelToken& cancel, uint64_t seed,
                             LeaseTimes times) {
  auto state = std::make_unique<State>(repository, stanza, what, std::move(holder), clock, cancel, seed, times);
  TRY(state->acquire());
  return Lease(std::move(state));
}

uint64_t Lease::epoch() const { return state_->epoch; }
const LeaseTimes& Lease::times() const { return state_->times; }
Result<> Lease::renew() { return state_->renew(); }
Result<> Lease::release() { return state_->release(); }

std::chrono::milliseconds Lease::since_renewal() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(state_->clock.steady() - state_->renewed.load());
}

Result<> Lease::check() const {
  if (since_renewal() >= state_->times.give_up)
    return Error(Errc::kTransient, fmt::format("the lease {} could not be renewed for {} s", state_->what,
                                               since_renewal().count() / 1000))
        .with_hint("another host may do this job now: run it again");
  return state_->check_highest();
}

struct HeldLease::State {
  explicit State(Lease taken, Clock& time, std::function<void(const Error&)> tell)
      : lease(std::move(taken)), clock(time), on_lost(std::move(tell)) {}

  void lose(const Error& error) EXCLUDES(mu) {
    {
      const MutexLock lock(mu);
      if (lost || stop) return;
      lost = error;
    }
    log_error("{}", error.to_string());
    if (on_lost) on_lost(error);
  }

  /// Renews, and tries again soon where that fails.
  void renew_until_stopped() EXCLUDES(mu) {
    auto next = clock.steady() + lease.times().beat;
    while (wait_until(next)) {
      const auto renewed = lease.renew();
      next = clock.steady() + (renewed ? lease.times().beat : lease.times().beat / 3);
      if (renewed) continue;
      if (renewed.error().code() == Errc::kInvalid) return lose(renewed.error());
      log_warn("{}", renewed.error().message());
    }
  }

  /// Notices that time is up, also while a request hangs.
  void watch() EXCLUDES(mu) {
    const auto give_up = lease.times().give_up;
    while (wait_until(clock.steady() + give_up - std::min(give_up, lease.since_renewal())))
      if (lease.since_renewal() >= give_up)
        return lose(Error(Errc::kTransient,
                          fmt::format("stop: the lease could not be renewed for {} s", give_up.count() / 1000))
                        .with_hint("another host may do this job now: run it again"));
  }

  /// False if it was stopped, or the lease lost, before.
  bool wait_until(std::chrono::steady_clock::time_point time) EXCLUDES(mu) {
    const MutexLock lock(mu);
    while (!stop && !lost && clock.steady() < time) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(time - clock.steady());
      changed.wait_for(mu, std::clamp(left, std::chrono::milliseconds(1), std::chrono::milliseconds(1000)));
    }
    return !stop && !lost;
  }

  Lease lease;
  Clock& clock;
  const std::function<void(const Error&)> on_lost;
  mutable Mutex mu;
  CondVar changed;
  bool stop GUARDED_BY(mu) = false;
  std::optional<Error> lost GUARDED_BY(mu);
  std::thread renewer;
  std::thread watcher;
};

HeldLease::HeldLease(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<HeldLease>> HeldLease::acquire(const Repository& repository, const std::string& stanza,
                                                      const std::string& what, LeaseHolder holder, Clock& clock,
                                                      const CancelToken& cancel, uint64_t seed,
                                                      std::function<void(const Error&)> on_lost, LeaseTimes times) {
  TRY_ASSIGN(Lease lease, Lease::acquire(repository, stanza, what, std::move(holder), clock, cancel, seed, times));
  auto state = std::make_unique<State>(std::move(lease), clock, std::move(on_lost));
  State& shared = *state;
  auto held = std::unique_ptr<HeldLease>(new HeldLease(std::move(state)));
  try {
    shared.renewer = std::thread([&shared] { shared.renew_until_stopped(); });
    shared.watcher = std::thread([&shared] { shared.watch(); });
  } catch (const std::system_error& error) {
    return Error(Errc::kTransient, fmt::format("start the thread that renews a lease: {}", error.what()));
  }
  return held;
}

HeldLease::~HeldLease() {
  bool lost = false;
  {
    const MutexLock lock(state_->mu);
    state_->stop = true;
    lost = state_->lost.has_value();
    state_->changed.notify_all();
  }
  if (state_->renewer.joinable()) state_->renewer.join();
  if (state_->watcher.joinable()) state_->watcher.join();
  if (lost) return;  // It is another's to end.
  if (const auto released = state_->lease.release(); !released)
    log_warn("{}; it expires by itself", released.error().message());
}

Result<> HeldLease::check() const {
  {
    const MutexLock lock(state_->mu);
    if (state_->lost) return *state_->lost;
  }
  return state_->lease.check();
}

}  // namespace pgark
