#include "ops/repo_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/log.h"
#include "pipe/task_group.h"
#include "store/conformance.h"
#include "store/conformance_util.h"

namespace pgark {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;

constexpr size_t kChunkBytes = 4u << 20;
constexpr unsigned kConnectionsMax = 64;
constexpr size_t kSampleBytes = 4096;

/// What leaves few objects behind and tells most.
bool is_modest(const ConformanceCheck& check) {
  return check.name == "EmptyObjectExists" || check.name == "CreateOnlyKeepsFirstWriter" ||
         check.name == "OneOfRacingWritersWins" || check.name == "LargeObjectInOddPieces";
}

/// What a store without conditional creation cannot promise.
bool is_about_races(const ConformanceCheck& check) { return check.name == "OneOfRacingWritersWins"; }

class StoreCheck {
 public:
  StoreCheck(ObjectStore& store, Clock& clock, const CancelToken& cancel, const RepoCheckOptions& options)
      : store_(store),
        clock_(clock),
        cancel_(cancel),
        options_(options),
        threads_(std::clamp(options.threads, 2u, kConnectionsMax)) {}

  Result<RepoCheckReport> run() {
    report_.location = store_.describe();
    Result<> done = run_all();
    // Also after an error: this is somebody's repository.
    report_.left_behind = tidy(options_.prefix + "/");
    if (!done.has_value()) return std::move(done).error();
    report_.caps = store_.caps();  // After use: some stores only then know.
    tell_lacks();
    return std::move(report_);
  }

 private:
  Result<> run_all() {
    TRY_CTX(probe(), "check " + report_.location);
    for (const ConformanceCheck& check : conformance_checks()) {
      TRY(cancel_.check());
      report_.promises.push_back(examine(check));
    }
    return measure_all();
  }

  /// Measure; what fails is one more broken promise.
  Result<> measure_all() {
    Result<> measured = measure_calls();
    if (measured.has_value()) measured = measure_transfer();
    if (!measured.has_value() && measured.error().code() == Errc::kCancelled) return measured;
    CheckedPromise checked{"BearsLoad", "calls in a row and transfers side by side succeed, and bytes arrive as sent",
                           PromiseState::kKept, ""};
    if (!measured.has_value()) {
      checked.state = measured.error().code() == Errc::kCorrupt ? PromiseState::kBroken : PromiseState::kFailed;
      checked.detail = measured.error().message();
    }
    report_.promises.push_back(std::move(checked));
    return {};
  }

  /// One object written, read and removed: what fails here fails all the rest.
  Result<> probe() {
    const ObjectKey key = conformance::key_below(options_.prefix, "probe");
    const Buffer content = conformance::pattern(1, kSampleBytes);
    TRY(store_.put(key, content));
    TRY(conformance::expect_content(store_, key, content));
    const auto removed = store_.remove(key);
    if (removed.has_value()) return {};
    if (removed.error().code() != Errc::kPermission) return Error(removed.error());
    report_.removal_refused = true;
    return {};
  }

  CheckedPromise examine(const ConformanceCheck& check) {
    CheckedPromise checked{check.name, check.promise, PromiseState::kKept, ""};
    if (report_.removal_refused && !is_modest(check)) {
      checked.state = PromiseState::kSkipped;
      return checked;
    }
    log_detail("check that {} ({})", check.promise, check.name);
    const std::string prefix = options_.prefix + "/" + check.name;
    const Result<> result = check.run(store_, prefix, threads_);
    if (!report_.removal_refused) tidy(prefix + "/");
    if (result.has_value()) return checked;
    checked.detail = result.error().message();
    checked.state = result.error().code() == Errc::kUnsupported ? PromiseState::kBroken : PromiseState::kFailed;
    if (checked.state == PromiseState::kBroken && is_about_races(check) && !store_.caps().atomic_create_only)
      checked.state = PromiseState::kLacking;
    return checked;
  }

  /// Remove what is below a prefix; the number of objects that stay.
  uint64_t tidy(const std::string& prefix) {
    const auto left = store_.list_all(prefix);
    if (!left.has_value()) {
      log_warn("what the check made below {} may still be there: {}", prefix, left.error().message());
      return 1;
    }
    std::vector<ObjectKey> keys;
    for (const ObjectInfo& object : *left) keys.push_back(object.key);
    uint64_t stay = 0;
    for (const Result<bool>& removed : store_.remove_many(keys)) stay += removed.has_value() ? 0u : 1u;
    return stay;
  }

  // -- Latency.

  /// Time up to `count` calls, one after another; how many there were.
  Result<unsigned> measure(const std::string& name, unsigned count, const std::function<Result<>(unsigned)>& call) {
    std::vector<microseconds> times;
    const auto began = clock_.steady();
    for (unsigned i = 0; i < count && clock_.steady() - began < options_.sample_time_max; ++i) {
      TRY(cancel_.check());
      const auto start = clock_.steady();
      TRY_CTX(call(i), "measure " + name);
      times.push_back(duration_cast<microseconds>(clock_.steady() - start));
    }
    if (times.empty()) return 0u;
    std::ranges::sort(times);
    const auto last = times.size() - 1;
    const auto p99 = static_cast<size_t>(std::ceil(static_cast<double>(times.size()) * 0.99)) - 1;
    report_.latencies.push_back({name, times.size(), times[last / 2], times[std::min(p99, last)], times[last]});
    return static_cast<unsigned>(times.size());
  }

  Result<> measure_calls() {
    const Buffer content = conformance::pattern(2, kSampleBytes);
    const auto key = [&](unsigned i) {
      return conformance::key_below(options_.prefix, fmt::format("sample/{:04}", i));
    };
    const unsigned count = std::max(1u, options_.samples);
    TRY_ASSIGN(const unsigned made, measure("put", report_.removal_refused ? std::min(4u, count) : count,
                                            [&](unsigned i) { return outcome_of(store_.put(key(i), content)); }));
    TRY(measure("stat", count, [&](unsigned i) { return outcome_of(store_.stat(key(i % made))); }));
    TRY(measure("get", count, [&](unsigned i) { return get(key(i % made), content); }));
    const ListRequest request{.prefix = options_.prefix + "/sample/"};
    TRY(measure("list", count, [&](unsigned) { return outcome_of(store_.list(request)); }));
    if (report_.removal_refused) return {};
    return outcome_of(measure("remove", made, [&](unsigned i) { return outcome_of(store_.remove(key(i))); }));
  }

  template <typename T>
  static Result<> outcome_of(Result<T> result) {
    if (!result.has_value()) return std::move(result).error();
    return {};
  }

  Result<> get(const ObjectKey& key, Bytes expected) {
    Buffer into(expected.size());
    TRY(store_.read_exact(key, 0, into.bytes()));
    if (conformance::same_bytes(into, expected)) return {};
    return Error(Errc::kCorrupt, fmt::format("object '{}' holds other bytes than were written", key.value));
  }

  // -- Throughput.

  Result<> measure_transfer() {
    const uint64_t share = std::max<uint64_t>(kChunkBytes, options_.bulk_bytes / threads_ / kChunkBytes * kChunkBytes);
    const auto key = [&](unsigned i) { return conformance::key_below(options_.prefix, fmt::format("bulk/{}", i)); };
    TRY_ASSIGN(report_.put, side_by_side(share, [&](unsigned i) { return write_bulk(key(i), i, share); }));
    TRY_ASSIGN(report_.get, side_by_side(share, [&](unsigned i) { return read_bulk(key(i), i, share); }));
    return {};
  }

  Result<StoreThroughput> side_by_side(uint64_t share, const std::function<Result<>(unsigned)>& transfer) {
    const unsigned connections =
        static_cast<unsigned>(std::clamp<uint64_t>((options_.bulk_bytes + share - 1) / share, 1, threads_));
    const auto began = clock_.steady();
    TaskGroup group(&cancel_);
    for (unsigned i = 0; i < connections; ++i) group.spawn([&, i] { return transfer(i); });
    TRY_CTX(group.wait(), "measure throughput");
    return StoreThroughput{share * connections, connections, duration_cast<microseconds>(clock_.steady() - began)};
  }

  Result<> write_bulk(const ObjectKey& key, unsigned seed, uint64_t bytes) {
    const Buffer chunk = conformance::pattern(seed, kChunkBytes);
    TRY_ASSIGN(auto writer, store_.create(key));
    for (uint64_t at = 0; at < bytes; at += kChunkBytes) {
      TRY(cancel_.check());
      TRY(writer->append(chunk));
    }
    TRY(std::move(*writer).commit());
    return {};
  }

  Result<> read_bulk(const ObjectKey& key, unsigned seed, uint64_t bytes) {
    const Buffer expected = conformance::pattern(seed, kChunkBytes);
    Buffer chunk(kChunkBytes);
    for (uint64_t at = 0; at < bytes; at += kChunkBytes) {
      TRY(cancel_.check());
      TRY(store_.read_exact(key, at, chunk.bytes()));
      if (!conformance::same_bytes(chunk, expected))
        return Error(Errc::kCorrupt, fmt::format("object '{}' holds other bytes than were written", key.value));
    }
    return {};
  }

  // -- What follows.

  void tell_lacks() {
    if (!report_.caps.atomic_create_only)
      report_.lacks.push_back(
          {"of two writers that give one name to an object at the same moment, the store may let both win",
           "pgark looks for the name before and after it writes, and gives what it writes names of its own; let one "
           "host "
           "alone archive and back up a stanza here"});
    if (report_.removal_refused)
      report_.lacks.push_back(
          {"objects cannot be removed, by the rights of these credentials or by a lock of the bucket",
           fmt::format(
               "expire counts what it may not remove and tries again later; what this check wrote stays below {}",
               options_.prefix)});
  }

  ObjectStore& store_;
  Clock& clock_;
  const CancelToken& cancel_;
  const RepoCheckOptions& options_;
  const unsigned threads_;
  RepoCheckReport report_;
};

}  // namespace

std::string_view promise_state_name(PromiseState state) {
  switch (state) {
    case PromiseState::kKept:
      return "kept";
    case PromiseState::kBroken:
      return "broken";
    case PromiseState::kLacking:
      return "lacking";
    case PromiseState::kFailed:
      return "failed";
    case PromiseState::kSkipped:
      return "skipped";
  }
  return "";
}

uint64_t StoreThroughput::bytes_per_second() const {
  if (elapsed.count() <= 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(bytes) * 1e6 / static_cast<double>(elapsed.count()));
}

bool RepoCheckReport::ok() const {
  const bool bad = std::ranges::any_of(promises, [](const CheckedPromise& one) {
    return one.state == PromiseState::kBroken || one.state == PromiseState::kFailed;
  });
  return !bad && (left_behind == 0 || removal_refused);
}

std::string repo_check_prefix(Rng& rng) { return fmt::format("pgark-check-{:016x}/lease", rng.next()); }

Result<RepoCheckReport> check_store(ObjectStore& store, Clock& clock, const CancelToken& cancel,
                                    const RepoCheckOptions& options) {
  return StoreCheck(store, clock, cancel, options).run();
}

}  // namespace pgark
