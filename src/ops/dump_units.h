// What runs of pg_dump a dump is made of: one for each database, or one for each schema or partition. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "ops/dump.h"

namespace pgark {

/// The pattern of pg_dump that matches this name and no other.
std::string exact_dump_pattern(std::string_view name);
std::string exact_dump_pattern(std::string_view schema, std::string_view name);

/// Whether `word` is the option `name`: "--schema" or "--schema=...".
bool is_dump_option(std::string_view word, std::string_view name);
bool has_dump_option(const std::vector<std::string>& words, std::string_view name);

/// A part of a database, as what pg_dump was asked for chooses it.
struct DumpChoice {
  std::vector<std::string> schemas;          // Of users, of which something is chosen, in the order of loading.
  std::optional<std::set<uint32_t>> tables;  // Their oids; absent: all.
  std::vector<const DumpTable*> partitions;  // Leaves that have data.
  bool everything = true;                    // Nothing was asked for by name.
};

/// A run of pg_dump that is to come.
struct PlannedUnit {
  DumpUnit unit;       // Without streams; `arguments` are complete but for place and snapshot.
  uint64_t bytes = 0;  // Of its tables, about.
};

/// Refuse what cannot be split, and options that pgark itself gives to pg_dump. Errors: kInvalid.
Result<> check_dump_request(const DumpRequest& request);

/// The runs for one database, in the order in which they can be loaded.
std::vector<PlannedUnit> plan_dump_units(const DumpRequest& request, const PgClientSet& client,
                                         const DumpDatabaseFacts& facts, const DumpChoice& choice);

/// Words that make pg_dump write the table of contents of what `request` chooses, and nothing else: for finding out
/// what that is.
std::vector<std::string> dump_probe_arguments(const DumpRequest& request, const PgClientSet& client);

/// `words` as a pg_dump of this version knows them.
std::vector<std::string> translate_dump_arguments(std::vector<std::string> words, unsigned client_major);

}  // namespace pgark
