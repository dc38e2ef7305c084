// Sessions through libpq's asynchronous interface, so that a time limit or a signal can end any wait.
#include "pgwire/pg_session.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "core/log.h"
#include "pgwire/libpq.h"
#include "pgwire/pg_error.h"

namespace pgark {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// How long a wait sleeps before it looks at the token again.
constexpr std::chrono::milliseconds kCancelPoll{100};

struct FinishConnection {
  void operator()(PGconn* connection) const { pq().PQfinish(connection); }
};
struct ClearResult {
  void operator()(PGresult* result) const { pq().PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, FinishConnection>;
using QueryResult = std::unique_ptr<PGresult, ClearResult>;

enum class Readiness : unsigned char { kReady, kTimedOut, kCancelled, kBroken };

/// Wait until the socket can be read or written, the token is cancelled or the deadline has passed.
Readiness wait_socket(int fd, short events, SteadyTime deadline, const CancelToken& cancel) {
  for (;;) {
    if (cancel.cancelled()) return Readiness::kCancelled;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Readiness::kTimedOut;
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min(left, kCancelPoll).count()));
    if (ready > 0) return Readiness::kReady;
    if (ready < 0 && errno != EINTR) return Readiness::kBroken;
  }
}

std::string field(const PGresult* result, int code) {
  const char* text = pq().PQresultErrorField(result, code);
  return text == nullptr ? std::string() : std::string(text);
}

class LibpqSession final : public PgSession {
 public:
  LibpqSession(Connection connection, std::string where, std::chrono::milliseconds query_timeout,
               const CancelToken& cancel)
      : connection_(std::move(connection)), where_(std::move(where)), query_timeout_(query_timeout), cancel_(cancel) {}

  Result<PgRows> query(const std::string& sql, const PgParams& params) override {
    if (lost_) return Error(Errc::kTransient, "query postgres at " + where_ + ": the connection was lost before");
    const SteadyTime deadline = std::chrono::steady_clock::now() + query_timeout_;
    std::vector<const char*> values;
    values.reserve(params.size());
    for (const auto& param : params) values.push_back(param.has_value() ? param->c_str() : nullptr);
    if (pq().PQsendQueryParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(),
                               nullptr, nullptr, 0) == 0)
      return lost_connection();
    TRY(flush(deadline));
    return receive(deadline);
  }

  std::string describe() const override { return "postgres at " + where_; }

 private:
  Result<> flush(SteadyTime deadline) {
    for (;;) {
      const int left = pq().PQflush(connection_.get());
      if (left == 0) return {};
      if (left < 0) return lost_connection();
      TRY(wait(POLLIN | POLLOUT, deadline));
      if (pq().PQconsumeInput(connection_.get()) == 0) return lost_connection();
    }
  }

  /// Collect results until the statement has ended; the rows, or the first error.
  Result<PgRows> receive(SteadyTime deadline) {
    PgRows rows;
    std::optional<Error> failure;
    for (;;) {
      while (pq().PQisBusy(connection_.get()) != 0) {
        TRY(wait(POLLIN, deadline));
        if (pq().PQconsumeInput(connection_.get()) == 0) return lost_connection();
      }
      const QueryResult result(pq().PQgetResult(connection_.get()));
      if (result == nullptr) break;
      switch (pq().PQresultStatus(result.get())) {
        case PGRES_COMMAND_OK:
        case PGRES_EMPTY_QUERY:
          break;
        case PGRES_TUPLES_OK:
          append_rows(result.get(), rows);
          break;
        default:
          if (!failure.has_value()) failure = server_error(result.get());
      }
    }
    if (pq().PQstatus(connection_.get()) != CONNECTION_OK) lost_ = true;
    if (failure.has_value()) return std::move(*failure);
    if (lost_) return lost_connection();
    return rows;
  }

  static void append_rows(const PGresult* result, PgRows& rows) {
    const int columns = pq().PQnfields(result);
    for (int row = 0; row < pq().PQntuples(result); ++row) {
      PgRow& values = rows.emplace_back();
      for (int column = 0; column < columns; ++column) {
        if (pq().PQgetisnull(result, row, column) != 0)
          values.emplace_back(std::nullopt);
        else
          values.emplace_back(std::string(pq().PQgetvalue(result, row, column),
                                          static_cast<size_t>(pq().PQgetlength(result, row, column))));
      }
    }
  }

  Error server_error(const PGresult* result) {
    const std::string state = field(result, PG_DIAG_SQLSTATE);
    std::string text = field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (text.empty()) text = pq().PQresultErrorMessage(result);  // libpq's own, as when the connection broke.
    std::string message = tidy_server_message(text);
    if (const std::string detail = tidy_server_message(field(result, PG_DIAG_MESSAGE_DETAIL)); !detail.empty())
      message += " (" + detail + ")";
    Error error(errc_of_sqlstate(state), fmt::format("query postgres at {}: {}", where_, message));
    if (const std::string hint = tidy_server_message(field(result, PG_DIAG_MESSAGE_HINT)); !hint.empty())
      error = std::move(error).with_hint(hint);
    return error;
  }

  Error lost_connection() {
    lost_ = true;
    return Error(Errc::kTransient, fmt::format("query postgres at {}: connection lost: {}", where_,
                                               tidy_server_message(pq().PQerrorMessage(connection_.get()))));
  }

  /// Wait for the server. A wait that was given up leaves the session unusable: its answer could come at any time.
  Result<> wait(short events, SteadyTime deadline) {
    const Readiness readiness = wait_socket(pq().PQsocket(connection_.get()), events, deadline, cancel_);
    if (readiness == Readiness::kReady) return {};
    lost_ = true;
    if (readiness == Readiness::kBroken) return lost_connection();
    request_cancel();
    if (readiness == Readiness::kCancelled) return Error(Errc::kCancelled, "stopped on request");
    return Error(Errc::kTransient, fmt::format("query postgres at {}: no answer within {} s", where_,
                                               std::chrono::duration<double>(query_timeout_).count()))
        .with_hint("raise db-timeout if the server needs longer");
  }

  void request_cancel() {
    PGcancel* handle = pq().PQgetCancel(connection_.get());
    if (handle == nullptr) return;
    char text[256];
    if (pq().PQcancel(handle, text, sizeof text) == 0) log_debug("cancel query: {}", tidy_server_message(text));
    pq().PQfreeCancel(handle);
  }

  Connection connection_;
  std::string where_;
  std::chrono::milliseconds query_timeout_;
  const CancelToken& cancel_;
  bool lost_ = false;
};

void log_notice(void*, const PGresult* result) {
  log_debug("server: {}: {}", field(result, PG_DIAG_SEVERITY_NONLOCALIZED),
            tidy_server_message(field(result, PG_DIAG_MESSAGE_PRIMARY)));
}

struct ConnectOptions {
  std::vector<const char*> names;
  std::vector<const char*> values;
  std::vector<std::string> texts;
};

/// Parameters for libpq, only those that were given.
ConnectOptions connect_options(const PgEndpoint& endpoint) {
  std::vector<std::pair<const char*, std::string>> given;
  const std::string& host = endpoint.host.empty() ? endpoint.socket_path : endpoint.host;
  if (!host.empty()) given.emplace_back("host", host);
  given.emplace_back("port", std::to_string(endpoint.port));
  if (!endpoint.user.empty()) given.emplace_back("user", endpoint.user);
  given.emplace_back("dbname", endpoint.database);
  given.emplace_back("application_name", endpoint.application_name);
  for (const auto& [name, text] : endpoint.tls) given.emplace_back(name.c_str(), text);
  ConnectOptions options;
  options.texts.reserve(given.size());
  for (auto& [name, text] : given) {
    options.names.push_back(name);
    options.texts.push_back(std::move(text));
    options.values.push_back(options.texts.back().c_str());
  }
  options.names.push_back(nullptr);
  options.values.push_back(nullptr);
  return options;
}

Result<> finish_connecting(PGconn* connection, const PgEndpoint& endpoint, SteadyTime deadline,
                           const CancelToken& cancel) {
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  for (;;) {
    if (status == PGRES_POLLING_OK) return {};
    if (status == PGRES_POLLING_FAILED || pq().PQstatus(connection) == CONNECTION_BAD)
      return connect_error(endpoint, pq().PQerrorMessage(connection));
    const short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    switch (wait_socket(pq().PQsocket(connection), events, deadline, cancel)) {
      case Readiness::kCancelled:
        return Error(Errc::kCancelled, "stopped on request");
      case Readiness::kTimedOut:
        return Error(Errc::kTransient, fmt::format("connect to postgres at {}: no answer within {} s", endpoint.where(),
                                                   std::chrono::duration<double>(endpoint.connect_timeout).count()))
            .with_hint("check that the server is up and not at its limit of connections");
      case Readiness::kBroken:
        return errno_error(errno, "connect to postgres at " + endpoint.where());
      case Readiness::kReady:
        break;
    }
    status = pq().PQconnectPoll(connection);
  }
}

/// What every session sets: nothing of the role's or database's configuration may change or end what pgark does.
Result<> prepare_session(PgSession& session, int version_num) {
  // The server's own encoding, so that names and backup_label come back byte for byte.
  std::string sql =
      "SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), false), "
      "pg_catalog.set_config('search_path', 'pg_catalog', false), pg_catalog.set_config('DateStyle', 'ISO', false)";
  const auto unlimited = [&](std::string_view limit) {
    sql += fmt::format(", pg_catalog.set_config('{}', '0', false)", limit);
  };
  for (const char* limit : {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"})
    unlimited(limit);
  if (version_num >= 140000) unlimited("idle_session_timeout");
  if (version_num >= 170000) unlimited("transaction_timeout");
  return session.exec(sql);
}

template <typename T>
Result<T> number(const PgRow& row, size_t column, std::string_view what) {
  T value{};
  if (column < row.size() && row[column].has_value()) {
    const std::string& text = *row[column];
    // System identifiers come as a signed bigint.
    if constexpr (std::is_same_v<T, uint64_t>) {
      int64_t negative = 0;
      if (text.starts_with('-') && std::from_chars(text.data(), text.data() + text.size(), negative).ec == std::errc())
        return static_cast<uint64_t>(negative);
    }
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) return value;
  }
  return Error(Errc::kInternal, fmt::format("ask server for {}: answer is no number", what));
}

}  // namespace

Result<> PgSession::exec(const std::string& sql, const PgParams& params) {
  TRY(query(sql, params));
  return {};
}

Result<std::string> PgSession::query_value(const std::string& sql, const PgParams& params) {
  TRY_ASSIGN(const PgRows rows, query(sql, params));
  if (rows.empty() || rows.front().empty())
    return Error(Errc::kInternal, "query " + describe() + ": no row in the answer to '" + sql + "'");
  return rows.front().front().value_or("");
}

std::string PgEndpoint::where() const {
  if (!host.empty()) return fmt::format("host {} port {}", host, port);
  if (!socket_path.empty()) return fmt::format("socket {} port {}", socket_path, port);
  return fmt::format("port {}", port);
}

Result<std::unique_ptr<PgSession>> open_pg_session(const PgEndpoint& endpoint, const CancelToken& cancel) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + endpoint.connect_timeout;
  const ConnectOptions options = connect_options(endpoint);
  TRY_CTX(load_libpq(), "connect to postgres");
  Connection connection(pq().PQconnectStartParams(options.names.data(), options.values.data(), 0));
  if (connection == nullptr) return Error(Errc::kInternal, "connect to postgres: out of memory");
  TRY(finish_connecting(connection.get(), endpoint, deadline, cancel));
  const int version_num = pq().PQserverVersion(connection.get());
  pq().PQsetnonblocking(connection.get(), 1);
  pq().PQsetNoticeReceiver(connection.get(), log_notice, nullptr);
  std::unique_ptr<PgSession> session = std::make_unique<LibpqSession>(
      std::move(connection), fmt::format("{} database {}", endpoint.where(), endpoint.database), endpoint.query_timeout,
      cancel);
  TRY_CTX(prepare_session(*session, version_num), "prepare session");
  return session;
}

std::string ServerInfo::setting(const std::string& name) const {
  const auto found = settings.find(name);
  return found == settings.end() ? std::string() : found->second;
}

Result<ServerInfo> read_server_info(PgSession& session) {
  ServerInfo info;
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT current_setting('server_version_num'), s.system_identifier, s.pg_control_version, "
                           "s.catalog_version_no, i.bytes_per_wal_segment, c.timeline_id, pg_is_in_recovery() "
                           "FROM pg_control_system() s, pg_control_init() i, pg_control_checkpoint() c"));
  if (rows.size() != 1) return Error(Errc::kInternal, "ask server what it is: answer is not one row");
  const PgRow& row = rows.front();
  TRY_ASSIGN(info.version_num, number<uint32_t>(row, 0, "its version"));
  TRY_ASSIGN(info.major, pg::major_of_version_num(info.version_num));
  TRY_ASSIGN(info.system_id, number<uint64_t>(row, 1, "its system identifier"));
  TRY_ASSIGN(info.control_version, number<uint32_t>(row, 2, "its control version"));
  TRY_ASSIGN(info.catalog_version, number<uint32_t>(row, 3, "its catalog version"));
  TRY_ASSIGN(info.wal_segment_bytes, number<uint32_t>(row, 4, "its WAL segment size"));
  TRY_ASSIGN(info.timeline.value, number<uint32_t>(row, 5, "its timeline"));
  info.in_recovery = row[6] == "t";
  if (!info.in_recovery) {
    // After a promotion the control file keeps the old timeline until the next checkpoint; WAL names do not.
    TRY_ASSIGN(const std::string name, session.query_value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"));
    uint32_t timeline = 0;
    if (name.size() >= 8 && std::from_chars(name.data(), name.data() + 8, timeline, 16).ptr == name.data() + 8)
      info.timeline.value = timeline;
  }
  // pg_settings leaves out what the role may not see; current_setting() would fail.
  TRY_ASSIGN(
      const PgRows settings,
      session.query("SELECT name, CASE WHEN vartype = 'string' OR vartype = 'enum' OR vartype = 'bool' OR unit IS "
                    "NULL THEN setting ELSE current_setting(name) END FROM pg_settings"));
  for (const PgRow& setting : settings)
    if (setting.size() == 2 && setting[0].has_value()) info.settings.emplace(*setting[0], setting[1].value_or(""));
  info.data_directory = info.setting("data_directory");
  return info;
}

std::string_view backup_start_function(pg::PgMajor major) {
  return major.value >= 15 ? "pg_backup_start" : "pg_start_backup";
}

std::string_view backup_stop_function(pg::PgMajor major) {
  return major.value >= 15 ? "pg_backup_stop" : "pg_stop_backup";
}

std::string grant_hint(pg::PgMajor major, const std::string& user) {
  const std::string role = user.empty() ? "the backup role" : "\"" + user + "\"";
  const std::string functions = major.value >= 15
                                    ? "pg_backup_start(text, boolean), pg_backup_stop(boolean)"
                                    : "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)";
  return fmt::format(
      "as a superuser run: GRANT EXECUTE ON FUNCTION {}, pg_switch_wal(), pg_create_restore_point(text) TO {}; "
      "GRANT pg_monitor TO {};",
      functions, role, role);
}

}  // namespace pgark
