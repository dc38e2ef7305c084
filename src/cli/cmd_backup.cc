// `pgark backup`: options to a request, the lock, the backup, and what came of it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/access.h"
#include "cli/backup_destinations.h"
#include "cli/backup_json.h"
#include "cli/command.h"
#include "cli/job_lease.h"
#include "cli/progress.h"
#include "cli/retention_settings.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "ops/backup.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

constexpr size_t kBadBlocksShown = 20;  // Of one file, in the text; JSON has all that are recorded.

Result<Codec> codec_of(const std::string& name) {
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd})
    if (name == codec_name(codec)) return codec;
  return Error(Errc::kInternal, "compress-type '" + name + "' is not known");
}

Result<BackupType> type_of(const std::string& name) {
  for (const BackupType type : {BackupType::kFull, BackupType::kDiff, BackupType::kIncr})
    if (name == backup_type_name(type)) return type;
  return Error(Errc::kInternal, "type '" + name + "' is not known");
}

Result<ScanMode> scan_of(const std::string& name) {
  for (const ScanMode mode : {ScanMode::kWal, ScanMode::kLsn, ScanMode::kHash})
    if (name == scan_mode_name(mode)) return mode;
  return Error(Errc::kInternal, "scan '" + name + "' is not known");
}

/// The servers of a backup: whose data directory is copied, and of a standby the primary.
struct BackupNodes {
  unsigned source = 1;  // Number in the configuration.
  std::unique_ptr<PgSession> session;
  std::unique_ptr<PgSession> primary;  // Null if `session` is with it, or it cannot be reached.
  bool from_standby = false;
};

/// Ask every node of the stanza what it is, and choose as backup-standby says.
Result<BackupNodes> choose_nodes(const CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& wanted = settings.text("backup-standby");
  BackupNodes nodes;
  if (wanted == "n") {
    // Others may be named for their files alone (archive-heal); they are asked only if this one is no primary.
    nodes.source = settings.clusters().front();
    TRY_ASSIGN(nodes.session, open_pg_session(server_endpoint(settings, nodes.source), context.cancel));
    if (settings.clusters().size() == 1) return nodes;
    TRY_ASSIGN_CTX(const std::string recovering, nodes.session->query_value("SELECT pg_is_in_recovery()"),
                   fmt::format("ask pg{} what it is", nodes.source));
    if (recovering != "t") return nodes;
  }
  std::optional<unsigned> primary;
  std::optional<unsigned> standby;
  std::map<unsigned, std::unique_ptr<PgSession>> sessions;
  std::optional<Error> unreached;
  for (const unsigned number : settings.clusters()) {
    auto opened = open_pg_session(server_endpoint(settings, number), context.cancel);
    if (!opened.has_value()) {
      log_warn("pg{}: {}", number, opened.error().to_string());
      if (!unreached) unreached = std::move(opened).error();
      continue;
    }
    TRY_ASSIGN_CTX(const std::string recovering, (*opened)->query_value("SELECT pg_is_in_recovery()"),
                   fmt::format("ask pg{} what it is", number));
    auto& role = recovering == "t" ? standby : primary;
    // Of several standbys the first that runs here.
    const bool local = settings.text(fmt::format("pg{}-host", number)).empty() &&
                       !settings.text(fmt::format("pg{}-path", number)).empty();
    if (recovering == "t" && !local) continue;
    if (!role) {
      role = number;
      sessions[number] = std::move(*opened);
    } else if (recovering != "t") {
      return Error(Errc::kInvalid, fmt::format("pg{} and pg{} are both primaries", *role, number))
          .with_hint("take the node that is not in use out of the stanza's configuration");
    }
  }
  if (wanted != "n" && standby) {
    nodes.source = *standby;
    nodes.session = std::move(sessions.at(*standby));
    if (primary) nodes.primary = std::move(sessions.at(*primary));
    nodes.from_standby = true;
    return nodes;
  }
  if (wanted == "y")
    return Error(Errc::kInvalid, "backup-standby=y, and no standby of the stanza runs on this machine")
        .with_hint("name one by its pgN-path and pgN-socket-path or pgN-port, or use backup-standby=prefer");
  if (!primary) {
    if (unreached) return std::move(*unreached);
    return Error(Errc::kInvalid, "no node of the stanza is a primary")
        .with_hint("use backup-standby=y to back up a standby");
  }
  nodes.source = *primary;
  nodes.session = std::move(sessions.at(*primary));
  return nodes;
}

Result<BackupRequest> request_of(const CommandContext& context, const BackupNodes& nodes) {
  const Settings& settings = context.settings;
  BackupRequest request;
  request.stanza = settings.stanza();
  request.from_standby = nodes.from_standby;
  request.primary = nodes.primary.get();
  request.data_directory = settings.text(fmt::format("pg{}-path", nodes.source));
  while (request.data_directory.size() > 1 && request.data_directory.ends_with('/')) request.data_directory.pop_back();
  request.pgark_version = version_line().substr(version_line().find(' ') + 1);
  TRY_ASSIGN(request.type, type_of(settings.text("type")));
  TRY_ASSIGN(request.scan, scan_of(settings.text("scan")));
  request.resume = settings.boolean("resume");
  request.seed = context.rng.next();
  request.process_max = static_cast<unsigned>(settings.integer("process-max"));
  if (const std::string limit = fmt::format("pg{}-bandwidth-max", nodes.source); settings.has(limit))
    request.read_bytes_per_second_max = settings.bytes(limit);
  TRY_ASSIGN(request.codec, codec_of(settings.text("compress-type")));
  request.level = settings.has("compress-level") ? static_cast<int>(settings.integer("compress-level")) : 1;
  request.start_fast = settings.boolean("start-fast");
  request.check_archive_command = settings.boolean("archive-mode-check");
  request.wait_for_wal = settings.boolean("archive-check");
  request.check_pages = !settings.has("checksum-page") || settings.boolean("checksum-page");
  request.archive_timeout = settings.duration("archive-timeout");
  request.exclude = settings.list("exclude");
  for (const auto& [name, value] : settings.map("annotation"))
    if (!value.empty()) request.annotations[name] = value;
  request.connect = [&context, source = nodes.source](const std::string& database) {
    PgEndpoint endpoint = server_endpoint(context.settings, source);
    endpoint.database = database;
    return open_pg_session(endpoint, context.cancel);
  };
  return request;
}

double seconds_of(std::chrono::microseconds duration) { return static_cast<double>(duration.count()) / 1e6; }

uint64_t rate_of(const BackupReport& report) {
  if (report.copying.count() <= 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(report.meta.logical_bytes) / seconds_of(report.copying));
}

/// Extents a restore reads for each GiB it writes: how far the backup's blocks are scattered.
uint64_t extents_per_gib(const BackupMeta& meta) {
  if (meta.logical_bytes == 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(meta.extent_count) * static_cast<double>(1u << 30) /
                               static_cast<double>(meta.logical_bytes));
}

ordered_json report_json(const BackupReport& report, const std::string& stanza) {
  const BackupMeta& meta = report.meta;
  ordered_json bad = ordered_json::array();
  for (const BadPages& file : report.bad_pages) bad.push_back({{"path", file.path}, {"blocks", file.blocks}});
  ordered_json document{{"stanza", stanza}};
  document.update(backup_members(meta));
  document["pack_count"] = report.pack_count;
  document["needed_pack_count"] = report.needed_pack_count;
  document["extents_per_gib"] = extents_per_gib(meta);
  document["changed_block_count"] = report.changed_block_count;
  document["wal_segment_count"] = report.wal_segment_count;
  document["vanished_count"] = report.vanished_count;
  document["shrunk_count"] = report.shrunk_count;
  document["bad_pages"] = std::move(bad);
  document["elapsed_ms"] = report.elapsed.count() / 1000;
  document["copy_ms"] = report.copying.count() / 1000;
  document["bytes_per_second"] = rate_of(report);
  document["warnings"] = report.warnings;
  document["repositories"] = report.stored_in;
  document["left_behind"] = ordered_json::array();
  for (const LeftBehind& left : report.left_behind)
    document["left_behind"].push_back({{"repository", left.name}, {"error", error_json(left.error)}});
  return document;
}

std::string bad_pages_text(const BackupReport& report) {
  if (report.meta.bad_page_count == 0) return "";
  std::string text = fmt::format("  PAGE CHECKSUMS: {} pages are damaged in the cluster, and so in this backup:\n",
                                 report.meta.bad_page_count);
  for (const BadPages& file : report.bad_pages) {
    const size_t shown = std::min(kBadBlocksShown, file.blocks.size());
    text += fmt::format("    {}: block {}", file.path,
                        fmt::join(file.blocks.begin(), file.blocks.begin() + static_cast<ptrdiff_t>(shown), ", "));
    if (shown < file.blocks.size()) text += fmt::format(" and {} more", file.blocks.size() - shown);
    text += "\n";
  }
  return text + "    keep the backups made before; they may hold these pages undamaged\n";
}

/// Of an incremental: what it cost and what it builds on.
std::string increment_text(const BackupReport& report) {
  const BackupMeta& meta = report.meta;
  std::string text;
  if (meta.type != BackupType::kFull) {
    text += fmt::format("  builds on {}: {} read, {} referenced", meta.prior_label, format_size(meta.read_bytes),
                        format_size(meta.referenced_bytes));
    if (meta.scan != scan_mode_name(ScanMode::kHash))
      text +=
          fmt::format("; {} changed blocks in {} WAL segments", report.changed_block_count, report.wal_segment_count);
    else
      text += "; every file compared by hash";
    text += fmt::format("\n  needs {} packs, {} extents per GiB\n", report.needed_pack_count, extents_per_gib(meta));
  }
  if (meta.reused_bytes > 0)
    text += fmt::format("  {} were stored already by a backup that was interrupted\n", format_size(meta.reused_bytes));
  return text;
}

std::string report_text(const BackupReport& report) {
  const BackupMeta& meta = report.meta;
  std::string text = fmt::format("backup {} ({})\n  {} files of {}, copied in {} ({}/s), {} stored in {} packs\n",
                                 meta.label, backup_type_name(meta.type), meta.file_count,
                                 format_size(meta.logical_bytes), format_duration(report.copying),
                                 format_size(rate_of(report)), format_size(meta.stored_bytes), report.pack_count);
  text += increment_text(report);
  text +=
      fmt::format("  WAL {} to {}, whole backup {}\n", meta.wal_start, meta.wal_stop, format_duration(report.elapsed));
  if (report.stored_in.size() + report.left_behind.size() > 1) {
    text += fmt::format("  in {}\n", fmt::join(report.stored_in, ", "));
    for (const LeftBehind& left : report.left_behind)
      text += fmt::format("  NOT IN {}: {}\n", left.name, left.error.message());
  }
  return text + bad_pages_text(report);
}

/// Expiring each repository that has the backup.
struct Expired {
  unsigned repo = 1;
  ExpireAfterBackup outcome;
};

/// Of expiring after the backup, a member for each repository; null where it was not asked for.
ordered_json after_json(const std::vector<Expired>& all) {
  ordered_json document = ordered_json::object();
  for (const auto& [repo, expired] : all) {
    auto& member = document[repository_name(repo)];
    if (expired.report) member = expire_json(*expired.report);
    if (expired.error) member = {{"error", error_json(*expired.error)}};
  }
  return document;
}

std::string after_text(const ExpireAfterBackup& expired, std::chrono::milliseconds grace, const std::string& where) {
  if (!expired.report) return "";
  std::string text = fmt::format("  expire{}:\n", where);
  for (const ExpiredBackup& backup : expired.report->backups)
    if (backup.outcome != ExpiredBackup::Outcome::kKept)
      text += fmt::format("    {} {}: {}\n", expire_outcome_name(backup.outcome), backup.decision.label,
                          backup.decision.reasons.front().text);
  return text + expire_summary_text(*expired.report, grace, false);
}

}  // namespace

Result<int> cmd_backup(CommandContext& outer) {
  const Settings& settings = outer.settings;
  LockHolder holder;
  holder.command = "backup";
  holder.started = outer.clock.now();
  TRY_ASSIGN(LocalLock lock, LocalLock::acquire(settings.text("lock-path"), settings.stanza(), "backup", holder));
  BackupDestinations destinations;
  JobLeases leases(outer);
  CommandContext context = leases.context();
  TRY_ASSIGN(const BackupNodes nodes, choose_nodes(context));
  TRY_ASSIGN(BackupRequest request, request_of(context, nodes));
  request.on_label = [&lock](const std::string& label) { return lock.set_label(label); };
  TRY(destinations.open(context));
  // Not before the server has answered: whoever could not back up anyway keeps nobody from it.
  TRY(destinations.take_leases(leases));
  request.repository_is_away = destinations.some_left_behind();
  Progress progress;
  Result<BackupReport> report = [&] {
    const ProgressDisplay display(settings, progress, context.clock);
    return run_backup(destinations.all(), *nodes.session, request, context.clock, context.cancel, progress);
  }();
  if (!report) return leases.explain(std::move(report).error()).with_context("back up " + settings.stanza());
  destinations.catch_up(context, *report, progress);
  std::vector<Expired> expired;
  for (const BackupDestinations::One& one : destinations.opened())
    if (const auto& stored = report->stored_in;
        std::find(stored.begin(), stored.end(), repository_name(one.number)) != stored.end())
      expired.push_back({one.number, expire_after_backup(context, *one.opened.repository, one.number)});
  if (context.json()) {
    ordered_json document = report_json(*report, settings.stanza());
    document["expire"] = after_json(expired);
    // Paths may hold any bytes.
    TRY(context.out.print(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"));
  } else {
    std::string text = report_text(*report);
    for (const auto& [repo, outcome] : expired)
      text += after_text(outcome, settings.duration("expire-grace"),
                         destinations.opened().size() > 1 ? " " + repository_name(repo) : "");
    TRY(context.out.print(text));
  }
  // The result is told already, and a document in JSON stands alone: a failure is told by log and exit code.
  int exit_code = kExitOk;
  const auto failed = [&exit_code](const Error& error) {
    log_error("{}", error.to_string());
    if (exit_code == kExitOk) exit_code = exit_code_of("backup", error.code(), 0);
  };
  for (const LeftBehind& left : report->left_behind)
    failed(Error(left.error).with_context(fmt::format("backup {} is not in {}", report->meta.label, left.name)));
  for (const auto& [repo, outcome] : expired)
    if (outcome.error) failed(*outcome.error);
  return exit_code;
}

}  // namespace pgark
