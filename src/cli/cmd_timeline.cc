// `pgark timeline`: what happened when, with what is needed to restore to just before it.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "catalog/timeline_report.h"
#include "cli/access.h"
#include "cli/command.h"
#include "core/log.h"
#include "ops/relation_names.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;
using Names = std::map<pg::WalRelation, RelationName>;

Result<std::optional<Timestamp>> time_option(const Settings& settings, const std::string& name) {
  if (!settings.given(name)) return std::optional<Timestamp>();
  TRY_ASSIGN_CTX(const RestoreTarget target, parse_restore_target("time", settings.text(name), false), "--" + name);
  return std::optional(target.time);
}

/// The history of the timeline asked for; of the newest one that has WAL or a history file if none is.
Result<pg::TimelineHistory> choose_history(const RepositoryWal& wal, const std::string& text) {
  TRY_ASSIGN_CTX(const TimelineWish wish, parse_timeline_wish(text), "--target-timeline");
  if (wish.kind == TimelineWish::Kind::kCurrent)
    return Error(Errc::kInvalid, "--target-timeline: 'current' needs a backup to be of").with_hint("give a number");
  TimelineId timeline{1};
  for (const TimelineId id : wal.timelines()) timeline = std::max(timeline, id);
  for (const pg::TimelineHistory& history : wal.histories()) timeline = std::max(timeline, history.timeline());
  if (wish.kind == TimelineWish::Kind::kNumber) timeline = wish.number;
  for (const pg::TimelineHistory& history : wal.histories())
    if (history.timeline() == timeline) return history;
  return pg::TimelineHistory(timeline);
}

/// Names by which a user may mean a relation: its file's number, all three numbers, its name with and without schema
/// and database.
bool is_meant(const std::string& wanted, const pg::WalRelation& relation, const Names& names) {
  if (wanted == std::to_string(relation.relfilenode)) return true;
  if (wanted == fmt::format("{}/{}/{}", relation.tablespace_oid, relation.database_oid, relation.relfilenode))
    return true;
  const auto found = names.find(relation);
  if (found == names.end()) return false;
  const auto& [database, name] = found->second;
  if (wanted == database && relation.relfilenode == 0) return true;
  if (name.empty()) return false;
  return wanted == name || wanted == name.substr(name.rfind('.') + 1) || wanted == database + "." + name;
}

bool is_about(const TimelineEntry& entry, const std::vector<std::string>& wanted, const Names& names) {
  const auto any_of = [&](const std::vector<pg::WalRelation>& relations) {
    return std::any_of(relations.begin(), relations.end(), [&](const pg::WalRelation& relation) {
      return std::any_of(wanted.begin(), wanted.end(),
                         [&](const std::string& name) { return is_meant(name, relation, names); });
    });
  };
  return any_of(entry.relations) || any_of(entry.replaced_by);
}

std::string relation_text(const pg::WalRelation& relation, const Names& names) {
  const auto found = names.find(relation);
  const std::string database =
      found != names.end() ? found->second.database : fmt::format("database {}", relation.database_oid);
  if (relation.relfilenode == 0)
    return relation.database_oid == 0 ? fmt::format("{}", relation.tablespace_oid) : database;
  if (found != names.end() && !found->second.relation.empty())
    return database.empty() ? found->second.relation : database + "." + found->second.relation;
  return fmt::format("file {} of {}", relation.relfilenode, database);
}

/// The first few; a transaction may drop thousands.
std::string relations_text(const std::vector<pg::WalRelation>& relations, const Names& names) {
  constexpr size_t kShownMax = 4;
  std::string text;
  for (size_t i = 0; i < relations.size() && i < kShownMax; ++i)
    text += (i == 0 ? "" : ", ") + relation_text(relations[i], names);
  if (relations.size() > kShownMax) text += fmt::format(" and {} more", relations.size() - kShownMax);
  return text;
}

std::string what_text(const TimelineEntry& entry, const Names& names) {
  switch (entry.kind) {
    case TimelineKind::kCommits:
      return fmt::format("{} commits, {} aborts", entry.count, entry.abort_count);
    case TimelineKind::kRestorePoint:
      return entry.name;
    case TimelineKind::kDelete:
      return fmt::format("{} rows of {}", entry.count, relations_text(entry.relations, names));
    case TimelineKind::kTruncate:
    case TimelineKind::kRewrite:
      return fmt::format("{} (was {})", relations_text(entry.replaced_by, names),
                         relations_text(entry.relations, names));
    case TimelineKind::kShrink:
      return fmt::format("{} to {} blocks", relations_text(entry.relations, names), entry.count);
    case TimelineKind::kFork:
      return fmt::format("timeline {} begins: {}", entry.timeline.value, entry.name);
    case TimelineKind::kGap:
      return fmt::format("{} segments are missing from {} on", entry.count, entry.name);
    case TimelineKind::kDropTablespace:
      return fmt::format("tablespace {}", relations_text(entry.relations, names));
    case TimelineKind::kDrop:
    case TimelineKind::kDropDatabase:
    case TimelineKind::kCreateDatabase:
      return relations_text(entry.relations, names);
  }
  return "";
}

std::string report_text(const TimelineReport& report, const Names& names, const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += "note: " + note + "\n";
  TextTable table;
  table.column("time");
  table.column("kind");
  table.column("xid", TextTable::Align::kRight);
  table.column("tli", TextTable::Align::kRight);
  table.column("lsn");
  table.column("what");
  for (const TimelineEntry& entry : report.entries) {
    table.row({entry.time ? format_timestamp_local(*entry.time) : "", std::string(timeline_kind_name(entry.kind)),
               entry.xid.value == 0 ? "" : std::to_string(entry.xid.value), std::to_string(entry.timeline.value),
               to_string(entry.lsn), what_text(entry, names)});
  }
  if (table.empty())
    return text +
           fmt::format("nothing since {}; look further back with --since\n", format_timestamp_local(report.since));
  text += table.to_string();
  const bool undoable = std::any_of(report.entries.begin(), report.entries.end(),
                                    [](const TimelineEntry& entry) { return entry.xid.value != 0; });
  if (undoable) text += "to go back to just before one of these: pgark restore --before-xid=XID\n";
  return text;
}

ordered_json relations_json(const std::vector<pg::WalRelation>& relations, const Names& names) {
  ordered_json list = ordered_json::array();
  for (const pg::WalRelation& relation : relations) {
    ordered_json item = {{"tablespace_oid", relation.tablespace_oid},
                         {"database_oid", relation.database_oid},
                         {"relfilenode", relation.relfilenode},
                         {"database", nullptr},
                         {"name", nullptr}};
    if (const auto found = names.find(relation); found != names.end()) {
      if (!found->second.database.empty()) item["database"] = found->second.database;
      if (!found->second.relation.empty()) item["name"] = found->second.relation;
    }
    list.push_back(std::move(item));
  }
  return list;
}

/// docs/reference/json.md, section timeline.
ordered_json report_json(const TimelineReport& report, const Names& names, const std::vector<std::string>& notes,
                         const std::string& stanza) {
  ordered_json entries = ordered_json::array();
  for (const TimelineEntry& entry : report.entries) {
    ordered_json item = {{"kind", timeline_kind_name(entry.kind)}, {"time", nullptr}, {"time_us", nullptr}};
    if (entry.time) {
      item["time"] = format_timestamp_utc(*entry.time);
      item["time_us"] = entry.time->time_since_epoch().count();
    }
    item["timeline"] = entry.timeline.value;
    item["lsn"] = to_string(entry.lsn);
    item["xid"] = entry.xid.value == 0 ? ordered_json() : ordered_json(entry.xid.value);
    item["count"] = entry.count;
    item["abort_count"] = entry.abort_count;
    item["name"] = entry.name.empty() ? ordered_json() : ordered_json(entry.name);
    item["relations"] = relations_json(entry.relations, names);
    item["replaced_by"] = relations_json(entry.replaced_by, names);
    entries.push_back(std::move(item));
  }
  ordered_json document = {{"stanza", stanza}, {"since_us", report.since.time_since_epoch().count()}};
  document["until_us"] = report.until ? ordered_json(report.until->time_since_epoch().count()) : ordered_json();
  document["entries"] = std::move(entries);
  document["notes"] = notes;
  return document;
}

/// Names from the running server; a note if there is none to ask.
Names resolve_names(const CommandContext& context, const TimelineReport& report, std::vector<std::string>& notes) {
  std::vector<pg::WalRelation> relations;
  for (const TimelineEntry& entry : report.entries) {
    relations.insert(relations.end(), entry.relations.begin(), entry.relations.end());
    relations.insert(relations.end(), entry.replaced_by.begin(), entry.replaced_by.end());
  }
  if (relations.empty()) return {};
  auto names = find_relation_names(relations, [&](const std::string& database) {
    PgEndpoint endpoint = server_endpoint(context.settings);
    if (!database.empty()) endpoint.database = database;
    return open_pg_session(endpoint, context.cancel);
  });
  if (names) return std::move(*names);
  notes.push_back("relations are told by the number of their files, as the server cannot be asked: " +
                  names.error().message());
  return {};
}

}  // namespace

Result<int> cmd_timeline(CommandContext& context) {
  const Settings& settings = context.settings;
  TimelineReportOptions options;
  TRY_ASSIGN(options.since, time_option(settings, "since"));
  TRY_ASSIGN(options.until, time_option(settings, "until"));
  if (options.since && options.until && *options.until < *options.since)
    return Error(Errc::kInvalid, "--until is before --since");
  for (const std::string& name : settings.list("kind")) {
    TRY_ASSIGN_CTX(const TimelineKind kind, parse_timeline_kind(name), "--kind");
    options.kinds.push_back(kind);
  }
  const std::vector<std::string> wanted = settings.list("relation");

  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  TRY_ASSIGN(const ClusterRecord cluster, current_cluster(*opened.repository, settings.stanza()));
  TRY_ASSIGN(RepositoryWal wal, RepositoryWal::open(*opened.repository, settings.stanza(), cluster));
  TRY_ASSIGN(options.history, choose_history(wal, settings.text("target-timeline")));
  auto told = report_timeline(wal, options);
  if (!told && told.error().code() == Errc::kPermission && !opened.repository->can_open_data())
    return Error(std::move(told).error())
        .with_context("timeline of stanza " + settings.stanza())
        .with_hint(
            "or ask for what metadata tells: --kind=commits --kind=restore_point --kind=drop --kind=truncate "
            "--kind=rewrite");
  TRY_ASSIGN_CTX(TimelineReport report, std::move(told), "timeline of stanza " + settings.stanza());
  std::vector<std::string> notes;
  const Names names = resolve_names(context, report, notes);
  if (!wanted.empty())
    std::erase_if(report.entries, [&](const TimelineEntry& entry) { return !is_about(entry, wanted, names); });
  if (context.json()) {
    TRY(context.out.print_json(report_json(report, names, notes, settings.stanza())));
  } else {
    TRY(context.out.print(report_text(report, names, notes)));
  }
  return kExitOk;
}

}  // namespace pgark
