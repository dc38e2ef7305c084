#include "catalog/dump_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "catalog/json_members.h"
#include "core/check.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr size_t kHashDigits = 32;
constexpr size_t kStreamNameMax = 255;

std::string write_json(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json foreign_list(const std::vector<std::string>& texts) {
  json list = json::array();
  for (const std::string& text : texts) list.push_back(foreign_text(text));
  return list;
}

/// Most members say nothing for most entries: they are written where they do.
void put_text(json& object, const char* name, const std::string& text) {
  if (!text.empty()) object[name] = foreign_text(text);
}
template <typename T>
void put_number(json& object, const char* name, T value, T usual = 0) {
  if (value != usual) object[name] = value;
}
void put_flag(json& object, const char* name, bool value) {
  if (value) object[name] = true;
}

json encode_database(const DumpDatabase& database) {
  json settings = json::array();
  for (const auto& [role, setting] : database.settings)
    settings.push_back({{"role", foreign_text(role)}, {"setting", foreign_text(setting)}});
  json extensions = json::array();
  for (const BackupExtension& extension : database.extensions)
    extensions.push_back({{"name", foreign_text(extension.name)}, {"version", foreign_text(extension.version)}});
  // No object with the names as members: they may be in any encoding.
  json collations = json::array();
  for (const auto& [name, version] : database.collation_versions)
    collations.push_back({{"name", foreign_text(name)}, {"version", foreign_text(version)}});
  return {{"name", foreign_text(database.name)},
          {"oid", database.oid},
          {"owner", foreign_text(database.owner)},
          {"encoding", database.encoding},
          {"collate", foreign_text(database.collate)},
          {"ctype", foreign_text(database.ctype)},
          {"locale_provider", database.locale_provider},
          {"collation_version", foreign_text(database.collation_version)},
          {"tablespace", foreign_text(database.tablespace)},
          {"bytes", database.bytes},
          {"acl", foreign_text(database.acl)},
          {"connection_limit", database.connection_limit},
          {"settings", std::move(settings)},
          {"extensions", std::move(extensions)},
          {"collations", std::move(collations)},
          {"snapshot", foreign_text(database.snapshot)},
          {"lsn", database.lsn},
          {"snapshot_us", microseconds(database.snapshot_time)},
          {"table_count", database.table_count},
          {"row_count", database.row_count},
          {"large_object_count", database.large_object_count}};
}

void decode_database(JsonMembers& members, DumpDatabase& database) {
  members.text("name", database.name);
  members.integer("oid", database.oid, false);
  members.text("owner", database.owner, false);
  members.text("encoding", database.encoding, false);
  members.text("collate", database.collate, false);
  members.text("ctype", database.ctype, false);
  members.text("locale_provider", database.locale_provider, false);
  members.text("collation_version", database.collation_version, false);
  members.text("tablespace", database.tablespace, false);
  members.integer("bytes", database.bytes, false);
  members.text("acl", database.acl, false);
  members.integer("connection_limit", database.connection_limit, false);
  members.array("settings", [&](JsonMembers& one) {
    auto& [role, setting] = database.settings.emplace_back();
    one.text("role", role);
    one.text("setting", setting);
  });
  members.array("extensions", [&](JsonMembers& one) {
    BackupExtension& extension = database.extensions.emplace_back();
    extension.database = database.name;
    one.text("name", extension.name);
    one.text("version", extension.version, false);
  });
  members.array("collations", [&](JsonMembers& one) {
    std::string name;
    one.text("name", name);
    one.text("version", database.collation_versions[name]);
  });
  members.text("snapshot", database.snapshot, false);
  members.text("lsn", database.lsn, false);
  members.time("snapshot_us", database.snapshot_time);
  members.integer("table_count", database.table_count, false);
  members.integer("row_count", database.row_count, false);
  members.integer("large_object_count", database.large_object_count, false);
}

json encode_unit(const DumpUnit& unit) {
  json encoded{{"kind", dump_unit_kind_name(unit.kind)}, {"format", dump_format_name(unit.format)}};
  put_text(encoded, "name", unit.name);
  put_text(encoded, "schema", unit.schema);
  put_text(encoded, "database", unit.database);
  put_text(encoded, "client", unit.client);
  put_number(encoded, "client_major", unit.client_major);
  if (!unit.arguments.empty()) encoded["arguments"] = foreign_list(unit.arguments);
  return encoded;
}

void decode_unit(JsonMembers& members, DumpUnit& unit) {
  std::string kind;
  std::string format;
  members.text("kind", kind);
  members.text("format", format);
  members.text("name", unit.name, false);
  members.text("schema", unit.schema, false);
  members.text("database", unit.database, false);
  members.text("client", unit.client, false);
  members.integer("client_major", unit.client_major, false);
  members.texts("arguments", unit.arguments);
  if (!members.ok()) return;
  using Kind = DumpUnit::Kind;
  constexpr std::array kKinds{Kind::kWhole,     Kind::kCommon,  Kind::kSchema, Kind::kDefinition,
                              Kind::kPartition, Kind::kGlobals, Kind::kGiven};
  const auto* known =
      std::find_if(kKinds.begin(), kKinds.end(), [&](Kind k) { return dump_unit_kind_name(k) == kind; });
  if (known == kKinds.end()) return members.fail_member("kind", "no kind of unit");
  unit.kind = *known;
  const auto parsed = parse_dump_format(format);
  if (!parsed) return members.fail_member("format", "no format of dumps");
  unit.format = *parsed;
}

json encode_role(const DumpRole& role) {
  json encoded{{"name", foreign_text(role.name)}};
  put_flag(encoded, "login", role.login);
  put_flag(encoded, "superuser", role.superuser);
  if (!role.member_of.empty()) encoded["member_of"] = foreign_list(role.member_of);
  return encoded;
}

void decode_role(JsonMembers& members, DumpRole& role) {
  members.text("name", role.name);
  members.boolean("login", role.login, false);
  members.boolean("superuser", role.superuser, false);
  members.texts("member_of", role.member_of);
}

bool is_hash(std::string_view text) {
  return text.size() == kHashDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// One run is [pack, first frame, count of frames].
bool decode_run(const json& value, DumpRun& run) {
  if (!value.is_array() || value.size() != 3) return false;
  const auto number = [&](size_t i, uint32_t& into) {
    if (!value[i].is_number_unsigned() || value[i].get<uint64_t>() > UINT32_MAX) return false;
    into = value[i].get<uint32_t>();
    return true;
  };
  return number(0, run.pack) && number(1, run.first_frame) && number(2, run.frame_count) && run.pack > 0 &&
         run.frame_count > 0 && run.first_frame <= UINT32_MAX - run.frame_count;
}

void decode_runs(JsonMembers& members, std::vector<DumpRun>& runs) {
  const json* value = members.value("runs");
  if (value == nullptr) return;
  if (!value->is_array()) return members.fail_member("runs", "no array");
  for (const json& element : *value)
    if (!decode_run(element, runs.emplace_back())) return members.fail_member("runs", "no list of runs");
}

void decode_stream(JsonMembers& members, Dump& dump) {
  uint32_t unit = 0;
  bool continued = false;
  members.integer("unit", unit);
  members.boolean("continued", continued, false);
  if (!members.ok()) return;
  if (unit >= dump.meta.units.size()) return members.fail_member("unit", "no unit of this dump");
  std::vector<DumpStream>& streams = dump.meta.units[unit].streams;
  if (continued) {
    if (streams.empty()) return members.fail_member("continued", "true, but nothing came before");
    return decode_runs(members, streams.back().runs);
  }
  DumpStream& stream = streams.emplace_back();
  members.text("name", stream.name);
  members.integer("raw_bytes", stream.raw_bytes);
  members.text("hash", stream.hash);
  decode_runs(members, stream.runs);
  if (!members.ok()) return;
  if (!is_dump_stream_name(stream.name)) return members.fail_member("name", "no name of a stream");
  if (!is_hash(stream.hash)) return members.fail_member("hash", "no hash");
}

void decode_table(JsonMembers& members, Dump& dump) {
  DumpTable& table = dump.tables.emplace_back();
  std::string kind;
  members.text("database", table.database);
  members.integer("oid", table.oid, false);
  members.text("schema", table.schema);
  members.text("name", table.name);
  members.text("kind", kind);
  members.integer("rows", table.rows);
  members.integer("bytes", table.bytes, false);
  members.integer("total_bytes", table.total_bytes, false);
  members.text("parent", table.parent, false);
  members.text("bound", table.bound, false);
  members.text("partition_key", table.partition_key, false);
  members.boolean("unlogged", table.unlogged, false);
  members.integer("unit", table.unit);
  members.text("stream", table.stream, false);
  if (!members.ok()) return;
  if (kind.size() != 1) return members.fail_member("kind", "no kind of relation");
  table.kind = kind.front();
  if (table.unit && *table.unit >= dump.meta.units.size()) members.fail_member("unit", "no unit of this dump");
}

json encode_server(const DumpMeta& meta) {
  return {{"where", foreign_text(meta.server)},
          {"system_identifier", std::to_string(meta.system_identifier)},
          {"pg_version_num", meta.pg_version_num},
          {"version", foreign_text(meta.server_version)},
          {"in_recovery", meta.in_recovery}};
}

void decode_server(JsonMembers server, DumpMeta& meta) {
  server.text("where", meta.server, false);
  server.long_integer("system_identifier", meta.system_identifier);
  server.integer("pg_version_num", meta.pg_version_num, false);
  server.text("version", meta.server_version, false);
  server.boolean("in_recovery", meta.in_recovery, false);
}

void decode_sizes(JsonMembers sizes, DumpMeta& meta) {
  sizes.integer("raw_bytes", meta.raw_bytes);
  sizes.integer("stored_bytes", meta.stored_bytes, false);
  sizes.integer("pack_count", meta.pack_count);
  sizes.integer("stream_count", meta.stream_count);
}

template <typename T>
json encode_each(const std::vector<T>& elements, json (*encode)(const T&)) {
  json list = json::array();
  for (const T& element : elements) list.push_back(encode(element));
  return list;
}

}  // namespace

bool is_dump_stream_name(std::string_view name) {
  return !name.empty() && name.size() <= kStreamNameMax && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

std::string encode_dump_meta(const DumpMeta& meta) { return encode_dump_meta(meta, meta.raw_bytes, meta.stream_count); }

std::string encode_dump_meta(const DumpMeta& meta, uint64_t raw_bytes, uint64_t stream_count) {
  const json document{{"label", meta.label},
                      {"series", foreign_text(meta.series)},
                      {"name", foreign_text(meta.name)},
                      {"pgark_version", meta.pgark_version},
                      {"host", foreign_text(meta.host)},
                      {"server", encode_server(meta)},
                      {"started_us", microseconds(meta.started)},
                      {"stopped_us", microseconds(meta.stopped)},
                      {"split", meta.split},
                      {"globals", meta.globals},
                      {"role_passwords", meta.role_passwords},
                      {"selection", foreign_list(meta.selection)},
                      {"databases", encode_each(meta.databases, encode_database)},
                      {"roles", encode_each(meta.roles, encode_role)},
                      {"tablespaces", foreign_list(meta.tablespaces)},
                      {"units", encode_each(meta.units, encode_unit)},
                      {"warnings", foreign_list(meta.warnings)},
                      {"sizes",
                       {{"raw_bytes", raw_bytes},
                        {"stored_bytes", meta.stored_bytes},
                        {"pack_count", meta.pack_count},
                        {"stream_count", stream_count}}},
                      {"codec", meta.codec}};
  return write_json(document);
}

Result<DumpMeta> decode_dump_meta(std::string_view text) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error(Errc::kCorrupt, "document is no JSON");
  DumpMeta meta;
  std::optional<Error> failure;
  JsonMembers document(parsed, "", failure);
  document.text("label", meta.label);
  document.text("series", meta.series);
  document.text("name", meta.name, false);
  document.text("pgark_version", meta.pgark_version, false);
  document.text("host", meta.host, false);
  decode_server(document.child("server"), meta);
  document.time("started_us", meta.started);
  document.time("stopped_us", meta.stopped);
  document.text("split", meta.split, false);
  document.boolean("globals", meta.globals, false);
  document.boolean("role_passwords", meta.role_passwords, false);
  document.texts("selection", meta.selection);
  document.array("databases", [&](JsonMembers& members) { decode_database(members, meta.databases.emplace_back()); });
  document.array("roles", [&](JsonMembers& members) { decode_role(members, meta.roles.emplace_back()); });
  document.texts("tablespaces", meta.tablespaces);
  document.array("units", [&](JsonMembers& members) { decode_unit(members, meta.units.emplace_back()); });
  document.texts("warnings", meta.warnings);
  decode_sizes(document.child("sizes"), meta);
  document.text("codec", meta.codec, false);
  if (failure.has_value()) return std::move(*failure);
  return meta;
}

void DumpChunk::append(std::string_view list, std::string entry) {
  CHECK(entries_.empty() || list_ == list);
  list_ = list;
  entries_ += entries_.empty() ? "\n" : ",\n";
  entries_ += entry;
}

void DumpChunk::add(uint32_t unit, const DumpStream& stream, size_t first_run, size_t run_count) {
  json runs = json::array();
  for (size_t i = first_run; i < first_run + run_count; ++i) {
    const DumpRun& run = stream.runs[i];
    runs.push_back(json::array({run.pack, run.first_frame, run.frame_count}));
  }
  json entry{{"unit", unit}, {"runs", std::move(runs)}};
  if (first_run > 0) {
    entry["continued"] = true;
  } else {
    entry["name"] = foreign_text(stream.name);
    entry["raw_bytes"] = stream.raw_bytes;
    entry["hash"] = stream.hash;
  }
  append("streams", write_json(entry));
}

void DumpChunk::add(const DumpTable& table) {
  json entry{{"database", foreign_text(table.database)}, {"oid", table.oid},
             {"schema", foreign_text(table.schema)},     {"name", foreign_text(table.name)},
             {"kind", std::string(1, table.kind)},       {"bytes", table.bytes}};
  if (table.rows) entry["rows"] = *table.rows;
  put_number(entry, "total_bytes", table.total_bytes);
  put_text(entry, "parent", table.parent);
  put_text(entry, "bound", table.bound);
  put_text(entry, "partition_key", table.partition_key);
  put_flag(entry, "unlogged", table.unlogged);
  if (table.unit) entry["unit"] = *table.unit;
  put_text(entry, "stream", table.stream);
  append("tables", write_json(entry));
}

std::string DumpChunk::take() {
  std::string document = fmt::format("{{\"{}\": [{}\n]}}", list_, entries_);
  entries_.clear();
  return document;
}

Result<> decode_dump_chunk(std::string_view text, Dump& dump) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error(Errc::kCorrupt, "document is no JSON");
  std::optional<Error> failure;
  JsonMembers document(parsed, "", failure);
  document.array("streams", [&](JsonMembers& members) { decode_stream(members, dump); });
  document.array("tables", [&](JsonMembers& members) { decode_table(members, dump); });
  if (failure.has_value()) return std::move(*failure);
  return {};
}

}  // namespace pgark
