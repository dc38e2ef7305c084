// What looks for warnings before a dump share: where to look, what is chosen, and what was found.
#pragma once

#include <string>
#include <vector>

#include "ops/dump_facts_parts.h"
#include "ops/dump_selection.h"

namespace pgark {

struct DumpWarningScene {
  PgSession& session;
  const DumpServerFacts& server;
  const DumpDatabaseFacts& facts;
  const DumpSelection& selection;
  std::string role;        // That reads: with --role another than the session's own.
  bool superuser = false;  // It.
  double seconds = 0;      // That the dump of this database takes, about.
  uint64_t bytes = 0;      // Of the tables and large objects chosen.
  std::vector<DumpWarning> found;

  const std::string& database() const { return facts.database.name; }
  /// The table of an OID; null if it is none of the user's.
  const DumpTable* table(uint32_t oid) const;
  void add(DumpWarning::Severity severity, std::string code, std::string what, std::string why, std::string mend);
};

/// "public.orders".
std::string dump_table_name(const DumpTable& table);
/// "a, b, c and 4 more".
std::string dump_name_list(const std::vector<std::string>& names);
/// "1 table", "1,234 tables"; `noun` in the singular.
std::string dump_count(uint64_t count, std::string_view noun);
/// "3 minutes", "7 hours", "2 days".
std::string dump_time(double seconds);
/// "1.2 TiB".
std::string dump_bytes(uint64_t bytes);

// Each looks at one aspect. Errors: of the session.
Result<> warn_of_rights(DumpWarningScene& scene);
Result<> warn_of_size(DumpWarningScene& scene, const DumpRate& rate);
Result<> warn_of_snapshot(DumpWarningScene& scene);
Result<> warn_of_waits(DumpWarningScene& scene);
Result<> warn_of_standby(DumpWarningScene& scene);
Result<> warn_of_content(DumpWarningScene& scene);

}  // namespace pgark
