// Locks between pgark processes of one machine: a lock file whose content tells who holds it.
#pragma once

#include <optional>
#include <string>

#include "core/clock.h"
#include "core/file.h"
#include "core/result.h"

namespace pgark {

/// Who holds a lock, for messages and for `stop --force`.
struct LockHolder {
  int64_t pid = 0;  // 0: the process that acquires.
  std::string command;
  std::string label;  // Of the backup, once it has one; may be empty.
  std::string host;   // Empty: this machine's name.
  Timestamp started{};
};

/// An exclusive lock on `<lock-path>/<stanza>-<what>.lock`. The kernel releases it when the holder ends, however it
/// ends. The file stays: deleting it could take it from under another process.
class LocalLock {
 public:
  LocalLock() = default;
  LocalLock(LocalLock&&) = default;
  LocalLock& operator=(LocalLock&&) = default;
  ~LocalLock() { release(); }

  /// Take the lock without waiting, creating `lock_path` if need be.
  /// Errors: kInvalid, naming the holder, while another process (or another LocalLock of this one) holds it:
  ///         "another backup of stanza main is running (pid 123 on db1 since 2026-11-22 10:15:00 UTC)".
  static Result<LocalLock> acquire(const std::string& lock_path, const std::string& stanza, const std::string& what,
                                   LockHolder holder);

  /// Tell others the label of what runs under the lock.
  Result<> set_label(const std::string& label);
  /// Give it up early; a second call does nothing.
  void release();
  bool held() const { return file_.is_open(); }

 private:
  LocalLock(File file, LockHolder holder) : file_(std::move(file)), holder_(std::move(holder)) {}

  File file_;
  LockHolder holder_;
};

/// Path of a lock file.
std::string lock_file_path(const std::string& lock_path, const std::string& stanza, const std::string& what);

/// Who holds the lock in this file right now; no value if nobody does or the file does not exist. Takes no lock, so it
/// never gets in the way of acquire().
Result<std::optional<LockHolder>> read_lock_holder(const std::string& file_path);

}  // namespace pgark
