#include "ops/wal_hole.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "catalog/wal.h"
#include "core/file.h"
#include "core/log.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

constexpr uint64_t kHistoryBytesMax = 4u << 20;

Result<bool> file_exists(const std::string& path) {
  const auto found = read_file(path, 1u << 20);
  if (found) return true;
  if (found.error().code() == Errc::kNotFound) return false;
  return Error(found.error());
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// PostgreSQL takes any beginning of true, yes and on ("on" whole), and 1.
bool means_on(const std::string& value) {
  if (value.empty()) return false;
  return value == "1" || value == "on" || std::string_view("true").starts_with(value) ||
         std::string_view("yes").starts_with(value);
}

/// Whether a recovery.conf says standby_mode = on; the last line that sets it counts.
bool is_standby(const std::string& recovery_conf) {
  bool standby = false;
  std::string_view rest = recovery_conf;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    constexpr std::string_view kName = "standby_mode";
    if (lower(line.substr(0, kName.size())) != kName) continue;
    line = line.substr(kName.size());
    if (!line.empty() && line.front() != '=' && std::isspace(static_cast<unsigned char>(line.front())) == 0) continue;
    line = trimmed(line.substr(0, line.find('#')));
    if (line.starts_with('=')) line = trimmed(line.substr(1));
    if (line.size() >= 2 && line.front() == '\'' && line.back() == '\'') line = line.substr(1, line.size() - 2);
    standby = means_on(lower(trimmed(line)));
  }
  return standby;
}

/// A history from the first of its copies that can be read.
Result<std::optional<pg::TimelineHistory>> read_history(const Repository& repository, const std::string& stanza,
                                                        const ClusterRecord& cluster, TimelineId timeline) {
  const std::string name = pg::history_name(timeline);
  TRY_ASSIGN(const auto copies, find_wal_copies(repository, stanza, cluster.number, name));
  for (const ObjectKey& key : copies) {
    auto stored = read_stored_file(repository, key, kHistoryBytesMax);
    auto history = stored ? pg::parse_timeline_history(timeline, as_text(stored->raw))
                          : Result<pg::TimelineHistory>(std::move(stored).error());
    if (history) return std::optional(std::move(*history));
    const Errc code = history.error().code();
    if (code != Errc::kCorrupt && code != Errc::kInvalid && code != Errc::kNotFound) return std::move(history).error();
    log_warn("pass over a damaged copy: read {}: {}", key.value, history.error().message());
  }
  return std::optional<pg::TimelineHistory>();
}

}  // namespace

Result<RecoveryKind> recovery_kind(const std::string& data_directory) {
  if (data_directory.empty()) return RecoveryKind::kNone;
  TRY_ASSIGN(const bool standby, file_exists(data_directory + "/standby.signal"));
  if (standby) return RecoveryKind::kStandby;  // It wins if both are there.
  TRY_ASSIGN(const bool recovery, file_exists(data_directory + "/recovery.signal"));
  if (recovery) return RecoveryKind::kArchive;
  const auto settings = read_file(data_directory + "/recovery.conf", 1u << 20);
  if (settings) return is_standby(*settings) ? RecoveryKind::kStandby : RecoveryKind::kArchive;
  if (settings.error().code() != Errc::kNotFound) return Error(settings.error());
  return RecoveryKind::kNone;
}

Result<std::vector<pg::TimelineHistory>> read_timeline_histories(const Repository& repository,
                                                                 const std::string& stanza,
                                                                 const ClusterRecord& cluster) {
  TRY_ASSIGN(const auto timelines, list_timeline_histories(repository, stanza, cluster.number));
  std::vector<pg::TimelineHistory> histories;
  for (const TimelineId timeline : timelines) {
    TRY_ASSIGN(auto history, read_history(repository, stanza, cluster, timeline));
    if (history) histories.push_back(std::move(*history));
  }
  return histories;
}

Result<std::optional<std::string>> find_later_wal(const Repository& repository, const std::string& stanza,
                                                  const ClusterRecord& cluster, const pg::WalSegment& missing) {
  const uint32_t segment_bytes = cluster.wal_segment_bytes;
  const std::string name = pg::segment_name(missing, segment_bytes);
  TRY_ASSIGN(const auto later, list_wal_segments_after(repository, stanza, cluster.number, name, 1));
  TRY_ASSIGN(const auto histories, read_timeline_histories(repository, stanza, cluster));
  const auto own = std::find_if(histories.begin(), histories.end(), [&](const pg::TimelineHistory& history) {
    return history.timeline() == missing.timeline;
  });
  // Servers up to 12 ask every timeline of their history for every segment, before it began as well.
  if (own != histories.end() && missing.number < pg::segment_at(missing.timeline, own->begin(), segment_bytes).number) {
    return std::optional<std::string>();
  }
  if (!later.empty()) {
    if (own != histories.end() || missing.timeline == TimelineId{1}) return std::optional("segment " + later.front());
    // Where it began is not known: after the missing segment, unless there are earlier ones.
    const std::string origin = pg::segment_name({missing.timeline, 0}, segment_bytes);
    TRY_ASSIGN(const auto first, list_wal_segments_after(repository, stanza, cluster.number, origin, 1));
    if (!first.empty() && first.front() < name) return std::optional("segment " + later.front());
  }
  for (const pg::TimelineHistory& history : histories) {
    const auto end = history.end_of(missing.timeline);
    if (!end || pg::segment_at(missing.timeline, *end, segment_bytes).number <= missing.number) continue;
    return std::optional(fmt::format("timeline {}, whose history goes along timeline {} up to {}",
                                     history.timeline().value, missing.timeline.value, to_string(*end)));
  }
  return std::optional<std::string>();
}

Result<std::optional<std::string>> find_lost_history(const Repository& repository, const std::string& stanza,
                                                     const ClusterRecord& cluster, TimelineId missing, TimelineId own) {
  if (missing <= own || missing == TimelineId{1}) return std::optional<std::string>();
  const std::string origin = pg::segment_name({missing, 0}, cluster.wal_segment_bytes);
  TRY_ASSIGN(const auto segments, list_wal_segments_after(repository, stanza, cluster.number, origin, 1));
  if (!segments.empty()) return std::optional("segment " + segments.front());
  TRY_ASSIGN(const auto histories, read_timeline_histories(repository, stanza, cluster));
  for (const pg::TimelineHistory& history : histories) {
    if (history.timeline() == missing || !history.contains(missing)) continue;
    return std::optional(pg::history_name(history.timeline()) + ", which names it as an ancestor");
  }
  return std::optional<std::string>();
}

}  // namespace pgark
