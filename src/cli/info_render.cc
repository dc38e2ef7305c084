#include "cli/info_render.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "cli/backup_json.h"
#include "cli/dump_list_render.h"
#include "cli/info_outlook_render.h"
#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

int64_t microseconds(Timestamp time) { return time.time_since_epoch().count(); }

/// Bytes of the cluster copied each second; 0 if it was too quick to tell.
uint64_t rate(const BackupMeta& meta) {
  const auto took = (meta.stopped - meta.started).count();
  return took <= 0 ? 0
                   : static_cast<uint64_t>(static_cast<double>(meta.logical_bytes) * 1e6 / static_cast<double>(took));
}

ordered_json time_json(const std::optional<Timestamp>& time) {
  return time ? ordered_json(microseconds(*time)) : ordered_json();
}

ordered_json lsn_json(Lsn lsn) { return lsn.bytes == 0 ? ordered_json() : ordered_json(to_string(lsn)); }

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }

ordered_json gaps_json(const std::vector<CoverageGap>& gaps) {
  ordered_json list = ordered_json::array();
  for (const CoverageGap& gap : gaps) {
    list.push_back({{"timeline", gap.timeline.value},
                    {"min", gap.first},
                    {"max", gap.last},
                    {"count", gap.count},
                    {"min_lsn", to_string(gap.begin)},
                    {"max_lsn", to_string(gap.end)},
                    {"damage", text_or_null(gap.damage)},
                    {"since_us", time_json(gap.since)},
                    {"since_commit", gap.since_is_commit},
                    {"dropped", text_or_null(gap.dropped)}});
  }
  return list;
}

ordered_json recoverable_json(const std::vector<RecoverableRange>& ranges) {
  ordered_json list = ordered_json::array();
  for (const RecoverableRange& range : ranges) {
    list.push_back({{"min_us", microseconds(range.from)},
                    {"max_us", time_json(range.to)},
                    {"min_lsn", to_string(range.from_lsn)},
                    {"max_lsn", to_string(range.to_lsn)},
                    {"backups", range.backups}});
  }
  return list;
}

ordered_json broken_json(const std::vector<BrokenRange>& ranges) {
  ordered_json list = ordered_json::array();
  for (const BrokenRange& range : ranges) {
    list.push_back({{"min_us", time_json(range.from)},
                    {"max_us", time_json(range.to)},
                    {"min_lsn", to_string(range.from_lsn)},
                    {"max_lsn", lsn_json(range.to_lsn)},
                    {"backup_after", text_or_null(range.backup_after)},
                    {"needs_backup", range.needs_backup()},
                    {"gaps", gaps_json(range.gaps)}});
  }
  return list;
}

ordered_json timelines_json(const WalCoverage& coverage) {
  ordered_json list = ordered_json::array();
  for (const TimelineCoverage& one : coverage.timelines) {
    ordered_json children = ordered_json::array();
    for (const TimelineId child : one.children) children.push_back(child.value);
    ordered_json broken_backups = ordered_json::array();
    for (const BrokenBackup& backup : one.broken_backups) {
      broken_backups.push_back({{"label", backup.label}, {"missing", backup.missing}});
    }
    list.push_back({{"timeline", one.timeline.value},
                    {"parent", one.parent ? ordered_json(one.parent->value) : ordered_json()},
                    {"begin_lsn", to_string(one.begin)},
                    {"fork", timeline_fork_name(one.fork)},
                    {"reason", text_or_null(one.reason)},
                    {"children", children},
                    {"history_missing", one.history_missing},
                    {"partials", one.partials},
                    {"end_lsn", lsn_json(one.end)},
                    {"last_commit_us", one.last_commit ? time_json(one.last_commit->time) : ordered_json()},
                    {"gaps", gaps_json(one.gaps)},
                    {"recoverable", recoverable_json(one.recoverable)},
                    {"broken", broken_json(one.broken)},
                    {"broken_backups", broken_backups}});
  }
  return list;
}

ordered_json given_up_json(const InfoCluster& cluster) {
  ordered_json list = ordered_json::array();
  for (const GivenUpWal& one : cluster.coverage.given_up) {
    list.push_back({{"timeline", one.first.timeline.value},
                    {"min", pg::segment_name(one.first, cluster.record.wal_segment_bytes)},
                    {"max", pg::segment_name(one.last, cluster.record.wal_segment_bytes)},
                    {"reason", one.reason}});
  }
  return list;
}

ordered_json cluster_json(const InfoCluster& cluster) {
  ordered_json wal = ordered_json::array();
  for (const WalRange& range : cluster.wal) {
    wal.push_back(
        {{"timeline", range.timeline.value}, {"min", range.first}, {"max", range.last}, {"count", range.count}});
  }
  ordered_json gaps = ordered_json::array();
  for (const WalGap& gap : cluster.gaps) {
    gaps.push_back({{"timeline", gap.timeline.value}, {"min", gap.first}, {"max", gap.last}, {"count", gap.count}});
  }
  const ClusterRecord& record = cluster.record;
  return {
      {"number", record.number},
      {"system_identifier", std::to_string(record.system_identifier)},
      {"pg_major", record.pg_major},
      {"wal_segment_bytes", record.wal_segment_bytes},
      {"created_us", microseconds(record.created)},
      {"wal", wal},
      {"gaps", gaps},
      {"current_timeline", cluster.coverage.current ? ordered_json(cluster.coverage.current->value) : ordered_json()},
      {"needs_backup", cluster.coverage.needs_backup()},
      {"given_up", given_up_json(cluster)},
      {"timelines", timelines_json(cluster.coverage)}};
}

ordered_json backup_json(const BackupMeta& meta) {
  ordered_json document = backup_members(meta);
  document["bytes_per_second"] = rate(meta);
  document["pg_version_num"] = meta.pg_version_num;
  document["pgark_version"] = meta.pgark_version;
  document["error"] = nullptr;
  return document;
}

/// What is known of a backup beside its document.
void add_findings(const InfoStanza& stanza, const std::string& label, ordered_json& document) {
  const auto sizes = stanza.sizes.find(label);
  const bool sized = sizes != stanza.sizes.end();
  document["repository_bytes"] = sized ? ordered_json(sizes->second.repository_bytes) : ordered_json();
  document["unique_bytes"] = sized ? ordered_json(sizes->second.unique_bytes) : ordered_json();
  document["shared_bytes"] = sized ? ordered_json(sizes->second.shared_bytes()) : ordered_json();
  const auto found = stanza.verdicts.find(label);
  const VerifyVerdict verdict = found != stanza.verdicts.end() ? found->second : VerifyVerdict{};
  document["verified_us"] = time_json(verdict.verified);
  document["sampled_us"] = time_json(verdict.sampled);
  document["damage"] = text_or_null(verdict.damage);
}

ordered_json last_verify_json(const InfoStanza& stanza) {
  if (!stanza.last_verify) return {};
  const VerifyRecord& record = *stanza.last_verify;
  return {{"record", record.name},
          {"finished_us", microseconds(record.finished)},
          {"share", record.share},
          {"all_backups", record.sets.empty()},
          {"damage_count", record.damage_count}};
}

ordered_json listed_json(const InfoStanza& stanza, const ListedBackup& backup) {
  ordered_json document = backup.meta ? backup_json(*backup.meta) : ordered_json{{"label", backup.label}};
  if (backup.error) document["error"] = error_json(*backup.error);
  add_findings(stanza, backup.label, document);
  document["retention"] = retention_json(stanza, backup.label);
  return document;
}

ordered_json stanza_json(const InfoStanza& stanza) {
  ordered_json clusters = ordered_json::array();
  for (const InfoCluster& cluster : stanza.clusters) clusters.push_back(cluster_json(cluster));
  ordered_json backups = ordered_json::array();
  for (const ListedBackup& backup : stanza.backups) backups.push_back(listed_json(stanza, backup));
  ordered_json dumps = ordered_json::array();
  for (const ListedDump& dump : stanza.dumps.dumps) dumps.push_back(listed_dump_json(stanza.dumps, dump, stanza.as_of));
  ordered_json errors = ordered_json::array();
  for (const Error& error : stanza.errors) errors.push_back(error_json(error));
  ordered_json document{{"name", stanza.name}, {"status", stanza_status_name(stanza.status)}, {"clusters", clusters},
                        {"backups", backups},  {"last_verify", last_verify_json(stanza)},     {"dumps", dumps},
                        {"errors", errors}};
  add_outlook_json(stanza, document);
  return document;
}

std::string status_text(const InfoStanza& stanza) {
  const bool needs_backup = !stanza.clusters.empty() && stanza.clusters.back().coverage.needs_backup();
  switch (stanza.status) {
    case StanzaStatus::kOk:
      return needs_backup ? "WAL is missing: run archive-heal, or take a new backup" : "ok";
    case StanzaStatus::kMissing:
      return "missing: run stanza-create";
    case StanzaStatus::kNoBackups:
      return "no valid backups: run backup";
    case StanzaStatus::kDamaged:
      return "damaged";
  }
  return "damaged";
}

std::string count_text(uint64_t count) { return fmt::format("{} segment{}", count, count == 1 ? "" : "s"); }

/// "2026-11-22 10:15:00 UTC", with local time beside it where that differs.
std::string moment(Timestamp time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const std::string utc = format_utc(time);
  const std::string local = format_timestamp_local(whole);
  return local == utc ? utc : fmt::format("{} ({})", utc, local);
}

std::string moment_or(const std::optional<Timestamp>& time, std::string_view otherwise) {
  return time ? moment(*time) : std::string(otherwise);
}

std::string names_text(const CoverageGap& gap) {
  return gap.first == gap.last ? gap.first : fmt::format("{} to {}", gap.first, gap.last);
}

std::string gap_text(const CoverageGap& gap) {
  std::string text = gap.damage.empty() ? fmt::format("MISSING: {} ({})", names_text(gap), count_text(gap.count))
                                        : fmt::format("DAMAGED: {}: {}", gap.first, gap.damage);
  if (gap.since) {
    text += fmt::format("; the last {} before: {}", gap.since_is_commit ? "commit" : "segment", moment(*gap.since));
  }
  if (!gap.dropped.empty()) text += "; given up " + gap.dropped;
  return text + "\n";
}

std::string recoverable_text(const RecoverableRange& range) {
  return fmt::format("recoverable: {} to {}, LSN {} to {}, with backup {}\n", moment(range.from),
                     moment_or(range.to, "the same, as nothing was committed since"), to_string(range.from_lsn),
                     to_string(range.to_lsn), fmt::join(range.backups, ", "));
}

/// On a timeline the cluster has left, a new backup changes nothing.
std::string broken_text(const BrokenRange& range, bool is_current) {
  const std::string from =
      fmt::format("{} (LSN {})", moment_or(range.from, "an unknown time"), to_string(range.from_lsn));
  if (!range.needs_backup()) {
    return fmt::format("RECOVERY IS BROKEN from {} to {} (LSN {}), the end of backup {}\n", from, moment(*range.to),
                       to_string(range.to_lsn), range.backup_after);
  }
  return fmt::format("RECOVERY IS BROKEN from {} on: run archive-heal{}\n", from,
                     is_current ? ", or take a new backup" : "");
}

/// WAL of one timeline in order, with what lacks between.
std::string ranges_text(const TimelineCoverage& one, const std::string& indent) {
  // Names of one timeline sort as their numbers do. A damaged segment lies within a range: the range goes first.
  std::vector<std::pair<std::string, std::string>> lines;
  for (const WalRange& range : one.ranges) {
    lines.emplace_back(range.first,
                       fmt::format("wal: {} to {} ({})\n", range.first, range.last, count_text(range.count)));
  }
  for (const CoverageGap& gap : one.gaps) lines.emplace_back(gap.first, gap_text(gap));
  std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (const auto& [name, line] : lines) text += indent + line;
  for (const std::string& partial : one.partials) text += fmt::format("{}partial: {}\n", indent, partial);
  return text;
}

std::string timeline_text(const WalCoverage& coverage, const TimelineCoverage& one, size_t depth) {
  constexpr size_t kDepthMax = 8;  // Deeper ones are not moved further to the right.
  const std::string outer(8 + 4 * std::min(depth, kDepthMax), ' ');
  const std::string indent = outer + "    ";
  std::string text = fmt::format("{}timeline {}{}", outer, one.timeline.value,
                                 coverage.current == one.timeline && coverage.timelines.size() > 1 ? " (newest)" : "");
  if (one.parent) {
    text += fmt::format(", left timeline {} at {}", one.parent->value, to_string(one.begin));
    if (one.fork == TimelineFork::kPromotion) text += " by promotion";
    if (one.fork == TimelineFork::kTarget) text += " at a recovery target";
    if (!one.reason.empty()) text += ": " + one.reason;
  }
  text += "\n";
  if (one.history_missing) {
    text += fmt::format("{}ERROR: {} is missing: recovery cannot follow this timeline; run archive-heal\n", indent,
                        pg::history_name(one.timeline));
  }
  text += ranges_text(one, indent);
  for (const RecoverableRange& range : one.recoverable) text += indent + recoverable_text(range);
  for (const BrokenRange& range : one.broken) text += indent + broken_text(range, coverage.current == one.timeline);
  for (const BrokenBackup& backup : one.broken_backups) {
    text += fmt::format("{}ERROR: backup {} cannot be restored: its segment {} is missing\n", indent, backup.label,
                        backup.missing);
  }
  for (const TimelineId child : one.children) {
    if (const TimelineCoverage* next = coverage.find(child)) text += timeline_text(coverage, *next, depth + 1);
  }
  return text;
}

std::string cluster_text(const InfoCluster& cluster, bool current) {
  const ClusterRecord& record = cluster.record;
  std::string text = fmt::format("    cluster {}{}: PostgreSQL {}, system identifier {}\n", record.number,
                                 current ? " (current)" : "", record.pg_major, record.system_identifier);
  if (cluster.wal.empty()) text += "        wal: none\n";
  for (const TimelineCoverage& one : cluster.coverage.timelines) {
    const bool is_root = !one.parent || cluster.coverage.find(*one.parent) == nullptr;
    if (is_root) text += timeline_text(cluster.coverage, one, 0);
  }
  if (!cluster.coverage.timelines.empty()) return text;
  // The timelines could not be read: what is known without them.
  for (const WalRange& range : cluster.wal) {
    text += fmt::format("        wal: {} to {} ({})\n", range.first, range.last, count_text(range.count));
    for (const WalGap& gap : cluster.gaps) {
      const bool follows = gap.timeline == range.timeline && gap.first > range.last;
      if (!follows) continue;
      text += fmt::format("        MISSING: {} to {} ({})\n", gap.first, gap.last, count_text(gap.count));
      break;
    }
  }
  return text;
}

std::string backup_text(const BackupMeta& meta) {
  std::string text = fmt::format("    {} backup: {}\n", backup_type_name(meta.type), meta.label);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(meta.stopped - meta.started);
  text += fmt::format("        time: {} to {} ({}, {}/s)\n", format_utc(meta.started), format_utc(meta.stopped),
                      format_duration(took), format_size(rate(meta)));
  text += fmt::format("        wal: {} to {}\n", meta.wal_start, meta.wal_stop);
  text += fmt::format("        size: {}, stored {}\n", format_size(meta.logical_bytes), format_size(meta.stored_bytes));
  if (!meta.prior_label.empty()) text += fmt::format("        prior: {}\n", meta.prior_label);
  if (meta.bad_page_count > 0) {
    text +=
        fmt::format("        ERROR: {} pages failed their checksum, see --set={}\n", meta.bad_page_count, meta.label);
  }
  for (const auto& [key, value] : meta.annotations) text += fmt::format("        annotation: {}={}\n", key, value);
  return text;
}

std::string findings_text(const InfoStanza& stanza, const std::string& label) {
  std::string text;
  if (const auto sizes = stanza.sizes.find(label); sizes != stanza.sizes.end()) {
    text += fmt::format("        repository: {}, of which {} is shared with other backups and {} its own\n",
                        format_size(sizes->second.repository_bytes), format_size(sizes->second.shared_bytes()),
                        format_size(sizes->second.unique_bytes));
  }
  const auto found = stanza.verdicts.find(label);
  if (found == stanza.verdicts.end()) return text;
  const VerifyVerdict& verdict = found->second;
  if (!verdict.damage.empty()) {
    return text + fmt::format("        ERROR: DAMAGED, as verify found: {}; run verify for details\n", verdict.damage);
  }
  if (verdict.verified) text += fmt::format("        verified: {}\n", moment(*verdict.verified));
  if (verdict.sampled) text += fmt::format("        verified by sample: {}\n", moment(*verdict.sampled));
  return text;
}

std::string listed_text(const InfoStanza& stanza, const ListedBackup& backup) {
  const std::string more = findings_text(stanza, backup.label) + render_retention_text(stanza, backup.label);
  if (backup.meta) return backup_text(*backup.meta) + more;
  std::string text = fmt::format("    backup: {}\n", backup.label);
  if (backup.error) text += fmt::format("        ERROR: {}\n", backup.error->message());
  return text + more;
}

}  // namespace

namespace {

ordered_json document_json(const InfoDocument& document) {
  ordered_json stanzas = ordered_json::array();
  for (const InfoStanza& stanza : document.stanzas) stanzas.push_back(stanza_json(stanza));
  ordered_json json{{"repository", {{"location", document.repository}}}, {"stanzas", stanzas}};
  if (document.error) json["error"] = error_json(*document.error);
  return json;
}

std::string document_text(const InfoDocument& document) {
  if (document.error) return document.error->to_string() + "\n";
  if (document.stanzas.empty()) return fmt::format("no stanza exists in {}\n", document.repository);
  std::string text;
  for (const InfoStanza& stanza : document.stanzas) {
    text += fmt::format("{}stanza: {}\n    status: {}\n", text.empty() ? "" : "\n", stanza.name, status_text(stanza));
    for (const Error& error : stanza.errors) text += fmt::format("    ERROR: {}\n", error.message());
    text += render_outlook_text(stanza);
    for (const InfoCluster& cluster : stanza.clusters) {
      text += cluster_text(cluster, &cluster == &stanza.clusters.back());
    }
    for (const ListedBackup& backup : stanza.backups) text += "\n" + listed_text(stanza, backup);
    for (const ListedDump& dump : stanza.dumps.dumps) text += "\n" + listed_dump_text(stanza.dumps, dump, stanza.as_of);
  }
  return text;
}

}  // namespace

std::string render_info_json(const std::vector<InfoDocument>& documents) {
  ordered_json json = document_json(documents.front());
  json["others"] = ordered_json::array();
  for (size_t i = 1; i < documents.size(); ++i) json["others"].push_back(document_json(documents[i]));
  return dump(json);
}

std::string render_info_text(const std::vector<InfoDocument>& documents) {
  if (documents.size() == 1) return document_text(documents.front());
  std::string text;
  for (const InfoDocument& document : documents)
    text += fmt::format("{}== {}\n{}", text.empty() ? "" : "\n", document.repository, document_text(document));
  return text;
}

std::string render_detail_json(const std::string& stanza, const InfoBackupDetail& detail) {
  const BackupMeta& meta = detail.meta;
  ordered_json document{{"stanza", stanza}, {"backup", backup_json(meta)}};
  ordered_json& backup = document["backup"];
  backup["data_directory"] = meta.data_directory;
  backup["libc_version"] = meta.libc_version;
  backup["settings"] = meta.settings;
  backup["databases"] = ordered_json::array();
  for (const BackupDatabase& database : meta.databases) {
    backup["databases"].push_back({{"oid", database.oid},
                                   {"name", database.name},
                                   {"collation_provider", database.collation_provider},
                                   {"collation_version", database.collation_version}});
  }
  backup["extensions"] = ordered_json::array();
  for (const BackupExtension& extension : meta.extensions) {
    backup["extensions"].push_back(
        {{"database", extension.database}, {"name", extension.name}, {"version", extension.version}});
  }
  backup["tablespaces"] = ordered_json::array();
  for (const BackupTablespace& tablespace : meta.tablespaces) {
    backup["tablespaces"].push_back({{"oid", tablespace.oid}, {"name", tablespace.name}, {"path", tablespace.path}});
  }
  backup["links"] = ordered_json::array();
  for (const InfoLink& link : detail.links) backup["links"].push_back({{"path", link.path}, {"target", link.target}});
  backup["outside_files"] = ordered_json::array();
  for (const OutsideFile& file : meta.outside_files) backup["outside_files"].push_back(file.path);
  backup["bad_files"] = detail.bad_files;
  return dump(document);
}

std::string render_detail_text(const std::string& stanza, const InfoBackupDetail& detail) {
  const BackupMeta& meta = detail.meta;
  std::string text = fmt::format("stanza: {}\n{}", stanza, backup_text(meta));
  text += fmt::format("        lsn: {} to {}, timeline {}\n", to_string(meta.start_lsn), to_string(meta.stop_lsn),
                      meta.stop_timeline.value);
  text += fmt::format("        server: {} from '{}', PostgreSQL {}\n", meta.source, meta.data_directory,
                      meta.pg_version_num);
  for (const BackupDatabase& database : meta.databases) {
    text += fmt::format("        database: {} ({})\n", database.name, database.oid);
  }
  for (const BackupExtension& extension : meta.extensions) {
    text += fmt::format("        extension: {} {} in {}\n", extension.name, extension.version, extension.database);
  }
  for (const BackupTablespace& tablespace : meta.tablespaces) {
    text += fmt::format("        tablespace: {} ({}) => {}\n", tablespace.name, tablespace.oid, tablespace.path);
  }
  for (const InfoLink& link : detail.links) text += fmt::format("        link: {} => {}\n", link.path, link.target);
  for (const OutsideFile& file : meta.outside_files) {
    text += fmt::format("        file outside the data directory: {}\n", file.path);
  }
  for (const std::string& file : detail.bad_files) text += fmt::format("        ERROR: {}\n", file);
  return text;
}

}  // namespace pgark
