// posix_spawn with everything settled that a program must not inherit from us: signals, descriptors, process group.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "core/result.h"

namespace pgark {

/// How a program is started: with no signal blocked or ignored, and no descriptor of ours but those it is given.
class Spawn {
 public:
  enum class Apart : unsigned char { kGroup, kSession };  // A process group, or a session, of its own.

  explicit Spawn(Apart apart);
  ~Spawn();
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  /// Our `fd` is its `number`. Steps are taken in the order given: one that takes the number of an `fd` comes behind
  /// the one that needs it.
  void descriptor(int number, int fd);
  /// A standard stream that gives and keeps nothing.
  void null_stream(int number);
  /// Nothing else is open from this number on.
  void close_from(int first);
  void directory(const std::string& path);

  /// Start `program`, a path or a name that is looked up in PATH, with `words` as its arguments, its own name first.
  /// `environment`: "NAME=value"; null: ours.
  Result<pid_t> start(const std::string& program, std::vector<std::string> words,
                      std::vector<std::string>* environment = nullptr) const;

 private:
  posix_spawn_file_actions_t files_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace pgark
