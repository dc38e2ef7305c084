// What a server tells of itself for a dump, beside what pg_dump writes: databases, roles, extensions, tables with their
// sizes and bounds, and what will hurt.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "core/cancel.h"
#include "core/result.h"
#include "pgwire/pg_session.h"

namespace pgark {

struct DumpServerFacts {
  uint32_t version_num = 0;
  std::string version;  // server_version
  uint64_t system_identifier = 0;
  bool in_recovery = false;
  bool superuser = false;
  bool can_read_passwords = false;  // pg_authid.
  std::string role;                 // Who is connected.
  std::vector<DumpDatabase>
      databases;  // All that allow connections, templates left out; of the server's catalogs only.
  std::vector<std::string> not_connectable;
  std::vector<DumpRole> roles;
  std::vector<std::string> tablespaces;
};
/// Errors: of query(); kUnsupported for servers before 10.
Result<DumpServerFacts> read_dump_server_facts(PgSession& session);

/// Whether a statement of a session holds the snapshot that all runs of pg_dump use. The session stays open as long as
/// the snapshot is needed.
struct DumpSnapshot {
  std::string id;   // "00000003-0000001B-1"; empty where none can be exported (a standby before 10 ..., poolers).
  std::string lsn;  // Empty if hidden.
  Timestamp time{};
};
/// BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY (SERIALIZABLE DEFERRABLE if asked) and export its snapshot.
Result<DumpSnapshot> begin_dump_snapshot(PgSession& session, bool serializable_deferrable);

/// Facts of one database, read in the session that holds its snapshot, in its transaction.
struct DumpDatabaseFacts {
  DumpDatabase database;             // Complete.
  std::vector<DumpTable> tables;     // All user relations that pg_dump could dump: r, p, m, S, f.
  std::vector<std::string> schemas;  // Of users, in an order in which each comes after those it depends on.
  std::vector<std::vector<std::string>> schema_cycles;  // That depend on each other.
  /// Schemas that are not to be dumped apart: an object of no schema (an extension, a cast, an event trigger, ...)
  /// needs them, or they need each other, or one of these needs them.
  std::set<std::string> common_schemas;
  uint64_t large_objects = 0;
  uint64_t large_object_bytes = 0;  // 0: not known.
};
Result<DumpDatabaseFacts> read_dump_database_facts(PgSession& session, const DumpServerFacts& server,
                                                   const std::string& database);

/// A reason why a dump will hurt, fail or lack something. Codes are stable, for programs.
struct DumpWarning {
  enum class Severity : uint8_t { kInfo, kWarning, kError };  // kError: pg_dump will fail.
  Severity severity = Severity::kWarning;
  std::string code;      // "large_database", "long_snapshot", "large_objects", "unlogged_tables", "row_security",
                         // "unreadable_tables", "old_transactions", "schema_cycle", "standby_conflict", ...
  std::string database;  // Empty: of the server.
  std::string what;
  std::string why;
  std::string mend;
};
/// What must be known of past dumps to estimate: bytes of raw data a second.
struct DumpRate {
  double bytes_per_second = 0;  // 0: no dump yet.
  std::string of_label;
};
/// Look for them, in the transaction that begin_dump_snapshot() began; it stays usable. `arguments` are pg_dump's,
/// since
/// --enable-row-security and their kin change what is a problem. Shape: errors first, then warnings.
Result<std::vector<DumpWarning>> find_dump_warnings(PgSession& session, const DumpServerFacts& server,
                                                    const DumpDatabaseFacts& facts, const DumpRate& rate,
                                                    const std::vector<std::string>& arguments);
/// Of the server as a whole: databases left out, passwords of roles that cannot be read.
std::vector<DumpWarning> find_dump_server_warnings(const DumpServerFacts& server, bool role_passwords);

}  // namespace pgark
