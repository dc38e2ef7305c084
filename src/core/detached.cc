// posix_spawn with everything that a detached process must not inherit.
#include "core/detached.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "core/file.h"
#include "core/log.h"

namespace pgark {

Result<std::vector<std::string>> own_command_line() {
  TRY_ASSIGN(const std::string raw, read_file("/proc/self/cmdline", 1u << 20));
  std::vector<std::string> words;
  for (size_t at = 0; at < raw.size();) {
    const size_t end = std::min(raw.find('\0', at), raw.size());
    words.push_back(raw.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

Result<> start_detached(const std::string& program, std::vector<std::string> words, std::optional<int> report) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  // First the report: opening the streams could take its number away.
  if (report) posix_spawn_file_actions_adddup2(&files, *report, kReportDescriptor);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, report ? kReportDescriptor + 1 : STDERR_FILENO + 1);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all_default;
  sigemptyset(&all_default);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) sigaddset(&all_default, signal);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all_default);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, program.c_str(), &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) return errno_error(failed, "start '" + program + "'");
  log_debug("started {} in the background, process {}", program, pid);
  return {};
}

}  // namespace pgark
