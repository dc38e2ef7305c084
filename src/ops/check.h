// check: does archiving from this cluster to this repository work, proven with a segment of WAL; if not, what to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "catalog/coverage.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/cluster_files.h"
#include "pgwire/pg_session.h"
#include "repo/repository.h"

namespace pgark {

enum class Severity : uint8_t { kInfo, kWarning, kError };
std::string_view severity_name(Severity severity);  // "info", "warning", "error"

/// One thing an examiner found.
struct Finding {
  Severity severity = Severity::kInfo;
  std::string code;   // Stable name for programs: "archive_mode_off".
  std::string what;   // The fact.
  std::string why;    // What it means for backups; may be empty.
  std::string mend;   // The next step; may be empty.
  unsigned repo = 0;  // Number of the repository it is about; 0: none alone.
};

struct CheckOptions {
  std::string stanza;
  std::vector<unsigned> repositories{1};  // Numbers.
  std::string data_directory;             // Empty: the host has no access to it.
  /// Data directories of further nodes of the cluster on this machine: what the archive lacks may be in their pg_wal.
  std::vector<std::string> other_directories;
  std::chrono::milliseconds archive_timeout{60'000};
  bool online = true;  // False: files and repository only.
};

/// How to reach what is checked. A failure to open becomes a finding, not the end of the check.
struct CheckAccess {
  std::function<Result<std::unique_ptr<PgSession>>()> open_session;
  std::function<Result<std::unique_ptr<ObjectStore>>(unsigned repo)> open_store;
};

/// A repository that is checked; filled as far as it could be opened.
struct CheckedRepository {
  unsigned number = 1;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Repository> repository;
  std::optional<ClusterRecord> cluster;
  std::optional<std::chrono::milliseconds> archived_after;  // The segment of the proof, from its end.
  std::optional<WalCoverage> coverage;
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

  void add(Finding finding) { findings.push_back(std::move(finding)); }
  void add_error(std::string code, const Error& error, std::string why = "", unsigned repo = 0);
  bool failed() const;  // Some finding is an error.
  /// Some finding that concerns this repository, or all, is an error.
  bool failed(const CheckedRepository& one) const;
};

/// Looks at one aspect and adds findings. An error it returns becomes a finding named after the examiner.
struct Examiner {
  std::string_view name;
  Result<> (*examine)(CheckState& state);
};

/// In the order they run: later ones rely on what earlier ones opened and say nothing if it is not there.
std::vector<Examiner> check_examiners();

/// Run all examiners. Errors: kCancelled only.
Result<> run_check(CheckState& state, const CheckAccess& access);

}  // namespace pgark
