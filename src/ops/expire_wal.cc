// The pass of expire over the archived WAL of one cluster.
#include <fmt/format.h>

#include "catalog/wal_dropped.h"
#include "core/log.h"
#include "ops/expire_parts.h"
#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

constexpr uint64_t kHistoryBytesMax = 4u << 20;

/// Histories that can be read. One that cannot is left out: its timeline may then come from any earlier one.
Result<std::vector<pg::TimelineHistory>> read_histories(const ExpirePass& pass, unsigned cluster_number) {
  TRY_ASSIGN(const auto timelines, list_timeline_histories(pass.repository, pass.stanza, cluster_number));
  std::vector<pg::TimelineHistory> histories;
  for (const TimelineId timeline : timelines) {
    TRY_ASSIGN(const auto copies,
               find_wal_copies(pass.repository, pass.stanza, cluster_number, pg::history_name(timeline)));
    for (const ObjectKey& key : copies) {
      const auto stored = read_stored_file(pass.repository, key, kHistoryBytesMax);
      auto parsed = stored ? pg::parse_timeline_history(timeline, as_text(stored->raw))
                           : Result<pg::TimelineHistory>(stored.error());
      if (!parsed) {
        log_detail("history of timeline {} cannot be read: {}", timeline.value, parsed.error().message());
        continue;
      }
      histories.push_back(std::move(*parsed));
      break;
    }
  }
  return histories;
}

/// Walks the archive in the order of its keys, passing over what is needed as a whole.
class WalPass {
 public:
  WalPass(const ExpirePass& pass, const ClusterRecord& cluster, WalNeed kept, WalNeed all)
      : pass_(pass),
        cluster_(cluster),
        prefix_(fmt::format("{}/wal/{}/", pass.stanza, cluster.number)),
        kept_(std::move(kept)),
        all_(std::move(all)) {}

  Result<> run() {
    for (ListRequest request{.prefix = prefix_, .after = "", .limit = list_page(pass_.repository.store())};;) {
      TRY_ASSIGN_CTX(const ListPage page, pass_.repository.store().list(request), "list WAL of stanza " + pass_.stanza);
      bool skipped = false;
      for (const ObjectInfo& object : page.objects) {
        request.after = object.key.value;
        const auto wal =
            parse_archived_wal(std::string_view(object.key.value).substr(prefix_.size()), cluster_.wal_segment_bytes);
        if (!wal) continue;
        if (wal->kind == ArchivedWal::Kind::kSegment && rest_is_needed(wal->segment)) {
          // Of a timeline that is needed from here on, there is nothing more to see. '0' follows '/'.
          request.after = prefix_ + fmt::format("{:08X}0", wal->segment.timeline.value);
          skipped = true;
          break;
        }
        TRY(look_at(object, *wal));
      }
      if (!skipped && (!page.more || page.objects.empty())) break;
    }
    TRY(remove_copies());
    return remove_batch();
  }

 private:
  bool rest_is_needed(const pg::WalSegment& segment) const {
    const auto from = kept_.whole_from(segment.timeline);
    return from && segment.number >= *from;
  }

  Result<> look_at(const ObjectInfo& object, const ArchivedWal& wal) {
    using Kind = ArchivedWal::Kind;
    if (wal.kind == Kind::kHistory) return {};
    if (wal.kind == Kind::kDropped) return look_at_dropped(object, wal.segment);
    if (kept_.needs(wal.segment)) return {};
    // WAL of a timeline that no backup leads to may belong to a backup that is being made on another machine.
    if (all_.needs(wal.segment) || (!all_.whole_from(wal.segment.timeline) && !pass_.is_old(object.modified))) {
      pass_.report.waiting_wal.add(object.bytes);
      return {};
    }
    const std::string name = object.key.value.substr(0, object.key.value.size() - generation_suffix(wal).size());
    if (name != name_) TRY(remove_copies());
    name_ = name;
    copies_.push_back(object);
    if (wal.kind == Kind::kSegment && wal.generation == 0) segment_ = wal.segment;
    return {};
  }

  static std::string generation_suffix(const ArchivedWal& wal) {
    return wal.generation == 0 ? "" : fmt::format(".r{}", wal.generation);
  }

  /// A record of WAL that was given up goes with the last segment of its run.
  Result<> look_at_dropped(const ObjectInfo& object, const pg::WalSegment& first) {
    const auto from = all_.whole_from(first.timeline);
    if (!from || first.number >= *from) return {};
    TRY_ASSIGN(const auto all, dropped());
    for (const DroppedWal& one : *all) {
      const auto begin = pg::parse_segment_name(one.first, cluster_.wal_segment_bytes);
      const auto end = pg::parse_segment_name(one.last, cluster_.wal_segment_bytes);
      if (!begin || !end || *begin != first || all_.needs(first.timeline, begin->number, end->number)) continue;
      TRY(pass_.remover.remove(object, pass_.report.records));
    }
    return {};
  }
  Result<const std::vector<DroppedWal>*> dropped() {
    if (!dropped_) {
      TRY_ASSIGN(auto read, list_dropped_wal(pass_.repository, pass_.stanza, cluster_.number));
      dropped_ = std::move(read);
    }
    return &*dropped_;
  }

  /// Remove the copies of one file, the first one last: while its name is free there is no other. Nearly all files have
  /// one copy, and are removed together.
  Result<> remove_copies() {
    if (copies_.size() == 1) {
      batch_.push_back(copies_.front());
      batch_segments_.push_back(segment_);
      if (batch_.size() >= kExpireBatch) TRY(remove_batch());
    } else if (!copies_.empty()) {
      TRY(remove_batch());
      bool gone = true;
      for (size_t i = copies_.size(); i-- > 0 && gone;) {
        TRY_ASSIGN(gone, pass_.remover.remove(copies_[i], pass_.report.wal));
      }
      if (gone && segment_) add_to_ranges(*segment_);
    }
    copies_.clear();
    segment_.reset();
    return {};
  }

  Result<> remove_batch() {
    TRY_ASSIGN(const std::vector<bool> gone, pass_.remover.remove_many(batch_, pass_.report.wal));
    for (size_t i = 0; i < batch_.size(); ++i)
      if (gone[i] && batch_segments_[i]) add_to_ranges(*batch_segments_[i]);
    batch_.clear();
    batch_segments_.clear();
    return {};
  }

  void add_to_ranges(const pg::WalSegment& segment) {
    auto& ranges = pass_.report.wal_ranges;
    const std::string name = pg::segment_name(segment, cluster_.wal_segment_bytes);
    if (last_ && last_->next() == segment) {
      ranges.back().last = name;
      ++ranges.back().count;
    } else {
      ranges.push_back({segment.timeline, name, name, 1});
    }
    last_ = segment;
  }

  const ExpirePass& pass_;
  const ClusterRecord& cluster_;
  const std::string prefix_;
  const WalNeed kept_;
  const WalNeed all_;  // With backups removed within the grace period.

  std::string name_;                // Key of the first copy of `copies_`.
  std::vector<ObjectInfo> copies_;  // Of one file, first generation first.
  std::optional<pg::WalSegment> segment_;
  std::vector<ObjectInfo> batch_;  // Files with one copy, and which segments they are.
  std::vector<std::optional<pg::WalSegment>> batch_segments_;
  std::optional<pg::WalSegment> last_;  // Removed before.
  std::optional<std::vector<DroppedWal>> dropped_;
};

}  // namespace

Result<> expire_wal(const ExpirePass& pass, const ClusterRecord& cluster, const ExpireWalNeed& need) {
  std::vector<WalUser> all = need.kept;
  all.insert(all.end(), need.waiting.begin(), need.waiting.end());
  if (need.kept.empty()) return {};  // Without a backup, WAL is all there is.
  TRY_ASSIGN(const auto histories, read_histories(pass, cluster.number));
  // Said before anything goes, so that what lacks is never taken for lost.
  if (!pass.dry_run) {
    TRY(write_expired_wal(pass.repository, pass.stanza, cluster.number, cluster.wal_segment_bytes,
                          WalNeed(need.kept, histories).expired(), pass.now));
  }
  return WalPass(pass, cluster, WalNeed(need.kept, histories), WalNeed(std::move(all), histories)).run();
}

}  // namespace pgark
