// Real PostgreSQL servers for tests: find the installed versions, create clusters, run SQL, stop and crash them.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "testing/pg_connection.h"
#include "testing/process.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// One installed PostgreSQL version.
struct PgInstall {
  int major = 0;
  std::string version = {};  // "15.20"
  std::string bin_dir = {};

  std::string program(std::string_view name) const { return bin_dir + "/" + std::string(name); }
  /// Whether a program is there: the small builds have only initdb, pg_ctl and postgres.
  bool has(std::string_view name) const;
};

/// The cache that `tools/servers.sh` fills: $PGARK_SERVERS or its default.
std::string servers_dir();

/// Majors that pgark supports and tests are parametrised by: 15 first, because it is the one that must be there.
const std::vector<int>& supported_majors();
/// What is installed, in the order of supported_majors(): $PGARK_SERVERS/<major>/bin (default: the cache that
/// `tools/servers.sh` fills) and Debian's /usr/lib/postgresql/<major>/bin, the latter first because it is complete.
const std::vector<PgInstall>& installs();
/// Errors: kNotFound with the reason that `tools/servers.sh` noted.
Result<PgInstall> find_install(int major);
/// Name of a parametrised test's instance: "Pg15".
std::string major_name(int major);

/// Whether the long tests were asked for (PGARK_SLOW=1).
bool slow_tests();

struct PgOptions {
  bool checksums = true;
  int wal_segment_mib = 16;              // 1 to 1024, a power of two; version 10 takes only 16.
  bool durable = false;                  // false: fsync=off, for speed.
  std::vector<std::string> config = {};  // Lines of postgresql.conf: "name = value".
  std::vector<std::string> initdb_args = {};
};

enum class StopMode : unsigned char { kSmart, kFast, kImmediate };
/// How recovery of a restored directory ended.
enum class RecoveryEnd : unsigned char { kPromoted, kPaused, kShutDown };

/// One cluster and its server. Listens on a Unix socket only, in a scratch directory of its own. The destructor stops
/// the server; a killed test takes its servers along. Methods may be called from several threads, except start and
/// stop.
class PgServer {
 public:
  /// Create a cluster (user postgres, trust, locale C, UTF8). It is not started.
  static Result<std::unique_ptr<PgServer>> create(const PgInstall& install, const PgOptions& options = {});
  /// Take an existing data directory, for example a restored one. Nothing in it is changed; port, socket directory and
  /// `settings` ("name=value") are given on the server's command line. The directory is not removed at the end.
  static Result<std::unique_ptr<PgServer>> adopt(std::string data_dir, const PgInstall& install,
                                                 std::vector<std::string> settings = {});
  ~PgServer();

  const PgInstall& install() const { return install_; }
  int major() const { return install_.major; }
  const std::string& data_dir() const { return data_dir_; }
  const std::string& socket_dir() const { return scratch_.path(); }
  int port() const { return port_; }
  const ScratchDir& scratch() const { return scratch_; }
  std::string conninfo(std::string_view database = "postgres") const;

  /// Append a line to postgresql.conf; takes effect at the next start or reload().
  Result<> configure(std::string_view line);
  /// Have postgresql.conf read again; every process was told when this returns, if the server takes connections.
  Result<> reload();

  /// Start the postmaster and wait until it takes connections.
  /// Errors: kInternal with the tail of the log when it dies or does not answer.
  Result<> start();
  /// Start the postmaster and return at once.
  Result<> launch();
  Result<> stop(StopMode mode = StopMode::kFast);
  Result<> restart();
  /// kill -9 of the postmaster; its children follow.
  Result<> kill();
  bool running();
  pid_t postmaster_pid() const { return postmaster_.pid(); }

  /// Wait until recovery promoted, paused or (recovery_target_action=shutdown) shut the server down.
  /// Errors: kInternal with the tail of the log when the server died or the bound passed.
  Result<RecoveryEnd> wait_for_recovery_end(std::chrono::milliseconds bound = std::chrono::seconds(120));
  Result<> promote();

  /// A new connection, retried while the server is starting up.
  Result<PgConnection> connect(std::string_view database = "postgres");
  /// SQL on a connection that is kept open (opened again after a restart) and shared under a lock.
  Result<PgRows> query(const std::string& sql);
  Result<> exec(const std::string& sql);

  /// pg_current_wal_insert_lsn(): end of the last record.
  Result<Lsn> current_lsn();
  Result<uint64_t> system_identifier();
  Result<TimelineId> timeline();
  /// Create a tablespace in the scratch directory; its location.
  Result<std::string> create_tablespace(const std::string& name);
  /// Switch the segment and wait until it is archived; its name. Everything committed before is then in the archive.
  /// Errors: kTransient with the archiver's last failure and the tail of the log when the bound passes.
  Result<std::string> archive_all(std::chrono::milliseconds bound = std::chrono::seconds(180));

  std::string log_path() const { return scratch_ / "log"; }
  std::string log_tail(size_t lines = 25) const;

 private:
  PgServer(PgInstall install, ScratchDir scratch);
  Error failed(std::string_view what) const;

  PgInstall install_;
  ScratchDir scratch_;
  std::string data_dir_;
  int port_ = 0;
  bool durable_ = false;
  std::vector<std::string> settings_;
  Process postmaster_;
  Mutex mu_;
  PgConnection connection_ GUARDED_BY(mu_);
};

}  // namespace pgark::testing

/// Declare `install`, the PostgreSQL of a major version, or skip the test with the reason why there is none. Version 15
/// missing is a failure.
#define PGARK_REQUIRE_PG(install, major)                                                \
  const auto install##_found = ::pgark::testing::find_install(major);                   \
  if (!install##_found && (major) == 15) FAIL() << install##_found.error().to_string(); \
  if (!install##_found) GTEST_SKIP() << install##_found.error().to_string();            \
  const ::pgark::testing::PgInstall& install = *install##_found

/// Skip a long test unless `./dev test --slow` asked for it.
#define PGARK_REQUIRE_SLOW() \
  if (!::pgark::testing::slow_tests()) GTEST_SKIP() << "long; run ./dev test --slow"

/// Stop the test unless a Result is ok, printing its error.
#define ASSERT_OK(expr)                                                                \
  do {                                                                                 \
    const auto& assert_ok_result = (expr);                                             \
    ASSERT_TRUE(assert_ok_result.has_value()) << assert_ok_result.error().to_string(); \
  } while (false)

/// Declare or assign `lhs` from the value of a Result, or stop the test.
#define ASSERT_OK_AND_ASSIGN(lhs, expr) ASSERT_OK_AND_ASSIGN_IMPL_(PGARK_CONCAT(assert_value_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_IMPL_(var, lhs, expr)         \
  auto var = (expr);                                       \
  ASSERT_TRUE(var.has_value()) << var.error().to_string(); \
  lhs = std::move(*var)
