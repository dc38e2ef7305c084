// What a command of the configuration prints: passphrases and credentials that a vault hands out.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "core/cancel.h"
#include "core/result.h"

namespace pgark {

struct CommandLimits {
  std::chrono::milliseconds timeout{60'000};
  size_t bytes_max = 64u << 10;         // Of what is printed.
  const CancelToken* cancel = nullptr;  // Ends the command, and the wait with kCancelled.
};

/// Run `command` by /bin/sh and return what it wrote to standard output. Its standard input is empty, its standard
/// error ours; no other descriptor of ours is open in it. It runs in a process group of its own, which is killed if it
/// exceeds a limit. Shape:  the text was in no other place of memory: who holds a secret moves it on or wipes it.
/// Errors: kInvalid if the command cannot be run, exits with anything but 0, or prints too much; kTransient if it does
///         not end in time. Texts hold neither the command nor what it printed, since both may be secret.
Result<std::string> command_output(const std::string& command, const CommandLimits& limits = {});

}  // namespace pgark
