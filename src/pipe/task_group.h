// Threads that succeed or fail together, and the bounded queue between them.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"

namespace pgark {

/// Runs functions on threads of their own. The first error cancels the group's token; the destructor cancels and joins.
/// A stray exception in a thread becomes kInternal.
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
  std::mutex mu_;
  std::optional<Error> first_error_;  // Guarded by mu_.
  std::vector<std::thread> threads_;
};

/// A queue bounded by the summed cost of what it holds (bytes, as a rule). An item dearer than the bound is let in alone.
/// close() ends it: pushes are refused, pops drain what is left and then return nothing.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t cost_max) : cost_max_(cost_max) {}

  /// Wait for room. False once closed.
  bool push(T item, size_t cost) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return closed_ || items_.empty() || cost_ + cost <= cost_max_; });
    if (closed_) return false;
    cost_ += cost;
    items_.emplace_back(std::move(item), cost);
    changed_.notify_all();
    return true;
  }

  /// Wait for an item. Nothing once closed and drained.
  std::optional<T> pop() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front().first);
    cost_ -= items_.front().second;
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  void close() {
    std::lock_guard lock(mu_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const size_t cost_max_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::deque<std::pair<T, size_t>> items_;  // Guarded by mu_, as are cost_ and closed_.
  size_t cost_ = 0;
  bool closed_ = false;
};

}  // namespace pgark
