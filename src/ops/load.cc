// load: the plan, roles, databases one after the other, and the count. Nothing is changed before the plan is known to
// be possible.
#include "ops/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/log.h"
#include "ops/load_steps.h"

namespace pgark {
namespace {

using Severity = DumpWarning::Severity;

/// What no force can do without.
bool is_final(const LoadFinding& finding) {
  static constexpr std::array<std::string_view, 5> kCodes = {"read_only_server", "missing_database", "database_exists",
                                                             "missing_globals", "no_match"};
  return std::find(kCodes.begin(), kCodes.end(), finding.code) != kCodes.end();
}

Result<> refuse(const LoadPlan& plan, bool force) {
  std::string text;
  std::vector<std::string> hints;
  for (const LoadFinding& finding : plan.findings) {
    if (finding.severity != Severity::kError || (force && !is_final(finding))) continue;
    text += (text.empty() ? "" : "; ") + finding.what;
    if (!finding.mend.empty() && std::find(hints.begin(), hints.end(), finding.mend) == hints.end())
      hints.push_back(finding.mend);
  }
  if (text.empty()) return {};
  Error error(Errc::kInvalid, text);
  for (std::string& hint : hints) error = std::move(error).with_hint(std::move(hint));
  return std::move(error).with_hint("nothing was changed");
}

void log_findings(const LoadPlan& plan) {
  for (const LoadFinding& finding : plan.findings) {
    const std::string where = finding.database.empty() ? "" : finding.database + ": ";
    if (finding.severity == Severity::kInfo)
      log_info("{}{}", where, finding.what);
    else
      log_warn("{}{}", where, finding.what);
  }
}

class Loader {
 public:
  Loader(const LoadTools& tools, const Dump& dump, PreparedLoad& prepared, LoadReport& report)
      : tools_(tools), dump_(dump), prepared_(prepared), report_(report) {}

  Result<> run() {
    if (prepared_.globals != nullptr) {
      TRY_CTX(load_globals(tools_, *prepared_.globals, prepared_.server, report_.notes), "make roles and tablespaces");
    }
    for (LoadDatabase& database : prepared_.databases) {
      auto loaded = run_one(database);
      if (!loaded) return explain(std::move(loaded).error(), database);
    }
    return {};
  }

 private:
  Result<> run_one(LoadDatabase& database) {
    if (tools_.request.data_only && tools_.request.compare_counts) {
      TRY_ASSIGN(database.before, count_before(tools_, database));
    }
    if (database.step.create) TRY(create_database(tools_, database));
    if (auto loaded = load_database(tools_, database, report_.errors); !loaded) {
      if (database.step.create && database.single_transaction)
        drop_created_database(tools_.request, database.step.database);
      return loaded;
    }
    if (database.step.create) TRY(apply_database_properties(tools_, database, report_.errors));
    if (!tools_.request.compare_counts || tools_.request.schema_only) return {};
    TRY_ASSIGN_CTX(auto tables, count_loaded_tables(tools_, dump_, database), "count what was loaded");
    for (LoadedTable& table : tables) {
      if (!table.ok()) ++report_.mismatches;
      report_.tables.push_back(std::move(table));
    }
    return {};
  }

  /// Whether something was changed is what has to be known next.
  static Error explain(Error error, const LoadDatabase& database) {
    error = std::move(error).with_context("load into database " + database.step.database);
    if (!database.single_transaction)
      return std::move(error).with_hint(
          "a part was loaded: before another try drop it, or load with --clean --if-exists");
    if (database.step.drop)
      return std::move(error).with_hint("the database was dropped for the load, and is not there");
    return std::move(error).with_hint(database.step.create ? "the database that was created for the load is gone again"
                                                           : "the transaction was rolled back: nothing was changed");
  }

  const LoadTools& tools_;
  const Dump& dump_;
  PreparedLoad& prepared_;
  LoadReport& report_;
};

}  // namespace

Result<LoadReport> run_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader, Clock& clock,
                            const CancelToken& cancel, DumpProgress& progress) {
  LoadReport report;
  report.started = clock.now();
  progress.totals.phase = "look at dump and server";
  TRY_ASSIGN(PreparedLoad prepared, prepare_load(request, dump, reader, cancel));
  report.plan = prepared.plan;
  TRY(refuse(report.plan, request.force));
  log_findings(report.plan);
  log_info("load with the programs of PostgreSQL {} in {}", report.plan.client.version, report.plan.client.directory);
  for (const LoadStep& step : report.plan.steps) {
    progress.totals.bytes_total += step.raw_bytes;
    progress.totals.files_total += step.table_count;
  }
  TRY_ASSIGN(const ScratchDirectory scratch, ScratchDirectory::create(request.scratch_path));
  const LoadTools tools{request,
                        reader,
                        report.plan.client,
                        script_needs(report.plan.server_version_num, report.plan.client),
                        scratch.path(),
                        cancel,
                        progress};
  TRY(Loader(tools, dump, prepared, report).run());
  report.ended = clock.now();
  return report;
}

}  // namespace pgark
