// `pgark expire`: remove what no rule keeps, in every repository or the one chosen.
#include "catalog/backup.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/expire_each.h"
#include "cli/job_lease.h"
#include "cli/retention_settings.h"

namespace pgark {
namespace {

Result<ExpiredIn<ExpireReport>> expire_one(CommandContext& context, unsigned repo) {
  const bool dry_run = context.settings.boolean("dry-run");
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  JobLeases leases(context);
  if (!dry_run) TRY(leases.take(*opened.repository));
  auto report = expire_repository(leases.context(), *opened.repository, repo, context.settings.text("set"), dry_run);
  if (!report) return leases.explain(std::move(report).error());
  return ExpiredIn<ExpireReport>{repo, opened.store->describe(), std::move(*report)};
}

std::string text_of(const ExpireReport& report, std::chrono::milliseconds grace, bool dry_run) {
  return expire_backups_text(report) + expire_summary_text(report, grace, dry_run);
}

}  // namespace

Result<int> cmd_expire(CommandContext& context) {
  const std::string& set = context.settings.text("set");
  if (!set.empty()) TRY(parse_backup_label(set));
  return run_expire<ExpireReport>(
      context, ExpireCommand{"expire", "backup", "expire", [&](unsigned repo) { return expire_one(context, repo); },
                             expire_json, text_of});
}

}  // namespace pgark
