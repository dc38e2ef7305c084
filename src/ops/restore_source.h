// Which of several repositories a restore is planned on.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "ops/repository_source.h"
#include "ops/restore.h"

namespace pgark {

struct ChosenSource {
  size_t index = 0;  // In the sources.
  const Repository* repository = nullptr;
  RecoveryPlan plan;
};

/// Plans on one repository after the other. The first in which the request can be satisfied is chosen, unless it lacks
/// something another may have: the WAL the target lies in (it is planned with what there is), or a newer backup that
/// cannot be read there.
class SourceChooser {
 public:
  /// All must outlive it.
  SourceChooser(std::span<const RepositorySource> sources, const std::string& stanza, const RestoreRequest& request,
                Clock& clock)
      : sources_(sources), stanza_(stanza), request_(request), clock_(clock), errors_(sources.size()) {}

  /// The best of those that are left.
  /// Errors: if there is none, that of the first repository with what the others said.
  Result<ChosenSource> choose();
  /// Do not choose this one again: what was planned with it cannot be done.
  void exclude(size_t index, Error error);
  /// Of each source, why it is not asked any more.
  const std::vector<std::optional<Error>>& errors() const { return errors_; }

 private:
  struct Candidate;
  Result<Candidate> plan_on(size_t index) const;

  const std::span<const RepositorySource> sources_;
  const std::string& stanza_;
  const RestoreRequest& request_;
  Clock& clock_;
  std::vector<std::optional<Error>> errors_;  // Of those that are not asked any more.
};

/// The error of the first of several, with what each of the others said. Not empty.
/// Shape:  its code is that of the first that is no damage or absence, if there is one: what cannot be reached now may
///         be reached later.
Error join_source_errors(std::vector<std::pair<std::string, Error>> errors);

}  // namespace pgark
