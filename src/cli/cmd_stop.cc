// `pgark stop`: leave the stop file, and with --force end what runs.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/command.h"
#include "cli/stop_files.h"
#include "core/file.h"
#include "core/local_lock.h"
#include "core/log.h"

namespace pgark {
namespace {

/// False if it was there already.
Result<bool> create_stop_file(const std::string& lock_path, const std::string& stanza) {
  TRY_CTX(make_directories(lock_path, 0770), "create lock path");
  Result<File> file = File::open(stop_file_path(lock_path, stanza), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0640);
  if (!file.has_value() && file.error().code() == Errc::kAlreadyExists) return false;
  if (!file.has_value()) return std::move(file).error().with_context("create stop file");
  TRY(file->close());
  return true;
}

/// "<stanza>-<what>.lock", where <what> holds no '-'.
bool belongs_to(std::string_view file_name, const std::string& stanza) {
  if (!file_name.ends_with(".lock")) return false;
  return stanza.empty() || file_name.substr(0, file_name.rfind('-')) == stanza;
}

Result<std::set<int64_t>> lock_holders(const std::string& lock_path, const std::string& stanza) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(lock_path.c_str()), ::closedir);
  if (directory == nullptr) return errno_error(errno, "open directory '" + lock_path + "'");
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::set<int64_t> pids;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (!belongs_to(entry->d_name, stanza)) continue;
    TRY_ASSIGN(const std::optional<LockHolder> holder,
               read_lock_holder(fmt::format("{}/{}", lock_path, entry->d_name)));
    if (!holder || holder->pid <= 1) continue;
    if (holder->host != host.data()) {
      // Its pid means another process here.
      log_warn("process {} of {} holds '{}': end it there", holder->pid, holder->host, entry->d_name);
      continue;
    }
    pids.insert(holder->pid);
  }
  return pids;
}

}  // namespace

Result<int> cmd_stop(CommandContext& context) {
  const std::string& stanza = context.settings.stanza();
  const std::string& lock_path = context.settings.text("lock-path");
  // First the file, so that nothing new begins between the look and the signal.
  TRY_ASSIGN(const bool created, create_stop_file(lock_path, stanza));
  if (!created) log_warn("{} was stopped already", stanza.empty() ? "pgark" : "stanza " + stanza);
  nlohmann::json signalled = nlohmann::json::array();
  if (context.settings.boolean("force")) {
    TRY_ASSIGN(const std::set<int64_t> pids, lock_holders(lock_path, stanza));
    for (const int64_t pid : pids) {
      if (::kill(static_cast<pid_t>(pid), SIGTERM) == 0) {
        log_info("sent SIGTERM to process {}", pid);
        signalled.push_back(pid);
      } else if (errno != ESRCH) {
        return errno_error(errno, fmt::format("end process {}", pid))
            .with_hint("run stop --force as its user, or as root");
      }
    }
  }
  if (context.json()) {
    TRY(context.out.print_json({{"stanza", stanza.empty() ? nlohmann::json() : nlohmann::json(stanza)},
                                {"was_stopped", !created},
                                {"signalled", signalled}}));
  }
  return kExitOk;
}

}  // namespace pgark
