// Summing up WAL indexes into changed blocks, walking the WAL between two backups, and choosing the backup to build on.
#include "catalog/changed_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "catalog/block_set.h"
#include "pg/wal.h"

namespace pgark {

struct ChangedBlocks::State {
  uint32_t relation_segment_blocks = 0;
  // Main forks alone: of the others everything is said by what they are.
  BlockSet blocks;
  std::map<pg::WalRelation, uint32_t> limits;  // Smallest length since the older backup.
  std::set<pg::WalDatabase> databases;
  uint8_t whole_reasons = 0;
  uint64_t segment_count = 0;
};

ChangedBlocks::ChangedBlocks(uint32_t relation_segment_blocks) : state_(std::make_unique<State>()) {
  state_->relation_segment_blocks = relation_segment_blocks;
}
ChangedBlocks::~ChangedBlocks() = default;
ChangedBlocks::ChangedBlocks(ChangedBlocks&&) noexcept = default;
ChangedBlocks& ChangedBlocks::operator=(ChangedBlocks&&) noexcept = default;

void ChangedBlocks::add(const pg::WalIndex& index) {
  ++state_->segment_count;
  state_->whole_reasons |= index.whole_reasons;
  state_->databases.insert(index.whole_databases.begin(), index.whole_databases.end());
  for (const auto& [fork, changes] : index.changes) {
    if (fork.fork != pg::Fork::kMain) continue;
    const pg::WalRelation& relation = fork.relation;
    auto limit = state_->limits.find(relation);
    if (changes.limit_block && (limit == state_->limits.end() || *changes.limit_block < limit->second)) {
      limit = state_->limits.insert_or_assign(relation, *changes.limit_block).first;
      state_->blocks.erase_from(relation, limit->second);
    }
    // A block that was once beyond the end holds whatever was put there since, and WAL need not say so: a bulk
    // extension leaves pages of zeros that no record names. So marks from the smallest limit on say nothing more.
    auto end = changes.blocks.end();
    if (limit != state_->limits.end()) end = std::ranges::lower_bound(changes.blocks, limit->second);
    state_->blocks.add(relation, std::span(changes.blocks.begin(), end));
  }
}

FileChanges ChangedBlocks::of(const pg::RelationFile& file) const {
  FileChanges out;
  const pg::WalRelation relation{file.tablespace_oid, file.database_oid, file.name.relfilenode};
  // WAL says little of free space maps and, up to 18.4, not all of visibility maps; init forks are a page or two.
  const uint64_t first = file.first_block(state_->relation_segment_blocks);
  const auto limit = state_->limits.find(relation);
  if (file.name.fork != pg::Fork::kMain || file.name.is_temporary ||
      state_->databases.contains({file.tablespace_oid, file.database_oid}) ||
      (limit != state_->limits.end() && limit->second <= first)) {
    out.whole = true;
    return out;
  }
  const uint64_t end = first + state_->relation_segment_blocks;
  if (limit != state_->limits.end() && limit->second < end)
    out.limit_block = static_cast<uint32_t>(limit->second - first);
  out.blocks = state_->blocks.between(relation, first, end);
  for (uint32_t& block : out.blocks) block -= static_cast<uint32_t>(first);
  return out;
}

uint8_t ChangedBlocks::whole_reasons() const { return state_->whole_reasons; }
uint64_t ChangedBlocks::block_count() const { return state_->blocks.size(); }
uint64_t ChangedBlocks::segment_count() const { return state_->segment_count; }

namespace {

using LiveWal = std::function<Result<std::optional<pg::WalIndex>>(const pg::WalSegment&, const pg::WalIndex*)>;

/// Absence and damage are what a hole is made of; everything else is an error.
bool is_hole(const Error& error) {
  return error.code() == Errc::kNotFound || error.code() == Errc::kCorrupt || error.code() == Errc::kUnsupported;
}

/// Finds the index of one segment after the other: in the catalog, in the cluster, or why in neither.
class Gatherer {
 public:
  Gatherer(WalCatalog& wal, const pg::TimelineHistory& history, Lsn end, const LiveWal& live)
      : wal_(&wal), history_(&history), end_(end), live_(&live) {}

  /// The complete index of a segment, valid up to its end or `end`; none: hole() says why.
  Result<std::optional<pg::WalIndex>> read(uint64_t number, const pg::WalIndex* before) {
    hole_.clear();
    const uint32_t bytes = wal_->segment_bytes();
    const Lsn needed{std::min((number + 1) * bytes, end_.bytes)};
    const pg::WalSegment due{history_->owner_of(Lsn{(number + 1) * bytes - 1}), number};
    std::optional<pg::WalIndex> index;
    const bool listed = wal_->has(due);
    if (listed) TRY(take(from_catalog(due, before), needed, index));
    if (!index && *live_) TRY(take((*live_)(due, before), needed, index));
    // Since the listing the segment may have gone its way from the cluster into the repository.
    if (!index && !listed) TRY(take(from_catalog(due, before), needed, index));
    if (!index) TRY(take(from_ancestor(due, before, needed), needed, index));
    if (!index) note(fmt::format("segment {} is not there", pg::segment_name(due, bytes)));
    return index;
  }
  const std::string& hole() const { return hole_; }

 private:
  void note(std::string why) {
    if (hole_.empty()) hole_ = std::move(why);  // The first reason is the one of the place that should have it.
  }

  Result<std::optional<pg::WalIndex>> from_catalog(const pg::WalSegment& segment, const pg::WalIndex* before) {
    auto read = wal_->index(segment, before);
    if (!read && read.error().code() == Errc::kNotFound) return std::optional<pg::WalIndex>{};
    if (!read) return std::move(read).error();
    return std::optional<pg::WalIndex>(std::move(*read));
  }

  /// Keep what a place gave in `index` if it reaches far enough; else note why not.
  Result<> take(Result<std::optional<pg::WalIndex>> got, Lsn needed, std::optional<pg::WalIndex>& index) {
    if (!got && !is_hole(got.error())) return std::move(got).error();
    if (!got) {
      note(got.error().to_string());
    } else if (*got && (*got)->valid_to < needed) {
      note(fmt::format("WAL in segment {} ends at {}, before {}: {}",
                       pg::segment_name((*got)->segment, (*got)->segment_bytes), to_string((*got)->valid_to),
                       to_string(needed), (*got)->end_reason));
    } else {
      index = std::move(*got);
    }
    return {};
  }

  /// A timeline that begins in the segment has a copy of the WAL before; without that, the ancestor's own will do if
  /// nothing is needed from behind the fork.
  Result<std::optional<pg::WalIndex>> from_ancestor(const pg::WalSegment& due, const pg::WalIndex* before, Lsn needed) {
    const auto found = find_segment_on(*wal_, *history_, due.number);
    if (!found || *found == due) return std::optional<pg::WalIndex>{};
    const auto fork = history_->end_of(found->timeline);
    if (!fork || *fork < needed) return std::optional<pg::WalIndex>{};
    return from_catalog(*found, before);
  }

  WalCatalog* wal_;
  const pg::TimelineHistory* history_;
  Lsn end_;
  const LiveWal* live_;
  std::string hole_;
};

/// Why `backup` cannot be built on; empty if it can.
std::string objection(const BackupMeta& backup, const PriorRequest& request) {
  if (backup.cluster_number != request.cluster_number)
    return fmt::format("is of cluster {}, which an upgrade replaced by {}", backup.cluster_number,
                       request.cluster_number);
  if (backup.block_bytes != request.block_bytes || backup.relation_segment_blocks != request.relation_segment_blocks)
    return "has blocks or relation segments of another size";
  if (backup.checksum_version != request.checksum_version)
    return fmt::format("was made before page checksums were turned {}", request.checksum_version != 0 ? "on" : "off");
  const pg::TimelineHistory& history = request.history;
  if (!history.contains(backup.stop_timeline) || !history.contains(backup.start_timeline))
    return fmt::format(
        "is of timeline {}, which timeline {} does not descend from",
        history.contains(backup.stop_timeline) ? backup.start_timeline.value : backup.stop_timeline.value,
        history.timeline().value);
  if (!history.contains(backup.stop_timeline, backup.stop_lsn) ||
      !history.contains(backup.start_timeline, backup.start_lsn))
    return fmt::format("ended at {} of timeline {}, which timeline {} left at {}", to_string(backup.stop_lsn),
                       backup.stop_timeline.value, history.timeline().value,
                       to_string(history.end_of(backup.stop_timeline).value_or(backup.stop_lsn)));
  if (backup.stop_lsn > request.now)
    return fmt::format(
        "ended at {}, where the cluster at {} has not been yet: "
        "it is an older copy, or was reset",
        to_string(backup.stop_lsn), to_string(request.now));
  return {};
}

}  // namespace

Result<WalChanges> gather_wal_changes(WalCatalog& wal, const pg::TimelineHistory& history, Lsn begin, Lsn end,
                                      uint32_t relation_segment_blocks, const LiveWal& live) {
  WalChanges out;
  if (end < begin) {
    out.hole = fmt::format("the cluster is at {}, behind the start of the older backup at {}", to_string(end),
                           to_string(begin));
    return out;
  }
  ChangedBlocks blocks(relation_segment_blocks);
  Gatherer gatherer(wal, history, end, live);
  std::optional<pg::WalIndex> before;
  const uint32_t bytes = wal.segment_bytes();
  for (uint64_t number = begin.bytes / bytes; begin < end && number * bytes < end.bytes; ++number) {
    // A record that crosses into the first segment began before the older backup, which has what it did.
    TRY_ASSIGN_CTX(std::optional<pg::WalIndex> index, gatherer.read(number, before ? &*before : nullptr),
                   "read what WAL changed");
    if (!index) {
      out.hole = gatherer.hole();
      return out;
    }
    blocks.add(*index);
    before = std::move(index);
  }
  out.blocks = std::move(blocks);
  return out;
}

PriorChoice choose_prior(const std::vector<BackupMeta>& backups, const PriorRequest& request) {
  PriorChoice choice;
  const bool only_full = request.type == BackupType::kDiff;
  if (request.type == BackupType::kFull) return choice;
  for (auto backup = backups.rbegin(); backup != backups.rend(); ++backup) {
    if (only_full && backup->type != BackupType::kFull) continue;
    const std::string why = objection(*backup, request);
    if (why.empty()) {
      choice.prior = *backup;
      return choice;
    }
    // Of the newest it is what people ask about.
    if (choice.reason.empty()) choice.reason = fmt::format("backup {} {}", backup->label, why);
  }
  if (choice.reason.empty()) choice.reason = only_full ? "there is no full backup" : "there is no backup";
  return choice;
}

}  // namespace pgark
