// `pgark dump-expire`: remove the dumps no rule keeps, in every repository or the one chosen.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/dump_list_render.h"
#include "cli/job_lease.h"
#include "cli/retention_settings.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "ops/dump_expire.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// What happened to one repository.
struct ExpiredDumps {
  unsigned repo = 1;
  std::string location;
  DumpExpireReport report;
};

Result<ExpiredDumps> expire_dumps(CommandContext& context, unsigned repo) {
  const Settings& settings = context.settings;
  DumpExpireOptions options;
  options.stanza = settings.stanza();
  options.grace = settings.duration("expire-grace");
  options.dry_run = settings.boolean("dry-run");
  options.set = settings.text("set");
  TRY_ASSIGN(options.rules, retention_rules(settings, repo));
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  JobLeases leases(context, kDumpLease);
  if (!options.dry_run) TRY(leases.take(*opened.repository));
  const CommandContext run = leases.context();
  auto report = run_dump_expire(*opened.repository, run.clock, run.cancel, options);
  if (!report) return leases.explain(std::move(report).error());
  return ExpiredDumps{repo, opened.store->describe(), std::move(*report)};
}

Result<> print(CommandContext& context, const std::vector<ExpiredDumps>& all) {
  const auto grace = context.settings.duration("expire-grace");
  const bool dry_run = context.settings.boolean("dry-run");
  if (context.json()) {
    ordered_json repositories = ordered_json::array();
    for (const ExpiredDumps& one : all) {
      ordered_json document{{"repo", one.repo}, {"location", one.location}};
      document.update(dump_expire_json(one.report));
      repositories.push_back(std::move(document));
    }
    return context.out.print_json({{"stanza", context.settings.stanza()},
                                   {"dry_run", dry_run},
                                   {"grace_ms", grace.count()},
                                   {"repositories", std::move(repositories)}});
  }
  std::string text;
  for (const ExpiredDumps& one : all) text += one.location + ":\n" + dump_expire_text(one.report, grace, dry_run);
  return context.out.print(text);
}

}  // namespace

Result<int> cmd_dump_expire(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& set = settings.text("set");
  if (!set.empty()) TRY(parse_dump_label(set));
  LockHolder holder;
  holder.command = "dump-expire";
  holder.started = context.clock.now();
  // A dry run disturbs nobody, and a dump that begins meanwhile does not change what it says.
  LocalLock lock;
  if (!settings.boolean("dry-run")) {
    TRY_ASSIGN(lock, LocalLock::acquire(settings.text("lock-path"), settings.stanza(), "dump", holder));
  }
  std::vector<ExpiredDumps> all;
  std::optional<Error> failed;
  std::optional<Error> not_found;  // --set may name a dump that only one repository has.
  for (const unsigned repo : settings.chosen_repositories()) {
    TRY(context.cancel.check());
    auto done = expire_dumps(context, repo);
    if (done) {
      all.push_back(std::move(*done));
    } else if (!set.empty() && done.error().code() == Errc::kNotFound) {
      if (!not_found) not_found = std::move(done).error();
    } else if (!failed) {
      // One that cannot be reached keeps nothing from the others.
      failed = std::move(done).error().with_context(fmt::format("expire dumps of repo{}", repo));
    } else {
      log_error("expire dumps of repo{}: {}", repo, done.error().to_string());
    }
  }
  if (!failed && all.empty()) failed = std::move(not_found);
  // A result in JSON is one document: an error takes its place.
  if (failed && (all.empty() || context.json())) return std::move(*failed);
  TRY(print(context, all));
  if (failed) return std::move(*failed);
  return kExitOk;
}

}  // namespace pgark
