// From options to rules, and from reports to what people and programs read.
#include "cli/retention_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "catalog/time_zone.h"
#include "core/check.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;
using Outcome = ExpiredBackup::Outcome;

constexpr size_t kRangesShown = 10;

std::optional<uint32_t> count_of(const Settings& settings, const std::string& name) {
  if (!settings.has(name)) return std::nullopt;
  return static_cast<uint32_t>(settings.integer(name));
}

BackupType archive_type_of(const std::string& name) {
  for (const BackupType type : {BackupType::kFull, BackupType::kDiff, BackupType::kIncr})
    if (name == backup_type_name(type)) return type;
  CHECK(false);
  return BackupType::kFull;
}

ordered_json backup_json(const ExpiredBackup& backup) {
  ordered_json reasons = ordered_json::array();
  for (const RetentionReason& reason : backup.decision.reasons)
    reasons.push_back({{"rule", reason.rule}, {"text", reason.text}});
  const int64_t stopped = backup.stopped.time_since_epoch().count();
  return {{"label", backup.decision.label},
          {"type", backup_type_name(backup.type)},
          {"stopped_us", stopped == 0 ? ordered_json() : ordered_json(stopped)},
          {"restorable", backup.restorable},
          {"keep", backup.decision.keep},
          {"outcome", expire_outcome_name(backup.outcome)},
          {"whole_wal", backup.whole_wal},
          {"reasons", std::move(reasons)}};
}

std::string plural(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

/// "12 WAL files (192MB), 3 packs (64MB)"; empty if both are none.
std::string counts_text(const ExpireCount& wal, const ExpireCount& packs) {
  std::string text;
  if (wal.count > 0) text += fmt::format("{} ({})", plural(wal.count, "WAL file"), format_size(wal.bytes));
  if (packs.count > 0)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", plural(packs.count, "pack"), format_size(packs.bytes));
  return text;
}

}  // namespace

ordered_json expire_count_json(const ExpireCount& count) { return {{"count", count.count}, {"bytes", count.bytes}}; }

std::string expire_action(ExpiredBackup::Outcome outcome) {
  switch (outcome) {
    case Outcome::kKept:
      return "keep";
    case Outcome::kRemoved:
      return "remove";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kPutOff:
      return "put off";
  }
  return "";
}

Result<RetentionRules> retention_rules(const Settings& settings, unsigned repo) {
  const auto name = [&](std::string_view rule) { return fmt::format("repo{}-retention-{}", repo, rule); };
  RetentionRules rules;
  rules.full = count_of(settings, name("full"));
  rules.full_type =
      settings.text(name("full-type")) == "time" ? RetentionRules::FullType::kTime : RetentionRules::FullType::kCount;
  rules.diff = count_of(settings, name("diff"));
  rules.archive = count_of(settings, name("archive"));
  rules.archive_type = archive_type_of(settings.text(name("archive-type")));
  rules.daily = count_of(settings, name("daily"));
  rules.weekly = count_of(settings, name("weekly"));
  rules.monthly = count_of(settings, name("monthly"));
  rules.yearly = count_of(settings, name("yearly"));
  rules.minimum = static_cast<uint32_t>(settings.integer(name("minimum")));
  rules.time_zone = settings.text("retention-timezone");
  if (!rules.time_zone.empty()) TRY_CTX(TimeZone::open(rules.time_zone), settings.origin("retention-timezone"));
  return rules;
}

Result<ExpireReport> expire_repository(const CommandContext& context, const Repository& repository, unsigned repo,
                                       const std::string& set, bool dry_run) {
  ExpireOptions options;
  options.stanza = context.settings.stanza();
  TRY_ASSIGN(options.rules, retention_rules(context.settings, repo));
  options.grace = context.settings.duration("expire-grace");
  options.set = set;
  options.dry_run = dry_run;
  return run_expire(repository, context.clock, context.cancel, options);
}

ExpireAfterBackup expire_after_backup(const CommandContext& context, const Repository& repository, unsigned repo) {
  ExpireAfterBackup after;
  if (!context.settings.boolean("expire-auto")) return after;
  const auto rules = retention_rules(context.settings, repo);
  if (rules && !rules->any() && !rules->archive) return after;
  auto report = rules ? expire_repository(context, repository, repo, "", false) : Result<ExpireReport>(rules.error());
  if (report)
    after.report = std::move(*report);
  else
    after.error = std::move(report).error().with_context("expire after the backup, which is complete");
  return after;
}

ordered_json expire_json(const ExpireReport& report) {
  ordered_json backups = ordered_json::array();
  for (const ExpiredBackup& backup : report.backups) backups.push_back(backup_json(backup));
  ordered_json ranges = ordered_json::array();
  for (const WalRange& range : report.wal_ranges)
    ranges.push_back(
        {{"timeline", range.timeline.value}, {"first", range.first}, {"last", range.last}, {"count", range.count}});
  return {{"backups", std::move(backups)},
          {"freed_bytes", report.freed_bytes()},
          {"wal", expire_count_json(report.wal)},
          {"wal_ranges", std::move(ranges)},
          {"packs", expire_count_json(report.packs)},
          {"records", expire_count_json(report.records)},
          {"waiting_wal", expire_count_json(report.waiting_wal)},
          {"waiting_packs", expire_count_json(report.waiting_packs)},
          {"refused", expire_count_json(report.refused)},
          {"temporaries", expire_count_json(report.temporaries)},
          {"warnings", report.warnings}};
}

std::string expire_backups_text(const ExpireReport& report) {
  TextTable table("    ");
  for (int column = 0; column < 4; ++column) table.column("");
  for (const ExpiredBackup& backup : report.backups) {
    std::string reasons;
    for (const RetentionReason& reason : backup.decision.reasons)
      reasons += (reasons.empty() ? "" : "; ") + reason.text;
    table.row(
        {expire_action(backup.outcome), backup.decision.label, std::string(backup_type_name(backup.type)), reasons});
  }
  return table.to_string();
}

std::string expire_summary_text(const ExpireReport& report, std::chrono::milliseconds grace, bool dry_run) {
  const auto removed = static_cast<uint64_t>(
      std::count_if(report.backups.begin(), report.backups.end(),
                    [](const ExpiredBackup& backup) { return backup.outcome == Outcome::kRemoved; }));
  std::string text = fmt::format("    {}removed: {} of {}", dry_run ? "would be " : "", removed,
                                 plural(report.backups.size(), "backup"));
  if (const std::string counts = counts_text(report.wal, report.packs); !counts.empty()) text += ", " + counts;
  text += fmt::format("; {} freed\n", format_size(report.freed_bytes()));
  const size_t shown = std::min(report.wal_ranges.size(), kRangesShown);
  for (size_t i = 0; i < shown; ++i) {
    const WalRange& range = report.wal_ranges[i];
    text += range.count == 1 ? fmt::format("        WAL {}\n", range.first)
                             : fmt::format("        WAL {} to {}\n", range.first, range.last);
  }
  if (shown < report.wal_ranges.size())
    text += fmt::format("        and WAL in {} more places\n", report.wal_ranges.size() - shown);
  if (const std::string waiting = counts_text(report.waiting_wal, report.waiting_packs); !waiting.empty())
    text += fmt::format("    not needed, and kept for the grace period of {}: {}\n", format_duration(grace), waiting);
  if (report.temporaries.count > 0)
    text += fmt::format("    left behind by writers that were killed, and removed: {} of {}\n",
                        plural(report.temporaries.count, "object"), format_size(report.temporaries.bytes));
  for (const std::string& warning : report.warnings) text += fmt::format("    WARNING: {}\n", warning);
  return text;
}

}  // namespace pgark
