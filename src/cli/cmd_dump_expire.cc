// `pgark dump-expire`: remove the dumps no rule keeps, in every repository or the one chosen.
#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/dump_list_render.h"
#include "cli/expire_each.h"
#include "cli/job_lease.h"
#include "cli/retention_settings.h"
#include "ops/dump_expire.h"

namespace pgark {
namespace {

Result<ExpiredIn<DumpExpireReport>> expire_dumps(CommandContext& context, unsigned repo) {
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
  return ExpiredIn<DumpExpireReport>{repo, opened.store->describe(), std::move(*report)};
}

}  // namespace

Result<int> cmd_dump_expire(CommandContext& context) {
  const std::string& set = context.settings.text("set");
  if (!set.empty()) TRY(parse_dump_label(set));
  return run_expire<DumpExpireReport>(context, ExpireCommand{"dump-expire", "dump", "expire dumps of",
                                                             [&](unsigned repo) { return expire_dumps(context, repo); },
                                                             dump_expire_json, dump_expire_text});
}

}  // namespace pgark
