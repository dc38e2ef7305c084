// Examiners of check that look at the WAL that is there: gaps, damage, timelines, and how far archiving lags behind.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "catalog/backup.h"
#include "catalog/target.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "ops/check_examiners.h"
#include "ops/wal_survey.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

/// Whole segments a repository may be behind without a word: what is written while the check runs.
constexpr uint64_t kBehindMax = 2;
/// Missing segments that are looked for in pg_wal; archive-heal looks for all.
constexpr uint64_t kLookedForMax = 1000;
constexpr uint64_t kHistoryBytesMax = 4u << 20;

std::string moment(Timestamp time) { return format_timestamp_utc(time); }

std::string heal_command(const CheckState& state) {
  return fmt::format("pgark --stanza={} archive-heal", state.options.stanza);
}

/// The data directories of this machine that may hold segments, the checked cluster's own first.
std::vector<std::string> directories(const CheckState& state) {
  std::vector<std::string> all;
  if (!state.options.data_directory.empty()) all.push_back(state.options.data_directory);
  all.insert(all.end(), state.options.other_directories.begin(), state.options.other_directories.end());
  return all;
}

/// How many of the segments of a gap are files in some pg_wal, and where the first was found. Whether they are of any
/// use, archive-heal finds out.
struct Found {
  uint64_t count = 0;
  std::string where;
};

Found look_in_pg_wal(const CheckState& state, const std::vector<CoverageGap>& gaps, uint32_t segment_bytes) {
  Found found;
  uint64_t looked_for = 0;
  for (const CoverageGap& gap : gaps) {
    const auto first = pg::parse_segment_name(gap.first, segment_bytes);
    if (!first) continue;
    for (uint64_t i = 0; i < gap.count && looked_for < kLookedForMax; ++i, ++looked_for) {
      const std::string name = pg::segment_name({first->timeline, first->number + i}, segment_bytes);
      for (const std::string& directory : directories(state)) {
        struct stat status {};
        const std::string path = directory + "/pg_wal/" + name;
        if (::stat(path.c_str(), &status) != 0 || static_cast<uint64_t>(status.st_size) != segment_bytes) continue;
        ++found.count;
        if (found.where.empty()) found.where = directory + "/pg_wal";
        break;
      }
    }
  }
  return found;
}

std::string describe_gap(const CoverageGap& gap) {
  if (!gap.damage.empty()) return fmt::format("{} is damaged ({})", gap.first, gap.damage);
  if (gap.count == 1) return gap.first + " is missing";
  return fmt::format("{} to {} ({} segments) are missing", gap.first, gap.last, gap.count);
}

std::string describe_gaps(const std::vector<CoverageGap>& gaps) {
  constexpr size_t kNamedMax = 5;
  std::string text;
  for (size_t i = 0; i < gaps.size() && i < kNamedMax; ++i) text += (i == 0 ? "" : ", ") + describe_gap(gaps[i]);
  if (gaps.size() > kNamedMax) text += fmt::format(" and {} more", gaps.size() - kNamedMax);
  return text;
}

/// "wal_dropped", "wal_damaged" or "wal_gap".
std::string gap_code(const std::vector<CoverageGap>& gaps) {
  const auto dropped = [](const CoverageGap& gap) { return !gap.dropped.empty(); };
  const auto damaged = [](const CoverageGap& gap) { return !gap.damage.empty(); };
  if (std::any_of(gaps.begin(), gaps.end(), dropped)) return "wal_dropped";
  return std::all_of(gaps.begin(), gaps.end(), damaged) ? "wal_damaged" : "wal_gap";
}

void add_broken(CheckState& state, const CheckedRepository& one, const BrokenRange& range) {
  const std::string from = range.from ? fmt::format("{} (LSN {})", moment(*range.from), to_string(range.from_lsn))
                                      : "LSN " + to_string(range.from_lsn);
  Finding finding;
  finding.repo = one.number;
  finding.code = gap_code(range.gaps);
  std::string until = " on";
  if (range.needs_backup()) {
    finding.severity = Severity::kError;
    finding.why = "nothing committed after that can be recovered, and no backup was made since";
  } else {
    finding.severity = Severity::kWarning;
    until = fmt::format(" to {} (LSN {})", moment(*range.to), to_string(range.to_lsn));
    finding.why = fmt::format("no moment between them can be reached; from the end of backup {} on recovery works",
                              range.backup_after);
  }
  finding.what = fmt::format("recovery is broken from {}{}: {}", from, until, describe_gaps(range.gaps));
  for (const CoverageGap& gap : range.gaps) {
    if (gap.dropped.empty()) continue;
    finding.what += "; given up " + gap.dropped;
    break;
  }
  const Found found = look_in_pg_wal(state, range.gaps, one.cluster->wal_segment_bytes);
  if (found.count > 0) {
    finding.mend = fmt::format("run '{}' soon: {} of them {} still in '{}'", heal_command(state), found.count,
                               found.count == 1 ? "is" : "are", found.where);
  } else if (range.needs_backup()) {
    finding.mend =
        fmt::format("run '{}' where a node has the segments; else take a new backup now", heal_command(state));
  }
  state.add(std::move(finding));
}

void add_coverage_findings(CheckState& state, const CheckedRepository& one, const TimelineCoverage& current) {
  for (const BrokenRange& range : current.broken) add_broken(state, one, range);
  const bool nothing_leads_here =
      current.recoverable.empty() && current.broken.empty() && current.broken_backups.empty();
  if (one.coverage->backup_count > 0 && nothing_leads_here) {
    state.add({Severity::kError, "timeline_without_backup",
               fmt::format("no backup leads to timeline {}, which the cluster is on", current.timeline.value),
               "nothing that was written on it can be recovered", "take a new backup now", one.number});
  }
  for (const BrokenBackup& backup : current.broken_backups) {
    const bool other = !current.recoverable.empty();
    state.add({other ? Severity::kWarning : Severity::kError, "backup_without_wal",
               fmt::format("backup {} cannot be restored: its segment {} is missing", backup.label, backup.missing),
               other ? "other backups can" : "no backup on the timeline can be restored",
               fmt::format("run '{}' where a node has the segment; else take a new backup", heal_command(state)),
               one.number});
  }
}

Result<> survey(CheckState& state, CheckedRepository& one) {
  TRY_ASSIGN(one.backups, list_backups(*one.repository, state.options.stanza));
  for (const ListedBackup& backup : *one.backups) {
    if (!backup.error) continue;
    state.add_error("backup_unreadable", *backup.error, "it cannot be restored", one.number);
  }
  TRY_ASSIGN(one.wal, RepositoryWal::open(*one.repository, state.options.stanza, *one.cluster));
  WalSurveyOptions options;
  if (state.server) {
    options.current = state.server->timeline;
  } else if (state.files) {
    options.current = state.files->control.timeline;
  }
  TRY_ASSIGN(WalCoverage coverage, survey_wal(*one.repository, state.options.stanza, *one.wal, *one.backups, options));
  // A timeline of which nothing has arrived yet.
  if (!coverage.current_timeline() && !coverage.timelines.empty()) {
    coverage.current = coverage.timelines.back().timeline;
  }
  one.coverage = std::move(coverage);
  return {};
}

void add_missing_histories(CheckState& state, const CheckedRepository& one) {
  for (const TimelineCoverage& timeline : one.coverage->timelines) {
    if (!timeline.history_missing) continue;
    state.add({Severity::kError, "history_missing",
               fmt::format("{} is not in the repository, and segments of its timeline are",
                           pg::history_name(timeline.timeline)),
               "recovery from an older timeline does not find the way to it",
               fmt::format("run '{}' where a node has the file in pg_wal", heal_command(state)), one.number});
  }
}

/// What the repository holds under the name of a history; none if nothing, or nothing readable.
Result<std::optional<std::string>> stored_history(const CheckState& state, const CheckedRepository& one,
                                                  const std::string& name) {
  TRY_ASSIGN(const auto copies, find_wal_copies(*one.repository, state.options.stanza, one.cluster->number, name));
  for (const ObjectKey& key : copies) {
    const auto stored = read_stored_file(*one.repository, key, kHistoryBytesMax);
    if (stored) return std::optional(std::string(as_text(stored->raw)));
    if (stored.error().code() != Errc::kCorrupt) return Error(stored.error());
  }
  return std::optional<std::string>{};
}

Result<> compare_history(CheckState& state, const CheckedRepository& one, const std::string& name) {
  TRY_ASSIGN(const std::string local, read_file(state.options.data_directory + "/pg_wal/" + name, kHistoryBytesMax));
  TRY_ASSIGN(const auto stored, stored_history(state, one, name));
  if (!stored || *stored == local) return {};
  state.add({Severity::kError, "history_conflict",
             fmt::format("{} in pg_wal differs from the one in {}", name, one.store->describe()),
             "two clusters of one origin archive to this stanza, and their WAL is mixed up from there on",
             "give the copy or restored cluster a stanza of its own, or set its archive_mode to off", one.number});
  return {};
}

std::vector<std::string> names_in(const std::string& directory, std::string_view suffix) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.ends_with(suffix)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// A file that is gone by now has been archived meanwhile.
ArchiveQueue read_queue(const std::string& data_directory) {
  constexpr std::string_view kReady = ".ready";
  const std::string directory = data_directory + "/pg_wal/archive_status";
  ArchiveQueue queue;
  for (const std::string& name : names_in(directory, kReady)) {
    struct stat status {};
    if (::stat((directory + "/" + name).c_str(), &status) != 0) continue;
    const Timestamp since(std::chrono::seconds(status.st_mtim.tv_sec) +
                          std::chrono::microseconds(status.st_mtim.tv_nsec / 1000));
    ++queue.ready_count;
    if (queue.oldest_since && *queue.oldest_since <= since) continue;
    queue.oldest_since = since;
    queue.oldest = name.substr(0, name.size() - kReady.size());
  }
  return queue;
}

/// How far the newest segment of the server's timeline is behind the server.
void measure_lag(CheckState& state, CheckedRepository& one, Lsn current) {
  const TimelineCoverage* timeline = one.coverage->find(state.server->timeline);
  const uint32_t bytes = one.cluster->wal_segment_bytes;
  if (timeline == nullptr || timeline->ranges.empty()) return;
  one.last_segment = timeline->ranges.back().last;
  const auto last = pg::parse_segment_name(one.last_segment, bytes);
  if (!last) return;
  const uint64_t next = last->number + 1;
  const uint64_t writing = current.bytes / bytes;
  one.behind_segments = writing > next ? writing - next : 0;
  if (*one.behind_segments <= kBehindMax) return;
  state.add({Severity::kWarning, "repository_behind",
             fmt::format("{} is {} segments behind the server: its last one is {}, the server writes at {}",
                         one.store->describe(), *one.behind_segments, one.last_segment, to_string(current)),
             "what is not archived is lost with the server's disk",
             "see why archiving is slow or fails: the server's log, and the log of archive-push", one.number});
}

}  // namespace

Result<> examine_timeline_histories(CheckState& state) {
  if (!state.files) return {};
  for (const std::string& name : names_in(state.options.data_directory + "/pg_wal", ".history")) {
    if (!pg::parse_wal_file_name(name)) continue;
    for (const CheckedRepository& one : state.repositories) {
      if (!one.cluster || state.failed(one)) continue;
      auto compared = compare_history(state, one, name);
      if (!compared && compared.error().code() == Errc::kCancelled) return compared;
      if (!compared) state.add_error("timeline_histories_failed", compared.error(), "", one.number);
    }
  }
  return {};
}

Result<> examine_wal_coverage(CheckState& state) {
  for (CheckedRepository& one : state.repositories) {
    TRY(state.cancel.check());
    if (!one.cluster) continue;
    auto surveyed = survey(state, one);
    if (!surveyed && surveyed.error().code() == Errc::kCancelled) return surveyed;
    if (!surveyed) {
      state.add_error("wal_coverage_failed", surveyed.error(), "what can be recovered is not known", one.number);
      continue;
    }
    add_missing_histories(state, one);
    if (const TimelineCoverage* current = one.coverage->current_timeline()) {
      add_coverage_findings(state, one, *current);
    }
  }
  return {};
}

Result<> examine_archive_lag(CheckState& state) {
  if (!state.options.data_directory.empty()) state.queue = read_queue(state.options.data_directory);
  if (state.queue && state.queue->oldest_since) {
    const auto waits = state.clock.now() - *state.queue->oldest_since;
    if (waits > state.options.thresholds.archive_lag) {
      state.add({Severity::kWarning, "archive_lag",
                 fmt::format("{} file{} of WAL wait to be archived, {} since {}", state.queue->ready_count,
                             state.queue->ready_count == 1 ? "" : "s", state.queue->oldest,
                             moment(*state.queue->oldest_since)),
                 "what is not archived is lost with the server's disk, and pg_wal grows",
                 "see why archiving is slow or fails: the server's log, and the log of archive-push; archive-async=y "
                 "pushes in parallel"});
    }
  }
  if (!state.server || state.server->in_recovery) return {};
  TRY_ASSIGN(const std::string text, state.session->query_value("SELECT pg_current_wal_lsn()"));
  TRY_ASSIGN(const Lsn current, parse_lsn(text));
  for (CheckedRepository& one : state.repositories)
    if (one.coverage) measure_lag(state, one, current);
  return {};
}

}  // namespace pgark
