// Backup functions by version, and checks before the start.
#include "ops/backup_server.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "core/file.h"
#include "core/log.h"
#include "pg/wal.h"

namespace pgark {
namespace {

// postmaster.pid is written when the postmaster begins, its start time is taken once it has set itself up.
constexpr int64_t kStartTimeSkewMax_s = 300;
constexpr std::chrono::milliseconds kReplayPollFirst{10};
constexpr std::chrono::milliseconds kReplayPollMax{1000};

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string archive_command_hint(const std::string& stanza) {
  return fmt::format(
      "set archive_mode = on and archive_command = 'pgark --stanza={} archive-push %p', then restart the server",
      stanza);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Same file or directory; no value if the first cannot be looked at from here.
std::optional<bool> same_directory(const std::string& a, const std::string& b) {
  struct stat first {};
  struct stat second {};
  if (::stat(a.c_str(), &first) != 0 || ::stat(b.c_str(), &second) != 0) return std::nullopt;
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

Error with_grants(Error error, pg::PgMajor major, PgSession& session) {
  if (error.code() != Errc::kPermission) return error;
  const auto user = session.query_value("SELECT current_user");
  return std::move(error).with_hint(grant_hint(major, user.has_value() ? *user : ""));
}

}  // namespace

Result<> check_server_can_be_backed_up(const ServerInfo& server, const std::string& stanza, bool check_command) {
  if (server.in_recovery)
    return Error(Errc::kInvalid, "the server is a standby")
        .with_hint("point pg1-path and the connection at the primary")
        .with_hint("or use backup-standby=y, with the standby as pg1-* and the primary's connection as pg2-*");
  if (server.setting("wal_level") == "minimal")
    return Error(Errc::kInvalid, "wal_level is minimal: a backup could not be made consistent")
        .with_hint("set wal_level = replica and restart the server");
  if (server.setting("archive_mode") == "off")
    return Error(Errc::kInvalid, "archive_mode is off: the WAL that makes a backup consistent would be lost")
        .with_hint(archive_command_hint(stanza));
  const std::string library = server.setting("archive_library");
  const std::string command = server.setting("archive_command");
  // A role without pg_read_all_settings does not see the command; that the WAL arrives is checked after the start.
  const bool visible = server.settings.contains("archive_command");
  if (!visible || !library.empty() || !check_command) return {};
  if (command.find("archive-push") == std::string::npos)
    return Error(Errc::kInvalid, command.empty() || command == "(disabled)"
                                     ? std::string("archive_command is empty: WAL is not archived")
                                     : fmt::format("archive_command does not call pgark: '{}'", command))
        .with_hint(archive_command_hint(stanza))
        .with_hint("if a script of yours calls pgark archive-push, use --no-archive-mode-check");
  return {};
}

Result<> check_standby_can_be_backed_up(const ServerInfo& standby, const ServerInfo* primary) {
  if (!standby.in_recovery)
    return Error(Errc::kInvalid, "the server is no standby")
        .with_hint("if it was promoted, name the clusters' new roles, or use backup-standby=prefer");
  if (primary != nullptr && primary->system_id != standby.system_id)
    return Error(Errc::kInvalid, fmt::format("the standby has system identifier {}, the primary {}", standby.system_id,
                                             primary->system_id))
        .with_hint("check that all pgN-* options of the stanza name nodes of one cluster");
  return {};
}

Result<bool> bring_standby_up_to_date(PgSession& primary, PgSession& standby, std::chrono::milliseconds timeout,
                                      Clock& clock, const CancelToken& cancel) {
  if (auto asked = primary.exec("CHECKPOINT"); !asked.has_value()) {
    if (asked.error().code() != Errc::kPermission) return Error(std::move(asked).error()).with_context("checkpoint");
    log_detail("the role may not ask for a checkpoint: the backup begins at the last one the standby knows");
    return false;
  }
  // A standby that is fed by the archive alone gets whole segments only. Nothing is switched if nothing was written.
  TRY_ASSIGN_CTX(const std::string end, primary.query_value("SELECT pg_switch_wal()"), "switch WAL segment");
  const auto deadline = clock.steady() + timeout;
  for (auto pause = kReplayPollFirst;; pause = std::min(pause * 2, kReplayPollMax)) {
    TRY(cancel.check());
    TRY_ASSIGN(const std::string there, standby.query_value("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", {end}));
    if (there == "t") return true;
    if (clock.steady() >= deadline) {
      log_warn("the standby has not replayed WAL up to {} within {} s: the backup begins further back", end,
               std::chrono::duration<double>(timeout).count());
      return false;
    }
    clock.sleep_for(pause);
  }
}

Result<> finish_segment(PgSession& primary, Lsn stop, uint32_t wal_segment_bytes) {
  TRY_ASSIGN_CTX(const std::string answer, primary.query_value("SELECT pg_current_wal_insert_lsn()"),
                 "ask the primary for its WAL position");
  TRY_ASSIGN(const Lsn now, parse_lsn(answer));
  if (now.bytes / wal_segment_bytes > (stop.bytes - 1) / wal_segment_bytes) return {};
  auto switched = primary.exec("SELECT pg_switch_wal()");
  if (switched.has_value()) return {};
  return Error(std::move(switched).error())
      .with_context("finish the last WAL segment on the primary")
      .with_hint(
          "GRANT EXECUTE ON FUNCTION pg_switch_wal() to the role, so that the backup need not wait for a busy "
          "hour");
}

Result<> check_server_runs_on(PgSession& session, const ServerInfo& server, const std::string& data_directory) {
  const auto mismatch = [&](const std::string& what) {
    return Error(Errc::kInvalid, fmt::format("the server does not run on '{}': {}", data_directory, what))
        .with_hint("check that pg1-path and pg1-port, pg1-socket-path are of the same cluster");
  };
  if (!server.data_directory.empty() && same_directory(server.data_directory, data_directory) == false)
    return mismatch("it says its data directory is '" + server.data_directory + "'");

  auto content = read_file(data_directory + "/postmaster.pid", 65536);
  if (!content.has_value()) {
    if (content.error().code() != Errc::kNotFound) return Error(std::move(content).error());
    return mismatch("there is no postmaster.pid").with_code(Errc::kNotFound);
  }
  const auto lines = lines_of(*content);
  TRY_ASSIGN(const PgRows rows, session.query("SELECT current_setting('port'), "
                                              "extract(epoch FROM pg_postmaster_start_time())::bigint"));
  if (rows.size() != 1 || rows.front().size() != 2)
    return Error(Errc::kInternal, "ask server for its start: answer is not one row");
  const auto started = parse_number<int64_t>(rows.front()[1].value_or(""));
  const auto noted = lines.size() > 2 ? parse_number<int64_t>(lines[2]) : std::nullopt;
  if (lines.size() > 3 && lines[3] != rows.front()[0])
    return mismatch(
        fmt::format("its port is {}, the one in postmaster.pid {}", rows.front()[0].value_or("?"), lines[3]));
  if (started.has_value() && noted.has_value() && std::abs(*started - *noted) > kStartTimeSkewMax_s)
    return mismatch("it was started at another time than postmaster.pid says");
  return {};
}

Result<Lsn> start_backup(PgSession& session, pg::PgMajor major, const std::string& label, bool fast) {
  // The exclusive mode of versions before 15 is their default, and writes into the data directory.
  const std::string sql =
      major.value >= 15 ? "SELECT pg_backup_start($1, $2::boolean)" : "SELECT pg_start_backup($1, $2::boolean, false)";
  auto answer = session.query_value(sql, {label, fast ? "true" : "false"});
  if (!answer.has_value()) return with_grants(std::move(answer).error(), major, session).with_context("start backup");
  TRY_ASSIGN_CTX(const Lsn start, parse_lsn(*answer), "start backup");
  return start;
}

Result<StoppedBackup> stop_backup(PgSession& session, pg::PgMajor major) {
  const std::string function = major.value >= 15 ? "pg_backup_stop(false)" : "pg_stop_backup(false, false)";
  // clock_timestamp() of the output row is read after the function has returned.
  auto rows = session.query(
      "SELECT lsn, labelfile, spcmapfile, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM " + function);
  if (!rows.has_value()) return with_grants(std::move(rows).error(), major, session).with_context("stop backup");
  if (rows->size() != 1 || rows->front().size() != 4 || !rows->front()[0].has_value() || !rows->front()[1].has_value())
    return Error(Errc::kInternal, "stop backup: the server's answer is not one row of four values");
  const PgRow& row = rows->front();
  StoppedBackup stopped;
  TRY_ASSIGN_CTX(stopped.stop, parse_lsn(*row[0]), "stop backup");
  stopped.backup_label = *row[1];
  stopped.tablespace_map = row[2].value_or("");
  const auto time = parse_number<int64_t>(row[3].value_or(""));
  if (!time.has_value()) return Error(Errc::kInternal, "stop backup: the server's time is no number");
  stopped.time = Timestamp(std::chrono::microseconds(*time));
  return stopped;
}

}  // namespace pgark
