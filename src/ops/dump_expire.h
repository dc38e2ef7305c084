// dump-expire: remove the dumps no rule keeps, and what dumps that failed left behind.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "catalog/hold.h"
#include "catalog/retention.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/expire.h"
#include "repo/repository.h"

namespace pgark {

struct DumpExpireOptions {
  std::string stanza;
  RetentionRules rules;  // A dump counts as a full backup; dumps of one series are decided among themselves.
  std::chrono::milliseconds grace{std::chrono::hours(24)};  // For objects without a manifest.
  bool dry_run = false;
  std::string set;
};

struct ExpiredDump {
  std::string label;
  std::string series;
  RetentionDecision decision;
  Timestamp stopped{};
  ExpiredBackup::Outcome outcome = ExpiredBackup::Outcome::kKept;
};
struct DumpExpireReport {
  std::vector<ExpiredDump> dumps;  // In the order of their labels.
  ExpireCount objects;             // Removed, or would be.
  ExpireCount orphans;             // Of dumps that never got a manifest.
  ExpireCount waiting;             // The same, younger than the grace period.
  ExpireCount refused;
  std::string refusal;
  std::vector<std::string> warnings;
};

/// Pure: what becomes of each dump.
Result<std::vector<RetentionDecision>> decide_dump_retention(const RetentionRules& rules,
                                                             const std::vector<ListedDump>& dumps,
                                                             const std::map<std::string, DumpVerdict>& verdicts,
                                                             const std::map<std::string, Hold>& holds, Timestamp now);

/// The caller holds the lock "dump". The manifest goes first. Errors: as run_expire().
Result<DumpExpireReport> run_dump_expire(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                         const DumpExpireOptions& options);

}  // namespace pgark
