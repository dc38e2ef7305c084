// Going through the repositories of a backup.
#include "ops/backup_targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.h"

namespace pgark {
namespace {

RepositorySet repositories_of(const std::vector<BackupDestination>& destinations) {
  std::vector<const Repository*> repositories;
  for (const BackupDestination& destination : destinations) repositories.push_back(destination.repository);
  return RepositorySet(std::move(repositories));
}

}  // namespace

BackupTargets::BackupTargets(const std::vector<BackupDestination>& destinations, std::vector<std::string>& warnings)
    : destinations_(destinations), set_(repositories_of(destinations)), warnings_(warnings) {}

bool BackupTargets::any_failed() const {
  return std::ranges::any_of(set_.failures(), [](const auto& failure) { return failure.has_value(); });
}

Result<> BackupTargets::leave_behind(size_t index, Error error) {
  TRY(set_.fail(index, error));
  std::string text = fmt::format("{} is left behind: {}", destinations_[index].name, error.to_string());
  log_warn("{}", text);
  warnings_.push_back(std::move(text));
  return {};
}

Result<> BackupTargets::check_fences() {
  for (size_t i = 0; i < set_.size(); ++i) {
    if (set_.has_failed(i) || !destinations_[i].fence) continue;
    if (auto open = destinations_[i].fence(); !open) TRY(leave_behind(i, std::move(open).error()));
  }
  return {};
}

void BackupTargets::tell(const std::string& stanza, BackupReport& report) const {
  const auto failures = set_.failures();
  for (size_t i = 0; i < failures.size(); ++i) {
    const BackupDestination& destination = destinations_[i];
    // The last write of all may have arrived: the label is ours alone, so if it is there, it is this one.
    const bool unknown = failures[i].has_value() && failures[i]->code() == Errc::kOutcomeUnknown;
    if (failures[i].has_value() &&
        !(unknown && read_backup(*destination.repository, stanza, report.meta.label).has_value()))
      report.left_behind.push_back({destination.name, destination.repository, *failures[i]});
    else
      report.stored_in.push_back(destination.name);
  }
}

}  // namespace pgark
