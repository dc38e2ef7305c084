// What a load will do, worked out before anything is changed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ops/load.h"
#include "ops/load_archive.h"

namespace pgark {

/// What the target server says of itself.
struct LoadServerFacts {
  uint32_t version_num = 0;
  bool in_recovery = false;
  bool superuser = false;
  bool bypasses_row_security = false;
  bool create_databases = false;
  std::string role;
  std::set<std::string> roles;
  std::set<std::string> usable_roles;  // Whose rights the role has.
  std::set<std::string> tablespaces;
  std::map<std::string, std::string> databases;             // Encoding by name.
  std::map<std::string, std::string> available_extensions;  // Default version by name.
  std::string extensions_unknown;  // Why the server could not list them: one bad control file is enough.
  uint64_t locks = 0;              // That all transactions together can hold.
};
Result<LoadServerFacts> read_load_server_facts(PgSession& session);

/// One database of the dump on its way into the server.
struct LoadDatabase {
  LoadStep step;
  const DumpDatabase* facts = nullptr;  // None of a dump from standard input.
  std::vector<LoadUnit> units;
  bool exists = false;                     // Before the load.
  bool single_transaction = false;         // All of it or nothing.
  std::set<std::string> aside;             // Schemas of schema_map that exist and make room while theirs is loaded.
  std::map<RelationKey, uint64_t> before;  // Rows of tables that are added to (data only).
};

struct PreparedLoad {
  LoadPlan plan;
  LoadServerFacts server;
  std::vector<LoadDatabase> databases;
  const DumpUnit* globals = nullptr;  // If asked for.
};

/// Everything plan_load() tells, and what run_load() needs.
Result<PreparedLoad> prepare_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader,
                                  const CancelToken& cancel);

/// Findings of one database; `session` is one with it, or none if it does not exist yet.
class LoadInspector {
 public:
  LoadInspector(const LoadRequest& request, const Dump& dump, const LoadServerFacts& server, PgSession* session,
                LoadDatabase& database, std::vector<LoadFinding>& findings)
      : request_(request), dump_(dump), server_(server), session_(session), database_(database), findings_(findings) {}
  /// May also take further entries (a schema that is missing) or leave some out (one that is there).
  Result<> inspect(const LoadChoice& choice);

 private:
  using Severity = DumpWarning::Severity;
  void find(Severity severity, std::string code, std::string what, std::string mend);
  void inspect_roles();
  void inspect_tablespaces();
  Result<> inspect_extensions(const LoadChoice& choice);
  Result<> inspect_collations();
  Result<> inspect_default_collation();
  Result<> inspect_encoding();
  Result<> inspect_needed(const LoadChoice& choice);
  Result<> inspect_needed_of(const LoadChoice& choice, LoadUnit& unit);
  Result<std::set<size_t>> dangling_references(const LoadUnit& unit);
  Result<> inspect_existing();
  Result<> leave_out_schemas(LoadUnit& unit);
  Result<> inspect_schema_map();
  Result<> inspect_rights();
  Result<std::set<std::string>> which_exist(const std::string& lookup, const std::vector<std::string>& names);
  Result<std::set<size_t>> which_entries_exist(const LoadUnit& unit, const std::vector<size_t>& entries);

  const LoadRequest& request_;
  const Dump& dump_;
  const LoadServerFacts& server_;
  PgSession* const session_;
  LoadDatabase& database_;
  std::vector<LoadFinding>& findings_;
};

bool load_has_argument(const LoadRequest& request, std::string_view word, std::string_view letter = {});
/// A text[] with these elements.
std::string text_array(const std::vector<std::string>& texts);
std::string quote_qualified(const std::string& schema, const std::string& name);

}  // namespace pgark
