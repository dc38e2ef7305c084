// repo-check: whether the place a repository is kept in does what pgark relies on, and how fast it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "store/object_store.h"

namespace pgark {

enum class PromiseState : uint8_t {
  kKept,
  kBroken,   // The store did something else.
  kLacking,  // It does not promise this, and pgark knows what to do about it: see RepoCheckReport::lacks.
  kFailed,   // A call failed that must not.
  kSkipped,  // Nothing may be removed here, and the check would leave too much behind.
};
std::string_view promise_state_name(PromiseState state);  // "kept", "broken", "lacking", "failed", "skipped"

struct CheckedPromise {
  std::string name;     // "CreateOnlyKeepsFirstWriter"
  std::string promise;  // "no call changes or replaces an object"
  PromiseState state = PromiseState::kKept;
  std::string detail;  // Of what is not kept: what happened.
};

/// Something the store, or who uses it, cannot do, and what follows.
struct StoreLack {
  std::string what;
  std::string remedy;
};

/// Times of one kind of call, made one after another.
struct CallLatency {
  std::string call;  // "put", "stat", "get", "list", "remove"
  uint64_t count = 0;
  std::chrono::microseconds median{};
  std::chrono::microseconds p99{};
  std::chrono::microseconds longest{};
};

/// Bytes moved by several connections at once.
struct StoreThroughput {
  uint64_t bytes = 0;
  unsigned connections = 0;
  std::chrono::microseconds elapsed{};
  uint64_t bytes_per_second() const;
};

struct RepoCheckOptions {
  std::string prefix;    // Everything is made below it, and removed again. No other object may be there.
  unsigned threads = 8;  // Connections at once.
  uint64_t bulk_bytes = 64u << 20;
  unsigned samples = 64;                              // Of each kind of call,
  std::chrono::milliseconds sample_time_max{10'000};  // but no more than fit in this time.
};

struct RepoCheckReport {
  std::string location;
  StoreCaps caps;
  std::vector<CheckedPromise> promises;
  std::vector<StoreLack> lacks;
  std::vector<CallLatency> latencies;
  std::optional<StoreThroughput> put;
  std::optional<StoreThroughput> get;
  bool removal_refused = false;
  uint64_t left_behind = 0;  // Objects below the prefix that could not be removed.

  /// Whether pgark can rely on the store.
  bool ok() const;
};

/// A prefix that nobody else uses: "pgark-check-<random>/lease". What lies below a "lease" is never put under object
/// lock, so that it can be removed again.
std::string repo_check_prefix(Rng& rng);

/// Run the conformance suite, then measure.
/// Shape:  what was made is removed also after an error. With credentials that may not remove, little is made, and it
///         stays.
/// Errors: of the store if not even one object can be written and read; kCancelled. Whatever fails later is in the
///         report.
Result<RepoCheckReport> check_store(ObjectStore& store, Clock& clock, const CancelToken& cancel,
                                    const RepoCheckOptions& options);

}  // namespace pgark
