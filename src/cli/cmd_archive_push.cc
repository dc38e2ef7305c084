// `pgark archive-push %p`: the archive_command of the server.
#include <fmt/format.h>

#include <filesystem>

#include "cli/access.h"
#include "cli/command.h"
#include "core/log.h"
#include "ops/archive_push.h"

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

}  // namespace

Result<int> cmd_archive_push(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const Source source, find_source(settings.arguments().front(), settings.text("pg1-path")));
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  ArchivePushOptions options;
  options.stanza = settings.stanza();
  options.source_path = source.path;
  options.data_directory = source.data_directory;
  options.codec = codec_of(settings.text("compress-type"));
  options.level = settings.has("compress-level") ? static_cast<int>(settings.integer("compress-level")) : 1;
  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  options.host = host_name();
  TRY_ASSIGN(const ArchivePushResult result, archive_push(*opened.repository, context.clock, options));
  if (result.outcome == ArchivePushOutcome::kAlreadyThere) {
    log_info("{} is in the archive already, with the same content", result.key.value);
  } else {
    log_info("pushed {} ({} stored)", result.key.value, format_size(result.stored_bytes));
  }
  return kExitOk;
}

}  // namespace pgark
