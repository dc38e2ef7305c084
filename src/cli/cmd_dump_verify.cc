// `pgark dump-verify`: load a dump where it hurts nobody, compare, and keep the verdict with it.
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/dump_source.h"
#include "cli/progress.h"
#include "core/log.h"
#include "ops/dump_verify.h"
#include "pgwire/pg_client.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// "[DATABASE/]NAME" and the query.
Result<DumpCheck> parse_check(const std::string& key, const std::string& sql) {
  DumpCheck check;
  const size_t slash = key.rfind('/');
  check.name = slash == std::string::npos ? key : key.substr(slash + 1);
  if (slash != std::string::npos) check.database = key.substr(0, slash);
  check.sql = sql;
  if (check.name.empty() || check.sql.empty() || slash == 0)
    return Error(Errc::kInvalid, fmt::format("'{}={}' is no check", key, sql))
        .with_hint("dump-check=app/has_orders=select count(*) > 1000 from orders");
  return check;
}

Result<DumpVerifyRequest> request_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  DumpVerifyRequest request;
  const bool in_cluster = settings.text("scratch") == "cluster";
  request.scratch = in_cluster ? DumpVerifyRequest::Scratch::kCluster : DumpVerifyRequest::Scratch::kDatabase;
  request.load.server = server_endpoint(settings, settings.clusters().front());
  request.load.databases = settings.list("dbname");
  request.load.jobs = settings.has("jobs") ? static_cast<unsigned>(settings.integer("jobs")) : 1;
  const char* temporary = std::getenv("TMPDIR");
  request.load.scratch_path = temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  for (const auto& [key, sql] : settings.map("dump-check")) {
    TRY_ASSIGN_CTX(request.checks.emplace_back(), parse_check(key, sql), settings.origin("dump-check"));
  }
  TRY_ASSIGN(request.load.clients, find_client_sets(settings.list("client-path"), context.cancel));
  return request;
}

ordered_json table_json(const LoadedTable& table) {
  return {{"database", table.database},
          {"schema", table.schema},
          {"name", table.name},
          {"rows_dumped", table.expected ? ordered_json(*table.expected) : ordered_json(nullptr)},
          {"rows_loaded", table.found},
          {"ok", table.ok()}};
}

ordered_json report_json(const DumpVerifyReport& report, const std::string& stanza, const std::string& label,
                         const std::string& repository) {
  const DumpVerdict& verdict = report.verdict;
  ordered_json tables = ordered_json::array();
  for (const LoadedTable& table : report.load.tables) tables.push_back(table_json(table));
  ordered_json checks = ordered_json::array();
  for (const DumpCheckResult& check : report.checks)
    checks.push_back({{"name", check.check.name},
                      {"database", check.database},
                      {"sql", check.check.sql},
                      {"ok", check.ok},
                      {"found", check.found}});
  return {{"stanza", stanza},
          {"label", label},
          {"repo", repository},
          {"ok", verdict.ok},
          {"where", verdict.where},
          {"findings", verdict.findings},
          {"tables_compared", verdict.tables},
          {"checks_run", verdict.checks},
          {"tables", std::move(tables)},
          {"checks", std::move(checks)}};
}

std::string report_text(const DumpVerifyReport& report, const std::string& label) {
  const DumpVerdict& verdict = report.verdict;
  std::string text = fmt::format("dump {} is {}: rows of {} tables compared, {} checks run ({})\n", label,
                                 verdict.ok ? "proven" : "not proven", verdict.tables, verdict.checks, verdict.where);
  for (const std::string& finding : verdict.findings) text += "  " + finding + "\n";
  return text;
}

}  // namespace

Result<int> cmd_dump_verify(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const DumpVerifyRequest request, request_of(context));
  TRY_ASSIGN(const auto source, DumpSource::open(context, "verify dump of " + settings.stanza()));
  const std::string& label = source->dump().meta.label;
  DumpProgress progress;
  auto report = [&] {
    const ProgressDisplay display(settings, progress.totals, context.clock);
    return run_dump_verify(request, source->dump(), source->reader(), context.clock, context.cancel, progress);
  }();
  if (!report) return std::move(report).error().with_context("verify dump " + label);
  for (const Repository* repository : source->holders()) {
    auto kept = write_dump_verdict(*repository, settings.stanza(), label, report->verdict);
    // The proof holds all the same: the operator has it on the screen.
    if (!kept) log_warn("the verdict could not be kept with the dump: {}", kept.error().message());
  }
  if (context.json()) {
    // Names may hold any bytes.
    const auto document = report_json(*report, settings.stanza(), label, source->repository());
    TRY(context.out.print(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"));
  } else {
    TRY(context.out.print(report_text(*report, label)));
  }
  return report->verdict.ok ? kExitOk : kExitNegative;
}

}  // namespace pgark
