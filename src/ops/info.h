// info: what a repository holds, stanza by stanza, without a server; damage is shown, not a reason to stop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/coverage.h"
#include "catalog/retention.h"
#include "catalog/verify_record.h"
#include "catalog/wal.h"
#include "core/result.h"
#include "ops/backup_sizes.h"
#include "ops/dump_listing.h"
#include "ops/info_outlook.h"
#include "repo/repository.h"

namespace pgark {

enum class StanzaStatus : uint8_t {
  kOk,
  kMissing,    // No such stanza.
  kNoBackups,  // The stanza exists and has no backup that can be read; one with dumps and without WAL is for dumps.
  kDamaged,    // Something of it cannot be read; what can be is shown.
};
std::string_view stanza_status_name(StanzaStatus status);  // "ok", "missing", "no_backups", "damaged"

/// Segments that are not there between two that are.
struct WalGap {
  TimelineId timeline;
  std::string first;  // Missing, as is `last`.
  std::string last;
  uint64_t count = 0;
};

struct InfoCluster {
  ClusterRecord record;
  std::vector<WalRange> wal;
  std::vector<WalGap> gaps;
  WalCoverage coverage;
  std::optional<WalRate> wal_rate;  // None if it was not asked for, or there is no WAL.
};

struct InfoStanza {
  std::string name;
  StanzaStatus status = StanzaStatus::kOk;
  std::vector<InfoCluster> clusters;
  std::vector<ListedBackup> backups;              // Oldest first.
  std::map<std::string, BackupSizes> sizes;       // By label.
  std::map<std::string, VerifyVerdict> verdicts;  // By label: what verify says of the backups there are.
  std::optional<VerifyRecord> last_verify;
  std::optional<InfoOutlook> outlook;                  // Of the current cluster; none if it was not asked for.
  std::optional<RetentionRules> rules;                 // None if they are not known.
  std::map<std::string, RetentionDecision> retention;  // By label; empty without rules.
  DumpListing dumps;                                   // With what retention would do, as far as it is known.
  Timestamp as_of{};                                   // InfoOptions::now; 1970 if that was not given.
  std::vector<Error> errors;                           // Of what is damaged, backups and dumps apart.
};

/// Pure: the gaps between ranges of one timeline.
std::vector<WalGap> wal_gaps(const std::vector<WalRange>& ranges, uint32_t wal_segment_bytes);

/// Names of the stanzas in a repository, in order.
Result<std::vector<std::string>> list_stanzas(const Repository& repository);

struct InfoOptions {
  std::optional<Timestamp> now;         // For ages, estimates and retention; none: they are left out.
  std::optional<RetentionRules> rules;  // Of the stanza in this repository; none: they are not known.
};

/// Errors: of reaching the repository; damage of single objects is in the result.
Result<InfoStanza> stanza_info(const Repository& repository, const std::string& stanza,
                               const InfoOptions& options = {});

/// A symbolic link of a backup.
struct InfoLink {
  std::string path;
  std::string target;
};

/// More of one backup than its document says.
struct InfoBackupDetail {
  BackupMeta meta;
  std::vector<InfoLink> links;         // Tablespaces left out.
  std::vector<std::string> bad_files;  // "base/5/16384: blocks 3, 7"
};
Result<InfoBackupDetail> backup_detail(const Repository& repository, const std::string& stanza,
                                       const std::string& label);

}  // namespace pgark
