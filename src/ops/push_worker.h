// The background worker of asynchronous archiving: one process a stanza, which pushes ahead what the server has ready
// and answers archive-push.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/local_lock.h"
#include "ops/push_engine.h"
#include "ops/push_socket.h"

namespace pgark {

struct PushWorkerOptions {
  PushEngineOptions engine;   // on_change is the worker's own.
  std::string directory;      // push_directory().
  std::string wal_directory;  // Whose archive_status is pushed ahead; absolute.
  PushQueueLimit limit;
  std::string settings_id;  // What clients with the same settings send; no spaces.
  std::chrono::milliseconds archive_timeout{60'000};
  std::chrono::milliseconds idle_after{60'000};
  std::function<int(const Error&)> exit_code;
  std::function<Result<>()> check_stopped;  // An error once `pgark stop` was given. May be empty.
  std::function<bool()> settings_changed;   // May be empty.
};

class PushWorker {
 public:
  /// Take the stanza's lock and listen. Errors: kAlreadyExists if another worker is running; of the spool.
  static Result<std::unique_ptr<PushWorker>> open(std::vector<PushTarget> targets, Clock& clock,
                                                  PushWorkerOptions options);
  ~PushWorker();

  /// Serve until there was nothing to do for a while, pgark was stopped, the settings changed, or `cancel`. What is
  /// being pushed then is finished; clients without an answer ask the next worker.
  Result<> run(const CancelToken& cancel);

 private:
  struct Client {
    File socket;
    std::string input;
    std::string path;  // Asked for; empty before.
    std::chrono::steady_clock::time_point deadline{};
  };

  PushWorker(Clock& clock, PushWorkerOptions options, LocalLock lock, File listener, File wake);

  std::string reason_to_end(const CancelToken& cancel);
  Result<> wait();
  void accept_clients();
  /// False once the client is done with or gone.
  bool serve(Client& client);
  bool read_request(Client& client);
  bool take_request(Client& client, const std::string& line);
  bool give_up(Client& client);
  bool reply(Client& client, const Result<>& outcome);
  void scan();

  Clock& clock_;
  const PushWorkerOptions options_;
  LocalLock lock_;
  File listener_;
  File wake_;  // eventfd: something ended in the engine.
  std::vector<Client> clients_;
  std::chrono::steady_clock::time_point last_client_{};
  std::chrono::steady_clock::time_point next_scan_{};
  bool ready_left_ = false;  // The last scan found files.
  bool settings_differ_ = false;
  std::unique_ptr<PushEngine> engine_;  // Last: ends first.
};

}  // namespace pgark
