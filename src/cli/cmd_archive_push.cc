// `pgark archive-push %p`: the archive_command of the server; with archive-async also the worker behind it.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "catalog/wal.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/stop_files.h"
#include "codec/hash.h"
#include "core/detached.h"
#include "core/file.h"
#include "core/log.h"
#include "core/version.h"
#include "ops/archive_push.h"
#include "ops/push_client.h"
#include "ops/push_worker.h"

namespace pgark {
namespace {

struct Source {
  std::string path;
  std::string data_directory;
};

/// %p is relative to the data directory, which is where PostgreSQL runs the command; by hand it is run from anywhere,
/// and then pg1-path says where that is.
Result<Source> find_source(const std::string& argument, const std::string& configured) {
  const std::filesystem::path path(argument);
  std::error_code error;
  if (path.is_absolute()) return Source{argument, configured};
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (!error && std::filesystem::exists(here / "global/pg_control", error)) return Source{here / path, here};
  if (configured.empty()) {
    return Error(Errc::kInvalid,
                 fmt::format("'{}' is relative, and the current directory is no data directory", argument))
        .with_hint("set pg1-path, or give an absolute path");
  }
  return Source{std::filesystem::path(configured) / path, configured};
}

Codec codec_of(const std::string& name) {
  if (name == "none") return Codec::kNone;
  return name == "lz4" ? Codec::kLz4 : Codec::kZstd;
}

/// The history that a file of a later timeline is held against, as it is named in a stanza that was never upgraded.
std::vector<ObjectKey> history_key(const std::string& stanza, const std::string& source_path) {
  const auto parsed = pg::parse_wal_file_name(source_path.substr(source_path.rfind('/') + 1));
  if (!parsed || timeline_of(*parsed).value <= 1) return {};
  const auto key = wal_key(stanza, 1, pg::history_name(timeline_of(*parsed)));
  return key ? std::vector{*key} : std::vector<ObjectKey>();
}

std::vector<PushTarget> push_targets(const CommandContext& context, const std::string& source_path) {
  const std::vector<ObjectKey> also = history_key(context.settings.stanza(), source_path);
  std::vector<PushTarget> targets;
  for (const unsigned repo : context.settings.chosen_repositories()) {
    targets.push_back(
        {.name = fmt::format("repo{}", repo), .open = [&context, repo, also]() -> Result<PushTarget::Opened> {
           TRY_ASSIGN(OpenedRepository opened, open_repository_of_stanza(context, repo, also));
           return PushTarget::Opened{std::move(opened.store), std::move(opened.repository)};
         }});
  }
  return targets;
}

ArchivePushOptions push_options(const Settings& settings, const Source& source) {
  ArchivePushOptions options;
  options.stanza = settings.stanza();
  options.source_path = source.path;
  options.data_directory = source.data_directory;
  options.codec = codec_of(settings.text("compress-type"));
  options.level = settings.has("compress-level") ? static_cast<int>(settings.integer("compress-level")) : 1;
  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  options.host = host_name();
  return options;
}

PushQueueLimit queue_limit(const Settings& settings) {
  PushQueueLimit limit;
  if (settings.has("archive-push-queue-max")) limit.queue_bytes_max = settings.bytes("archive-push-queue-max");
  limit.spool_directory = push_directory(settings.text("spool-path"), settings.stanza());
  return limit;
}

void log_pushed(const ArchivePushAllResult& pushed) {
  for (const ArchivePushResult& one : pushed.stored) {
    if (one.outcome == ArchivePushOutcome::kAlreadyThere) {
      log_info("{} is in the archive already, with the same content", one.key.value);
    } else {
      log_info("pushed {} ({} stored)", one.key.value, format_size(one.stored_bytes));
    }
  }
}

int exit_code_of_push(Errc code) { return exit_code_of("archive-push", code, 0); }

Errc errc_of_push(int exit_code) {
  for (unsigned char code = 0; code <= static_cast<unsigned char>(Errc::kInternal); ++code) {
    if (exit_code_of_push(static_cast<Errc>(code)) == exit_code) return static_cast<Errc>(code);
  }
  return Errc::kInternal;
}

/// Settings that lead to other pushes have another id.
std::string settings_id(const Settings& settings) {
  const std::string text = fmt::format("{} {}", kVersion, settings.dump());
  return fmt::format("{:016x}", content_hash(as_bytes(text)));
}

/// Tells whether the files that the settings were read from changed since.
std::function<bool()> watch_settings(const Settings& settings) {
  return [&settings] { return settings.config_files().changed(); };
}

PushWorkerOptions worker_options(const CommandContext& context, const Source& source) {
  const Settings& settings = context.settings;
  PushWorkerOptions options;
  options.engine.push = push_options(settings, source);
  options.engine.push.threads = 1;  // Several segments at a time instead.
  options.engine.threads = static_cast<unsigned>(settings.integer("process-max"));
  options.limit = queue_limit(settings);
  options.directory = options.limit.spool_directory;
  options.wal_directory = parent_path(source.path);
  options.settings_id = settings_id(settings);
  options.archive_timeout = settings.duration("archive-timeout");
  options.exit_code = [](const Error& error) { return exit_code_of_push(error.code()); };
  options.check_stopped = [&settings] { return check_not_stopped(settings.text("lock-path"), settings.stanza()); };
  options.settings_changed = watch_settings(settings);
  return options;
}

/// Be the worker that a client has started, and waits for on a pipe.
Result<int> run_worker(const CommandContext& context, const Source& source) {
  const auto report = static_cast<int>(context.settings.integer("worker"));
  // Its threads take turns at most of what they do. With an arena of memory for each, every one of them would keep some
  // of what it once needed.
  ::mallopt(M_ARENA_MAX, 2);
  auto worker = PushWorker::open(push_targets(context, source.path), context.clock, worker_options(context, source));
  if (!worker && worker.error().code() == Errc::kAlreadyExists) {
    report_push_worker(report, "running\n");
    return kExitOk;
  }
  if (!worker) {
    report_push_worker(report, encode_push_error(exit_code_of_push(worker.error().code()), worker.error()));
    return Error(std::move(worker).error());
  }
  report_push_worker(report, "ready\n");
  // The data directory must not be kept from being unmounted.
  static_cast<void>(::chdir("/") == 0);
  TRY((*worker)->run(context.cancel));
  return kExitOk;
}

Result<int> push_through_worker(const CommandContext& context, const Source& source) {
  const Settings& settings = context.settings;
  PushClientOptions options;
  options.directory = push_directory(settings.text("spool-path"), settings.stanza());
  options.path = source.path;
  options.settings_id = settings_id(settings);
  options.settings_changed = watch_settings(settings);
  options.timeout = settings.duration("archive-timeout");
  options.errc_of = errc_of_push;
  options.start_worker = [&](std::chrono::milliseconds bound) -> Result<> {
    TRY_ASSIGN(std::vector<std::string> words, own_command_line());
    return spawn_push_worker(context.program, std::move(words), bound, errc_of_push);
  };
  TRY_ASSIGN(const PushAnswer answer, ask_push_worker(options, context.clock, context.cancel));
  const std::string name = source.path.substr(source.path.rfind('/') + 1);
  if (answer == PushAnswer::kDropped) {
    log_warn("{} is given up and not stored: more WAL waits than archive-push-queue-max; make a new backup", name);
  } else {
    log_info("pushed {}", name);
  }
  return kExitOk;
}

}  // namespace

Result<int> cmd_archive_push(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const Source source, find_source(settings.arguments().front(), settings.text("pg1-path")));
  if (settings.has("worker")) return run_worker(context, source);
  if (settings.boolean("archive-async")) return push_through_worker(context, source);
  TRY_ASSIGN(const ArchivePushAllResult pushed,
             archive_push_all(push_targets(context, source.path), context.clock, push_options(settings, source),
                              queue_limit(settings)));
  log_pushed(pushed);
  return kExitOk;
}

}  // namespace pgark
