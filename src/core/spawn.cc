#include "core/spawn.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace pgark {
namespace {

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
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
  const int failed = ::posix_spawnp(&pid, program.c_str(), &files_, &attributes_, pointers_to(words).data(),
                                    environment != nullptr ? variables.data() : environ);
  if (failed != 0) return errno_error(failed, "start '" + program + "'");
  return pid;
}

}  // namespace pgark
