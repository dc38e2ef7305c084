// Retention and expiry as the settings say, and what came of a run as text and JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "catalog/retention.h"
#include "cli/command.h"
#include "ops/expire.h"
#include "repo/repository.h"

namespace pgark {

/// Rules of a repository (repoN-retention-..., retention-timezone).
/// Errors: kInvalid if the time zone is not known.
Result<RetentionRules> retention_rules(const Settings& settings, unsigned repo);

/// Expire one repository as the settings say. The caller holds the lock "backup".
/// Shape:  `set` and `dry_run` as in ExpireOptions.
Result<ExpireReport> expire_repository(const CommandContext& context, const Repository& repository, unsigned repo,
                                       const std::string& set, bool dry_run);

/// What became of expiring after a backup; neither if the settings do not ask for it.
struct ExpireAfterBackup {
  std::optional<ExpireReport> report;
  std::optional<Error> error;
};
/// Expire the repository of a backup that has just been made, if expire-auto is on and a rule is set for it.
ExpireAfterBackup expire_after_backup(const CommandContext& context, const Repository& repository, unsigned repo);

/// What a table says is done with a backup or dump: "keep", "remove", "refused", "put off".
std::string expire_action(ExpiredBackup::Outcome outcome);
nlohmann::ordered_json expire_count_json(const ExpireCount& count);
/// A run over one repository: docs/reference/json.md.
nlohmann::ordered_json expire_json(const ExpireReport& report);
/// The table of backups with their reasons.
std::string expire_backups_text(const ExpireReport& report);
/// What was (or would be) removed and freed, what waits, and warnings.
std::string expire_summary_text(const ExpireReport& report, std::chrono::milliseconds grace, bool dry_run);

}  // namespace pgark
