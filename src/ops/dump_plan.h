// What a dump will do, found out before it does: which server, client and databases, what of each, and what will hurt.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "ops/dump.h"
#include "ops/dump_units.h"

namespace pgark {

/// What is chosen of a server. Databases: the largest first.
struct DumpServerPlan {
  DumpServerFacts facts;
  PgClientSet client;
  std::vector<std::string> databases;
  std::vector<DumpWarning> warnings;
  std::vector<std::string> notes;
  bool role_passwords = false;  // Wanted, and can be read.
};
Result<DumpServerPlan> plan_dump_server(const DumpRequest& request, const CancelToken& cancel);

/// A database whose snapshot is held by `session`.
struct DumpDatabasePlan {
  std::unique_ptr<PgSession> session;
  DumpSnapshot snapshot;
  DumpDatabaseFacts facts;
  DumpChoice choice;  // Points into facts.tables.
  std::vector<DumpWarning> warnings;
  std::vector<PlannedUnit> units;
  bool nothing_chosen = false;  // Of one database among several: it has nothing that was asked for.
  uint64_t bytes() const;
};
/// `cancel` must outlive the plan.
Result<DumpDatabasePlan> plan_dump_database(const DumpRequest& request, const DumpServerPlan& server,
                                            const std::string& database, const DumpRate& rate,
                                            const CancelToken& cancel);

/// A warning as one line of text.
std::string dump_warning_text(const DumpWarning& warning);

/// Those of `databases` that are asked for. Errors: kNotFound for one that is not there; kInvalid if none is left.
Result<std::vector<std::string>> choose_databases(const DumpRequest& request, const DumpServerFacts& facts);

/// Connections for each run, where `all` are at hand: by size, at least one each.
unsigned share_of_jobs(unsigned all, uint64_t bytes, uint64_t bytes_total, size_t count);

}  // namespace pgark
