// The little room on local disk that pg_dump's directory format needs: files lie there only until they have been read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/result.h"
#include "core/subprocess.h"
#include "ops/dump_store.h"

namespace pgark {

/// A directory of one run, mode 0700, below a path that runs share. Destroying it removes it with all there is in it.
class DumpSpool {
 public:
  /// Make it, and remove those of runs that were killed: a lock tells the living.
  static Result<DumpSpool> create(const std::string& path);
  DumpSpool(DumpSpool&&) noexcept;
  DumpSpool& operator=(DumpSpool&&) noexcept;
  ~DumpSpool();

  const std::string& path() const { return path_; }
  /// An empty directory inside.
  Result<std::string> make_directory(const std::string& name) const;
  static void remove_directory(const std::string& path);

 private:
  DumpSpool(std::string path, File lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  File lock_;
};

/// A shell that kills the group of `writer` and removes `directory` should this process die without doing so: what
/// writes files goes on for ever otherwise. To be destroyed before the writer is.
class DumpGuard {
 public:
  static Result<DumpGuard> start(const Subprocess& writer, const std::string& directory);
  DumpGuard(DumpGuard&&) noexcept = default;
  ~DumpGuard();

 private:
  explicit DumpGuard(Subprocess shell) : shell_(std::make_unique<Subprocess>(std::move(shell))) {}
  std::unique_ptr<Subprocess> shell_;
};

/// A file of a directory that has been read to its end.
struct FollowedFile {
  DumpStream stream;
  std::optional<uint64_t> rows;  // If its content is COPY's text.
};

/// Of /bin/sh, for that: it acts when its standard input ends.
std::vector<std::string> dump_guard_arguments(int writer_pid, const std::string& directory);

struct FollowOptions {
  std::string directory;
  unsigned threads = 1;
  uint64_t bytes_max = 256u << 20;  // On disk; beyond it the writer is stopped until the readers caught up.
  bool count_rows = true;           // Of "<number>.dat".
  bool watch = true;                // False: as where the system has no watch left, the directory is read repeatedly.
};

/// Reads the files of a directory while a program writes them, each as a stream of a dump, and frees what it has read.
class DirectoryFollower {
 public:
  /// `packs` and `progress` must outlive it.
  DirectoryFollower(DumpPacks& packs, Progress& progress, FollowOptions options);
  ~DirectoryFollower();

  /// Begin to watch the directory, which is empty, before the program starts.
  Result<> start();
  /// Follow until the program has ended. Errors: of reading and storing; kCancelled. The program may then run still.
  Result<SubprocessExit> follow(Subprocess& writer, const CancelToken& cancel);
  /// After a program that succeeded: read the rest, and remove it. The files, toc.dat first.
  /// Errors: kInternal if a file is not what was read of it.
  Result<std::vector<FollowedFile>> finish(const CancelToken& cancel);

  /// Content of toc.dat.
  Bytes toc() const;
  /// Highest number of bytes seen on disk.
  uint64_t bytes_peak() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgark
