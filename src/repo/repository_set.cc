#include "repo/repository_set.h"

#include <algorithm>

#include "core/check.h"

namespace pgark {

RepositorySet::RepositorySet(const Repository& repository)
    : RepositorySet(std::vector<const Repository*>{&repository}) {}

RepositorySet::RepositorySet(std::vector<const Repository*> repositories) : state_(std::make_shared<State>()) {
  CHECK(!repositories.empty());
  state_->members = std::move(repositories);
  MutexLock lock(state_->mu);
  state_->failures.resize(state_->members.size());
}

bool RepositorySet::has_failed(size_t index) const {
  MutexLock lock(state_->mu);
  return state_->failures.at(index).has_value();
}

Result<> RepositorySet::fail(size_t index, Error error) const {
  MutexLock lock(state_->mu);
  auto& failures = state_->failures;
  if (!failures.at(index).has_value()) failures[index] = error;
  if (std::all_of(failures.begin(), failures.end(), [](const auto& failure) { return failure.has_value(); }))
    return error;
  return {};
}

std::vector<std::optional<Error>> RepositorySet::failures() const {
  MutexLock lock(state_->mu);
  return state_->failures;
}

}  // namespace pgark
