// How the threads of a restore work together: one makes tasks, the others do them, and the first error stops all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/thread_annotations.h"
#include "pipe/task_group.h"

namespace pgark {

/// What a producer returns whose queue was closed by a worker's error.
inline Error stopped_by_another_task() { return Error(Errc::kCancelled, "stopped by another task's error"); }

/// How many of many threads may be at work at once, while the others wait for a store: reads that take their time are
/// hidden behind each other without more processors being used than were asked for.
class WorkSlots {
 public:
  explicit WorkSlots(unsigned count) : free_(count) {}
  void take() {
    const MutexLock lock(mu_);
    while (free_ == 0) changed_.wait(mu_);
    --free_;
  }
  void give_back() {
    const MutexLock lock(mu_);
    ++free_;
    changed_.notify_all();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  unsigned free_ GUARDED_BY(mu_);
};

/// One slot, while it lives; none of `slots` that is null, which means that there is one for everybody.
class WorkSlot {
 public:
  explicit WorkSlot(WorkSlots* slots) : slots_(slots) {
    if (slots_ != nullptr) slots_->take();
  }
  ~WorkSlot() {
    if (slots_ != nullptr) slots_->give_back();
  }
  WorkSlot(const WorkSlot&) = delete;
  WorkSlot& operator=(const WorkSlot&) = delete;

 private:
  WorkSlots* const slots_;
};

/// Pieces of work in some order, shared out among workers in stretches: each does one of its own from the beginning,
/// and who has done that takes from the end of the longest that is left. So neighbours are done by one worker as long
/// as there is enough for all. Thread-safe.
class WorkShares {
 public:
  void share_out(size_t work_count, size_t share_count) {
    const MutexLock lock(mu_);
    shares_.clear();
    for (size_t i = 0; i < share_count; ++i)
      shares_.push_back({i * work_count / share_count, (i + 1) * work_count / share_count});
  }
  /// The next piece for the worker that was given `share`; none if all are taken.
  std::optional<size_t> take(size_t share) {
    const MutexLock lock(mu_);
    Share& own = shares_[share];
    if (own.begin < own.end) return own.begin++;
    const auto shorter = [](const Share& a, const Share& b) { return a.end - a.begin < b.end - b.begin; };
    Share& longest = *std::max_element(shares_.begin(), shares_.end(), shorter);
    if (longest.begin == longest.end) return std::nullopt;
    return --longest.end;
  }

 private:
  struct Share {
    size_t begin = 0;
    size_t end = 0;
  };
  Mutex mu_;
  std::vector<Share> shares_ GUARDED_BY(mu_);
};

/// Run `produce(queue, cancel)` on this thread and `work(queue, cancel)` on `workers` others until the producer has
/// returned and the queue is empty. The first error that is not a consequence of another.
template <typename Task, typename Produce, typename Work>
Result<> run_tasks(unsigned workers, size_t queued_bytes_max, const CancelToken& cancel, const Produce& produce,
                   const Work& work) {
  TaskGroup group(&cancel);
  BoundedQueue<Task> queue(queued_bytes_max);
  for (unsigned i = 0; i < workers; ++i)
    group.spawn([&queue, &group, &work]() -> Result<> {
      auto result = work(queue, group.cancel());
      if (!result) queue.close();  // Wakes the producer.
      return result;
    });
  auto produced = produce(queue, group.cancel());
  queue.close();
  auto finished = group.wait();
  // A worker's error is the cause; the producer then only found the queue closed.
  if (!finished && (produced || finished.error().code() != Errc::kCancelled)) return std::move(finished).error();
  TRY(std::move(produced));
  return cancel.check();
}

}  // namespace pgark
