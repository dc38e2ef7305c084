// `pgark archive-get %f %p`: the restore_command of a server in recovery. With archive-async, what it asks for next is
// fetched ahead of it by a process in the background, and this one only moves it into place.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>

#include "cli/access.h"
#include "cli/command.h"
#include "core/detached.h"
#include "core/file.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "ops/archive_get.h"
#include "ops/cluster_files.h"
#include "ops/prefetch.h"
#include "ops/wal_hole.h"
#include "ops/wal_spool.h"

extern char** environ;

namespace pgark {
namespace {

/// How long a segment is waited for that is missing while later ones are there.
constexpr auto kHoleWaitMax = std::chrono::seconds(10);
/// How long a segment is waited for that the prefetcher is in the middle of, before it is fetched a second time.
constexpr auto kComingWaitMax = std::chrono::seconds(1);
constexpr auto kComingPause = std::chrono::milliseconds(2);

/// A segment that a server in recovery asks for, and the spool it may wait in.
struct Ahead {
  pg::WalSegment segment;
  WalSpool spool;
  uint64_t queue_bytes = 0;
};

Result<std::optional<Ahead>> find_ahead(const CommandContext& context, const ArchiveGetOptions& options) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const RecoveryKind kind, recovery_kind(options.data_directory));
  if (kind == RecoveryKind::kNone) return std::optional<Ahead>();  // pg_rewind, or a person: who knows what is next.
  TRY_ASSIGN(const ClusterFiles files, read_cluster_files(options.data_directory, context.clock));
  const ClusterRecord cluster = cluster_record(files, Timestamp{});
  const auto segment = pg::parse_segment_name(options.name, cluster.wal_segment_bytes);
  if (!segment) return std::optional<Ahead>();  // A history, or a name to be refused.
  TRY_ASSIGN(WalSpool spool,
             WalSpool::locate(settings.text("spool-path"), options.stanza, options.data_directory, cluster));
  return std::optional(
      Ahead{.segment = *segment, .spool = std::move(spool), .queue_bytes = settings.bytes("archive-get-queue-max")});
}

bool prefetcher_runs(const Settings& settings, const WalSpool& spool) {
  const auto holder =
      read_lock_holder(lock_file_path(settings.text("lock-path"), settings.stanza(), spool.lock_name()));
  return holder && holder->has_value();
}

/// Whether the segment was waiting in the spool, and is now in its place.
Result<bool> take_from_spool(const CommandContext& context, const Ahead& ahead, const std::string& destination) {
  const auto deadline = context.clock.steady() + kComingWaitMax;
  for (;;) {
    const bool coming = ahead.spool.is_coming(ahead.segment);
    TRY_ASSIGN(const bool taken, ahead.spool.take(ahead.segment, destination));
    if (taken) return true;
    if (!coming || context.clock.steady() >= deadline || !prefetcher_runs(context.settings, ahead.spool)) return false;
    TRY(context.cancel.check());
    context.clock.sleep_for(kComingPause);
  }
}

/// Start this program once more, with the same arguments and --prefetch, on its own.
Result<> start_prefetcher(const std::string& program) {
  TRY_ASSIGN(std::vector<std::string> words, own_command_line());
  words.emplace_back("--prefetch");
  return start_detached(program, std::move(words));
}

/// Now that a segment was delivered: clear the spool of what is behind it, and see to it that it is filled.
Result<> keep_ahead(const CommandContext& context, const Ahead& ahead, bool from_spool) {
  TRY_ASSIGN(const uint64_t waiting, ahead.spool.trim(ahead.segment, !from_spool, ahead.queue_bytes));
  if (ahead.queue_bytes < ahead.spool.cluster().wal_segment_bytes) return {};  // Not even one fits.
  const bool running = prefetcher_runs(context.settings, ahead.spool);
  if (running && !from_spool) ahead.spool.note_wanted(ahead.segment);
  if (running || waiting > ahead.queue_bytes / 2) return {};
  TRY(ahead.spool.create());
  return start_prefetcher(context.program);
}

Result<int> run_prefetcher(CommandContext& context, const ArchiveGetOptions& options) {
  TRY_ASSIGN(const auto ahead, find_ahead(context, options));
  if (!ahead) return kExitOk;
  const Settings& settings = context.settings;
  auto lock =
      LocalLock::acquire(settings.text("lock-path"), options.stanza, ahead->spool.lock_name(),
                         {.command = "archive-get prefetch", .label = {}, .host = {}, .started = context.clock.now()});
  if (!lock) {
    log_debug("{}", lock.error().message());
    return kExitOk;
  }
  const ChosenRepositories repositories(context);
  TRY_ASSIGN(const PrefetchReport report,
             prefetch_wal(repositories.sources(), ahead->spool, context.clock, context.cancel,
                          {.stanza = options.stanza,
                           .wanted = ahead->segment,
                           .queue_bytes = ahead->queue_bytes,
                           .threads = options.threads}));
  log_info("prefetched {} segments after {}", report.segment_count, options.name);
  return kExitOk;
}

Result<ArchiveGetOptions> options_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  std::error_code error;
  // PostgreSQL runs the command in the data directory, and %p is relative to it.
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) return Error(Errc::kInvalid, fmt::format("find the current directory: {}", error.message()));
  ArchiveGetOptions options;
  options.stanza = settings.stanza();
  options.name = settings.arguments()[0];
  options.destination = here / settings.arguments()[1];
  const bool in_data_directory = std::filesystem::exists(here / "global/pg_control", error);
  options.data_directory = in_data_directory ? here.string() : settings.text("pg1-path");
  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  options.hole_wait = std::min<std::chrono::milliseconds>(settings.duration("archive-timeout"), kHoleWaitMax);
  options.cancel = &context.cancel;
  return options;
}

/// Whatever goes wrong with the spool is told and passed over: the repository is there.
template <typename T>
T or_else(Result<T> result, T otherwise) {
  if (result) return std::move(*result);
  log_warn("prefetch: {}", result.error().message());
  return otherwise;
}

}  // namespace

Result<int> cmd_archive_get(CommandContext& context) {
  TRY_ASSIGN(const ArchiveGetOptions options, options_of(context));
  if (context.settings.boolean("prefetch")) return run_prefetcher(context, options);
  const bool async = context.settings.boolean("archive-async");
  const auto ahead = async ? or_else(find_ahead(context, options), std::optional<Ahead>()) : std::nullopt;
  const bool taken = ahead && or_else(take_from_spool(context, *ahead, options.destination), false);
  if (!taken) {
    const ChosenRepositories repositories(context);
    TRY_ASSIGN(const auto outcome, archive_get(repositories.sources(), context.clock, options));
    if (outcome == ArchiveGetOutcome::kAbsent) {
      log_info("{} is not in the archive", options.name);
      return kExitNegative;
    }
  }
  log_info("fetched {}{}", options.name, taken ? " ahead of time" : "");
  if (ahead) {
    if (const auto kept = keep_ahead(context, *ahead, taken); !kept) log_warn("prefetch: {}", kept.error().message());
  }
  return kExitOk;
}

}  // namespace pgark
