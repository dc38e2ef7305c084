#include "pipe/task_group.h"

#include <exception>
#include <system_error>

namespace pgark {

TaskGroup::~TaskGroup() {
  cancel_.cancel();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void TaskGroup::spawn(std::function<Result<>()> task) {
  const auto run = [this, task = std::move(task)] {
    try {
      if (auto result = task(); !result.has_value()) fail(std::move(result).error());
    } catch (const std::exception& exception) {
      fail(Error(Errc::kInternal, std::string("unexpected exception: ") + exception.what()));
    }
  };
  try {
    threads_.emplace_back(run);
  } catch (const std::system_error& refused) {
    fail(Error(Errc::kTransient, std::string("start thread: ") + refused.what())
             .with_hint("raise the limit on processes of this user (ulimit -u), or lower process-max"));
  }
}

void TaskGroup::fail(Error error) {
  {
    MutexLock lock(mu_);
    const bool better =
        !first_error_.has_value() || (first_error_->code() == Errc::kCancelled && error.code() != Errc::kCancelled);
    if (better) first_error_ = std::move(error);
  }
  cancel_.cancel();
}

Result<> TaskGroup::wait() {
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
  threads_.clear();
  MutexLock lock(mu_);
  if (first_error_.has_value()) return *first_error_;
  return {};
}

}  // namespace pgark
