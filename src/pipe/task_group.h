// Threads that succeed or fail together, and the bounded queue between them.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "core/thread_annotations.h"

namespace pgark {

/// Runs functions on threads of their own. The first error cancels the group's token; the destructor cancels and joins.
/// A stray exception in a thread becomes kInternal; a thread the system refuses to start is kTransient.
class TaskGroup {
 public:
  explicit TaskGroup(const CancelToken* parent = nullptr) : cancel_(parent) {}
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(std::function<Result<>()> task);
  /// Join all; the first error, where an error that is not kCancelled goes before one that is.
  Result<> wait();
  CancelToken& cancel() { return cancel_; }

 private:
  void fail(Error error);

  CancelToken cancel_;
  Mutex mu_;
  std::optional<Error> first_error_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_;  // Touched only by the thread that owns the group.
};

/// A queue bounded by the summed cost of what it holds (bytes, as a rule). An item dearer than the bound is let in
/// alone. close() ends it: pushes are refused, pops drain what is left and then return nothing.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t cost_max) : cost_max_(cost_max) {}

  /// Wait for room. False once closed.
  bool push(T item, size_t cost) {
    MutexLock lock(mu_);
    while (!closed_ && !items_.empty() && cost_ + cost > cost_max_) changed_.wait(mu_);
    if (closed_) return false;
    cost_ += cost;
    items_.emplace_back(std::move(item), cost);
    changed_.notify_all();
    return true;
  }

  /// Wait for an item. Nothing once closed and drained.
  std::optional<T> pop() {
    MutexLock lock(mu_);
    while (!closed_ && items_.empty()) changed_.wait(mu_);
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front().first);
    cost_ -= items_.front().second;
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  void close() {
    MutexLock lock(mu_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const size_t cost_max_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::pair<T, size_t>> items_ GUARDED_BY(mu_);
  size_t cost_ GUARDED_BY(mu_) = 0;
  bool closed_ GUARDED_BY(mu_) = false;
};

}  // namespace pgark
