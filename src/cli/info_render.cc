#include "cli/info_render.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

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

ordered_json error_json(const Error& error) {
  return {{"code", errc_name(error.code())}, {"message", error.message()}, {"hints", error.hints()}};
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
  return {{"number", record.number},
          {"system_identifier", std::to_string(record.system_identifier)},
          {"pg_major", record.pg_major},
          {"wal_segment_bytes", record.wal_segment_bytes},
          {"created_us", microseconds(record.created)},
          {"wal", wal},
          {"gaps", gaps}};
}

ordered_json backup_json(const BackupMeta& meta) {
  return {{"label", meta.label},
          {"type", backup_type_name(meta.type)},
          {"prior", meta.prior_label.empty() ? ordered_json() : ordered_json(meta.prior_label)},
          {"cluster", meta.cluster_number},
          {"started_us", microseconds(meta.started)},
          {"stopped_us", microseconds(meta.stopped)},
          {"start_lsn", to_string(meta.start_lsn)},
          {"stop_lsn", to_string(meta.stop_lsn)},
          {"start_timeline", meta.start_timeline.value},
          {"stop_timeline", meta.stop_timeline.value},
          {"wal_start", meta.wal_start},
          {"wal_stop", meta.wal_stop},
          {"source", meta.source},
          {"logical_bytes", meta.logical_bytes},
          {"read_bytes", meta.read_bytes},
          {"stored_bytes", meta.stored_bytes},
          {"file_count", meta.file_count},
          {"bad_page_count", meta.bad_page_count},
          {"bytes_per_second", rate(meta)},
          {"compress_type", meta.codec},
          {"pg_version_num", meta.pg_version_num},
          {"pgark_version", meta.pgark_version},
          {"annotations", meta.annotations},
          {"error", nullptr}};
}

ordered_json listed_json(const ListedBackup& backup) {
  ordered_json document = backup.meta ? backup_json(*backup.meta) : ordered_json{{"label", backup.label}};
  if (backup.error) document["error"] = error_json(*backup.error);
  return document;
}

ordered_json stanza_json(const InfoStanza& stanza) {
  ordered_json clusters = ordered_json::array();
  for (const InfoCluster& cluster : stanza.clusters) clusters.push_back(cluster_json(cluster));
  ordered_json backups = ordered_json::array();
  for (const ListedBackup& backup : stanza.backups) backups.push_back(listed_json(backup));
  ordered_json errors = ordered_json::array();
  for (const Error& error : stanza.errors) errors.push_back(error_json(error));
  return {{"name", stanza.name},
          {"status", stanza_status_name(stanza.status)},
          {"clusters", clusters},
          {"backups", backups},
          {"errors", errors}};
}

std::string status_text(StanzaStatus status) {
  switch (status) {
    case StanzaStatus::kOk:
      return "ok";
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

std::string cluster_text(const InfoCluster& cluster, bool current) {
  const ClusterRecord& record = cluster.record;
  std::string text = fmt::format("    cluster {}{}: PostgreSQL {}, system identifier {}\n", record.number,
                                 current ? " (current)" : "", record.pg_major, record.system_identifier);
  if (cluster.wal.empty()) text += "        wal: none\n";
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

std::string listed_text(const ListedBackup& backup) {
  if (backup.meta) return backup_text(*backup.meta);
  std::string text = fmt::format("    backup: {}\n", backup.label);
  if (backup.error) text += fmt::format("        ERROR: {}\n", backup.error->message());
  return text;
}

}  // namespace

std::string render_info_json(const InfoDocument& document) {
  ordered_json stanzas = ordered_json::array();
  for (const InfoStanza& stanza : document.stanzas) stanzas.push_back(stanza_json(stanza));
  return dump({{"repository", {{"location", document.repository}}}, {"stanzas", stanzas}});
}

std::string render_info_text(const InfoDocument& document) {
  if (document.stanzas.empty()) return fmt::format("no stanza exists in {}\n", document.repository);
  std::string text;
  for (const InfoStanza& stanza : document.stanzas) {
    text += fmt::format("{}stanza: {}\n    status: {}\n", text.empty() ? "" : "\n", stanza.name,
                        status_text(stanza.status));
    for (const Error& error : stanza.errors) text += fmt::format("    ERROR: {}\n", error.message());
    for (const InfoCluster& cluster : stanza.clusters) {
      text += cluster_text(cluster, &cluster == &stanza.clusters.back());
    }
    for (const ListedBackup& backup : stanza.backups) text += "\n" + listed_text(backup);
  }
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
