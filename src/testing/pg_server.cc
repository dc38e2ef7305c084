// Finding PostgreSQL versions and running clusters of them.
#include "testing/pg_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <sstream>

#include "core/check.h"
#include "core/file.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using std::chrono::seconds;

// "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)" -> "15.20"
std::string version_in(const std::string& output) {
  std::istringstream words(output);
  std::string word;
  while (words >> word) {
    if (std::isdigit(static_cast<unsigned char>(word.front())) != 0) return word;
  }
  return {};
}

Result<PgInstall> probe(int major) {
  const std::string cache = servers_dir();
  for (const auto& bin : {fmt::format("/usr/lib/postgresql/{}/bin", major), fmt::format("{}/{}/bin", cache, major)}) {
    if (::access((bin + "/postgres").c_str(), X_OK) != 0) continue;
    TRY_ASSIGN(const std::string output, run_ok({bin + "/postgres", "--version"}, {}, seconds(30)));
    return PgInstall{.major = major, .version = version_in(output), .bin_dir = bin};
  }
  std::string reason = "no server in " + cache;
  if (auto noted = read_file(fmt::format("{}/{}.missing", cache, major)); noted) {
    reason = noted->substr(0, noted->find('\n'));
  }
  return Error(Errc::kNotFound, fmt::format("find PostgreSQL {}: {}", major, reason)).with_hint("run tools/servers.sh");
}

// Servers of one process get numbers of their own, so that a mixed-up pg1-port shows.
int next_port() {
  static std::atomic<int> next{5440};
  return next++;
}

struct ProcessState {
  pid_t parent = 0;
  char state = 'X';  // As /proc has it; X: gone.
};

ProcessState process_state(pid_t pid) {
  auto stat = read_file(fmt::format("/proc/{}/stat", pid));
  if (!stat) return {};
  // The name, in parentheses, may itself hold spaces and parentheses.
  std::istringstream rest(stat->substr(stat->rfind(')') + 1));
  ProcessState result;
  rest >> result.state >> result.parent;
  return result;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (pid > 0 && process_state(pid).parent == parent) children.push_back(pid);
  }
  return children;
}

bool has_ended(pid_t pid) {
  const char state = process_state(pid).state;
  return state == 'X' || state == 'Z';
}

int signal_of(StopMode mode) {
  switch (mode) {
    case StopMode::kSmart:
      return SIGTERM;
    case StopMode::kFast:
      return SIGINT;
    case StopMode::kImmediate:
      return SIGQUIT;
  }
  return SIGINT;
}

std::vector<std::string> initdb_command(const PgInstall& install, const std::string& data_dir,
                                        const PgOptions& options) {
  std::vector<std::string> argv{install.program("initdb"),
                                "-D",
                                data_dir,
                                "-U",
                                "postgres",
                                "-A",
                                "trust",
                                "-E",
                                "UTF8",
                                "--locale=C",
                                "--nosync"};
  if (options.checksums) argv.emplace_back("--data-checksums");
  if (!options.checksums && install.major >= 18) argv.emplace_back("--no-data-checksums");
  if (options.wal_segment_mib != 16) argv.push_back(fmt::format("--wal-segsize={}", options.wal_segment_mib));
  argv.insert(argv.end(), options.initdb_args.begin(), options.initdb_args.end());
  return argv;
}

}  // namespace

std::string servers_dir() {
  if (const char* dir = std::getenv("PGARK_SERVERS"); dir != nullptr && *dir != '\0') return dir;
  // The same places as tools/servers.sh.
  const char* home = std::getenv("HOME");
  const std::string own = std::string(home != nullptr ? home : "/") + "/.cache/pgark/servers";
  return ::access(own.c_str(), R_OK) == 0 ? own : "/var/cache/pgark/servers";
}

bool PgInstall::has(std::string_view name) const { return ::access(program(name).c_str(), X_OK) == 0; }

const std::vector<int>& supported_majors() {
  static const std::vector<int> majors{15, 10, 11, 12, 13, 14, 16, 17, 18, 19};
  return majors;
}

Result<PgInstall> find_install(int major) {
  for (const auto& install : installs()) {
    if (install.major == major) return install;
  }
  return probe(major);  // For its reason.
}

const std::vector<PgInstall>& installs() {
  static const std::vector<PgInstall> found = [] {
    std::vector<PgInstall> result;
    for (const int major : supported_majors()) {
      if (auto install = probe(major); install) result.push_back(std::move(*install));
    }
    return result;
  }();
  return found;
}

bool slow_tests() {
  const char* slow = std::getenv("PGARK_SLOW");
  return slow != nullptr && std::string_view(slow) == "1";
}

std::string major_name(int major) { return fmt::format("Pg{}", major); }

PgServer::PgServer(PgInstall install, ScratchDir scratch)
    : install_(std::move(install)), scratch_(std::move(scratch)), port_(next_port()) {}

PgServer::~PgServer() {
  if (running()) (void)stop(StopMode::kImmediate);
}

Error PgServer::failed(std::string_view what) const {
  return Error(Errc::kInternal,
               fmt::format("{} (PostgreSQL {} in {})\n{}", what, install_.version, data_dir_, log_tail()));
}

Result<std::unique_ptr<PgServer>> PgServer::create(const PgInstall& install, const PgOptions& options) {
  TRY_ASSIGN(ScratchDir scratch, ScratchDir::create(fmt::format("pg{}", install.major)));
  std::unique_ptr<PgServer> server(new PgServer(install, std::move(scratch)));
  server->data_dir_ = server->scratch_ / "data";
  server->durable_ = options.durable;
  // Time zone and language of the machine must not show in what tests compare.
  const ProcessOptions environment{.env = {"LC_ALL=C", "TZ=UTC"}};
  TRY_CTX(run_ok(initdb_command(install, server->data_dir_, options), environment), "create cluster");
  for (const char* line : {"max_connections = 50", "shared_buffers = 64MB", "max_wal_senders = 10",
                           "log_line_prefix = '%m [%p] %b '", "log_checkpoints = on"}) {
    // %b came with 13.
    TRY(server->configure(
        install.major < 13 && std::string_view(line).starts_with("log_line") ? "log_line_prefix = '%m [%p] '" : line));
  }
  for (const auto& line : options.config) TRY(server->configure(line));
  return server;
}

Result<std::unique_ptr<PgServer>> PgServer::adopt(std::string data_dir, const PgInstall& install,
                                                  std::vector<std::string> settings) {
  TRY_ASSIGN(ScratchDir scratch, ScratchDir::create(fmt::format("pg{}", install.major)));
  std::unique_ptr<PgServer> server(new PgServer(install, std::move(scratch)));
  server->data_dir_ = std::move(data_dir);
  server->settings_ = std::move(settings);
  return server;
}

std::string PgServer::conninfo(std::string_view database) const {
  return fmt::format("host={} port={} user=postgres dbname={} connect_timeout=20", socket_dir(), port_, database);
}

Result<> PgServer::configure(std::string_view line) {
  TRY_ASSIGN(const File file, File::open(data_dir_ + "/postgresql.conf", O_WRONLY | O_APPEND));
  return file.write(as_bytes(std::string(line) + "\n"));
}

Result<> PgServer::reload() {
  const auto loaded_at = [&] { return query("SELECT pg_conf_load_time()::text"); };
  const auto before = loaded_at();
  TRY(postmaster_.signal(SIGHUP));
  if (!before) return {};  // It takes no connections.
  // The postmaster tells its children before it answers anybody new.
  return wait_for("the settings to be read again", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows now, loaded_at());
    return now.text() != before->text();
  });
}

Result<> PgServer::launch() {
  if (running()) return Error(Errc::kInvalid, "start server: it is running");
  std::vector<std::string> argv{install_.program("postgres"), "-D", data_dir_,   "-p",
                                fmt::format("{}", port_),     "-k", socket_dir()};
  std::vector<std::string> settings{"listen_addresses=", "logging_collector=off", "log_destination=stderr"};
  if (!durable_) settings.emplace_back("fsync=off");
  settings.insert(settings.end(), settings_.begin(), settings_.end());
  for (const auto& setting : settings) {
    argv.emplace_back("-c");
    argv.push_back(setting);
  }
  std::vector<std::string> environment = without_test_settings();  // archive_command runs pgark.
  environment.emplace_back("LC_ALL=C");
  const ProcessOptions options{.env = std::move(environment), .output_path = log_path(), .die_with_caller = true};
  TRY_ASSIGN(postmaster_, Process::start(std::move(argv), options));
  return {};
}

Result<> PgServer::start() {
  TRY(launch());
  TRY(connect());
  return {};
}

Result<> PgServer::stop(StopMode mode) {
  {
    const MutexLock lock(mu_);
    connection_ = {};
  }
  if (!running()) return {};
  TRY(postmaster_.signal(signal_of(mode)));
  TRY_ASSIGN(const ProcessResult end, postmaster_.wait(seconds(120)));
  if (end.timed_out) return failed("stop server: not within 120 s");
  return {};
}

Result<> PgServer::restart() {
  TRY(stop());
  return start();
}

Result<> PgServer::kill() {
  {
    const MutexLock lock(mu_);
    connection_ = {};
  }
  if (!running()) return {};
  const std::vector<pid_t> children = children_of(postmaster_.pid());
  TRY(postmaster_.kill_and_wait());
  // They notice within moments; a new postmaster refuses to start while one still has the shared memory.
  return wait_for("the children of a killed postmaster to end",
                  [&]() -> Result<bool> { return std::all_of(children.begin(), children.end(), has_ended); });
}

bool PgServer::running() { return postmaster_.running(); }

Result<PgConnection> PgServer::connect(std::string_view database) {
  PgConnection connection;
  std::string refusal;
  const auto waited = wait_for(
      "the server to take connections",
      [&]() -> Result<bool> {
        auto attempt = PgConnection::open(conninfo(database));
        if (attempt) {
          connection = std::move(*attempt);
          return true;
        }
        refusal = attempt.error().message();
        if (!running()) return Error(Errc::kInternal, "the server has ended");
        // What will not pass by waiting: "database does not exist" and the like.
        if (refusal.find("does not exist") != std::string::npos && refusal.find("database") != std::string::npos) {
          return Error(Errc::kInvalid, refusal);
        }
        return false;
      },
      seconds(120));
  if (!waited) return failed(fmt::format("{}: {}", waited.error().message(), refusal));
  return connection;
}

Result<PgRows> PgServer::query(const std::string& sql) {
  const MutexLock lock(mu_);
  if (!connection_.is_open()) {
    TRY_ASSIGN(connection_, connect());
  }
  auto rows = connection_.query(sql);
  // Not tried again: nobody knows whether it ran. The next call connects anew.
  if (!rows && rows.error().code() == Errc::kTransient) connection_ = {};
  return rows;
}

Result<> PgServer::exec(const std::string& sql) {
  TRY(query(sql));
  return {};
}

Result<RecoveryEnd> PgServer::wait_for_recovery_end(std::chrono::milliseconds bound) {
  RecoveryEnd end = RecoveryEnd::kPromoted;
  const auto waited = wait_for(
      "recovery to end",
      [&]() -> Result<bool> {
        if (!running()) {
          TRY_ASSIGN(const ProcessResult exit, postmaster_.wait());
          if (exit.exit_code != 0) return Error(Errc::kInternal, "the server died with " + exit.to_string());
          end = RecoveryEnd::kShutDown;
          return true;
        }
        // A new connection each time: hot standby cancels and promotion keeps, neither is worth a case here.
        auto connection = PgConnection::open(conninfo());
        if (!connection) return false;
        auto rows = connection->query(
            "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END");
        if (!rows) return false;
        end = rows->text(0, 0) == "f" ? RecoveryEnd::kPromoted : RecoveryEnd::kPaused;
        return end == RecoveryEnd::kPromoted || rows->text(0, 1) == "t";
      },
      bound);
  if (!waited) return failed(waited.error().message());
  return end;
}

Result<> PgServer::promote() {
  TRY_CTX(run_ok({install_.program("pg_ctl"), "promote", "-W", "-D", data_dir_}), "promote server");
  return wait_for("promotion", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, query("SELECT pg_is_in_recovery()"));
    return rows.text() == "f";
  });
}

Result<Lsn> PgServer::current_lsn() {
  TRY_ASSIGN(const PgRows rows, query("SELECT pg_current_wal_insert_lsn()"));
  return parse_lsn(rows.text());
}

Result<uint64_t> PgServer::system_identifier() {
  TRY_ASSIGN(const PgRows rows, query("SELECT system_identifier FROM pg_control_system()"));
  return static_cast<uint64_t>(rows.integer());
}

Result<TimelineId> PgServer::timeline() {
  // pg_control has the timeline only after the next checkpoint; the name of the current segment has it at once.
  TRY_ASSIGN(const PgRows rows, query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"));
  return TimelineId{static_cast<uint32_t>(std::strtoul(rows.text().substr(0, 8).c_str(), nullptr, 16))};
}

Result<std::string> PgServer::create_tablespace(const std::string& name) {
  const std::string location = scratch_ / ("ts_" + name);
  TRY(make_directories(location, 0700));
  TRY(exec(fmt::format("CREATE TABLESPACE {} LOCATION {}", name, sql_literal(location))));
  return location;
}

Result<std::string> PgServer::archive_all(std::chrono::milliseconds bound) {
  // A transaction of its own, so that there is something to switch, and a commit that a recovery to any earlier time
  // can stop at.
  TRY(exec("SELECT txid_current()"));
  TRY_ASSIGN(const PgRows switched, query("SELECT pg_switch_wal()"));
  TRY_ASSIGN(const Lsn end, parse_lsn(switched.text()));
  // One byte back: at an exact boundary versions disagree on the segment that an LSN is in.
  TRY_ASSIGN(const PgRows name, query(fmt::format("SELECT pg_walfile_name('{}')", to_string(Lsn{end.bytes - 1}))));
  const std::string segment = name.text();
  const std::string done = fmt::format("{}/pg_wal/archive_status/{}.done", data_dir_, segment);
  std::string failure;
  const auto waited = wait_for(
      "segment " + segment + " to be archived",
      [&]() -> Result<bool> {
        if (::access(done.c_str(), F_OK) == 0) return true;
        // The mark goes with the segment when that is recycled.
        TRY_ASSIGN(const PgRows rows, query("SELECT coalesce(left(last_archived_wal, 24), ''), "
                                            "coalesce(last_failed_wal, '') FROM pg_stat_archiver"));
        failure = rows.text(0, 1);
        return rows.text(0, 0) >= segment && rows.text(0, 0).size() == segment.size();
      },
      bound);
  if (!waited)
    return failed(fmt::format("{}; last failure: '{}'", waited.error().message(), failure)).with_code(Errc::kTransient);
  return segment;
}

std::string PgServer::log_tail(size_t lines) const {
  auto text = read_file(log_path(), 1u << 30);
  if (!text) return text.error().message();
  std::deque<std::string> tail;
  std::istringstream stream(*text);
  for (std::string line; std::getline(stream, line);) {
    tail.push_back(line);
    if (tail.size() > lines) tail.pop_front();
  }
  return fmt::format("log of the server:\n{}", fmt::join(tail, "\n"));
}

}  // namespace pgark::testing
