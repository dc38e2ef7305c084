// check: does archiving from this cluster to its repositories work, proven with a segment of WAL, and which of the
// usual mistakes would make a restore fail, late or impossible; each with what to do about it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/coverage.h"
#include "catalog/forecast.h"
#include "catalog/retention.h"
#include "catalog/wal_archive.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/check_place.h"
#include "ops/cluster_files.h"
#include "ops/wal_rate.h"
#include "pgwire/pg_session.h"
#include "repo/keyring.h"
#include "repo/repository.h"

namespace pgark {

enum class Severity : uint8_t { kInfo, kWarning, kError };
std::string_view severity_name(Severity severity);  // "info", "warning", "error"

/// One thing an examiner found.
struct Finding {
  Severity severity = Severity::kInfo;
  std::string code;      // Stable name for programs: "archive_mode_off".
  std::string what;      // The fact.
  std::string why;       // What it means for backups; may be empty.
  std::string mend;      // The next step; may be empty.
  unsigned repo = 0;     // Number of the repository it is about; 0: none alone.
  bool ignored = false;  // It was a warning, and check-ignore names its code.
};

/// A code that findings may have, with the severities it occurs with and what it means; sorted by code. The table of
/// docs/guide/monitoring.md has the same.
struct FindingCode {
  std::string_view code;
  std::string_view severities;  // "error", "warning or error"
  std::string_view meaning;
};
std::span<const FindingCode> finding_codes();
const FindingCode* find_finding_code(std::string_view code);

/// From when on something is too old or too late.
struct CheckThresholds {
  std::chrono::milliseconds backup_age = std::chrono::hours(26);  // Warning; three times as old: error.
  std::chrono::milliseconds drill_age = std::chrono::days(90);
  std::chrono::milliseconds verify_age = std::chrono::days(35);
  std::chrono::milliseconds archive_lag = std::chrono::minutes(10);
  std::chrono::milliseconds dump_age = std::chrono::hours(8 * 24);
};

/// What the settings say of a repository.
struct CheckedPlace {
  std::string path;                         // Of a posix store; empty: it is not in a file system of this machine.
  std::optional<RetentionRules> retention;  // None: not known.
};

struct CheckOptions {
  std::string stanza;
  std::vector<unsigned> repositories{1};  // Numbers.
  std::string data_directory;             // Empty: the host has no access to it.
  /// Data directories of further nodes of the cluster on this machine: what the archive lacks may be in their pg_wal.
  std::vector<std::string> other_directories;
  std::chrono::milliseconds archive_timeout{60'000};
  bool online = true;       // False: files and repository only.
  bool dumps_only = false;  // The files of the server are out of reach: no backup and no WAL of it is expected.
  CheckThresholds thresholds;
  std::map<unsigned, CheckedPlace> places;  // By number of the repository; one may lack.
  std::set<std::string> ignored;            // Codes whose warnings are accepted (check-ignore).
  bool foreign_archive_command = false;     // One that does not call pgark itself is accepted (archive-mode-check=n).
};

/// How to reach what is checked. A failure to open becomes a finding, not the end of the check.
struct CheckAccess {
  std::function<Result<std::unique_ptr<PgSession>>()> open_session;
  std::function<Result<std::unique_ptr<ObjectStore>>(unsigned repo)> open_store;
  std::function<Result<std::unique_ptr<Repository>>(unsigned repo, ObjectStore& store)> open_repository =
      [](unsigned, ObjectStore& store) { return Repository::open(store); };
  /// The keys that are configured; may be empty: they are then not tried.
  std::function<Result<KeyConfig>(unsigned repo)> key_config = {};
  /// A session with another database of the server; may be empty: what only they can tell is then not looked at.
  std::function<Result<std::unique_ptr<PgSession>>(const std::string& database)> open_database = {};
  std::function<Result<FilePlace>(const std::string& path)> look_at_place = look_at_file_place;
};

/// A repository that is checked; filled as far as it could be opened.
struct CheckedRepository {
  unsigned number = 1;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Repository> repository;
  std::optional<ClusterRecord> cluster;
  std::optional<std::chrono::milliseconds> archived_after;  // The segment of the proof, from its end.
  /// How far the clock of the store is ahead of this host's, by the time it gave the probe's object.
  std::optional<std::chrono::microseconds> store_ahead;
  std::optional<RepositoryWal> wal;
  std::optional<WalCoverage> coverage;
  std::optional<std::vector<ListedBackup>> backups;
  std::optional<WalRate> wal_rate;
  std::optional<FilePlace> place;
  std::optional<SpaceForecast> forecast;
  std::string last_segment;                 // The newest one of the server's timeline; empty if unknown or none.
  std::optional<uint64_t> behind_segments;  // Whole ones the server has written since.
};

/// Segments that wait for the archiver, by the notes the server keeps of them.
struct ArchiveQueue {
  uint64_t ready_count = 0;
  std::string oldest;  // Name of the file that waits longest.
  std::optional<Timestamp> oldest_since;
};

/// What the check knows; filled as far as it got, and what every examiner is given.
struct CheckState {
  CheckState(const CheckOptions& check_options, Clock& check_clock, Rng& check_rng, const CancelToken& token)
      : options(check_options), clock(check_clock), rng(check_rng), cancel(token) {}

  const CheckOptions& options;
  const CheckAccess* access = nullptr;  // While the check runs.
  Clock& clock;
  Rng& rng;
  const CancelToken& cancel;

  std::unique_ptr<PgSession> session;  // Null if there is none.
  std::optional<ServerInfo> server;
  std::optional<ClusterFiles> files;
  std::vector<CheckedRepository> repositories;
  std::optional<ArchiveQueue> queue;

  std::vector<Finding> findings;
  std::string archived_segment;  // Of the proof; empty if there was none.

  /// A warning that is accepted (check-ignore) becomes information; an error stays what it is.
  void add(Finding finding);
  void add_error(std::string code, const Error& error, std::string why = "", unsigned repo = 0);
  bool failed() const;  // Some finding is an error.
  Severity worst() const;
  /// Some finding that concerns this repository, or all, is an error.
  bool failed(const CheckedRepository& one) const;
};

/// The newest readable backup of the cluster that the repository's stanza is of now; null if there is none.
const BackupMeta* newest_backup(const CheckedRepository& one);

/// Looks at one aspect and adds findings. An error it returns becomes a finding named after the examiner.
struct Examiner {
  std::string_view name;
  Result<> (*examine)(CheckState& state);
  bool of_dumps = false;  // Runs also where there are only dumps.
};

/// In the order they run: later ones rely on what earlier ones opened and say nothing if it is not there.
std::vector<Examiner> check_examiners();

/// Run all examiners. Errors: kCancelled only.
Result<> run_check(CheckState& state, const CheckAccess& access);

}  // namespace pgark
