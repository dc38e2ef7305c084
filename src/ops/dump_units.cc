#include "ops/dump_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>

namespace pgark {
namespace {

using Words = std::vector<std::string>;

/// What a unit that names its schema or table itself must not get again: patterns add up.
constexpr std::array kChoosing = std::to_array<std::string_view>(
    {"--schema", "--exclude-schema", "--table", "--table-and-children", "--exclude-table",
     "--exclude-table-and-children", "--extension", "--exclude-extension", "--filter", "--strict-names"});
/// Data that belong to the database, not to a part of it.
constexpr std::array kOfDatabase =
    std::to_array<std::string_view>({"--large-objects", "--blobs", "--no-large-objects", "--no-blobs"});

Words without(const Words& words, std::span<const std::string_view> names) {
  Words kept;
  for (const std::string& word : words)
    if (std::none_of(names.begin(), names.end(), [&](std::string_view name) { return is_dump_option(word, name); }))
      kept.push_back(word);
  return kept;
}

/// Sections that --section asks for; all if it does not.
bool wants_section(const Words& words, std::string_view section) {
  if (!has_dump_option(words, "--section")) return true;
  return std::find(words.begin(), words.end(), fmt::format("--section={}", section)) != words.end();
}

bool wants_data(const Words& words) { return !has_dump_option(words, "--schema-only") && wants_section(words, "data"); }

/// Bytes of the tables for which `takes` holds.
template <typename Takes>
uint64_t bytes_of(const DumpDatabaseFacts& facts, const Takes& takes) {
  uint64_t bytes = 0;
  for (const DumpTable& table : facts.tables)
    if (takes(table)) bytes += table.bytes;
  return bytes;
}

class UnitPlanner {
 public:
  UnitPlanner(const DumpRequest& request, const PgClientSet& client, const DumpDatabaseFacts& facts,
              const DumpChoice& choice)
      : request_(request), client_(client), facts_(facts), choice_(choice) {}

  std::vector<PlannedUnit> whole() const {
    return {unit(DumpUnit::Kind::kWhole, "", "", request_.arguments,
                 bytes_of(facts_, [&](const DumpTable& table) { return takes(table); }) + facts_.large_object_bytes)};
  }

  std::vector<PlannedUnit> by_schema() const {
    std::vector<PlannedUnit> units;
    if (choice_.everything) {
      Words words = request_.arguments;
      for (const std::string& schema : choice_.schemas)
        words.push_back("--exclude-schema=" + exact_dump_pattern(schema));
      units.push_back(unit(DumpUnit::Kind::kCommon, "common", "", words, facts_.large_object_bytes));
    }
    Words base = without(without(request_.arguments, kOfDatabase), kChoosing);
    // Of what is left out by name, that still counts inside of a schema.
    for (const std::string& word : request_.arguments)
      if (is_dump_option(word, "--exclude-table") || is_dump_option(word, "--exclude-table-and-children"))
        base.push_back(word);
    for (const std::string& schema : choice_.schemas) {
      Words words = base;
      words.push_back("--schema=" + exact_dump_pattern(schema));
      units.push_back(unit(DumpUnit::Kind::kSchema, schema, "", words, bytes_of(facts_, [&](const DumpTable& table) {
                             return table.schema == schema && takes(table);
                           })));
    }
    return units;
  }

  std::vector<PlannedUnit> by_partition() const {
    const bool data = wants_data(request_.arguments);
    Words words = request_.arguments;
    std::set<uint32_t> apart;
    if (data)
      for (const DumpTable* table : choice_.partitions) {
        words.push_back("--exclude-table-data=" + exact_dump_pattern(table->schema, table->name));
        apart.insert(table->oid);
      }
    std::vector<PlannedUnit> units;
    units.push_back(
        unit(DumpUnit::Kind::kDefinition, "definition", "", words, bytes_of(facts_, [&](const DumpTable& table) {
                                                                     return takes(table) && !apart.contains(table.oid);
                                                                   }) + facts_.large_object_bytes));
    if (!data) return units;
    constexpr auto kParts = std::to_array<std::string_view>({"--section", "--data-only", "--include-foreign-data"});
    const Words base = without(without(without(request_.arguments, kOfDatabase), kChoosing), kParts);
    for (const DumpTable* table : choice_.partitions) {
      Words own = base;
      own.push_back("--data-only");
      own.push_back("--table=" + exact_dump_pattern(table->schema, table->name));
      units.push_back(unit(DumpUnit::Kind::kPartition, table->name, table->schema, own, table->bytes));
    }
    return units;
  }

 private:
  bool takes(const DumpTable& table) const { return !choice_.tables || choice_.tables->contains(table.oid); }

  PlannedUnit unit(DumpUnit::Kind kind, std::string name, std::string schema, const Words& words,
                   uint64_t bytes) const {
    PlannedUnit planned;
    planned.bytes = bytes;
    planned.unit.kind = kind;
    planned.unit.name = std::move(name);
    planned.unit.schema = std::move(schema);
    planned.unit.database = facts_.database.name;
    planned.unit.format = request_.format;
    planned.unit.client = client_.version;
    planned.unit.client_major = client_.major;
    planned.unit.arguments = {"--format=" + std::string(dump_format_name(request_.format))};
    for (std::string& word : translate_dump_arguments(words, client_.major))
      planned.unit.arguments.push_back(std::move(word));
    return planned;
  }

  const DumpRequest& request_;
  const PgClientSet& client_;
  const DumpDatabaseFacts& facts_;
  const DumpChoice& choice_;
};

}  // namespace

std::string exact_dump_pattern(std::string_view name) {
  // Between quotes every character stands for itself, and none is folded to lower case.
  std::string pattern = "\"";
  for (const char c : name) pattern.append(c == '"' ? 2 : 1, c);
  return pattern + '"';
}

std::string exact_dump_pattern(std::string_view schema, std::string_view name) {
  return exact_dump_pattern(schema) + "." + exact_dump_pattern(name);
}

bool is_dump_option(std::string_view word, std::string_view name) {
  return word.starts_with(name) && (word.size() == name.size() || word[name.size()] == '=');
}

bool has_dump_option(const Words& words, std::string_view name) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) { return is_dump_option(word, name); });
}

Result<> check_dump_request(const DumpRequest& request) {
  // What leads elsewhere, or would be given twice.
  for (const std::string_view own : {"--dbname", "--host", "--port", "--username", "--file", "--format", "--jobs",
                                     "--snapshot", "--compress", "--password", "--no-password"})
    if (has_dump_option(request.arguments, own))
      return Error(Errc::kInvalid, fmt::format("option {} of pg_dump is given by pgark itself", own));
  if (request.split == DumpSplit::kNone) return {};
  const std::string_view split = request.split == DumpSplit::kSchema ? "schema" : "partition";
  const auto refuse = [&](std::string_view option, std::string hint) {
    return Error(Errc::kInvalid, fmt::format("split={} cannot be combined with {}", split, option))
        .with_hint(std::move(hint));
  };
  if (has_dump_option(request.arguments, "--filter"))
    return refuse("--filter", "give its patterns as --schema, --exclude-schema, --table and --exclude-table");
  if (request.split == DumpSplit::kPartition) return {};
  for (const std::string_view option : {"--table", "--table-and-children", "--extension"})
    if (has_dump_option(request.arguments, option))
      return refuse(option, "choose schemas with --schema and --exclude-schema, or dump without split");
  return {};
}

std::vector<PlannedUnit> plan_dump_units(const DumpRequest& request, const PgClientSet& client,
                                         const DumpDatabaseFacts& facts, const DumpChoice& choice) {
  const UnitPlanner planner(request, client, facts, choice);
  switch (request.split) {
    case DumpSplit::kSchema:
      return planner.by_schema();
    case DumpSplit::kPartition:
      return planner.by_partition();
    case DumpSplit::kNone:
      break;
  }
  return planner.whole();
}

Words dump_probe_arguments(const DumpRequest& request, const PgClientSet& client) {
  constexpr auto kParts = std::to_array<std::string_view>(
      {"--section", "--data-only", "--schema-only", "--include-foreign-data", "--no-large-objects", "--no-blobs",
       "--large-objects", "--blobs", "--disable-triggers", "--inserts", "--column-inserts", "--rows-per-insert",
       "--on-conflict-do-nothing"});
  Words words = without(request.arguments, kParts);
  words.insert(words.begin(), "--format=custom");
  words.push_back("--schema-only");
  words.push_back("--section=pre-data");
  return translate_dump_arguments(std::move(words), client.major);
}

Words translate_dump_arguments(Words words, unsigned client_major) {
  for (std::string& word : words) {
    if (client_major >= 16) break;
    if (word == "--large-objects") word = "--blobs";
    if (word == "--no-large-objects") word = "--no-blobs";
  }
  return words;
}

}  // namespace pgark
