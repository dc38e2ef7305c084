// The background pusher's engine: which file goes to which repository when. Every repository has its own order of work
// and its own threads, so that one that is down or slow delays only itself.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/thread_annotations.h"
#include "ops/archive_push.h"
#include "ops/push_ready.h"
#include "pipe/task_group.h"

namespace pgark {

struct PushEngineOptions {
  ArchivePushOptions push;                      // Without source_path.
  unsigned threads = 1;                         // Of each repository, that compress; others only wait for it.
  uint64_t bytes_max = 128u << 20;              // Of files that are being pushed, all repositories together.
  size_t files_max = 65536;                     // Whose outcome is remembered: how far ahead of the server.
  std::string spool_directory;                  // For notes of what was given up.
  std::chrono::milliseconds retry_first{1000};  // After a failure nobody waits for; doubles with each.
  std::chrono::milliseconds retry_max{30'000};
  std::chrono::milliseconds trust{30'000};  // How long a repository is believed to be the one that was opened.
  std::function<void()> on_change;          // Called, by any thread, when something ended. Must not call back.
};

/// Pushes what the server has ready, histories first, then oldest first, and before that what clients wait for. It
/// remembers what is durable, bound to the file that was read. Rules of its order:
/// - Ahead of a request, a timeline's files go one by one until the repository has taken one, and not at all for a
/// while
///   after it refused one: a cluster that is not the stanza's never slips a later segment past the refused one.
/// - What failed ahead of a request is no error yet. It is tried again later, and at once when a client asks for it.
class PushEngine {
 public:
  PushEngine(std::vector<PushTarget> targets, Clock& clock, PushEngineOptions options);
  ~PushEngine();

  /// What waits in `wal_directory` now; what was pushed and waits no more is forgotten.
  void offer(const std::string& wal_directory, ReadyFiles ready);

  /// A client waits for this file until release(): what failed before is tried again.
  void request(const std::string& path);
  /// How it ended: ok once every repository has the file as it is now. No value while some push of it is under way.
  std::optional<Result<>> answer(const std::string& path);
  /// What answer() waits for, as an error that names each repository that lags, how far and since when.
  Error lag(const std::string& path);
  void release(const std::string& path);
  /// Names of the repositories that are not known to have the file as it is now.
  std::vector<std::string> missing_in(const std::string& path);

  /// Notes of segments that were given up have been added.
  void drops_added();
  /// Whether something is being pushed or waited for.
  bool busy();
  /// Finish what is being pushed, begin nothing more.
  void stop();

 private:
  using Steady = std::chrono::steady_clock::time_point;
  enum class State : unsigned char { kIdle, kRunning, kDone, kFailed };
  struct Attempt {
    State state = State::kIdle;
    FileIdentity identity;  // kDone: of what was stored.
    std::optional<Error> error;
    Steady retry_at{};
  };
  struct Job {
    TimelineId timeline;
    bool is_segment = false;
    unsigned waiters = 0;
    std::vector<Attempt> attempts;  // One a lane.
  };
  /// A repository as it was opened; the threads in the middle of a push share it with the lane.
  struct Open {
    PushTarget::Opened repository;
    std::unique_ptr<StanzaPusher> pusher;
  };
  struct Timeline {
    bool accepted = false;  // The repository took a segment of it.
    unsigned running = 0;
    Steady blocked_until{};
  };
  struct Lane {
    PushTarget target;
    std::shared_ptr<Open> open;
    std::optional<RepositoryId> known_id;  // Of the repository and stanza that was open last.
    ClusterRecord known_cluster;
    std::optional<Error> open_error;
    Steady opened_at{};
    bool opening = false;
    unsigned running = 0;
    unsigned holding = 0;              // Of those, who have a file in memory.
    unsigned computing = 0;            // Of those, whose turn it is to compress.
    std::multiset<std::string> turns;  // Names of the files that wait for it.
    uint64_t running_bytes = 0;
    size_t cursor = 0;  // Into ready_.names: what lies before has been looked at since the last offer().
    Steady paused_until{};
    std::chrono::milliseconds pause{0};
    std::optional<Error> last_error;
    Timestamp failing_since{};
    std::map<TimelineId, Timeline> timelines;
    bool drops_pending = true;  // Those of an earlier worker.
    bool drops_running = false;
    bool verifying = false;
  };
  enum class Kind : unsigned char { kFile, kDrops, kVerify };
  struct Work {
    Kind kind = Kind::kFile;
    std::string path;
    uint64_t bytes = 0;
  };
  struct Outcome {
    Result<> result;
    FileIdentity identity;
    bool of_repository = false;  // The failure says something of the repository, not of the file.
  };

  Result<> run_lane(size_t lane);
  std::optional<Work> pick(size_t lane) REQUIRES(mu_);
  std::optional<Work> pick_ahead(size_t lane) REQUIRES(mu_);
  bool may_go_ahead(const Lane& lane, const std::string& path, size_t lane_index, Steady now) REQUIRES(mu_);
  Work begin(size_t lane, const std::string& path, uint64_t bytes) REQUIRES(mu_);
  /// What a push in one thread has of its lane's.
  struct Share {
    bool holds = true;
    bool computes = false;
  };
  /// `room` is memory for the file.
  Outcome push_file(size_t lane, const std::string& path, Buffer room);
  /// Wait until the lane has a processor for the file: the first by name goes first.
  void begin_work(size_t lane, const std::string& name, Share& share);
  /// Let others compress, and use the memory: only the store is waited for.
  void end_work(size_t lane, Share& share, Buffer room);
  void finish_file(size_t lane, const Work& work, Outcome outcome) REQUIRES(mu_);
  void note_failure(Lane& lane, const Error& error) REQUIRES(mu_);
  void note_success(Lane& lane) REQUIRES(mu_);
  Result<> carry_drops(size_t lane);
  /// The repository, opened now unless it is trusted.
  Result<std::shared_ptr<Open>> open_lane(size_t lane);
  Job& job_of(const std::string& path) REQUIRES(mu_);
  bool trusted(const Lane& lane) REQUIRES(mu_);
  std::string lag_text(size_t lane) REQUIRES(mu_);

  Clock& clock_;
  const PushEngineOptions options_;
  Mutex mu_;
  CondVar changed_;
  CondVar turn_;  // Somebody has compressed.
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<Lane> lanes_ GUARDED_BY(mu_);
  std::map<std::string, Job> jobs_ GUARDED_BY(mu_);     // By path.
  std::vector<std::string> requested_ GUARDED_BY(mu_);  // Paths with waiters, in the order to push them.
  std::string wal_directory_ GUARDED_BY(mu_);
  ReadyFiles ready_ GUARDED_BY(mu_);
  std::vector<Buffer> rooms_ GUARDED_BY(mu_);  // Memory of files that were pushed, for the next ones.
  TaskGroup group_;                            // Last: its threads end before what they use.
};

}  // namespace pgark
