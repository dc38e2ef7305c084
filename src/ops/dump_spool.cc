#include "ops/dump_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "core/log.h"

namespace pgark {
namespace {

constexpr std::string_view kPrefix = "run-";

/// Lock a whole file for this descriptor. False if another has it.
Result<bool> lock_file(const File& file, bool wait) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  for (;;) {
    if (::fcntl(file.fd(), wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EINTR) continue;
    if (!wait && (errno == EAGAIN || errno == EACCES)) return false;
    return errno_error(errno, "lock '" + file.path() + "'");
  }
}

void remove_all(const std::string& path) {
  std::error_code failed;
  std::filesystem::remove_all(path, failed);
  if (failed) log_warn("remove '{}': {}", path, failed.message());
}

/// Directories whose run has ended. The caller holds the lock of the path, so none is being made.
void remove_leftovers(const std::string& path) {
  std::error_code failed;
  for (std::filesystem::directory_iterator at(path, failed), end; !failed && at != end; at.increment(failed)) {
    if (!at->path().filename().string().starts_with(kPrefix)) continue;
    const std::string directory = at->path().string();
    auto lock = File::open(directory + "/lock", O_RDWR | O_NOFOLLOW);
    if (lock.has_value()) {
      if (!lock_file(*lock, false).value_or(false)) continue;
    } else if (lock.error().code() != Errc::kNotFound) {
      continue;
    }
    log_info("removing '{}', left by a dump that was killed", directory);
    remove_all(directory);
  }
}

}  // namespace

Result<DumpSpool> DumpSpool::create(const std::string& path) {
  TRY_CTX(make_directories(path, 0700), "create spool path");
  TRY_ASSIGN(const File shared, File::open(path + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  TRY(lock_file(shared, true));
  remove_leftovers(path);
  std::string own = path + "/" + std::string(kPrefix) + "XXXXXX";
  if (::mkdtemp(own.data()) == nullptr) return errno_error(errno, "create a directory in '" + path + "'");
  auto lock = File::open(own + "/lock", O_RDWR | O_CREAT | O_EXCL, 0600);
  if (!lock.has_value()) {
    remove_all(own);
    return std::move(lock).error();
  }
  DumpSpool spool(std::move(own), std::move(*lock));
  TRY(lock_file(spool.lock_, true));
  return spool;
}

DumpSpool::DumpSpool(DumpSpool&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

DumpSpool& DumpSpool::operator=(DumpSpool&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

DumpSpool::~DumpSpool() {
  if (!path_.empty()) remove_all(path_);
}

Result<std::string> DumpSpool::make_directory(const std::string& name) const {
  std::string path = path_ + "/" + name;
  if (::mkdir(path.c_str(), 0700) != 0) return errno_error(errno, "create directory '" + path + "'");
  return path;
}

void DumpSpool::remove_directory(const std::string& path) { remove_all(path); }

std::vector<std::string> dump_guard_arguments(int writer_pid, const std::string& directory) {
  // The end of its input is our end.
  return {"-c", R"(read -r line; kill -s KILL -- "-$1"; rm -rf -- "$2")", "pgark-guard", std::to_string(writer_pid),
          directory};
}

Result<DumpGuard> DumpGuard::start(const Subprocess& writer, const std::string& directory) {
  SubprocessOptions options;
  options.program = "/bin/sh";
  options.arguments = dump_guard_arguments(writer.pid(), directory);
  options.input = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN_CTX(Subprocess shell, Subprocess::start(std::move(options)), "guard pg_dump");
  return DumpGuard(std::move(shell));
}

DumpGuard::~DumpGuard() {
  if (shell_ == nullptr) return;
  // Killed before its input ends: it must not act.
  shell_->kill();
}

}  // namespace pgark
