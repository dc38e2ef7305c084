// A flag that asks long work to stop: set by a signal handler or by the first error of a task group.
#pragma once

#include <atomic>

#include "core/result.h"

namespace pgark {

/// Safe to set from a signal handler and to read from any thread. A token with a parent is also cancelled by it.
class CancelToken {
 public:
  explicit CancelToken(const CancelToken* parent = nullptr) : parent_(parent) {}
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const {
    return cancelled_.load(std::memory_order_relaxed) || (parent_ != nullptr && parent_->cancelled());
  }
  /// kCancelled once cancelled.
  Result<> check() const {
    if (cancelled()) return Error(Errc::kCancelled, "stopped on request");
    return {};
  }

 private:
  std::atomic<bool> cancelled_ = false;
  const CancelToken* parent_;
};

}  // namespace pgark
