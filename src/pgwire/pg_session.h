// A session with a PostgreSQL server: the seam between what pgark asks of a server and libpq.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/version.h"

namespace pgark {

/// Values of one row as text; no value for SQL NULL.
using PgRow = std::vector<std::optional<std::string>>;
using PgRows = std::vector<PgRow>;
using PgParams = std::vector<std::optional<std::string>>;

/// One session with one database. Belongs to one thread at a time. Every implementation guarantees:
/// - All statements of one object run in the same server session; once that is lost, every call fails, none reconnects.
/// - A call ends within the time limit the session was opened with, and soon after its token was cancelled.
/// - Errors name the server (never a password) and carry the server's text. A lost connection is kTransient.
class PgSession {
 public:
  virtual ~PgSession() = default;

  /// Run one statement with parameters $1, $2, ... as text.
  /// Errors: kPermission for missing rights; kTransient for a lost or refused connection and a passed time limit;
  ///         kCancelled; kNoSpace; kInvalid for what the state of the server does not allow; kUnsupported.
  virtual Result<PgRows> query(const std::string& sql, const PgParams& params = {}) = 0;

  /// Which server, user and database: "postgres at /run/postgresql:5432, database postgres".
  virtual std::string describe() const = 0;

  /// Run one statement for its effect.
  Result<> exec(const std::string& sql, const PgParams& params = {});
  /// First value of the first row; empty for NULL. Errors: also kInternal if there is no row.
  Result<std::string> query_value(const std::string& sql, const PgParams& params = {});
};

/// Where a server is and how to be known to it. A password comes from libpq's own places (PGPASSWORD, ~/.pgpass).
struct PgEndpoint {
  std::string host;         // For TCP; empty: a Unix socket.
  std::string socket_path;  // Directory of the Unix socket; empty: libpq's default.
  uint16_t port = 5432;
  std::string user;  // Empty: libpq's default, the system user.
  std::string database = "postgres";
  /// libpq's sslmode, sslrootcert, sslcert, sslkey and their kin, where given.
  std::vector<std::pair<std::string, std::string>> tls;
  std::string application_name = "pgark";  // "pgark [backup]"
  std::chrono::milliseconds connect_timeout{30'000};
  std::chrono::milliseconds query_timeout{1'800'000};  // db-timeout: of each statement.

  /// "socket /run/postgresql port 5432" or "host db1 port 5432".
  std::string where() const;
};

/// Open a session through libpq. `cancel` must outlive it.
/// Shape:  client encoding is the server's, so that text comes back byte for byte; search_path is pg_catalog only.
/// Errors: kTransient if there is no server, or it is starting; kPermission if it refuses the user, with hints.
Result<std::unique_ptr<PgSession>> open_pg_session(const PgEndpoint& endpoint, const CancelToken& cancel);

/// What a server says of itself.
struct ServerInfo {
  uint32_t version_num = 0;  // 150004
  pg::PgMajor major;
  uint64_t system_id = 0;
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  uint32_t wal_segment_bytes = 0;
  TimelineId timeline;  // On which WAL is written now; of the last checkpoint in recovery.
  bool in_recovery = false;
  std::string data_directory;                   // Empty if the role may not see it.
  std::map<std::string, std::string> settings;  // By name, unit applied as the server shows it.

  /// Value of a setting, empty if the server has none of that name or hides it.
  std::string setting(const std::string& name) const;
};

/// Ask a server what it is.
/// Errors: of query(); kUnsupported for a version out of range.
Result<ServerInfo> read_server_info(PgSession& session);

/// GRANT statements that give `user` what a backup of that version needs, for hints.
std::string grant_hint(pg::PgMajor major, const std::string& user);

/// Names of the functions that begin and end a backup on a version: "pg_backup_start" or "pg_start_backup".
std::string_view backup_start_function(pg::PgMajor major);
std::string_view backup_stop_function(pg::PgMajor major);

}  // namespace pgark
