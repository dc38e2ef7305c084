// How the threads of a restore work together: one makes tasks, the others do them, and the first error stops all.
#pragma once

#include <utility>

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
