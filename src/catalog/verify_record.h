// What each finished round of verify found, kept in the repository, so that info, check and others can tell when it was
// last read and which backups are damaged.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// "<stanza>/verify/20261122-101500": one document, never changed. docs/format/README.md.
struct VerifyRecord {
  std::string name;  // "20261122-101500", UTC.
  Timestamp started{};
  Timestamp finished{};
  std::string pgark_version;
  std::string host;
  std::vector<std::string> sets;      // Backups that were asked for; empty: all, and all WAL.
  double share = 1;                   // Of extents and segments that were read.
  std::vector<std::string> verified;  // Labels of the backups that were looked at.
  uint64_t read_bytes = 0;
  uint64_t damage_count = 0;  // Objects.
  struct Backup {
    std::string label;
    uint64_t file_count = 0;  // Files that are hit; 0: the manifest, or WAL the backup needs.
    std::string what;         // For people: "3 files are damaged".
    bool operator==(const Backup&) const = default;
  };
  std::vector<Backup> damaged;       // Backups that cannot be restored whole.
  std::vector<std::string> objects;  // Damaged ones, the first kVerifyObjectsMax.
  bool operator==(const VerifyRecord&) const = default;
};
inline constexpr size_t kVerifyObjectsMax = 100;
/// Records kept, beside the newest one that read everything.
inline constexpr size_t kVerifyRecordsMax = 10;

/// Records by name, oldest first. One that cannot be read is passed over with a warning.
/// Errors: of the store.
Result<std::vector<VerifyRecord>> list_verify_records(const Repository& repository, const std::string& stanza);

/// Write `record` under a name later than every one there is; the name. Older records than are worth keeping are
/// removed, as far as the store allows it.
/// Errors: of writing it.
Result<std::string> write_verify_record(const Repository& repository, const std::string& stanza, VerifyRecord record);

/// What the records say of each backup together.
struct VerifyVerdict {
  std::optional<Timestamp> verified;  // End of the last round that read all of it; none: never.
  std::optional<Timestamp> sampled;   // End of the last one that read a share, if later.
  std::string damage;                 // Empty: none known.
  bool operator==(const VerifyVerdict&) const = default;
};
/// Pure. A backup is damaged from the round that found it so until a later one read all of it and found it whole: a
/// sample that misses the damage proves nothing.
std::map<std::string, VerifyVerdict> verify_verdicts(const std::vector<VerifyRecord>& records);

/// Pure. Names of the records that may go: all but the newest kVerifyRecordsMax, the newest that read everything, and
/// those without which one of the backups `labels` would not be known to be damaged.
std::vector<std::string> superseded_records(const std::vector<VerifyRecord>& records,
                                            const std::vector<std::string>& labels);

}  // namespace pgark
