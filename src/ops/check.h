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
  std::string code;  // Stable name for programs: "archive_mode_off".
  std::string what;  // The fact.
  std::string why;   // What it means for backups; may be empty.
  std::string mend;  // The next step; may be empty.
};

struct CheckOptions {
  std::string stanza;
  std::string data_directory;  // Empty: the host has no access to it.
  std::chrono::milliseconds archive_timeout{60'000};
  bool online = true;  // False: files and repository only.
};

/// How to reach what is checked. A failure to open becomes a finding, not the end of the check.
struct CheckAccess {
  std::function<Result<std::unique_ptr<PgSession>>()> open_session;
  std::function<Result<std::unique_ptr<ObjectStore>>()> open_store;
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
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Repository> repository;
  std::optional<ClusterRecord> cluster;

  std::vector<Finding> findings;
  std::string archived_segment;  // Of the proof; empty if there was none.
  std::optional<std::chrono::milliseconds> archived_after;

  void add(Finding finding) { findings.push_back(std::move(finding)); }
  void add_error(std::string code, const Error& error, std::string why = "");
  bool failed() const;  // Some finding is an error.
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
