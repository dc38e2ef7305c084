// How the threads of a restore work together: one makes tasks, the others do them, and the first error stops all.
#pragma once

#include <utility>

#include "core/cancel.h"
#include "pipe/task_group.h"

namespace pgark {

/// What a producer returns whose queue was closed by a worker's error.
inline Error stopped_by_another_task() { return Error(Errc::kCancelled, "stopped by another task's error"); }

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
