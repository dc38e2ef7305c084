// Repositories that are written together: the same object goes to each, and one that fails is left behind.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/result.h"
#include "core/thread_annotations.h"

namespace pgark {

class Repository;

/// A handle, cheap to copy; the repositories must outlive it. Safe from several threads.
class RepositorySet {
 public:
  /// One repository: its errors are the writer's.
  RepositorySet(const Repository& repository);
  /// Several, at least one.
  explicit RepositorySet(std::vector<const Repository*> repositories);

  size_t size() const { return state_->members.size(); }
  const Repository& at(size_t index) const { return *state_->members.at(index); }
  bool has_failed(size_t index) const;
  /// Leave a repository behind: nothing more is written to it. The first error of each is kept.
  /// Errors: the given one, if no repository is left.
  Result<> fail(size_t index, Error error) const;
  /// Error of each repository that was left behind.
  std::vector<std::optional<Error>> failures() const;

 private:
  struct State {
    std::vector<const Repository*> members;
    mutable Mutex mu;
    std::vector<std::optional<Error>> failures GUARDED_BY(mu);
  };
  std::shared_ptr<State> state_;
};

}  // namespace pgark
