#include "core/spawn.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

namespace pgark {
namespace {

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Whether some directory of PATH that can be read has a file of this name.
bool is_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    const std::string directory(end == 0 ? "." : rest.substr(0, end));
    if (::access((directory + "/" + program).c_str(), F_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace

Spawn::Spawn(Apart apart) {
  posix_spawn_file_actions_init(&files_);
  posix_spawnattr_init(&attributes_);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all_default;
  sigemptyset(&all_default);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD}) sigaddset(&all_default, signal);
  posix_spawnattr_setsigmask(&attributes_, &none);
  posix_spawnattr_setsigdefault(&attributes_, &all_default);
  posix_spawnattr_setpgroup(&attributes_, 0);
  const int apart_flag = apart == Apart::kGroup ? POSIX_SPAWN_SETPGROUP : POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&attributes_,
                           static_cast<short>(apart_flag | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
}

Spawn::~Spawn() {
  posix_spawn_file_actions_destroy(&files_);
  posix_spawnattr_destroy(&attributes_);
}

void Spawn::descriptor(int number, int fd) { posix_spawn_file_actions_adddup2(&files_, fd, number); }

void Spawn::null_stream(int number) {
  posix_spawn_file_actions_addopen(&files_, number, "/dev/null", number == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0);
}

void Spawn::close_from(int first) { posix_spawn_file_actions_addclosefrom_np(&files_, first); }

void Spawn::directory(const std::string& path) { posix_spawn_file_actions_addchdir_np(&files_, path.c_str()); }

Result<pid_t> Spawn::start(const std::string& program, std::vector<std::string> words,
                           std::vector<std::string>* environment) const {
  std::vector<char*> variables;
  if (environment != nullptr) variables = pointers_to(*environment);
  pid_t pid = -1;
  int failed = ::posix_spawnp(&pid, program.c_str(), &files_, &attributes_, pointers_to(words).data(),
                              environment != nullptr ? variables.data() : environ);
  // A directory of PATH that may not be looked into, as root's for others, does not mean that the program is there.
  if (failed == EACCES && program.find('/') == program.npos && !is_in_path(program)) failed = ENOENT;
  if (failed != 0) return errno_error(failed, "start '" + program + "'");
  return pid;
}

}  // namespace pgark
