#include "ops/cluster_files.h"

#include <fmt/format.h>
#include <signal.h>

#include <cerrno>
#include <charconv>

#include "core/file.h"

namespace pgark {
namespace {

/// PostgreSQL's own tools try this often and wait this long for a write of pg_control to end.
constexpr int kControlReads = 10;
constexpr auto kControlPause = std::chrono::milliseconds(10);

}  // namespace

Result<ControlFile> read_control_file(const std::string& data_directory, Clock& clock) {
  const std::string path = data_directory + "/" + std::string(pg::kControlFilePath);
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(std::string content, read_file(path, pg::kControlFileBytes));
    auto data = pg::decode_control(as_bytes(content));
    if (data) return ControlFile{std::move(content), std::move(*data)};
    if (data.error().code() != Errc::kCorrupt || attempt == kControlReads) {
      return Error(std::move(data).error()).with_context("read '" + path + "'");
    }
    clock.sleep_for(kControlPause);
  }
}

Result<ClusterFiles> read_cluster_files(const std::string& data_directory, Clock& clock) {
  auto version_text = read_file(data_directory + "/PG_VERSION", 64);
  if (!version_text) {
    Error error = std::move(version_text).error();
    const bool absent = error.code() == Errc::kNotFound;
    error = std::move(error).with_context("read cluster in '" + data_directory + "'");
    if (absent) error = std::move(error).with_hint("check pg1-path: it has to be the data directory of the cluster");
    return error;
  }
  TRY_ASSIGN_CTX(const pg::PgMajor major, pg::parse_pg_version(*version_text),
                 "read " + data_directory + "/PG_VERSION");

  TRY_ASSIGN(ControlFile control, read_control_file(data_directory, clock));
  TRY_CTX(pg::check_control_version(control.data, major),
          "read '" + data_directory + "/" + std::string(pg::kControlFilePath) + "'");
  return ClusterFiles{std::move(control.data), major};
}

ClusterRecord cluster_record(const ClusterFiles& files, Timestamp now) {
  return {.number = 1,
          .system_identifier = files.control.system_id,
          .pg_major = files.major.value,
          .control_version = files.control.control_version,
          .catalog_version = files.control.catalog_version,
          .wal_segment_bytes = files.control.wal_segment_bytes,
          .created = now};
}

Result<bool> postmaster_runs(const std::string& data_directory) {
  const std::string path = data_directory + "/postmaster.pid";
  auto content = read_file(path, 1u << 16);
  if (!content && content.error().code() == Errc::kNotFound) return false;
  if (!content) return Error(std::move(content).error());
  // The first line is the process id; a standalone backend writes it negative.
  const std::string first = content->substr(0, content->find('\n'));
  const char* begin = first.data() + (first.starts_with('-') ? 1 : 0);
  int pid = 0;
  const auto [end, status] = std::from_chars(begin, first.data() + first.size(), pid);
  if (status != std::errc{} || end != first.data() + first.size() || pid <= 0) {
    return Error(Errc::kCorrupt, fmt::format("read '{}': '{}' is no process id", path, first));
  }
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

}  // namespace pgark
