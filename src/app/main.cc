// The process: signals, standard streams, and the stores a repository can live in with their decorators.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "cli/program.h"
#include "cli/signals.h"
#include "core/file.h"
#include "store/posix_store.h"
#include "store/retry_store.h"

extern char** environ;

namespace {

using namespace pgark;

/// What settings say about repository `repo`: a directory, behind retries.
Result<std::unique_ptr<ObjectStore>> open_store(const Settings& settings, unsigned repo, bool create,
                                                const CancelToken& cancel) {
  for (const char* name : {"type", "cipher-type"}) {
    // Until both are wired up: nothing may go to another place, or in clear, than the settings say.
    const std::string which = fmt::format("repo{}-{}", repo, name);
    if (settings.given(which) && settings.text(which) != "posix" && settings.text(which) != "none") {
      return Error(Errc::kUnsupported, fmt::format("{}: '{}' is not provided in this version", settings.origin(which),
                                                   settings.text(which)));
    }
  }
  const std::string option = fmt::format("repo{}-path", repo);
  const std::string& root = settings.text(option);
  if (create) TRY_CTX(make_directories(root), "create repository (" + settings.origin(option) + ")");
  PosixOptions options;
  options.label = fmt::format("repo{}", repo);
  TRY_ASSIGN_CTX(auto posix, PosixStore::open(root, std::move(options)),
                 "open repository (" + settings.origin(option) + ")");
  RetryPolicy policy;
  policy.cancel = &cancel;
  return std::unique_ptr<ObjectStore>(
      std::make_unique<RetryStore>(std::move(posix), policy, system_clock(), random_seed()));
}

SettingsInput settings_input(int argc, char** argv) {
  SettingsInput input;
  input.arguments.assign(argv + (argc > 0 ? 1 : 0), argv + argc);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const size_t equals = text.find('=');
    if (!text.starts_with("PGARK_") || equals == text.npos) continue;
    input.environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return input;
}

std::string executable_path() {
  std::array<char, 4096> path{};
  const ssize_t count = ::readlink("/proc/self/exe", path.data(), path.size());
  return count > 0 ? std::string(path.data(), static_cast<size_t>(count)) : "pgark";
}

}  // namespace

int main(int argc, char** argv) {
  static CancelToken cancel;  // Outlives main, as a late signal may still set it.
  install_signal_handlers(cancel);
  FdOutput out(STDOUT_FILENO);
  FdOutput err(STDERR_FILENO);
  return run_program({.input = settings_input(argc, argv),
                      .out = out,
                      .err = err,
                      .cancel = cancel,
                      .clock = system_clock(),
                      .received_signal = received_signal,
                      .open_store = [](const Settings& settings, unsigned repo,
                                       bool create) { return open_store(settings, repo, create, cancel); },
                      .executable = executable_path()});
}
