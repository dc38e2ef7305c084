// The JSON document of a manifest, written and read member by member. docs/format/manifest.md is normative.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "catalog/backup.h"
#include "catalog/json_members.h"

namespace pgark {
namespace {

using nlohmann::json;

json encode_cluster(const BackupMeta& meta) {
  json settings = json::object();
  for (const auto& [name, value] : meta.settings) settings[name] = foreign_text(value);
  return {{"number", meta.cluster_number},
          {"system_identifier", std::to_string(meta.system_identifier)},  // Text: 64 bits are more than readers keep.
          {"pg_major", meta.pg_major},
          {"pg_version_num", meta.pg_version_num},
          {"control_version", meta.control_version},
          {"catalog_version", meta.catalog_version},
          {"block_bytes", meta.block_bytes},
          {"relation_segment_blocks", meta.relation_segment_blocks},
          {"wal_segment_bytes", meta.wal_segment_bytes},
          {"checksum_version", meta.checksum_version},
          {"data_directory", foreign_text(meta.data_directory)},
          {"libc_version", meta.libc_version},
          {"settings", std::move(settings)}};
}

json encode_lists(const BackupMeta& meta) {
  json databases = json::array();
  for (const BackupDatabase& database : meta.databases)
    databases.push_back({{"oid", database.oid},
                         {"name", foreign_text(database.name)},
                         {"last_system_oid", database.last_system_oid},
                         {"collation_provider", database.collation_provider},
                         {"collation_version", database.collation_version}});
  json extensions = json::array();
  for (const BackupExtension& extension : meta.extensions)
    extensions.push_back({{"database", foreign_text(extension.database)},
                          {"name", foreign_text(extension.name)},
                          {"version", foreign_text(extension.version)}});
  json tablespaces = json::array();
  for (const BackupTablespace& tablespace : meta.tablespaces)
    tablespaces.push_back(
        {{"oid", tablespace.oid}, {"name", foreign_text(tablespace.name)}, {"path", foreign_text(tablespace.path)}});
  json outside = json::array();
  for (const OutsideFile& file : meta.outside_files)
    outside.push_back({{"path", foreign_text(file.path)}, {"content", foreign_text(file.content)}});
  return {{"databases", std::move(databases)},
          {"extensions", std::move(extensions)},
          {"tablespaces", std::move(tablespaces)},
          {"outside_files", std::move(outside)}};
}

void decode_cluster(JsonMembers cluster, BackupMeta& meta) {
  std::string system_identifier;
  cluster.integer("number", meta.cluster_number);
  cluster.text("system_identifier", system_identifier);
  std::from_chars(system_identifier.data(), system_identifier.data() + system_identifier.size(),
                  meta.system_identifier);
  cluster.integer("pg_major", meta.pg_major);
  cluster.integer("pg_version_num", meta.pg_version_num);
  cluster.integer("control_version", meta.control_version);
  cluster.integer("catalog_version", meta.catalog_version);
  cluster.integer("block_bytes", meta.block_bytes, false);
  cluster.integer("relation_segment_blocks", meta.relation_segment_blocks, false);
  cluster.integer("wal_segment_bytes", meta.wal_segment_bytes);
  cluster.integer("checksum_version", meta.checksum_version, false);
  cluster.text("data_directory", meta.data_directory, false);
  cluster.text("libc_version", meta.libc_version, false);
  cluster.texts("settings", meta.settings);
}

void decode_wal(JsonMembers wal, BackupMeta& meta) {
  wal.lsn("start_lsn", meta.start_lsn);
  wal.lsn("stop_lsn", meta.stop_lsn);
  wal.lsn("checkpoint_lsn", meta.checkpoint_lsn, false);
  wal.integer("start_timeline", meta.start_timeline.value);
  wal.integer("stop_timeline", meta.stop_timeline.value);
  wal.text("first_segment", meta.wal_start);
  wal.text("last_segment", meta.wal_stop);
}

void decode_sizes(JsonMembers sizes, BackupMeta& meta) {
  sizes.integer("logical_bytes", meta.logical_bytes);
  sizes.integer("read_bytes", meta.read_bytes, false);
  sizes.integer("stored_bytes", meta.stored_bytes, false);
  sizes.integer("file_count", meta.file_count, false);
  sizes.integer("bad_page_count", meta.bad_page_count, false);
  sizes.integer("referenced_bytes", meta.referenced_bytes, false);
  sizes.integer("reused_bytes", meta.reused_bytes, false);
  sizes.integer("extent_count", meta.extent_count, false);
}

void decode_lists(JsonMembers& document, BackupMeta& meta) {
  document.array("databases", [&](JsonMembers& members) {
    BackupDatabase& database = meta.databases.emplace_back();
    members.integer("oid", database.oid);
    members.text("name", database.name);
    members.integer("last_system_oid", database.last_system_oid, false);
    members.text("collation_provider", database.collation_provider, false);
    members.text("collation_version", database.collation_version, false);
  });
  document.array("extensions", [&](JsonMembers& members) {
    BackupExtension& extension = meta.extensions.emplace_back();
    members.text("database", extension.database);
    members.text("name", extension.name);
    members.text("version", extension.version, false);
  });
  document.array("tablespaces", [&](JsonMembers& members) {
    BackupTablespace& tablespace = meta.tablespaces.emplace_back();
    members.integer("oid", tablespace.oid);
    members.text("name", tablespace.name, false);
    members.text("path", tablespace.path);
  });
  document.array("outside_files", [&](JsonMembers& members) {
    OutsideFile& file = meta.outside_files.emplace_back();
    members.text("path", file.path);
    members.text("content", file.content);
  });
}

Result<BackupType> parse_type(const std::string& name) {
  for (const BackupType type : {BackupType::kFull, BackupType::kDiff, BackupType::kIncr})
    if (name == backup_type_name(type)) return type;
  return Error(Errc::kCorrupt, "member 'type' is no type of backup: '" + name + "'");
}

}  // namespace

std::string encode_backup_meta(const BackupMeta& meta) {
  json annotations = json::object();
  for (const auto& [name, value] : meta.annotations) annotations[name] = foreign_text(value);
  json document = encode_lists(meta);
  document.update(json{
      {"label", meta.label},
      {"type", backup_type_name(meta.type)},
      {"prior_label", meta.prior_label},
      {"pgark_version", meta.pgark_version},
      {"cluster", encode_cluster(meta)},
      {"started_us", microseconds(meta.started)},
      {"stopped_us", microseconds(meta.stopped)},
      {"wal",
       {{"start_lsn", to_string(meta.start_lsn)},
        {"stop_lsn", to_string(meta.stop_lsn)},
        {"checkpoint_lsn", to_string(meta.checkpoint_lsn)},
        {"start_timeline", meta.start_timeline.value},
        {"stop_timeline", meta.stop_timeline.value},
        {"first_segment", meta.wal_start},
        {"last_segment", meta.wal_stop}}},
      {"source", meta.source},
      {"backup_label", foreign_text(meta.backup_label)},
      {"tablespace_map", foreign_text(meta.tablespace_map)},
      {"sizes",
       {{"logical_bytes", meta.logical_bytes},
        {"read_bytes", meta.read_bytes},
        {"stored_bytes", meta.stored_bytes},
        {"file_count", meta.file_count},
        {"bad_page_count", meta.bad_page_count},
        {"referenced_bytes", meta.referenced_bytes},
        {"reused_bytes", meta.reused_bytes},
        {"extent_count", meta.extent_count}}},
      {"codec", meta.codec},
      {"scan", meta.scan},
      {"annotations", std::move(annotations)},
  });
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<BackupMeta> decode_backup_meta(std::string_view text) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error(Errc::kCorrupt, "document is no JSON");
  BackupMeta meta;
  std::optional<Error> failure;
  std::string type;
  JsonMembers document(parsed, "", failure);
  document.text("label", meta.label);
  document.text("type", type);
  document.text("prior_label", meta.prior_label, false);
  document.text("pgark_version", meta.pgark_version, false);
  decode_cluster(document.child("cluster"), meta);
  document.time("started_us", meta.started);
  document.time("stopped_us", meta.stopped);
  decode_wal(document.child("wal"), meta);
  document.text("source", meta.source, false);
  document.text("backup_label", meta.backup_label);
  document.text("tablespace_map", meta.tablespace_map, false);
  decode_sizes(document.child("sizes"), meta);
  document.text("codec", meta.codec, false);
  document.text("scan", meta.scan, false);
  document.texts("annotations", meta.annotations);
  decode_lists(document, meta);
  if (failure.has_value()) return std::move(*failure);
  TRY_ASSIGN(meta.type, parse_type(type));
  if (meta.system_identifier == 0) return Error(Errc::kCorrupt, "member 'cluster.system_identifier' is no number");
  return meta;
}

}  // namespace pgark
