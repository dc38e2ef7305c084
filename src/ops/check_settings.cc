// Examiners of check that ask the server's settings and compare identities; nothing is changed anywhere.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "ops/check_examiners.h"

namespace pgark {
namespace {

/// The stanza an archive_command names; empty if it names none.
std::string stanza_of_command(const std::string& command) {
  static constexpr std::string_view kOption = "--stanza";
  const size_t at = command.find(kOption);
  if (at == std::string::npos) return "";
  size_t begin = at + kOption.size();
  if (begin >= command.size() || (command[begin] != '=' && command[begin] != ' ')) return "";
  begin = command.find_first_not_of("= '\"", begin);
  if (begin == std::string::npos) return "";
  return command.substr(begin, command.find_first_of(" '\"", begin) - begin);
}

/// Whether two paths lead to one directory. True if that cannot be told.
bool same_directory(const std::string& a, const std::string& b) {
  std::error_code error;
  const bool same = std::filesystem::equivalent(a, b, error);
  return error ? true : same;
}

void examine_archive_command(CheckState& state) {
  const std::string command = state.server->setting("archive_command");
  const std::string library = state.server->setting("archive_library");
  const std::string wanted = fmt::format("archive_command = 'pgark --stanza={} archive-push %p'", state.options.stanza);
  if (library == "pgark" || library.ends_with("/pgark")) return;  // Our own: that WAL arrives is checked later.
  if (!library.empty()) {
    return state.add({Severity::kWarning, "archive_library_set",
                      fmt::format("archive_library is '{}', so archive_command is not used", library),
                      "WAL reaches the repository only if that library brings it there",
                      fmt::format("set archive_library = '' and {}", wanted)});
  }
  if (command.empty() || command == "(disabled)") {
    return state.add({Severity::kError, "archive_command_empty", "archive_command is empty",
                      "the server keeps its WAL and the repository gets none", "set " + wanted});
  }
  if (command.find("archive-push") == std::string::npos) {
    if (state.options.foreign_archive_command) return;
    return state.add({Severity::kWarning, "archive_command_foreign",
                      fmt::format("archive_command does not call pgark archive-push: {}", command),
                      "unless it does so by a script, the repository gets no WAL", "set " + wanted});
  }
  const std::string stanza = stanza_of_command(command);
  if (!stanza.empty() && stanza != state.options.stanza) {
    state.add({Severity::kError, "archive_command_other_stanza",
               fmt::format("archive_command archives to stanza {}: {}", stanza, command),
               fmt::format("stanza {} gets no WAL", state.options.stanza), "set " + wanted});
  }
}

}  // namespace

Result<> examine_archive_settings(CheckState& state) {
  if (!state.server) return {};
  const ServerInfo& server = *state.server;
  if (server.setting("wal_level") == "minimal") {
    state.add({Severity::kError, "wal_level_minimal", "wal_level is minimal",
               "WAL then lacks what recovery needs, and backups cannot be taken",
               "set wal_level = replica and restart the server"});
  }
  const std::string mode = server.setting("archive_mode");
  if (mode.empty()) {
    state.add({Severity::kWarning, "settings_hidden", "the role may not see archive_mode and archive_command",
               "whether the server archives cannot be told from its settings",
               "GRANT pg_read_all_settings to the role in pg1-user"});
    return {};
  }
  if (mode == "off" && server.in_recovery) {
    state.add({Severity::kWarning, "standby_archive_mode_off", "archive_mode is off on this standby",
               "once it is promoted it archives nothing",
               "set archive_mode = on, or always, with the archive_command of the primary, and restart the server"});
    return {};
  }
  if (mode == "off") {
    state.add({Severity::kError, "archive_mode_off", "archive_mode is off",
               "no WAL is archived: backups could not be restored", "set archive_mode = on and restart the server"});
    return {};
  }
  if (server.in_recovery && mode != "always") return {};  // The primary archives.
  examine_archive_command(state);
  return {};
}

Result<> examine_cluster_files(CheckState& state) {
  if (!state.server || !state.files) return {};
  const std::string& path = state.options.data_directory;
  if (state.server->system_id != state.files->control.system_id) {
    state.add({Severity::kError, "server_of_another_cluster",
               fmt::format("'{}' has system identifier {}, {} has {}", path, state.files->control.system_id,
                           state.session->describe(), state.server->system_id),
               "files and server are of two clusters", "correct pg1-path, or pg1-port and pg1-socket-path"});
  } else if (!state.server->data_directory.empty() && !same_directory(path, state.server->data_directory)) {
    state.add({Severity::kWarning, "data_directory_differs",
               fmt::format("pg1-path is '{}', the server's data directory is '{}'", path, state.server->data_directory),
               "it may be another copy of the same cluster, such as a standby",
               "set pg1-path to the server's data directory"});
  }
  return {};
}

Result<> examine_stanza(CheckState& state) {
  for (const CheckedRepository& one : state.repositories) {
    if (!one.cluster) continue;
    const auto compare = [&](const ClusterRecord& offered) {
      const auto same = check_same_cluster(state.options.stanza, *one.cluster, offered);
      if (!same) {
        state.add_error("stanza_of_another_cluster", same.error(), "archive-push and backup refuse this cluster",
                        one.number);
      }
      return same.has_value();
    };
    if (state.files && !compare(cluster_record(*state.files, Timestamp{}))) continue;
    if (!state.server) continue;
    compare({.number = 1,
             .system_identifier = state.server->system_id,
             .pg_major = state.server->major.value,
             .control_version = state.server->control_version,
             .catalog_version = state.server->catalog_version,
             .wal_segment_bytes = state.server->wal_segment_bytes,
             .created = {}});
  }
  return {};
}

}  // namespace pgark
