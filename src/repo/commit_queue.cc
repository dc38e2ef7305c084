// Committing containers beside the work.
#include "repo/commit_queue.h"

#include <string>
#include <utility>

namespace pgark {
namespace {

constexpr size_t kCommitThreads = 2;

}  // namespace

CommitQueue::CommitQueue() {
  for (size_t i = 0; i < kCommitThreads; ++i) tasks_.spawn([this] { return commit_all(); });
}

CommitQueue::~CommitQueue() { stop(); }

bool CommitQueue::push(ContainerWriter container) { return queue_.push(std::move(container), 1); }

std::optional<Error> CommitQueue::first_error() const {
  const MutexLock lock(mu_);
  return first_error_;
}

void CommitQueue::stop() {
  tasks_.cancel().cancel();
  queue_.close();
}

Result<> CommitQueue::finish() {
  queue_.close();
  return tasks_.wait();
}

Result<> CommitQueue::commit_all() {
  while (auto container = queue_.pop()) {
    if (tasks_.cancel().cancelled()) return {};
    const std::string key = container->key().value;
    auto committed = std::move(*container).commit();
    if (!committed.has_value()) {
      Error error = Error(std::move(committed).error()).with_context("write pack " + key);
      {
        const MutexLock lock(mu_);
        if (!first_error_) first_error_ = error;
      }
      failed_ = true;
      queue_.close();
      return error;
    }
    stored_bytes_ += committed->bytes;
  }
  return {};
}

}  // namespace pgark
