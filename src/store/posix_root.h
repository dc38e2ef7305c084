// The directory a posix store lives in: the names below it, what its errors say, and when its directories are durable.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/thread_annotations.h"
#include "store/descriptor_cache.h"
#include "store/object_store.h"

namespace pgark {

/// What a posix store has just done, for tests that prove an order: nothing is told of reads.
enum class PosixEvent : unsigned char { kMakeDirectory, kSyncFile, kPublish, kSyncDirectory, kRemove };

struct PosixOptions {
  std::string label = "repo1";
  mode_t file_mode = 0640;  // Set exactly, whatever the umask.
  mode_t directory_mode = 0750;
  bool create_root = false;                  // Make the root directory if it is missing; otherwise that is an error.
  uint64_t drop_cache_bytes_min = 8u << 20;  // Objects this large leave the page cache when committed; 0: none does.
  bool use_rename_no_replace = true;         // False: publish with link(2) from the start, as NFS needs it.
  std::chrono::microseconds far_open{3000};  // One that takes as long to open the root is far; 0: each is.
  std::function<void(PosixEvent, const std::string& path)> observer;  // Called from any thread; "" is the root.
};

/// An entry of a directory that belongs to the store.
struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
  bool is_temporary = false;
  auto operator<=>(const DirectoryEntry&) const = default;
};

/// Paths are relative to the root, without a slash at either end; "" is the root itself. Safe to use from several
/// threads.
class PosixRoot {
 public:
  /// Errors: kPermission if `path` does not exist or cannot be used, so that a repository that is not mounted is never
  ///         taken for an empty one.
  static Result<std::unique_ptr<PosixRoot>> open(std::string path, PosixOptions options);

  const PosixOptions& options() const { return options_; }
  const std::string& path() const { return path_; }
  std::string describe() const { return options_.label + " at " + path_; }
  int fd() const { return root_.fd(); }
  std::string absolute(std::string_view relative) const;

  /// Whether calls that name a file take so long that they count.
  bool is_far() const { return is_far_; }
  /// The directory opened is still the one its path names: neither removed, nor unmounted, nor mounted over. On a far
  /// file system it may have ceased to be up to a second ago, but for a removal. Errors: kPermission.
  Result<> check(std::string_view operation, const std::string& object) const;

  /// Error of a system call about `object`: never kNotFound, since a name missing where it must exist proves nothing.
  Error fail(int errno_value, std::string_view operation, const std::string& object) const;
  Error fail(Errc code, std::string_view operation, const std::string& object, std::string_view cause) const;

  /// Open a directory; a closed File if it does not exist.
  Result<File> open_directory(const std::string& directory, std::string_view operation) const;
  /// A directory, opened now or for one who wrote there before; null if it does not exist. It exists, but need not be
  /// at its path any more: a name given by that path, to a file made in it, proves it.
  Result<std::shared_ptr<const File>> known_directory(const std::string& directory, std::string_view operation);
  /// Have known_directory() open it anew.
  void forget_directory(const std::string& directory) { directories_.drop(directory); }
  /// Make a directory and its parents where they are missing.
  /// Errors: kInvalid if part of the path is an object.
  Result<> make_directory(const std::string& directory, std::string_view operation);
  /// Remove the directory and its parents as long as they are empty; failure to do so is of no consequence.
  void remove_empty_directories(std::string directory);
  /// The objects, temporaries and directories in a directory, in no order; nothing if it does not exist.
  Result<std::vector<DirectoryEntry>> read_directory(const std::string& directory, std::string_view operation) const;

  /// Make the entries of `directory` durable. Calls of several threads for one directory share an fsync.
  Result<> sync_entries(const std::string& directory, const File& opened);
  /// Make the entries durable that lead from the root to `directory`. A writer calls it before it gives an object its
  /// name, so that a directory in which any object is to be seen needs it no more, whoever made it.
  Result<> sync_parents(const std::string& directory, const File& opened);

  void observe(PosixEvent event, const std::string& path) const {
    if (options_.observer) options_.observer(event, path);
  }

 private:
  /// Which directory a path named: a removed one that was made again is another.
  struct Identity {
    uint64_t inode = 0;
    int64_t born_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  /// Threads that wait for one fsync. Tickets count calls; `done` is the last call covered by a finished fsync.
  struct FailedSync {
    uint64_t first_ticket = 0;
    uint64_t last_ticket = 0;
    Error error;
  };
  struct SharedSync {
    uint64_t last_ticket = 0;
    uint64_t done = 0;
    bool running = false;
    size_t users = 0;
    std::vector<FailedSync> failed;  // Kept until the last thread has left, since some may not have woken yet.
  };

  using Steady = std::chrono::steady_clock::time_point;

  PosixRoot(File root, std::string path, PosixOptions options, const struct stat& status, bool is_far, Steady opened_at)
      : root_(std::move(root)),
        path_(std::move(path)),
        options_(std::move(options)),
        device_(status.st_dev),
        inode_(status.st_ino),
        is_far_(is_far),
        checked_at_(opened_at) {}

  static Identity identity_of(const File& opened);
  /// Whether the entries that lead to it are known to be durable.
  bool is_known_durable(const std::string& directory, const File& opened);
  /// The directories above, the nearest first; where each takes its time, they are opened all at once.
  Result<std::vector<File>> open_parents(const std::string& directory) const;
  Error root_error(std::string_view cause) const;

  File root_;
  const std::string path_;
  const PosixOptions options_;
  const dev_t device_;
  const ino_t inode_;
  const bool is_far_;
  mutable std::atomic<Steady> checked_at_;  // When the path last named the root.
  DescriptorCache directories_{64};         // That objects were written to.

  Mutex mu_;
  CondVar synced_;
  std::map<std::string, SharedSync> syncs_ GUARDED_BY(mu_);
  // Directories whose own entry, and those of all their parents, this process knows to be durable.
  std::map<std::string, Identity> durable_ GUARDED_BY(mu_);
};

/// The path above the last component; "" if there is one component only.
std::string directory_of(const std::string& path);
/// The last component.
std::string name_of(const std::string& path);

/// Time of the last write, as ObjectInfo has it.
Timestamp modified_of(const struct stat& status);

/// "user postgres (uid 26)": whom the system sees, for hints about permissions.
std::string effective_user();

}  // namespace pgark
