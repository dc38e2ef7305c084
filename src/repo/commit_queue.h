// Containers that are full, made durable beside the work that fills others.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "core/thread_annotations.h"
#include "pipe/task_group.h"
#include "repo/container.h"

namespace pgark {

/// Commits containers on two threads of its own, so that who fills them need not wait for the disk. Thread-safe.
class CommitQueue {
 public:
  CommitQueue();
  /// What is still queued is dropped, not committed.
  ~CommitQueue();
  CommitQueue(const CommitQueue&) = delete;
  CommitQueue& operator=(const CommitQueue&) = delete;

  /// Hand over a container; waits while several are queued. False if a commit has failed, or after stop().
  bool push(ContainerWriter container);
  /// Whether a commit has failed: nothing more is worth writing.
  bool failed() const { return failed_; }
  /// The first error of a commit, which failed() may be a little ahead of.
  std::optional<Error> first_error() const EXCLUDES(mu_);
  /// Drop what is still queued.
  void stop();
  /// Wait for all that was handed over. The first error, naming the container.
  Result<> finish();
  /// Of all containers committed so far.
  uint64_t stored_bytes() const { return stored_bytes_; }

 private:
  Result<> commit_all();

  // Each that waits holds an open file of the store, and on stores that buffer, part of a container.
  static constexpr size_t kWaitingMax = 4;
  std::atomic<uint64_t> stored_bytes_ = 0;
  std::atomic<bool> failed_ = false;
  mutable Mutex mu_;
  std::optional<Error> first_error_ GUARDED_BY(mu_);
  BoundedQueue<ContainerWriter> queue_{kWaitingMax};
  TaskGroup tasks_;  // Last: its threads use everything above.
};

}  // namespace pgark
