#include "core/detached.h"

#include <unistd.h>

#include <algorithm>

#include "core/file.h"
#include "core/log.h"
#include "core/spawn.h"

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
  Spawn spawn(Spawn::Apart::kSession);
  // First the report: opening the streams could take its number away.
  if (report) spawn.descriptor(kReportDescriptor, *report);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) spawn.null_stream(stream);
  spawn.close_from(report ? kReportDescriptor + 1 : STDERR_FILENO + 1);
  TRY_ASSIGN(const pid_t pid, spawn.start(program, std::move(words)));
  log_debug("started {} in the background, process {}", program, pid);
  return {};
}

}  // namespace pgark
