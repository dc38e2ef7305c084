// From what runs of pg_dump and the server said to the manifest of a dump.
#pragma once

#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "ops/dump.h"
#include "ops/dump_plan.h"
#include "ops/dump_run.h"
#include "ops/dump_store.h"
#include "repo/repository_set.h"

namespace pgark {

/// A database that has been dumped.
struct DumpedDatabase {
  bool dumped = false;  // False if it has nothing that was asked for.
  DumpDatabaseFacts facts;
  std::vector<DumpWarning> warnings;
  std::vector<DumpUnitResult> units;
};

/// Refuse a server that is not the stanza's (I8). A stanza without a cluster, and a server that does not tell, pass.
/// Errors: kInvalid with both identifiers, unless `request.force`.
Result<> check_dump_cluster(const DumpRequest& request, const RepositorySet& repositories, uint64_t system_identifier);

/// A label that is new in every repository, told to `request.on_label`.
Result<std::string> choose_dump_label(const DumpRequest& request, const RepositorySet& repositories, Timestamp started);

/// Write the manifest, whose packs are closed. If that fails the packs are removed, as far as possible.
Result<> publish_dump(const DumpRequest& request, const RepositorySet& repositories, const Dump& dump, DumpPacks& packs,
                      DumpProgress& progress);

class DumpAssembly {
 public:
  DumpAssembly(const DumpRequest& request, std::string label, Timestamp started);

  void add_globals(DumpUnitResult globals, bool role_passwords);
  void add_database(DumpedDatabase database);
  /// A unit and its tables that no server told of.
  void add_given(DumpUnitResult given, DumpDatabase database);
  void warn(std::string warning) { dump_.meta.warnings.push_back(std::move(warning)); }
  DumpMeta& meta() { return dump_.meta; }

  Dump finish(const DumpServerPlan& server, const DumpPacks& packs, Timestamp stopped) &&;
  Dump finish(const DumpPacks& packs, Timestamp stopped) &&;

 private:
  void add_tables(DumpedDatabase& database, uint32_t first_unit);

  const DumpRequest& request_;
  Dump dump_;
};

}  // namespace pgark
