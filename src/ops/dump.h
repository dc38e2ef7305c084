// dump: logical backups with everything a dump forgets. pg_dump and pg_dumpall write, what they write streams into the
// repositories, and the manifest that makes it a dump comes last.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/dump_facts.h"
#include "ops/dump_store.h"
#include "pgwire/pg_client.h"
#include "pgwire/pg_session.h"
#include "repo/repository_set.h"

namespace pgark {

enum class DumpSplit : uint8_t { kNone, kSchema, kPartition };

struct DumpRequest {
  std::string stanza;
  PgEndpoint server;                           // Its database is where the first connection goes.
  std::vector<PgClientSet> clients;            // Found on this machine.
  std::vector<std::string> databases;          // Empty: all that allow connections, but templates.
  std::vector<std::string> exclude_databases;  // Patterns as of pg_dumpall (* and ?).
  DumpFormat format = DumpFormat::kDirectory;
  DumpSplit split = DumpSplit::kNone;
  /// Of pg_dump, as words: "--schema=tenant_42", "--no-owner". Those that choose a part are in `selection` too.
  std::vector<std::string> arguments;
  std::vector<std::string> selection;
  bool globals = true;
  bool role_passwords = true;
  bool serializable_deferrable = false;
  unsigned jobs = 1;                // Connections that read data at the same time, over all databases.
  std::string name;                 // With --name.
  std::string spool_path;           // Directory in which directories of pg_dump are made, each removed again.
  uint64_t spool_max = 256u << 20;  // Bytes on disk there at any time, about; pg_dump is made to wait beyond it.
  Codec codec = Codec::kZstd;
  int level = 1;
  std::string host;                                            // Of this machine.
  bool force = false;                                          // Although the stanza is another cluster's.
  std::function<Result<>(const std::string& label)> on_label;  // Once the dump has one. May be empty.
  /// Before the manifest is written: to leave those repositories behind in which another may do so. May be empty.
  std::function<Result<>(const RepositorySet& repositories)> before_manifest;
};

/// What is under way, for a display: updated by many threads.
struct DumpProgress {
  Progress totals;  // bytes_total: table bytes chosen (estimate); files: tables.
  /// Called (under a lock) when a table or stream begins and ends: "app: public.orders", its share of all bytes.
  std::function<void(const std::string& what, uint64_t bytes, bool ended)> on_table;
};

struct DumpPlan {
  DumpServerFacts server;
  std::vector<DumpDatabaseFacts> databases;
  PgClientSet client;
  std::vector<DumpWarning> warnings;
  std::vector<DumpUnit> units;     // Without streams.
  std::vector<std::string> notes;  // Which client was chosen and why, ...
  uint64_t estimated_bytes = 0;
};

struct DumpReport {
  Dump dump;
  DumpPlan plan;
};

/// Plan only (--dry-run): connects, looks, and changes nothing.
Result<DumpPlan> plan_dump(const DumpRequest& request, const DumpRate& rate, const CancelToken& cancel);

/// Dump into every repository of the set, and make it visible.
/// Shape:  one exported snapshot for everything of a database. Memory: a few MiB for each job. Disk: spool_max, and
/// what
///         pg_dump itself writes to TMPDIR for tar.
/// Errors: of plan_dump(); kInvalid with pg_dump's own words if it fails; kPermission; kNoSpace; kCancelled. Nothing is
///         listed then, and what was written is removed as far as possible.
Result<DumpReport> run_dump(const DumpRequest& request, const DumpRate& rate, const RepositorySet& repositories,
                            Clock& clock, const CancelToken& cancel, DumpProgress& progress);

/// Take a dump made elsewhere from a descriptor: an archive of pg_dump (custom, tar) or SQL.
Result<DumpReport> run_dump_from_stdin(const DumpRequest& request, int fd, const RepositorySet& repositories,
                                       Clock& clock, const CancelToken& cancel, DumpProgress& progress);

/// What dumps of a stanza did before, for estimates.
DumpRate last_dump_rate(const std::vector<ListedDump>& dumps, const std::string& series);

}  // namespace pgark
