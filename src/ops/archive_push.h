// archive-push: make one file of pg_wal durable in every repository before PostgreSQL may recycle it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "codec/compress.h"
#include "core/clock.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "ops/push_fork.h"
#include "ops/push_source.h"
#include "repo/repository.h"

namespace pgark {

struct ArchivePushOptions {
  std::string stanza;
  std::string source_path;     // Absolute; its last component is the archive file's name.
  std::string data_directory;  // Of the cluster, to know whose a file is that does not say so itself; may be empty.
  Codec codec = Codec::kZstd;
  int level = 1;
  unsigned threads = 1;  // That compress.
  std::string host;      // Recorded with the file.
};

enum class ArchivePushOutcome : uint8_t {
  kStored,        // Written by this call.
  kAlreadyThere,  // The same bytes were there, and are durable.
  kRepaired,      // Every copy that was there is damaged: written as the next generation.
};

struct ArchivePushResult {
  ArchivePushOutcome outcome = ArchivePushOutcome::kStored;
  ObjectKey key;
  uint64_t raw_bytes = 0;
  uint64_t stored_bytes = 0;  // 0 unless written by this call.
};

/// Called at the steps of a push, so that many can be under way at once though few may compute: both may wait. They are
/// called once each, however often the push has to look again.
struct PushSteps {
  std::function<void()> before_work = {};  // What only needs the processors and memory follows.
  /// Only the store is waited for from here on. The content of the source may be taken away: a push that needs it once
  /// more reads it again.
  std::function<void()> after_work = {};
};

/// One stanza of one repository, to push to. Safe from several threads.
class StanzaPusher {
 public:
  /// Read which cluster the stanza is of. `options.source_path` is not used.
  /// Errors: kNotFound if the stanza does not exist; of the store.
  static Result<std::unique_ptr<StanzaPusher>> open(const Repository& repository, Clock& clock,
                                                    ArchivePushOptions options);

  /// Check a file against the cluster and the repository's timeline of its number, and store it. Ok means durable.
  /// Errors: as archive_push().
  Result<ArchivePushResult> push(const PushSource& source, const PushSteps& steps = {});
  const ClusterRecord& cluster() const { return cluster_; }
  const Repository& repository() const { return repository_; }

 private:
  StanzaPusher(const Repository& repository, Clock& clock, ArchivePushOptions options, const ClusterRecord& cluster,
               Buffer record)
      : repository_(repository),
        clock_(clock),
        options_(std::move(options)),
        cluster_(cluster),
        record_(std::move(record)),
        opened_at_(clock.steady()),
        forks_(repository, options_.stanza, cluster) {}
  /// The stanza is still the one that was opened, as far as can be told without asking a store behind a network: else a
  /// file would make directories anew where somebody has cleared them.
  Result<> check_still_there(const PushSource& source);
  void note_pushed(const PushSource& source);
  Result<ArchivePushResult> store(const PushSource& source, const PushSteps& steps);

  const Repository& repository_;
  Clock& clock_;
  const ArchivePushOptions options_;
  const ClusterRecord cluster_;
  Buffer record_;  // The cluster's, as it is stored; empty where it is not looked at again.
  const std::chrono::steady_clock::time_point opened_at_;
  ForkGuard forks_;
  Mutex mu_;
  std::set<std::string> directories_ GUARDED_BY(mu_);  // That files were pushed to.
};

/// Check a segment, timeline history, backup history or partial segment and store it. Ok means durable in the
/// repository. Errors: kInvalid if it is not of the stanza's cluster, of another timeline than the repository's of that
///         number, or other bytes are stored under its name (they stay);
///         kCorrupt if it is not what its name says; kNotFound if the file or the stanza does not exist; of the store.
Result<ArchivePushResult> archive_push(const Repository& repository, Clock& clock, const ArchivePushOptions& options);

/// A repository to archive to. Opened when it is needed, so that one that is down keeps nothing from the others.
struct PushTarget {
  struct Opened {
    std::unique_ptr<ObjectStore> store;  // Null if the repository lives in a store of the caller's.
    std::unique_ptr<Repository> repository;
  };
  std::string name;  // "repo2"
  std::function<Result<Opened>()> open;
};

/// When to give up WAL rather than let pg_wal fill: archive-push-queue-max.
struct PushQueueLimit {
  std::optional<uint64_t> queue_bytes_max;  // Without it nothing is ever given up.
  std::string spool_directory;              // "<spool-path>/archive/<stanza>": for notes of what was given up.
};

struct ArchivePushAllResult {
  std::vector<ArchivePushResult> stored;  // One a target, in their order; empty if the segment was given up.
  bool dropped = false;                   // Acknowledged without being stored.
};

/// Push a file to all targets at a time. Ok only if it is durable in every one of them, or was given up under `limit`.
/// Errors: of the first target that failed, naming each that did; the others have the file all the same.
Result<ArchivePushAllResult> archive_push_all(const std::vector<PushTarget>& targets, Clock& clock,
                                              const ArchivePushOptions& options, const PushQueueLimit& limit);

/// What of several targets' errors is told: the first one's code and hints, and the message of each.
Error join_push_errors(std::vector<Error> errors, size_t target_count);

/// Give up a segment: note it for `waiting` (names of targets), durably, and warn. No value if the limit does not allow
/// it: not reached, none given, or the file is no segment. Errors: of looking, and of noting it.
Result<bool> drop_under_limit(const PushQueueLimit& limit, const std::string& source_path, const std::string& host,
                              const std::vector<std::string>& waiting, Clock& clock);

}  // namespace pgark
