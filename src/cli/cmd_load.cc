// `pgark load`: options to a request, the load or its plan alone, and what came of it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/dump_settings.h"
#include "cli/dump_source.h"
#include "cli/load_render.h"
#include "cli/progress.h"
#include "cli/table_progress.h"
#include "ops/load.h"
#include "pgwire/pg_client.h"

namespace pgark {
namespace {

/// "OLD:NEW" of an option. A name that holds a colon is quoted: "\"a:b\":c".
Result<NameMap> name_map(const Settings& settings, const std::string& option) {
  NameMap map;
  for (const std::string& text : settings.list(option)) {
    bool quoted = false;
    size_t colon = std::string::npos;
    for (size_t at = 0; at < text.size() && colon == std::string::npos; ++at) {
      if (text[at] == '"') quoted = !quoted;
      if (text[at] == ':' && !quoted) colon = at;
    }
    const auto name = [](std::string part) {
      return part.size() > 1 && part.front() == '"' && part.back() == '"' ? pg::identifier_name(part) : part;
    };
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
      return Error(Errc::kInvalid, fmt::format("'{}' is no pair of names for --{}", text, option))
          .with_hint(fmt::format("--{}=OLD:NEW", option));
    const std::string from = name(text.substr(0, colon));
    if (!map.emplace(from, name(text.substr(colon + 1))).second)
      return Error(Errc::kInvalid, fmt::format("--{} names {} twice", option, from));
  }
  return map;
}

Result<LoadRequest> request_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  LoadRequest request;
  request.server = server_endpoint(settings, settings.clusters().front());
  request.databases = settings.list("dbname");
  TRY_ASSIGN(request.database_map, name_map(settings, "db-map"));
  TRY_ASSIGN(request.schema_map, name_map(settings, "schema-map"));
  TRY_ASSIGN(request.role_map, name_map(settings, "role-map"));
  request.create = settings.boolean("create");
  request.clean = settings.boolean("clean");
  request.if_exists = settings.boolean("if-exists");
  request.globals = settings.boolean("globals");
  request.jobs = settings.has("jobs") ? static_cast<unsigned>(settings.integer("jobs")) : 1;
  request.schemas = settings.list("schema");
  request.exclude_schemas = settings.list("exclude-schema");
  request.tables = settings.list("table");
  request.exclude_tables = settings.list("exclude-table");
  request.data_only = settings.boolean("data-only");
  request.schema_only = settings.boolean("schema-only");
  request.arguments = passed_dump_arguments(settings, false);
  if (settings.given("single-transaction")) request.single_transaction = settings.boolean("single-transaction");
  request.exit_on_error = settings.boolean("exit-on-error");
  request.force = settings.boolean("force");
  request.compare_counts = settings.boolean("compare-counts");
  const char* temporary = std::getenv("TMPDIR");
  request.scratch_path = temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
  TRY_ASSIGN(request.clients, find_client_sets(settings.list("client-path"), context.cancel));
  return request;
}

Result<> print(CommandContext& context, const nlohmann::ordered_json& document) {
  // Names may hold any bytes.
  return context.out.print(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

bool has_errors(const LoadPlan& plan) {
  return std::any_of(plan.findings.begin(), plan.findings.end(),
                     [](const LoadFinding& one) { return one.severity == DumpWarning::Severity::kError; });
}

}  // namespace

Result<int> cmd_load(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& stanza = settings.stanza();
  TRY_ASSIGN(const LoadRequest request, request_of(context));
  TRY_ASSIGN(const auto source, DumpSource::open(context, "load " + stanza));
  const std::string what = "load dump " + source->dump().meta.label;
  if (settings.boolean("dry-run")) {
    TRY_ASSIGN_CTX(const LoadPlan plan, plan_load(request, source->dump(), source->reader(), context.cancel), what);
    TRY(context.json() ? print(context, load_plan_json(plan, stanza)) : context.out.print(load_plan_text(plan)));
    return has_errors(plan) ? kExitNegative : kExitOk;
  }
  DumpProgress progress;
  Result<LoadReport> report = [&] {
    const TableProgress tables(progress, {"load", "loading", "loaded"});
    const ProgressDisplay display(settings, progress.totals, context.clock);
    return run_load(request, source->dump(), source->reader(), context.clock, context.cancel, progress);
  }();
  if (!report) return std::move(report).error().with_context(what);
  TRY(context.json() ? print(context, load_report_json(*report, stanza))
                     : context.out.print(load_report_text(*report)));
  return report->ok() ? kExitOk : kExitNegative;
}

}  // namespace pgark
