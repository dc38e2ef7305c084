// The process: signals, standard streams, and the stores a repository can live in with their decorators.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "cli/program.h"
#include "cli/repo_settings.h"
#include "cli/signals.h"
#include "core/file.h"
#include "store/posix_store.h"
#include "store/retry_store.h"
#include "store/sftp_store.h"
#include "store/throttle_store.h"

extern char** environ;

namespace {

using namespace pgark;

constexpr size_t kReplayBytesOfBackup = 1u << 20;

/// How long a store that is away is waited for. Work of hours does not end with it; what handles one segment, or can
/// turn to another repository, is told soon.
std::chrono::milliseconds patience(const Settings& settings) {
  switch (settings.command()) {
    case Command::kArchiveHeal:
    case Command::kBackup:
    case Command::kExpire:
    case Command::kRepoCopy:
    case Command::kVerify:
      return 2 * settings.duration("io-timeout");
    case Command::kRestore:
      return settings.repositories().size() == 1 ? 2 * settings.duration("io-timeout") : std::chrono::milliseconds(0);
    default:
      return std::chrono::milliseconds(0);
  }
}

/// Opens the store of each kind of repository. Only directories are made, and only if `create`; buckets never are.
struct StoreOpener {
  const std::string& label;
  const CancelToken& cancel;
  const RetryPolicy& retry;
  bool create = false;

  using Opened = Result<std::unique_ptr<ObjectStore>>;

  Opened operator()(DirectorySettings& directory) const {
    if (create) TRY_CTX(make_directories(directory.path), "create repository");
    PosixOptions options;
    options.label = label;
    return PosixStore::open(directory.path, std::move(options));
  }
  Opened operator()(S3Settings& settings) const { return S3Store::open(with_cancel(settings)); }
  Opened operator()(AzureSettings& settings) const { return AzureStore::open(with_cancel(settings)); }
  Opened operator()(GcsSettings& settings) const { return GcsStore::open(with_cancel(settings)); }
  Opened operator()(SftpOptions& options) const {
    options.create = create;
    options.cancel = &cancel;
    return SftpStore::open(std::move(options));
  }

 private:
  template <typename Cloud>
  Cloud with_cancel(Cloud& settings) const {
    settings.cloud.cancel = &cancel;
    settings.cloud.retry = retry;
    return std::move(settings);
  }
};

/// What settings say about repository `repo`: its store, below a limit on bytes a second and retries.
Result<std::unique_ptr<ObjectStore>> open_store(const Settings& settings, unsigned repo, bool create,
                                                const CancelToken& cancel) {
  TRY_ASSIGN(RepositorySettings where, repository_settings(settings, repo));
  RetryPolicy policy;
  policy.cancel = &cancel;
  const bool is_directory = std::holds_alternative<DirectorySettings>(where.place);
  if (!is_directory) policy.patience = patience(settings);
  // Nearly all that a backup writes are packs, too large to be sent again: of those no copy is begun.
  if (is_directory && settings.command() == Command::kBackup) policy.replay_bytes_max = kReplayBytesOfBackup;
  const std::string option =
      fmt::format("repo{}-{}", repo, settings.text(fmt::format("repo{}-type", repo)) == "posix" ? "path" : "type");
  TRY_ASSIGN_CTX(std::unique_ptr<ObjectStore> store,
                 std::visit(StoreOpener{where.label, cancel, policy, create}, where.place),
                 "open repository (" + settings.origin(option) + ")");
  if (where.bytes_per_second_max > 0)
    store = std::make_unique<ThrottleStore>(std::move(store), where.bytes_per_second_max, system_clock(), &cancel);
  return std::unique_ptr<ObjectStore>(
      std::make_unique<RetryStore>(std::move(store), policy, system_clock(), random_seed()));
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
