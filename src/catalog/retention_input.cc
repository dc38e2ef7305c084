// Facts about backups that their manifests do not hold: holds, their WAL, and what verify found.
#include "catalog/retention_input.h"

#include <algorithm>
#include <map>

#include "catalog/hold.h"
#include "catalog/verify_record.h"
#include "catalog/wal.h"
#include "pg/wal.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

/// Tells which segments are in the archive, asked in their order, more or less: what a listing brings beyond what was
/// asked for answers the next questions, so that many backups cost few listings. Where the answers lie far apart the
/// listings of a near store, which costs them by the object, are short.
class WalPresence {
 public:
  WalPresence(const Repository& repository, const std::string& stanza) : repository_(repository), stanza_(stanza) {
    if (is_far(repository.store())) limit_ = min_ = max_ = list_page(repository.store());
  }

  /// Whether all segments from `first` to `last` are there, each on one of both timelines.
  Result<bool> has(const BackupMeta& meta, const pg::WalSegment& first, const pg::WalSegment& last) {
    for (uint64_t number = first.number; number <= last.number; ++number) {
      TRY_ASSIGN(bool there, has(meta, {first.timeline, number}));
      if (!there && last.timeline != first.timeline) {
        TRY_ASSIGN(there, has(meta, {last.timeline, number}));
      }
      if (!there) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGrowth = 8;

  /// What is known of a timeline: the segments from `begin` on, before `end`.
  struct Known {
    uint64_t begin = 0;
    uint64_t end = 0;
    std::vector<uint64_t> numbers;  // Ascending.
    uint64_t answers = 0;           // Questions it answered.
  };

  Result<bool> has(const BackupMeta& meta, const pg::WalSegment& segment) {
    Known& known = known_[{meta.cluster_number, segment.timeline}];
    if (segment.number < known.begin || segment.number >= known.end) TRY(look(meta, segment, known));
    ++known.answers;
    return std::binary_search(known.numbers.begin(), known.numbers.end(), segment.number);
  }

  Result<> look(const BackupMeta& meta, const pg::WalSegment& segment, Known& known) {
    limit_ = known.answers >= kGrowth ? std::min(limit_ * kGrowth, max_) : std::max(limit_ / kGrowth, min_);
    const std::string before = pg::segment_name({segment.timeline, segment.number - 1}, meta.wal_segment_bytes);
    TRY_ASSIGN(const auto names, list_wal_segments_after(repository_, stanza_, meta.cluster_number, before, limit_));
    known = {.begin = segment.number, .end = UINT64_MAX, .numbers = {}};
    for (const std::string& name : names)
      if (const auto found = pg::parse_segment_name(name, meta.wal_segment_bytes))
        known.numbers.push_back(found->number);
    if (names.size() == limit_ && !known.numbers.empty()) known.end = known.numbers.back() + 1;
    return {};
  }

  const Repository& repository_;
  const std::string& stanza_;
  size_t min_ = 16;
  size_t max_ = 16384;
  size_t limit_ = min_;
  std::map<std::pair<unsigned, TimelineId>, Known> known_;
};

Result<bool> is_wal_there(WalPresence& presence, const BackupMeta& meta) {
  const auto first = pg::parse_segment_name(meta.wal_start, meta.wal_segment_bytes);
  const auto last = pg::parse_segment_name(meta.wal_stop, meta.wal_segment_bytes);
  if (!first || !last || last->number < first->number || first->number == 0) return false;
  return presence.has(meta, *first, *last);
}

}  // namespace

Result<bool> is_wal_of_backup_there(const Repository& repository, const std::string& stanza, const BackupMeta& meta) {
  WalPresence presence(repository, stanza);
  return is_wal_there(presence, meta);
}

Result<std::vector<RetentionBackup>> read_retention_backups(const Repository& repository, const std::string& stanza,
                                                            const std::vector<ListedBackup>& listed) {
  TRY_ASSIGN(const auto holds, read_holds(repository, stanza));
  TRY_ASSIGN(const auto verified, list_verify_records(repository, stanza));
  const auto verdicts = verify_verdicts(verified);
  std::vector<RetentionBackup> backups;
  WalPresence presence(repository, stanza);
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
      TRY_ASSIGN_CTX(backup.restorable, is_wal_there(presence, *one.meta), "look for the WAL of backup " + one.label);
      const auto verdict = verdicts.find(one.label);
      backup.restorable = backup.restorable && (verdict == verdicts.end() || verdict->second.damage.empty());
    }
    backups.push_back(std::move(backup));
  }
  return backups;
}

}  // namespace pgark
