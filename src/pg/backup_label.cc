// backup_label, backup history file, tablespace_map: all line-oriented text written by the server.
#include "pg/backup_label.h"

#include <fmt/format.h>

#include <charconv>

#include "pg/wal.h"

namespace pgark::pg {
namespace {

std::optional<std::string_view> after(std::string_view line, std::string_view prefix) {
  if (!line.starts_with(prefix)) return std::nullopt;
  return line.substr(prefix.size());
}

Error bad_line(size_t number, const std::string& message) {
  return Error(Errc::kCorrupt, fmt::format("line {}: {}", number, message));
}

/// "0/12000028 (file 000000010000000000000012)".
Result<> parse_location(std::string_view text, Lsn& lsn, std::string& segment) {
  constexpr std::string_view kFile = " (file ";
  const size_t file = text.find(kFile);
  if (file == std::string_view::npos || !text.ends_with(')'))
    return Error(Errc::kCorrupt, fmt::format("'{}' is not a position and a file", text.substr(0, 80)));
  TRY_ASSIGN(lsn, parse_lsn(text.substr(0, file)));
  segment = text.substr(file + kFile.size(), text.size() - file - kFile.size() - 1);
  TRY_ASSIGN(const WalFileName name, parse_wal_file_name(segment));
  if (!std::holds_alternative<WalSegmentName>(name))
    return Error(Errc::kCorrupt, fmt::format("'{}' is not a WAL segment", segment));
  return {};
}

Result<TimelineId> parse_timeline(std::string_view text) {
  uint32_t value = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc{} || end != last || value == 0)
    return Error(Errc::kCorrupt, fmt::format("'{}' is not a timeline", text.substr(0, 40)));
  return TimelineId{value};
}

TimelineId timeline_of(const std::string& segment) {
  const auto name = parse_wal_file_name(segment);
  const auto* parts = name ? std::get_if<WalSegmentName>(&*name) : nullptr;
  return parts != nullptr ? parts->timeline : TimelineId{};
}

/// Fields that come before LABEL.
Result<bool> parse_before_label(std::string_view line, BackupLabel& out) {
  if (const auto text = after(line, "START WAL LOCATION: ")) {
    TRY(parse_location(*text, out.start, out.start_segment));
  } else if (const auto stop = after(line, "STOP WAL LOCATION: ")) {
    out.stop.emplace();
    TRY(parse_location(*stop, *out.stop, out.stop_segment));
  } else if (const auto checkpoint = after(line, "CHECKPOINT LOCATION: ")) {
    TRY_ASSIGN(out.checkpoint, parse_lsn(*checkpoint));
  } else if (const auto method = after(line, "BACKUP METHOD: ")) {
    out.method = *method;
  } else if (const auto from = after(line, "BACKUP FROM: ")) {
    if (*from != "standby" && *from != "primary" && *from != "master")
      return Error(Errc::kCorrupt, fmt::format("backup is from '{}'", from->substr(0, 40)));
    out.from_standby = *from == "standby";
  } else if (const auto time = after(line, "START TIME: ")) {
    out.start_time = *time;
  } else {
    return false;
  }
  return true;
}

/// Fields that come after LABEL.
Result<bool> parse_after_label(std::string_view line, BackupLabel& out) {
  if (const auto timeline = after(line, "START TIMELINE: ")) {
    TRY_ASSIGN(out.start_timeline, parse_timeline(*timeline));
  } else if (const auto time = after(line, "STOP TIME: ")) {
    out.stop_time = *time;
  } else if (const auto stop_timeline = after(line, "STOP TIMELINE: ")) {
    TRY_ASSIGN(out.stop_timeline, parse_timeline(*stop_timeline));
  } else if (const auto lsn = after(line, "INCREMENTAL FROM LSN: ")) {
    TRY_ASSIGN(out.incremental_from, parse_lsn(*lsn));
  } else if (const auto from_timeline = after(line, "INCREMENTAL FROM TLI: ")) {
    TRY_ASSIGN(out.incremental_from_timeline, parse_timeline(*from_timeline));
  } else {
    return false;
  }
  return true;
}

Result<> check_complete(const BackupLabel& label, bool has_checkpoint) {
  const auto missing = [](std::string_view field) {
    return Error(Errc::kCorrupt, fmt::format("{} is missing", field));
  };
  const auto contradicts = [](std::string_view field, TimelineId timeline, const std::string& segment) {
    return Error(Errc::kCorrupt, fmt::format("{} {} contradicts segment {}", field, timeline.value, segment));
  };
  if (label.start_segment.empty()) return missing("START WAL LOCATION");
  if (!has_checkpoint) return missing("CHECKPOINT LOCATION");
  if (label.method.empty()) return missing("BACKUP METHOD");
  if (label.checkpoint < label.start)
    return Error(Errc::kCorrupt, fmt::format("checkpoint {} is before the start {}", to_string(label.checkpoint),
                                             to_string(label.start)));
  if (label.start_timeline && *label.start_timeline != label.timeline())
    return contradicts("START TIMELINE", *label.start_timeline, label.start_segment);
  if (label.stop && *label.stop < label.start)
    return Error(Errc::kCorrupt,
                 fmt::format("stop {} is before the start {}", to_string(*label.stop), to_string(label.start)));
  if (label.stop_timeline && label.stop && *label.stop_timeline != timeline_of(label.stop_segment))
    return contradicts("STOP TIMELINE", *label.stop_timeline, label.stop_segment);
  return {};
}

Result<BackupLabel> parse_lines(std::string_view content) {
  BackupLabel out;
  bool in_label = false;
  bool has_checkpoint = false;
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (!in_label) {
      if (const auto label = after(line, "LABEL: ")) {
        out.label = *label;
        in_label = true;
        continue;
      }
      auto known = parse_before_label(line, out);
      if (!known) return bad_line(number, known.error().message());
      has_checkpoint = has_checkpoint || line.starts_with("CHECKPOINT LOCATION: ");
    }
    auto known = parse_after_label(line, out);
    if (!known) return bad_line(number, known.error().message());
    // A label may hold line feeds; the server writes them as they are.
    if (in_label && !*known && !out.start_timeline) out.label += "\n" + std::string(line);
  }
  TRY(check_complete(out, has_checkpoint));
  return out;
}

/// One entry of tablespace_map: up to a line end that is not escaped, which is taken off the front of `content`.
std::string take_map_entry(std::string_view& content, bool escapes_backslash) {
  std::string entry;
  size_t at = 0;
  for (; at < content.size() && content[at] != '\n' && content[at] != '\r'; ++at) {
    const char next = at + 1 < content.size() ? content[at + 1] : '\0';
    const bool escape = content[at] == '\\' && (next == '\n' || next == '\r' || (escapes_backslash && next != '\0'));
    if (escape) ++at;
    entry += content[at];
  }
  content.remove_prefix(std::min(at + 1, content.size()));
  return entry;
}

}  // namespace

TimelineId BackupLabel::timeline() const { return timeline_of(start_segment); }

Result<BackupLabel> parse_backup_label(std::string_view content) {
  TRY_ASSIGN_CTX(BackupLabel label, parse_lines(content), "parse backup_label");
  return label;
}

Result<BackupLabel> parse_backup_history(std::string_view content) {
  constexpr std::string_view kContext = "parse backup history file";
  TRY_ASSIGN_CTX(BackupLabel label, parse_lines(content), kContext);
  if (!label.stop) return Error(Errc::kCorrupt, "STOP WAL LOCATION is missing").with_context(kContext);
  return label;
}

Result<std::vector<TablespaceLink>> parse_tablespace_map(std::string_view content, PgMajor major) {
  TRY_ASSIGN(const PgVersionFacts* facts, pg_version_facts(major));
  std::vector<TablespaceLink> links;
  for (size_t number = 1; !content.empty(); ++number) {
    const std::string entry = take_map_entry(content, facts->tablespace_map_escapes_backslash);
    if (entry.empty()) continue;
    const size_t blank = entry.find(' ');
    const size_t digits = std::min(blank, entry.size());
    TablespaceLink link;
    const auto [end, error] = std::from_chars(entry.data(), entry.data() + digits, link.oid);
    if (error != std::errc{} || end != entry.data() + digits || link.oid == 0 || digits + 1 >= entry.size())
      return Error(Errc::kCorrupt, fmt::format("parse tablespace_map: entry {}: '{}' is not an OID and a path", number,
                                               entry.substr(0, 80)));
    link.path = entry.substr(digits + 1);
    links.push_back(std::move(link));
  }
  return links;
}

std::string format_tablespace_map(const std::vector<TablespaceLink>& links, PgMajor major) {
  const bool escapes_backslash = major.value >= 14;
  std::string out;
  for (const TablespaceLink& link : links) {
    out += fmt::format("{} ", link.oid);
    for (const char c : link.path) {
      if (c == '\n' || c == '\r' || (escapes_backslash && c == '\\')) out += '\\';
      out += c;
    }
    out += '\n';
  }
  return out;
}

}  // namespace pgark::pg
