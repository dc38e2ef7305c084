#include "cli/backup_destinations.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/log.h"
#include "ops/repo_copy.h"

namespace pgark {
namespace {

/// Whether the backup came to `left`, which is open, from `source`.
bool copy_backup(const CommandContext& context, const BackupDestination& source, const LeftBehind& left,
                 const std::string& label, Progress& progress) {
  log_info("copying backup {} from {} to {}", label, source.name, left.name);
  RepoCopyRequest request;
  request.stanza = context.settings.stanza();
  request.sets = {label};
  request.process_max = static_cast<unsigned>(context.settings.integer("process-max"));
  const auto copied =
      copy_stanza(*source.repository, *left.repository, request, context.clock, context.cancel, progress);
  if (!copied.has_value()) {
    log_warn("{} does not catch up: {}", left.name, copied.error().to_string());
    return false;
  }
  if (!copied->incomplete.empty()) return false;
  log_info("{} has caught up: {} packs were copied to it", left.name, copied->packs.copied);
  return true;
}

}  // namespace

std::string repository_name(unsigned number) { return fmt::format("repo{}", number); }

void BackupDestinations::leave_behind(unsigned number, Error error) {
  log_warn("{} is left behind: {}", repository_name(number), error.to_string());
  left_behind_.emplace_back(number, std::move(error));
}

Result<> BackupDestinations::open(const CommandContext& context) {
  std::vector<std::pair<unsigned, Error>> failed;
  for (const unsigned number : context.settings.chosen_repositories()) {
    auto opened = open_repository(context, number);
    if (opened.has_value()) {
      opened_.push_back({number, std::move(*opened)});
    } else {
      failed.emplace_back(number, std::move(opened).error());
    }
  }
  if (opened_.empty()) return std::move(failed.front().second);
  for (auto& [number, error] : failed) leave_behind(number, std::move(error));
  return {};
}

Result<> BackupDestinations::take_leases(JobLeases& leases) {
  std::vector<One> taken;
  for (One& one : opened_) {
    auto lease = leases.take(*one.opened.repository);
    if (lease.has_value()) {
      one.lease = *lease;
      taken.push_back(std::move(one));
      continue;
    }
    if (lease.error().code() == Errc::kInvalid || lease.error().code() == Errc::kCancelled)
      return std::move(lease).error();
    leave_behind(one.number, std::move(lease).error());
  }
  opened_ = std::move(taken);
  if (opened_.empty()) return left_behind_.front().second;
  return {};
}

std::vector<BackupDestination> BackupDestinations::all() const {
  std::vector<BackupDestination> destinations;
  for (const One& one : opened_) {
    destinations.push_back({repository_name(one.number), one.opened.repository.get()});
    if (one.lease != nullptr) destinations.back().fence = [lease = one.lease] { return lease->check(); };
  }
  return destinations;
}

void BackupDestinations::catch_up(const CommandContext& context, BackupReport& report, Progress& progress) const {
  const auto all = this->all();
  const auto source = std::ranges::find_if(all, [&](const BackupDestination& destination) {
    return std::ranges::find(report.stored_in, destination.name) != report.stored_in.end();
  });
  std::vector<LeftBehind> still;
  for (LeftBehind& left : report.left_behind) {
    const bool may = source != all.end() && left.repository != nullptr && !context.cancel.cancelled();
    if (may && copy_backup(context, *source, left, report.meta.label, progress)) {
      report.stored_in.push_back(left.name);
    } else {
      still.push_back(std::move(left));
    }
  }
  for (const auto& [number, error] : left_behind_) still.push_back({repository_name(number), nullptr, error});
  report.left_behind = std::move(still);
}

}  // namespace pgark
