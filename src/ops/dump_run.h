// One run of pg_dump or pg_dumpall: what it writes becomes streams of a unit, and its rows are counted on the way.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "ops/dump.h"
#include "ops/dump_spool.h"
#include "ops/dump_store.h"
#include "pg/dump_toc.h"

namespace pgark {

/// A table as a dump has it.
struct SeenTable {
  uint32_t oid = 0;  // 0: not known (plain).
  std::string schema;
  std::string name;
  bool data = false;             // Not only the definition.
  std::optional<uint64_t> rows;  // Of its data.
  std::string stream;            // That has its data alone.
};

struct DumpUnitResult {
  DumpUnit unit;  // With streams.
  std::vector<SeenTable> tables;
  bool tables_known = true;  // Whether those are all that were chosen (an archive tells, SQL does not).
  std::vector<std::string> warnings;
  uint64_t spool_peak = 0;
};

/// What runs of one dump share. All must outlive them.
struct DumpRunContext {
  const DumpRequest& request;
  const PgClientSet& client;
  const DumpSpool* spool = nullptr;  // For the directory format.
  DumpPacks& packs;
  DumpProgress& progress;
  const CancelToken& cancel;
};

/// Bytes of tables by "schema.name", as pg_dump tells which it is at.
using TableBytes = std::map<std::string, uint64_t, std::less<>>;

/// How a unit is run.
struct DumpUnitOptions {
  std::string snapshot;  // Empty: pg_dump takes one of its own.
  unsigned jobs = 1;
  unsigned number = 1;  // Differs from that of every other of this run.
  const TableBytes* table_bytes = nullptr;
};

/// Run pg_dump for a unit. Safe from several threads.
/// Errors: with pg_dump's words; of the repository; kNoSpace; kCancelled.
Result<DumpUnitResult> run_dump_unit(const DumpRunContext& context, DumpUnit unit, const DumpUnitOptions& options);

/// pg_dumpall --globals-only.
Result<DumpUnitResult> run_dump_globals(const DumpRunContext& context, bool role_passwords);

/// Tables of an archive; `rows` by dump id, `streams` by file name.
std::vector<SeenTable> tables_of_toc(const pg::DumpToc& toc, const std::map<int32_t, uint64_t>& rows,
                                     const std::map<std::string, const FollowedFile*>& files);
/// Tables as counts of SQL text name them.
std::vector<SeenTable> tables_of_counts(const std::vector<pg::DumpRowCounter::Count>& counts);

}  // namespace pgark
