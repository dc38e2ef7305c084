// dump-verify: the proof that a dump can be loaded. It is, into a scratch database or a scratch cluster; rows are
// counted, the operator's SQL checks run, and everything is dropped again.
#pragma once

#include <string>
#include <vector>

#include "ops/load.h"

namespace pgark {

/// A query that yields one true value if all is well; "app/orders_exist" names database and check, without a database
/// it runs in each.
struct DumpCheck {
  std::string name;
  std::string database;  // Empty: every one.
  std::string sql;
};

struct DumpVerifyRequest {
  enum class Scratch : uint8_t {
    kCluster,   // initdb of the version of the dump, or the next newer one there is; a socket in a private directory.
    kDatabase,  // Databases "pgark_verify_<label>_<n>" on the server of `load`.
  };
  Scratch scratch = Scratch::kCluster;
  LoadRequest load;  // Server, clients, databases, jobs, scratch_path.
  std::vector<DumpCheck> checks;
};

struct DumpCheckResult {
  DumpCheck check;
  std::string database;
  bool ok = false;
  std::string found;  // The value, or the server's error.
};
struct DumpVerifyReport {
  DumpVerdict verdict;
  LoadReport load;
  std::vector<DumpCheckResult> checks;
};

/// Errors: where it cannot be tried (no programs, no room, no right to create databases); what is wrong with the dump
///         is in the report. The scratch is gone afterwards, whatever happens short of SIGKILL.
Result<DumpVerifyReport> run_dump_verify(const DumpVerifyRequest& request, const Dump& dump, const DumpReader& reader,
                                         Clock& clock, const CancelToken& cancel, DumpProgress& progress);

}  // namespace pgark
