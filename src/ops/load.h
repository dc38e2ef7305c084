// load: bring back what a dump holds, all or a part, into the same or another server.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/dump.h"
#include "ops/dump_store.h"
#include "pg/sql_text.h"
#include "pgwire/pg_client.h"
#include "pgwire/pg_session.h"

namespace pgark {

using NameMap = std::map<std::string, std::string>;

struct LoadRequest {
  PgEndpoint server;
  std::vector<PgClientSet> clients;
  std::vector<std::string> databases;  // Of the dump; empty: all.
  NameMap database_map;                // Loaded under another name.
  bool create = false;                 // Create the databases; with `clean` drop them first.
  bool clean = false;
  bool if_exists = false;
  bool globals = false;  // Roles, memberships, tablespaces first; those that exist stay as they are.
  unsigned jobs = 1;
  std::vector<std::string> schemas;  // Patterns, as pg_dump's: * and ?, quoted names.
  std::vector<std::string> exclude_schemas;
  std::vector<std::string> tables;  // "orders", "tenant_42.orders"; also partitions, views, sequences.
  std::vector<std::string> exclude_tables;
  NameMap schema_map;
  pg::RoleMap role_map;
  bool data_only = false;
  bool schema_only = false;
  /// Passed on to pg_restore: "--no-owner", "--no-acl", "--disable-triggers", ...
  std::vector<std::string> arguments;
  std::optional<bool> single_transaction;  // Absent: where it can be (one job, locks enough).
  bool exit_on_error = true;
  bool force = false;  // Although findings are errors, where that can make sense.
  bool compare_counts = true;
  std::string scratch_path;  // Directory for tables of contents and scripts; rows are never stored there.
};

/// What would be made, dropped, and what is missing.
struct LoadFinding {
  DumpWarning::Severity severity = DumpWarning::Severity::kInfo;
  std::string code;  // "missing_role", "missing_extension", "extension_version", "missing_tablespace",
                     // "collation_version", "server_older", "database_exists", "missing_database", "object_exists",
                     // "other_encoding", ...
  std::string database;
  std::string what;
  std::string mend;
};
struct LoadStep {
  std::string database;  // As loaded.
  std::string from_database;
  std::vector<uint32_t> units;  // In the order of loading.
  bool create = false;
  bool drop = false;
  uint64_t object_count = 0;  // Entries of the tables of contents chosen.
  uint64_t table_count = 0;
  uint64_t raw_bytes = 0;            // Fetched.
  std::vector<std::string> objects;  // "TABLE public.orders", the first 10,000.
};
struct LoadPlan {
  std::string label;
  PgClientSet client;
  uint32_t server_version_num = 0;
  std::vector<LoadStep> steps;
  std::vector<LoadFinding> findings;  // An error among them stops the load before anything is changed.
};

/// Rows of a table against those recorded.
struct LoadedTable {
  std::string database;
  std::string schema;  // As loaded.
  std::string name;
  std::optional<uint64_t> expected;
  uint64_t found = 0;
  bool ok() const { return !expected || *expected == found; }
};
struct LoadReport {
  LoadPlan plan;
  std::vector<LoadedTable> tables;
  uint64_t mismatches = 0;
  std::vector<std::string> errors;  // The server's, where the load went on.
  std::vector<std::string> notes;   // Which roles and tablespaces were made, and which stay as they are.
  Timestamp started{};
  Timestamp ended{};
  bool ok() const { return mismatches == 0 && errors.empty(); }
};

Result<LoadPlan> plan_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader,
                           const CancelToken& cancel);

/// Errors: kInvalid listing the findings that are errors, before anything is changed; with pg_restore's words if it
///         fails (in a single transaction nothing is changed then, else the message says that a part was loaded).
Result<LoadReport> run_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader, Clock& clock,
                            const CancelToken& cancel, DumpProgress& progress);

}  // namespace pgark
