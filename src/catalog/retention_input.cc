// Facts about backups that their manifests do not hold: holds, their WAL, and what verify found.
#include "catalog/retention_input.h"

#include <set>

#include "catalog/hold.h"
#include "catalog/verify_record.h"
#include "catalog/wal.h"
#include "pg/wal.h"

namespace pgark {
namespace {

/// Numbers from `first` to `last` of which a segment of the timeline is there.
Result<> add_segments(const Repository& repository, const std::string& stanza, const BackupMeta& meta,
                      TimelineId timeline, uint64_t first, uint64_t last, std::set<uint64_t>& numbers) {
  const std::string before = pg::segment_name({timeline, first - 1}, meta.wal_segment_bytes);
  TRY_ASSIGN(const auto names,
             list_wal_segments_after(repository, stanza, meta.cluster_number, before, last - first + 1));
  for (const std::string& name : names) {
    const auto segment = pg::parse_segment_name(name, meta.wal_segment_bytes);
    if (segment && segment->number <= last) numbers.insert(segment->number);
  }
  return {};
}

}  // namespace

Result<bool> is_wal_of_backup_there(const Repository& repository, const std::string& stanza, const BackupMeta& meta) {
  const auto first = pg::parse_segment_name(meta.wal_start, meta.wal_segment_bytes);
  const auto last = pg::parse_segment_name(meta.wal_stop, meta.wal_segment_bytes);
  if (!first || !last || last->number < first->number || first->number == 0) return false;
  std::set<uint64_t> numbers;
  TRY(add_segments(repository, stanza, meta, first->timeline, first->number, last->number, numbers));
  if (last->timeline != first->timeline)
    TRY(add_segments(repository, stanza, meta, last->timeline, first->number, last->number, numbers));
  return numbers.size() == last->number - first->number + 1;
}

Result<std::vector<RetentionBackup>> read_retention_backups(const Repository& repository, const std::string& stanza,
                                                            const std::vector<ListedBackup>& listed) {
  TRY_ASSIGN(const auto holds, read_holds(repository, stanza));
  TRY_ASSIGN(const auto verified, list_verify_records(repository, stanza));
  const auto verdicts = verify_verdicts(verified);
  std::vector<RetentionBackup> backups;
  for (const ListedBackup& one : listed) {
    RetentionBackup backup;
    backup.label = one.label;
    if (const auto parsed = parse_backup_label(one.label)) backup.type = parsed->type;
    if (const auto hold = holds.find(one.label); hold != holds.end()) backup.hold_until = hold->second.until;
    backup.readable = one.meta.has_value();
    backup.restorable = false;
    if (one.meta) {
      backup.type = one.meta->type;
      backup.prior_label = one.meta->prior_label;
      backup.stopped = one.meta->stopped;
      backup.bad_page_count = one.meta->bad_page_count;
      TRY_ASSIGN_CTX(backup.restorable, is_wal_of_backup_there(repository, stanza, *one.meta),
                     "look for the WAL of backup " + one.label);
      const auto verdict = verdicts.find(one.label);
      backup.restorable = backup.restorable && (verdict == verdicts.end() || verdict->second.damage.empty());
    }
    backups.push_back(std::move(backup));
  }
  return backups;
}

}  // namespace pgark
