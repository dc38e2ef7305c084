// Examiners of check that ask where a repository is and how long it has room.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "catalog/hold.h"
#include "core/log.h"
#include "ops/check_examiners.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

std::string size_text(uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

/// Where the cluster's files are: the data directory, its WAL, its tablespaces.
std::vector<std::string> data_places(const std::string& data_directory) {
  std::vector<std::string> places{data_directory, data_directory + "/pg_wal"};
  std::error_code error;
  for (fs::directory_iterator entry(data_directory + "/pg_tblspc", error), end; !error && entry != end;
       entry.increment(error)) {
    places.push_back(entry->path().string());
  }
  return places;
}

void examine_shared_device(CheckState& state, const CheckedRepository& one) {
  if (state.options.data_directory.empty() || !state.files) return;
  for (const std::string& path : data_places(state.options.data_directory)) {
    const auto place = state.access->look_at_place(path);
    if (!place || place->device != one.place->device) continue;
    return state.add({.severity = Severity::kWarning,
                      .code = "repository_on_data_filesystem",
                      .what = fmt::format("{} is on the file system of '{}'", one.store->describe(), path),
                      .why = "whatever takes the data takes its backups: a disk, a wrong rm or mkfs; and backups fill "
                             "the disk of the server",
                      .mend = fmt::format("move it to another disk or machine, or add repo{}-path elsewhere",
                                          state.options.places.rbegin()->first + 1),
                      .repo = one.number});
  }
}

void examine_kind(CheckState& state, const CheckedRepository& one) {
  if (one.place->is_memory) {
    state.add({.severity = Severity::kWarning,
               .code = "repository_in_memory",
               .what = fmt::format("{} is in memory ({})", one.store->describe(), one.place->file_system),
               .why = "it is gone when this host restarts",
               .mend = fmt::format("set repo{}-path to a directory on a disk", one.number),
               .repo = one.number});
  }
  if (one.place->is_network && one.repository && one.repository->seal_kind() == SealKind::kChecksum) {
    state.add(
        {.severity = Severity::kInfo,
         .code = "repository_unencrypted",
         .what =
             fmt::format("{} is on the network ({}) and not encrypted", one.store->describe(), one.place->file_system),
         .why = "whoever can read the share, or the wire, has all data",
         .mend = "restrict the export, mount it with encryption (sec=krb5p or xprtsec=tls for NFS, seal for SMB), "
                 "and encrypt the disk below it",
         .repo = one.number});
  }
}

/// Whether some repository, checked or not, is beyond the reach of what destroys this host.
void examine_elsewhere(CheckState& state) {
  if (state.options.places.empty()) return;
  for (const auto& [number, place] : state.options.places) {
    if (place.path.empty()) return;
    const auto looked = state.access->look_at_place(place.path);
    if (!looked || looked->is_network) return;
  }
  state.add(
      {.severity = Severity::kInfo,
       .code = "no_repository_elsewhere",
       .what = state.options.places.size() == 1 ? "the only repository is in a file system of this host"
                                                : "every repository is in a file system of this host",
       .why = "a fire, a theft or an intruder takes the cluster and all backups; disks attached over the network "
              "look local, too",
       .mend = fmt::format("add one in an object store or on an SSH server (repo{0}-type), or repo{0}-path on a mount "
                           "from another machine; best at another site",
                           state.options.places.rbegin()->first + 1)});
}

/// What forecast_space() wants to know of a repository.
Result<SpaceHistory> history_of(const CheckState& state, const CheckedRepository& one) {
  SpaceHistory history;
  history.now = state.clock.now();
  for (const ListedBackup& backup : *one.backups)
    if (backup.meta) history.backups.push_back(*backup.meta);
  if (one.wal_rate) {
    history.wal_bytes = one.wal_rate->total_count * one.wal_rate->stored_bytes_each;
    history.wal_bytes_per_day = one.wal_rate->stored_bytes_per_day().value_or(0);
  }
  TRY_ASSIGN(const auto holds, read_holds(*one.repository, state.options.stanza));
  for (const auto& [label, hold] : holds)
    if (hold.until) history.holds[label] = *hold.until;
  return history;
}

Result<> examine_room(CheckState& state, CheckedRepository& one, const std::optional<RetentionRules>& known) {
  if (!one.place || !one.backups) return {};
  const RetentionRules rules = known.value_or(RetentionRules{});
  TRY_ASSIGN(const SpaceHistory history, history_of(state, one));
  TRY_ASSIGN(one.forecast, forecast_space(history, rules, one.place->free_bytes));
  if (!known) one.forecast->projected = false;
  const SpaceForecast& forecast = *one.forecast;
  const std::string left =
      fmt::format("{} of {} are free", size_text(one.place->free_bytes), size_text(one.place->total_bytes));
  if (forecast.next_full_bytes > one.place->free_bytes) {
    state.add({.severity = Severity::kWarning,
               .code = "space_below_next_full",
               .what = fmt::format("the next full backup needs about {}, and at {} {}",
                                   size_text(forecast.next_full_bytes), one.store->describe(), left),
               .why = "it will fail, and WAL that finds no room stays in pg_wal until that disk is full, too",
               .mend = "make room or enlarge the file system; keep fewer backups with repo-retention-full",
               .repo = one.number});
  }
  if (!forecast.projected || !forecast.full_in_days) return {};
  state.add({.severity = Severity::kWarning,
             .code = "space_forecast",
             .what = fmt::format("{} is full in about {} day{}: backups add {} and WAL {} a day, and {}",
                                 one.store->describe(), *forecast.full_in_days, *forecast.full_in_days == 1 ? "" : "s",
                                 size_text(forecast.backup_bytes_per_day), size_text(forecast.wal_bytes_per_day), left),
             .why = rules.any() ? "what the rules of retention keep does not fit: nothing can be archived then"
                                : "nothing is ever removed, and when the disk is full nothing can be archived",
             .mend = rules.any() ? "keep less (repo-retention-full, repo-retention-archive), or enlarge the file system"
                                 : "set repo-retention-full, or enlarge the file system",
             .repo = one.number});
  return {};
}

}  // namespace

Result<> examine_places(CheckState& state) {
  for (CheckedRepository& one : state.repositories) {
    const auto settings = state.options.places.find(one.number);
    if (!one.store || settings == state.options.places.end() || settings->second.path.empty()) continue;
    auto place = state.access->look_at_place(settings->second.path);
    if (!place) {
      log_warn("{}: {}", one.store->describe(), place.error().message());
      continue;
    }
    one.place = std::move(*place);
    examine_shared_device(state, one);
    examine_kind(state, one);
  }
  examine_elsewhere(state);
  return {};
}

Result<> examine_wal_rate(CheckState& state) {
  for (CheckedRepository& one : state.repositories) {
    TRY(state.cancel.check());
    if (!one.wal) continue;
    auto rate = measure_wal_rate(*one.repository, state.options.stanza, *one.wal, state.clock.now());
    if (rate) {
      one.wal_rate = *rate;
    } else {
      state.add_error("wal_rate_failed", rate.error(), "", one.number);
    }
  }
  return {};
}

Result<> examine_space(CheckState& state) {
  for (CheckedRepository& one : state.repositories) {
    const auto settings = state.options.places.find(one.number);
    if (settings == state.options.places.end() || !one.cluster) continue;
    const auto& rules = settings->second.retention;
    if (rules && !rules->any()) {
      state.add({.severity = Severity::kWarning,
                 .code = "retention_none",
                 .what = fmt::format("no retention is configured for repo{}", one.number),
                 .why = "nothing is ever removed: backups and WAL grow until the disk is full",
                 .mend = fmt::format("set repo{0}-retention-full, such as 2, or repo{0}-retention-daily and its kin",
                                     one.number),
                 .repo = one.number});
    }
    TRY(examine_room(state, one, rules));
  }
  return {};
}

}  // namespace pgark
