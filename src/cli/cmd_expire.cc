// `pgark expire`: remove what no rule keeps, in every repository or the one chosen.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "catalog/backup.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/job_lease.h"
#include "cli/retention_settings.h"
#include "core/local_lock.h"
#include "core/log.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// What happened to one repository.
struct Expired {
  unsigned repo = 1;
  std::string location;
  ExpireReport report;
};

Result<Expired> expire_one(CommandContext& context, unsigned repo, const std::string& set, bool dry_run) {
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  JobLeases leases(context);
  if (!dry_run) TRY(leases.take(*opened.repository));
  auto report = expire_repository(leases.context(), *opened.repository, repo, set, dry_run);
  if (!report) return leases.explain(std::move(report).error());
  return Expired{repo, opened.store->describe(), std::move(*report)};
}

Result<> print(CommandContext& context, const std::vector<Expired>& all, bool dry_run) {
  const auto grace = context.settings.duration("expire-grace");
  if (context.json()) {
    ordered_json repositories = ordered_json::array();
    for (const Expired& one : all) {
      ordered_json document{{"repo", one.repo}, {"location", one.location}};
      document.update(expire_json(one.report));
      repositories.push_back(std::move(document));
    }
    return context.out.print_json({{"stanza", context.settings.stanza()},
                                   {"dry_run", dry_run},
                                   {"grace_ms", grace.count()},
                                   {"repositories", std::move(repositories)}});
  }
  std::string text;
  for (const Expired& one : all)
    text += one.location + ":\n" + expire_backups_text(one.report) + expire_summary_text(one.report, grace, dry_run);
  return context.out.print(text);
}

}  // namespace

Result<int> cmd_expire(CommandContext& context) {
  const Settings& settings = context.settings;
  const bool dry_run = settings.boolean("dry-run");
  const std::string& set = settings.text("set");
  if (!set.empty()) TRY(parse_backup_label(set));
  LockHolder holder;
  holder.command = "expire";
  holder.started = context.clock.now();
  // A dry run disturbs nobody, and a backup that begins meanwhile does not change what it says.
  LocalLock lock;
  if (!dry_run) {
    TRY_ASSIGN(lock, LocalLock::acquire(settings.text("lock-path"), settings.stanza(), "backup", holder));
  }
  std::vector<Expired> all;
  std::optional<Error> failed;
  std::optional<Error> not_found;  // Backups live in one repository each: --set looks for its own.
  for (const unsigned repo : settings.chosen_repositories()) {
    TRY(context.cancel.check());
    auto done = expire_one(context, repo, set, dry_run);
    if (done) {
      all.push_back(std::move(*done));
    } else if (!set.empty() && done.error().code() == Errc::kNotFound) {
      if (!not_found) not_found = std::move(done).error();
    } else if (!failed) {
      // One that cannot be reached keeps nothing from the others.
      failed = std::move(done).error().with_context(fmt::format("expire repo{}", repo));
    } else {
      log_error("expire repo{}: {}", repo, done.error().to_string());
    }
  }
  if (!failed && all.empty()) failed = std::move(not_found);
  // A result in JSON is one document: an error takes its place.
  if (failed && (all.empty() || context.json())) return std::move(*failed);
  TRY(print(context, all, dry_run));
  if (failed) return std::move(*failed);
  return kExitOk;
}

}  // namespace pgark
