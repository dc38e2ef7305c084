// A WAL catalog filled by hand: segments that exist only as their index, for tests of what is planned and reported
// from indexes.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "catalog/wal_archive.h"

namespace pgark::testing {

/// An index of a segment that holds these transactions' ends and restore points and nothing else, as if made from WAL:
/// complete, with commits, times, minutes and range of transactions filled in. Subtransactions count in the range.
inline pg::WalIndex sample_wal_index(const pg::WalSegment& segment, uint32_t segment_bytes,
                                     const std::vector<pg::WalTransactionEnd>& ends = {},
                                     std::vector<pg::WalRestorePoint> restore_points = {}) {
  pg::WalIndex index;
  index.major = pg::PgMajor{15};
  index.system_id = 7570000000000000001;
  index.segment_bytes = segment_bytes;
  index.segment = segment;
  index.first_timeline = index.last_timeline = segment.timeline;
  index.valid_to = segment_end(segment, segment_bytes);
  index.record_count = 1 + ends.size() + restore_points.size();
  index.first_record = Lsn{segment_start(segment, segment_bytes).bytes + 40};
  index.last_record = ends.empty() ? index.first_record : ends.back().lsn;
  index.restore_points = std::move(restore_points);
  for (const pg::WalTransactionEnd& end : ends) {
    const pg::WalCommit& commit = end;
    if (!index.has_ends) index.end_time_min = index.end_time_max = end.time;
    index.end_time_min = std::min(index.end_time_min, end.time);
    index.end_time_max = std::max(index.end_time_max, end.time);
    index.has_ends = true;
    const auto minute = std::chrono::floor<std::chrono::minutes>(end.time);
    if (index.minutes.empty() || index.minutes.back().minute != minute) index.minutes.push_back({minute, 0, 0});
    ++(end.aborted ? index.minutes.back().abort_count : index.minutes.back().commit_count);
    std::vector<Xid> xids = end.subxids;
    xids.push_back(end.xid);
    for (const Xid xid : xids) {
      if (index.xid_first.value == 0) index.xid_first = index.xid_last = xid;
      index.xid_first = std::min(index.xid_first, xid);
      index.xid_last = std::max(index.xid_last, xid);
    }
    if (end.aborted) continue;
    if (!index.first_commit) index.first_commit = commit;
    const bool first = !index.last_commit;
    index.last_commit = commit;
    index.commit_time_min = first ? end.time : std::min(index.commit_time_min, end.time);
    index.commit_time_max = first ? end.time : std::max(index.commit_time_max, end.time);
  }
  return index;
}

class FakeWalCatalog final : public WalCatalog {
 public:
  explicit FakeWalCatalog(uint32_t segment_bytes = pg::kWalSegmentBytesDefault) : segment_bytes_(segment_bytes) {}

  /// Add a segment, or replace it; its name is in the index.
  void add(pg::WalIndex index, std::vector<pg::WalTransactionEnd> ends = {}) {
    const pg::WalSegment segment = index.segment;
    segments_.insert_or_assign(segment, Entry{std::move(index), std::move(ends)});
  }
  /// Add a segment by what happened in it.
  void add(const pg::WalSegment& segment, std::vector<pg::WalTransactionEnd> ends = {},
           std::vector<pg::WalRestorePoint> restore_points = {}) {
    pg::WalIndex index = sample_wal_index(segment, segment_bytes_, ends, std::move(restore_points));
    add(std::move(index), std::move(ends));
  }
  /// Add segments `first` to `last` of a timeline, in which nothing happens.
  void add_empty(TimelineId timeline, uint64_t first, uint64_t last) {
    for (uint64_t number = first; number <= last; ++number) add(pg::WalSegment{timeline, number});
  }
  void add_history(pg::TimelineHistory history) { histories_.push_back(std::move(history)); }
  /// Take a segment out: a gap.
  void remove(const pg::WalSegment& segment) { segments_.erase(segment); }
  /// Let every read of a segment fail.
  void damage(const pg::WalSegment& segment) { damaged_.insert(segment); }

  uint32_t segment_bytes() const override { return segment_bytes_; }
  bool has(const pg::WalSegment& segment) const override { return segments_.contains(segment); }
  std::vector<uint64_t> segments_of(TimelineId timeline) const override {
    std::vector<uint64_t> out;
    for (const auto& [segment, entry] : segments_)
      if (segment.timeline == timeline) out.push_back(segment.number);
    return out;
  }
  std::vector<TimelineId> timelines() const override {
    std::vector<TimelineId> out;
    for (const auto& [segment, entry] : segments_)
      if (out.empty() || out.back() != segment.timeline) out.push_back(segment.timeline);
    return out;
  }
  const std::vector<pg::TimelineHistory>& histories() const override { return histories_; }

  /// Indexes are given complete: `before` is not needed.
  Result<pg::WalIndex> index(const pg::WalSegment& segment, const pg::WalIndex* = nullptr) override {
    ++index_reads_;
    TRY_ASSIGN(const Entry* entry, find(segment));
    return entry->index;
  }
  Result<std::vector<pg::WalTransactionEnd>> transaction_ends(const pg::WalSegment& segment,
                                                              const pg::WalIndex* = nullptr) override {
    ++segment_reads_;
    TRY_ASSIGN(const Entry* entry, find(segment));
    return entry->ends;
  }

  /// How often index() and transaction_ends() were called.
  size_t index_reads() const { return index_reads_; }
  size_t segment_reads() const { return segment_reads_; }

 private:
  struct Entry {
    pg::WalIndex index;
    std::vector<pg::WalTransactionEnd> ends;
  };

  Result<const Entry*> find(const pg::WalSegment& segment) const {
    const std::string name = segment_name(segment, segment_bytes_);
    const auto found = segments_.find(segment);
    if (found == segments_.end()) return Error(Errc::kNotFound, "segment " + name + " is not in the repository");
    if (damaged_.contains(segment)) return Error(Errc::kCorrupt, "segment " + name + " is damaged");
    return &found->second;
  }

  uint32_t segment_bytes_;
  std::map<pg::WalSegment, Entry> segments_;
  std::set<pg::WalSegment> damaged_;
  std::vector<pg::TimelineHistory> histories_;
  size_t index_reads_ = 0;
  size_t segment_reads_ = 0;
};

}  // namespace pgark::testing
