// initdb, the server as a child of ours, and an end to both in every case.
#include "ops/scratch_cluster.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include "core/file.h"
#include "core/log.h"
#include "core/subprocess.h"
#include "core/thread_annotations.h"
#include "ops/load_archive.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kDatabase = "pgark_verify_scratch";
constexpr size_t kSocketDirectoryMax = 80;  // sun_path holds 107 bytes, of which the name takes 16.
constexpr milliseconds kLook{50};
constexpr milliseconds kStartBound{120'000};
constexpr milliseconds kFastStop{10'000};
constexpr milliseconds kImmediateStop{5'000};
constexpr size_t kLogLines = 10;

// Whatever of these the operator has set is about another server.
const std::vector<std::string> kForeignVariables = {"PGDATA",     "PGPORT",    "PGOPTIONS", "PGHOST",     "PGUSER",
                                                    "PGDATABASE", "PGSERVICE", "PGTZ",      "PGDATESTYLE"};

/// The last lines of the server's log.
class ServerLog {
 public:
  void add(std::string_view line) {
    const MutexLock lock(mu_);
    lines_.emplace_back(line);
    if (lines_.size() > kLogLines) lines_.erase(lines_.begin());
  }
  std::string text() const {
    const MutexLock lock(mu_);
    std::string all;
    for (const std::string& line : lines_) all += (all.empty() ? "" : "; ") + line;
    return all;
  }

 private:
  mutable Mutex mu_;
  std::vector<std::string> lines_ GUARDED_BY(mu_);
};

class RunningCluster : public ScratchCluster {
 public:
  RunningCluster(ScratchDirectory directory, std::optional<ScratchDirectory> sockets, Clock& clock)
      : directory_(std::move(directory)), sockets_(std::move(sockets)), clock_(clock) {}
  ~RunningCluster() override { stop(); }

  const PgEndpoint& endpoint() const override { return endpoint_; }
  const std::string& directory() const override { return directory_.path(); }

  Result<> run(const ScratchClusterOptions& options, const CancelToken& cancel) {
    TRY_CTX(make(options, cancel), "make a scratch cluster");
    TRY_CTX(launch(options, cancel), "start the scratch cluster");
    return prepare(cancel);
  }

 private:
  std::string data() const { return directory_.path() + "/data"; }
  const std::string& socket_directory() const { return sockets_ ? sockets_->path() : directory_.path(); }

  Result<> make(const ScratchClusterOptions& given, const CancelToken& cancel) const {
    SubprocessOptions options;
    options.program = given.programs.path("initdb");
    // Databases bring encoding and locale along.
    options.arguments = {"--pgdata=" + data(), "--username=" + given.superuser,
                         "--auth=trust",       "--encoding=UTF8",
                         "--locale=C",         "--no-sync"};
    options.environment = {{"LC_ALL", "C"}};
    options.unset = kForeignVariables;
    TRY(run_program(std::move(options), cancel));
    return {};
  }

  Result<> launch(const ScratchClusterOptions& given, const CancelToken& cancel) {
    SubprocessOptions options;
    options.program = given.programs.path("postgres");
    options.arguments = {"-D", data(), "-k", socket_directory(), "-p", "5432"};
    for (const char* setting :
         {"listen_addresses=", "unix_socket_permissions=0700", "fsync=off", "synchronous_commit=off",
          "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "archive_mode=off", "autovacuum=off",
          "max_wal_size=4GB", "max_locks_per_transaction=1024", "logging_collector=off", "log_destination=stderr"}) {
      options.arguments.emplace_back("-c");
      options.arguments.emplace_back(setting);
    }
    options.arguments.insert(options.arguments.end(),
                             {"-c", fmt::format("max_connections={}", 20 + 2 * given.connections)});
    options.unset = kForeignVariables;
    options.on_error_line = [log = log_](std::string_view line) { log->add(line); };
    TRY_ASSIGN(Subprocess server, Subprocess::start(std::move(options)));
    server_.emplace(std::move(server));
    endpoint_.socket_path = socket_directory();
    endpoint_.user = given.superuser;
    endpoint_.database = "postgres";
    return wait_until_it_answers(cancel);
  }

  Result<> wait_until_it_answers(const CancelToken& cancel) {
    const auto bound = clock_.steady() + kStartBound;
    while (true) {
      TRY(cancel.check());
      auto session = open_pg_session(endpoint_, cancel);
      if (session) return {};
      if (server_->has_ended()) return Error(Errc::kInvalid, "the server ended: " + log_->text());
      if (session.error().code() != Errc::kTransient || clock_.steady() > bound)
        return std::move(session).error().with_hint("its log ends with: " + log_->text());
      clock_.sleep_for(kLook);
    }
  }

  // A database of our own to connect to, so that the dump's "postgres" can be made like any other.
  Result<> prepare(const CancelToken& cancel) {
    {
      TRY_ASSIGN(auto session, open_pg_session(endpoint_, cancel));
      TRY(session->exec(fmt::format("CREATE DATABASE {} TEMPLATE template0", kDatabase)));
    }
    endpoint_.database = kDatabase;
    TRY_ASSIGN(auto session, open_pg_session(endpoint_, cancel));
    // The session that was just closed may be there for a moment still.
    for (int attempt = 0;; ++attempt) {
      auto dropped = session->exec("DROP DATABASE postgres");
      if (dropped || attempt == 100 || dropped.error().code() == Errc::kCancelled) return dropped;
      clock_.sleep_for(kLook);
    }
  }

  void stop() {
    if (!server_) return;
    for (const auto& [signal, bound] : {std::pair(SIGINT, kFastStop), std::pair(SIGQUIT, kImmediateStop)}) {
      if (server_->has_ended()) break;
      ::kill(server_->pid(), signal);
      for (milliseconds waited{0}; waited < bound && !server_->has_ended(); waited += kLook) clock_.sleep_for(kLook);
    }
    if (!server_->has_ended()) log_warn("the scratch server does not stop and is killed");
    server_.reset();
  }

  // Destroyed after the server that uses them.
  ScratchDirectory directory_;
  std::optional<ScratchDirectory> sockets_;
  Clock& clock_;
  std::shared_ptr<ServerLog> log_ = std::make_shared<ServerLog>();  // Also the thread's that reads the log.
  PgEndpoint endpoint_;
  std::optional<Subprocess> server_;
};

bool is_fit_for_sockets(const std::string& path) {
  // A list in a setting: separators would split it.
  return path.size() <= kSocketDirectoryMax && path.find_first_of(", \"'\\") == std::string::npos;
}

}  // namespace

Result<PgClientSet> choose_scratch_server(const std::vector<PgClientSet>& sets, unsigned major) {
  const PgClientSet* best = nullptr;
  std::string found;
  for (const PgClientSet& set : sets) {
    if (!set.has("initdb") || !set.has("postgres")) continue;
    found += fmt::format("{}{} in {}", found.empty() ? "" : ", ", set.version, set.directory);
    if (set.major < major) continue;
    const bool is_nearer = best != nullptr && (major == 0 ? set.major > best->major : set.major < best->major);
    if (best == nullptr || is_nearer || (set.major == best->major && set.minor > best->minor)) best = &set;
  }
  if (best != nullptr) return *best;
  return Error(Errc::kUnsupported,
               fmt::format("there is no server of PostgreSQL {} or newer on this machine for a scratch cluster (found: "
                           "{})",
                           major, found.empty() ? "none" : found))
      .with_hint(fmt::format("install the server's package, such as postgresql-{}, name its directory with "
                             "--client-path, or use --scratch=database",
                             major == 0 ? 18 : major));
}

Result<std::unique_ptr<ScratchCluster>> ScratchCluster::start(const ScratchClusterOptions& options, Clock& clock,
                                                              const CancelToken& cancel) {
  if (::geteuid() == 0)
    return Error(Errc::kInvalid, "make a scratch cluster: PostgreSQL does not run as root")
        .with_hint("run pgark as another user, such as the server's: runuser -u postgres -- pgark ...")
        .with_hint("or use scratch databases on the configured server: --scratch=database");
  TRY_ASSIGN_CTX(ScratchDirectory directory, ScratchDirectory::create(options.parent), "make a scratch cluster");
  std::optional<ScratchDirectory> sockets;
  if (!is_fit_for_sockets(directory.path())) {
    TRY_ASSIGN_CTX(ScratchDirectory elsewhere, ScratchDirectory::create("/tmp"), "make a directory for a socket");
    sockets.emplace(std::move(elsewhere));
  }
  auto cluster = std::make_unique<RunningCluster>(std::move(directory), std::move(sockets), clock);
  TRY(cluster->run(options, cancel));
  return std::unique_ptr<ScratchCluster>(std::move(cluster));
}

}  // namespace pgark
