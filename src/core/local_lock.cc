#include "core/local_lock.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

namespace pgark {
namespace {

/// The lock of the whole file. It belongs to the open file, not to the process (F_SETLK) and can be asked about without
/// taking it (as flock(2) cannot), so that `stop` and `info` never make an acquire fail.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

std::string utc(Timestamp time) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string encode(const LockHolder& holder) {
  const nlohmann::json document = {{"pid", holder.pid},
                                   {"command", holder.command},
                                   {"label", holder.label},
                                   {"host", holder.host},
                                   {"started", holder.started.time_since_epoch().count()}};
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// What a lock file says; fields that are missing or of another type keep their defaults.
LockHolder decode(const std::string& text) {
  LockHolder holder;
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
  if (!document.is_object()) return holder;
  const auto string_of = [&](const char* key) {
    const auto found = document.find(key);
    return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto integer_of = [&](const char* key) {
    const auto found = document.find(key);
    return found != document.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
  };
  holder.pid = integer_of("pid");
  holder.command = string_of("command");
  holder.label = string_of("label");
  holder.host = string_of("host");
  holder.started = Timestamp(std::chrono::microseconds(integer_of("started")));
  return holder;
}

Result<LockHolder> read_content(const File& file) {
  std::array<std::byte, 4096> raw;
  TRY_ASSIGN(const size_t count, file.pread(raw, 0));
  return decode(std::string(as_text(Bytes(raw).first(count))));
}

Result<> write_content(const File& file, const LockHolder& holder) {
  TRY(file.truncate(0));
  return file.pwrite(as_bytes(encode(holder)), 0);
}

Error held_by(const LockHolder& holder, const std::string& stanza, const std::string& what, const std::string& path) {
  std::string text =
      fmt::format("another {} of stanza {} is running", holder.command.empty() ? what : holder.command, stanza);
  if (holder.pid != 0) {
    text += fmt::format(" (pid {} on {} since {}", holder.pid, holder.host, utc(holder.started));
    if (!holder.label.empty()) text += ", label " + holder.label;
    text += ")";
  }
  return Error(Errc::kInvalid, std::move(text))
      .with_hint(fmt::format("wait until it has ended; the lock is '{}'", path));
}

}  // namespace

std::string lock_file_path(const std::string& lock_path, const std::string& stanza, const std::string& what) {
  return fmt::format("{}/{}-{}.lock", lock_path, stanza, what);
}

Result<LocalLock> LocalLock::acquire(const std::string& lock_path, const std::string& stanza, const std::string& what,
                                     LockHolder holder) {
  TRY_CTX(make_directories(lock_path, 0770), "create lock path");
  const std::string path = lock_file_path(lock_path, stanza, what);
  TRY_ASSIGN_CTX(File file, File::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0640), "lock stanza " + stanza);
  struct flock lock = whole_file();
  if (::fcntl(file.fd(), F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return errno_error(errno, "lock '" + path + "'");
    TRY_ASSIGN(const LockHolder other, read_content(file));
    return held_by(other, stanza, what, path);
  }
  if (holder.pid == 0) holder.pid = ::getpid();
  if (holder.host.empty()) holder.host = machine_name();
  TRY(write_content(file, holder));
  return LocalLock(std::move(file), std::move(holder));
}

Result<> LocalLock::set_label(const std::string& label) {
  holder_.label = label;
  if (!held()) return {};
  return write_content(file_, holder_);
}

void LocalLock::release() {
  if (!held()) return;
  // Best effort: what a later holder finds it overwrites, and closing is what unlocks.
  (void)file_.truncate(0).has_value();
  (void)file_.close().has_value();
}

Result<std::optional<LockHolder>> read_lock_holder(const std::string& file_path) {
  Result<File> file = File::open(file_path, O_RDONLY | O_NOFOLLOW);
  if (!file.has_value()) {
    if (file.error().code() == Errc::kNotFound) return std::optional<LockHolder>();
    return std::move(file).error();
  }
  struct flock lock = whole_file();
  if (::fcntl(file->fd(), F_OFD_GETLK, &lock) != 0) return errno_error(errno, "look at lock '" + file_path + "'");
  if (lock.l_type == F_UNLCK) return std::optional<LockHolder>();
  TRY_ASSIGN(LockHolder holder, read_content(*file));
  return std::optional(std::move(holder));
}

}  // namespace pgark
