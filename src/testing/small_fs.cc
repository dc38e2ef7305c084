// A user and mount namespace of this process, and a tmpfs in it.
#include "testing/small_fs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "core/file.h"
#include "testing/sanitizer.h"

namespace pgark::testing {
namespace {

Result<> write_map(const char* path, const std::string& text) {
  TRY_ASSIGN(const File file, File::open(path, O_WRONLY));
  return file.write(as_bytes(text));
}

// Ids map to themselves: programs started from here keep their user, while this process, until it executes another
// program, has the capability to mount.
Result<> join_own_namespace() {
  static bool joined = false;
  if (joined) return {};
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  end_sanitizer_thread();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return errno_error(errno, "create a user and mount namespace");
  TRY(write_map("/proc/self/setgroups", "deny"));
  TRY(write_map("/proc/self/uid_map", fmt::format("{0} {0} 1", user)));
  TRY(write_map("/proc/self/gid_map", fmt::format("{0} {0} 1", group)));
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return errno_error(errno, "make mounts private");
  joined = true;
  return {};
}

std::string options_of(uint64_t bytes) { return fmt::format("size={},mode=0750", bytes); }

}  // namespace

Result<SmallFs> SmallFs::mount(std::string directory, uint64_t bytes) {
  if (auto joined = join_own_namespace(); !joined) return std::move(joined).error().with_code(Errc::kUnsupported);
  TRY(make_directories(directory));
  if (::mount("tmpfs", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options_of(bytes).c_str()) != 0) {
    return errno_error(errno, "mount tmpfs at " + directory).with_code(Errc::kUnsupported);
  }
  SmallFs result;
  result.directory_ = std::move(directory);
  return result;
}

SmallFs::~SmallFs() {
  // Lazily: a process that a failed test left behind must not turn its failure into another.
  if (!directory_.empty()) ::umount2(directory_.c_str(), MNT_DETACH);
}

Result<> SmallFs::resize(uint64_t bytes) {
  if (::mount("tmpfs", directory_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_REMOUNT, options_of(bytes).c_str()) !=
      0) {
    return errno_error(errno, "resize tmpfs at " + directory_);
  }
  return {};
}

}  // namespace pgark::testing
