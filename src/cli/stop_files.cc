#include "cli/stop_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

namespace pgark {

std::string stop_file_path(const std::string& lock_path, const std::string& stanza) {
  return fmt::format("{}/{}.stop", lock_path, stanza.empty() ? "all" : stanza);
}

Result<bool> stop_file_exists(const std::string& lock_path, const std::string& stanza) {
  const std::string path = stop_file_path(lock_path, stanza);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno == ENOENT) return false;
  return errno_error(errno, "look for stop file '" + path + "'");
}

Result<> check_not_stopped(const std::string& lock_path, const std::string& stanza) {
  TRY_ASSIGN(const bool all, stop_file_exists(lock_path, ""));
  if (all) {
    return Error(Errc::kInvalid, fmt::format("pgark is stopped for all stanzas by '{}'", stop_file_path(lock_path, "")))
        .with_hint("run 'pgark start' to allow it again");
  }
  if (stanza.empty()) return {};
  TRY_ASSIGN(const bool one, stop_file_exists(lock_path, stanza));
  if (one) {
    return Error(Errc::kInvalid,
                 fmt::format("pgark is stopped for stanza {} by '{}'", stanza, stop_file_path(lock_path, stanza)))
        .with_hint(fmt::format("run 'pgark --stanza={} start' to allow it again", stanza));
  }
  return {};
}

}  // namespace pgark
