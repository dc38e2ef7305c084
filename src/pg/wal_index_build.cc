// The rules of what each record means for files, transactions and people. Block
// references speak for themselves; here is what changes files without them.
#include "pg/wal_index_build.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <utility>

#include "pg/relation_path.h"

namespace pgark::pg {
namespace {

constexpr uint8_t kHeapOpcodeMask = 0x70;
constexpr size_t kRestorePointNameBytes = 64;

uint8_t byte_at(Bytes data, size_t at) { return at < data.size() ? static_cast<uint8_t>(data[at]) : uint8_t{0}; }

/// The heap page a record changes, or leaves with a row: the block of that id,
/// if it is one of a main fork.
const WalBlockRef* heap_block(const WalRecord& record, uint8_t id) {
  for (const WalBlockRef& ref : record.blocks())
    if (ref.id == id && ref.fork == Fork::kMain) return &ref;
  return nullptr;
}

/// Below this many, comparing is quicker.
constexpr size_t kRadixSortMin = 256;

/// Sort by digits of 11 bits, leaving out those that are 0 in every number. Blocks of a busy table come in any order
/// and by the ten thousand; comparing them took a quarter of the pass over a segment.
void radix_sort(std::vector<uint32_t>& numbers) {
  constexpr unsigned kDigitBits = 11;
  constexpr size_t kDigits = size_t{1} << kDigitBits;
  std::vector<uint32_t> other(numbers.size());
  const uint32_t all = std::accumulate(numbers.begin(), numbers.end(), uint32_t{0}, std::bit_or<>{});
  for (unsigned shift = 0; shift < 32 && all >> shift != 0; shift += kDigitBits) {
    const auto digit = [shift](uint32_t number) { return (number >> shift) & (kDigits - 1); };
    std::array<uint32_t, kDigits> begins{};
    for (const uint32_t number : numbers) ++begins[digit(number)];
    uint32_t at = 0;
    for (uint32_t& begin : begins) at += std::exchange(begin, at);
    for (const uint32_t number : numbers) other[begins[digit(number)]++] = number;
    numbers.swap(other);
  }
}

void sort_once_each(std::vector<uint32_t>& blocks) {
  if (std::ranges::is_sorted(blocks, std::ranges::less_equal{})) return;
  if (blocks.size() < kRadixSortMin) {
    std::ranges::sort(blocks);
  } else {
    radix_sort(blocks);
  }
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
}

void count_minute(std::vector<WalMinute>& minutes, Timestamp time, bool aborted) {
  const Timestamp minute = std::chrono::floor<std::chrono::minutes>(time);
  if (minutes.empty() || minutes.back().minute != minute) minutes.push_back({.minute = minute});
  ++(aborted ? minutes.back().abort_count : minutes.back().commit_count);
}

/// What is said of a database as a whole leaves nothing to say of its
/// relations.
void forget_parts_of_whole_databases(WalIndex& index) {
  std::ranges::sort(index.whole_databases);
  index.whole_databases.erase(std::unique(index.whole_databases.begin(), index.whole_databases.end()),
                              index.whole_databases.end());
  for (const WalDatabase& whole : index.whole_databases) {
    const auto first = index.changes.lower_bound({{whole.tablespace_oid, whole.database_oid, 0}, Fork::kMain});
    const auto last = index.changes.upper_bound({{whole.tablespace_oid, whole.database_oid, UINT32_MAX}, Fork::kInit});
    index.changes.erase(first, last);
  }
}

}  // namespace

void WalChangeCollector::limit(const WalFork& fork, uint32_t blocks) {
  WalForkChanges& changes = find(fork).changes;
  changes.limit_block = std::min(changes.limit_block.value_or(blocks), blocks);
  std::erase_if(changes.blocks, [&](uint32_t block) { return block >= blocks; });
}

void WalChangeCollector::tidy(State& state) {
  sort_once_each(state.changes.blocks);
  state.tidy_at = std::max(state.tidy_at, state.changes.blocks.size() * 2);
}

void WalChangeCollector::finish(std::map<WalFork, WalForkChanges>& out) {
  for (auto& [fork, state] : states_) {
    sort_once_each(state.changes.blocks);
    state.changes.blocks.shrink_to_fit();
    out.emplace(fork, std::move(state.changes));
  }
  states_.clear();
  cache_.fill(nullptr);
}

void WalDeleteCounter::add(Xid xid, const WalRelation& relation, Lsn lsn) {
  if (last_ == nullptr || last_xid_ != xid) {
    last_ = &open_[xid.value];  // Stays where it is.
    last_xid_ = xid;
  }
  const auto found = std::ranges::find(*last_, relation, &Count::relation);
  if (found != last_->end())
    ++found->rows;
  else
    last_->push_back({relation, lsn, 1});
}

void WalDeleteCounter::emit(Xid xid, const Counts& counts, std::vector<WalEvent>& events) {
  for (const Count& count : counts)
    if (count.rows >= kWalDeletesMin)
      events.push_back({.kind = WalEventKind::kDelete,
                        .lsn = count.first,
                        .xid = xid,
                        .relation = count.relation,
                        .count = count.rows});
}

void WalDeleteCounter::end(const WalTransactionRecord& ended, std::vector<WalEvent>& events) {
  if (open_.empty()) return;
  Counts all;
  const auto take = [&](Xid xid) {
    const auto found = open_.find(xid.value);
    if (found == open_.end()) return;
    for (const Count& count : found->second) {
      const auto same = std::ranges::find(all, count.relation, &Count::relation);
      if (same == all.end()) {
        all.push_back(count);
        continue;
      }
      same->rows += count.rows;
      same->first = std::min(same->first, count.first);
    }
    open_.erase(found);
  };
  take(ended.xid);
  for (const Xid xid : ended.subxids) take(xid);
  last_ = nullptr;
  if (!ended.aborted) emit(ended.xid, all, events);  // What was undone is not missed.
}

void WalDeleteCounter::finish(std::vector<WalEvent>& events) {
  for (const auto& [xid, counts] : open_) emit(Xid{xid}, counts, events);
  open_.clear();
  last_ = nullptr;
}

void WalIndexBuilder::add(const WalRecord& record) {
  for (const WalBlockRef& ref : record.blocks())
    if (ref.fork != Fork::kFreeSpaceMap) changes_.mark({ref.relation, ref.fork}, ref.block);
  if (!created_.empty() && record.header.xid.value != 0) count_written(record);
  const WalRmgr rmgr = record.header.rmgr;
  if (rmgr == wal_rmgr::kHeap) return heap(record);
  if (rmgr == wal_rmgr::kHeap2) return heap2(record);
  if (rmgr == wal_rmgr::kTransaction && is_transaction_end(record.header)) return transaction_end(record);
  if (rmgr == wal_rmgr::kStorage) return storage(record);
  if (rmgr == wal_rmgr::kDatabase) return database(record);
  if (rmgr == wal_rmgr::kTablespace) return tablespace(record);
  if (rmgr == wal_rmgr::kXlog) return xlog(record);
  if (rmgr == wal_rmgr::kXlog2 && record.header.opcode() == 0x00) return whole(WalWholeReason::kChecksumsSwitched);
  if (record.header.changes_relation_files()) not_understood();
}

void WalIndexBuilder::finish() {
  changes_.finish(index_.changes);
  deletes_.finish(index_.events);
  for (WalEvent& event : index_.events)
    if (const auto top = top_of_.find(event.xid.value); top != top_of_.end()) event.xid = top->second;
  std::ranges::stable_sort(index_.events, {}, &WalEvent::lsn);
  forget_parts_of_whole_databases(index_);
}

/// How much the transaction that made a file puts into it tells TRUNCATE from a rewrite.
void WalIndexBuilder::count_written(const WalRecord& record) {
  for (const WalBlockRef& ref : record.blocks()) {
    if (ref.fork != Fork::kMain) continue;
    const auto made = created_.find(ref.relation);
    if (made == created_.end() || made->second.xid != record.header.xid) continue;
    uint32_t& count = index_.events[made->second.event].count;
    count = std::max(count, ref.block + 1);
  }
}

void WalIndexBuilder::event(const WalRecord& record, WalEventKind kind, const WalRelation& relation, uint32_t count) {
  const Xid xid = record.top_xid.value_or(record.header.xid);
  if (xid.value != 0) event_xids_.insert(xid.value);
  index_.events.push_back({.kind = kind, .lsn = record.lsn, .xid = xid, .relation = relation, .count = count});
}

// Source: PostgreSQL src/include/catalog/pg_control.h; xlogdefs of
// xl_parameter_change, xl_end_of_recovery, CheckPoint.
void WalIndexBuilder::xlog(const WalRecord& record) {
  const bool says_wal_level = index_.major.value >= 17;
  switch (record.header.opcode()) {
    case 0x00:  // Checkpoint at shutdown.
    case 0x10:  // Checkpoint.
      if (says_wal_level) wal_level(record, 20);
      break;
    case 0x60:  // Parameter change; 12 put one setting more before it.
      wal_level(record, index_.major.value >= 12 ? 20 : 16);
      break;
    case 0x90:  // End of recovery.
      if (says_wal_level) wal_level(record, 16);
      break;
    case 0xe0:  // Start of a checkpoint, since 17.
      wal_level(record, 0);
      break;
    case 0x70: {  // Restore point.
      if (record.main_data.size() < 8 + kRestorePointNameBytes) break;
      std::string_view name = as_text(record.main_data.subspan(8, kRestorePointNameBytes));
      name = name.substr(0, name.find('\0'));
      index_.restore_points.push_back({.lsn = record.lsn,
                                       .end = record.end,
                                       .time = timestamp_of_pg(load_le<int64_t>(record.main_data.data())),
                                       .name = std::string(name)});
      break;
    }
    default:
      if (record.header.changes_relation_files()) not_understood();
  }
}

void WalIndexBuilder::wal_level(const WalRecord& record, size_t offset_bytes) {
  if (record.main_data.size() < offset_bytes + 4) return;
  if (load_le<uint32_t>(record.main_data.data() + offset_bytes) == 0) whole(WalWholeReason::kMinimalWal);
}

// Source: PostgreSQL src/include/catalog/storage_xlog.h
void WalIndexBuilder::storage(const WalRecord& record) {
  ByteReader in(record.main_data);
  const auto relation = [&] {
    WalRelation out;
    out.tablespace_oid = in.fixed<uint32_t>();
    out.database_oid = in.fixed<uint32_t>();
    out.relfilenode = in.fixed<uint32_t>();
    return out;
  };
  if (record.header.opcode() == 0x10) {
    const WalRelation created = relation();
    const auto fork = in.fixed<uint32_t>();
    if (!in.ok() || fork > static_cast<uint32_t>(Fork::kInit)) return not_understood();
    if (static_cast<Fork>(fork) == Fork::kFreeSpaceMap) return;
    changes_.limit({created, static_cast<Fork>(fork)}, 0);
    if (static_cast<Fork>(fork) != Fork::kMain) return;
    created_[created] = {record.header.xid, index_.events.size()};
    event(record, WalEventKind::kCreate, created);
    return;
  }
  if (record.header.opcode() != 0x20) {
    if (record.header.changes_relation_files()) not_understood();
    return;
  }
  const auto blocks = in.fixed<uint32_t>();
  const WalRelation cut = relation();
  const auto flags = in.fixed<uint32_t>();
  if (!in.ok()) return not_understood();
  if ((flags & 1) != 0) {
    changes_.limit({cut, Fork::kMain}, blocks);
    event(record, WalEventKind::kShrink, cut, blocks);
  }
  if ((flags & 2) != 0) {
    const uint32_t per_page = heap_blocks_per_vm_page();
    const uint32_t pages = blocks / per_page + (blocks % per_page == 0 ? 0 : 1);
    changes_.limit({cut, Fork::kVisibilityMap}, pages);
    // Bits of heap blocks that are gone are cleared in the last page that
    // stays, and no record says so.
    if (pages > 0) changes_.mark({cut, Fork::kVisibilityMap}, pages - 1);
  }
}

// Source: PostgreSQL src/include/commands/dbcommands_xlog.h; 15 put creation by
// WAL between creation and drop.
void WalIndexBuilder::database(const WalRecord& record) {
  const uint32_t major = index_.major.value;
  const uint8_t opcode = record.header.opcode();
  ByteReader in(record.main_data);
  const auto database = in.fixed<uint32_t>();
  const auto changed = [&](WalEventKind kind, uint32_t tablespace) {
    index_.whole_databases.push_back({tablespace, database});
    event(record, kind, {tablespace, database, 0});
  };
  if (opcode == 0x00 || (opcode == 0x10 && major >= 15)) {
    const auto tablespace = in.fixed<uint32_t>();
    if (!in.ok()) return not_understood();
    return changed(WalEventKind::kCreateDatabase, tablespace);
  }
  if (opcode != (major >= 15 ? 0x20 : 0x10)) {
    if (record.header.changes_relation_files()) not_understood();
    return;
  }
  const uint32_t count = major >= 13 ? in.fixed<uint32_t>() : 1;
  if (!in.ok() || count > in.remaining() / 4 || !record.main_data_is_whole()) return not_understood();
  for (uint32_t i = 0; i < count; ++i) changed(WalEventKind::kDropDatabase, in.fixed<uint32_t>());
}

void WalIndexBuilder::tablespace(const WalRecord& record) {
  index_.tablespaces_changed = true;
  if (record.header.opcode() == 0x10 && record.main_data.size() >= 4)
    event(record, WalEventKind::kDropTablespace, {load_le<uint32_t>(record.main_data.data()), 0, 0});
}

void WalIndexBuilder::visibility_cleared(const WalBlockRef& heap) {
  changes_.mark({heap.relation, Fork::kVisibilityMap}, heap.block / heap_blocks_per_vm_page());
}

// Source: PostgreSQL src/include/access/heapam_xlog.h. Up to 18.4 no reference
// names the visibility map page whose bits such a record clears, nor does that
// page get a new LSN.
void WalIndexBuilder::heap(const WalRecord& record) {
  const Bytes data = record.main_data;
  const WalBlockRef* block = heap_block(record, 0);
  switch (record.header.info & kHeapOpcodeMask) {
    case 0x00:  // Insert.
      if (block != nullptr && (byte_at(data, 2) & 1) != 0) visibility_cleared(*block);
      break;
    case 0x10:  // Delete.
      if (block == nullptr) break;
      if ((byte_at(data, 7) & 1) != 0) visibility_cleared(*block);
      if (record.lsn >= segment_start(index_.segment, index_.segment_bytes))
        deletes_.add(record.header.xid, block->relation, record.lsn);
      break;
    case 0x20:  // Update.
    case 0x40:  // Update within a page.
    {
      const WalBlockRef* old = heap_block(record, 1);
      if (old == nullptr) old = block;
      if (old != nullptr && (byte_at(data, 7) & 1) != 0) visibility_cleared(*old);
      if (block != nullptr && (byte_at(data, 7) & 2) != 0) visibility_cleared(*block);
      break;
    }
    case 0x30:
      heap_truncate(record);
      break;
    case 0x60:  // Lock.
      if (block != nullptr && (byte_at(data, 7) & 1) != 0) visibility_cleared(*block);
      break;
    default:
      break;
  }
  if (record.header.changes_relation_files()) not_understood();
}

void WalIndexBuilder::heap2(const WalRecord& record) {
  const WalBlockRef* block = heap_block(record, 0);
  const unsigned opcode = record.header.info & kHeapOpcodeMask;
  const bool multi_insert = opcode == 0x50 && (byte_at(record.main_data, 0) & 1) != 0;
  const bool lock_updated = opcode == 0x60 && (byte_at(record.main_data, 7) & 1) != 0;
  if (block != nullptr && (multi_insert || lock_updated)) visibility_cleared(*block);
  if (record.header.changes_relation_files()) not_understood();
}

void WalIndexBuilder::heap_truncate(const WalRecord& record) {
  ByteReader in(record.main_data);
  const auto database = in.fixed<uint32_t>();
  const auto count = in.fixed<uint32_t>();
  in.skip(4);  // Flags and padding.
  if (!in.ok() || count > in.remaining() / 4) return;
  for (uint32_t i = 0; i < count; ++i) event(record, WalEventKind::kTruncate, {0, database, in.fixed<uint32_t>()});
}

void WalIndexBuilder::transaction_end(const WalRecord& record) {
  decode_transaction_end(record, index_.major, ended_);
  if (!ended_.is_whole) not_understood();
  deletes_.end(ended_, index_.events);
  if (!event_xids_.empty())
    for (const Xid xid : ended_.subxids)
      if (event_xids_.contains(xid.value)) top_of_[xid.value] = ended_.xid;
  for (const WalRelation& relation : ended_.dropped) {
    drop(relation);
    if (ended_.aborted) continue;  // Created by the transaction itself.
    index_.events.push_back(
        {.kind = WalEventKind::kDrop, .lsn = record.lsn, .time = ended_.time, .xid = ended_.xid, .relation = relation});
  }
  note_end(record);
}

void WalIndexBuilder::drop(const WalRelation& relation) {
  for (const Fork fork : {Fork::kMain, Fork::kVisibilityMap, Fork::kInit}) changes_.limit({relation, fork}, 0);
}

void WalIndexBuilder::note_end(const WalRecord& record) {
  const Timestamp time = ended_.time;
  index_.end_time_min = index_.has_ends ? std::min(index_.end_time_min, time) : time;
  index_.end_time_max = index_.has_ends ? std::max(index_.end_time_max, time) : time;
  index_.has_ends = true;
  count_minute(index_.minutes, time, ended_.aborted);
  extend_xid_range(index_, ended_.xid);
  for (const Xid xid : ended_.subxids) extend_xid_range(index_, xid);
  if (ended_.aborted) return;
  const WalCommit commit{.lsn = record.lsn, .end = record.end, .time = time, .xid = ended_.xid};
  index_.commit_time_min = index_.first_commit ? std::min(index_.commit_time_min, time) : time;
  index_.commit_time_max = index_.first_commit ? std::max(index_.commit_time_max, time) : time;
  if (!index_.first_commit) index_.first_commit = commit;
  index_.last_commit = commit;
}

void extend_xid_range(WalIndex& index, Xid xid) {
  if (xid.value == 0) return;
  if (index.xid_first.value == 0) {
    index.xid_first = index.xid_last = xid;
    return;
  }
  if (xid.value - index.xid_first.value <= index.xid_last.value - index.xid_first.value) return;
  // Transaction ids go round: of the two ways to take it in, the shorter.
  const uint32_t in_front = index.xid_first.value - xid.value;
  const uint32_t behind = xid.value - index.xid_last.value;
  (in_front < behind ? index.xid_first : index.xid_last) = xid;
}

void merge_in_front(const WalIndex& before, WalIndex& index) {
  for (const auto& [fork, earlier] : before.changes) {
    WalForkChanges& changes = index.changes[fork];
    for (const uint32_t block : earlier.blocks)
      if (!changes.limit_block || block < *changes.limit_block) changes.blocks.push_back(block);
    sort_once_each(changes.blocks);
    if (earlier.limit_block)
      changes.limit_block = std::min(changes.limit_block.value_or(*earlier.limit_block), *earlier.limit_block);
  }
  index.whole_databases.insert(index.whole_databases.end(), before.whole_databases.begin(),
                               before.whole_databases.end());
  forget_parts_of_whole_databases(index);
  index.whole_reasons |= before.whole_reasons;
  index.tablespaces_changed = index.tablespaces_changed || before.tablespaces_changed;

  if (before.first_commit) {
    const bool none = !index.first_commit;
    index.commit_time_min = none ? before.commit_time_min : std::min(index.commit_time_min, before.commit_time_min);
    index.commit_time_max = none ? before.commit_time_max : std::max(index.commit_time_max, before.commit_time_max);
    index.first_commit = before.first_commit;
    if (none) index.last_commit = before.last_commit;
  }
  if (before.has_ends) {
    const bool none = !index.has_ends;
    index.end_time_min = none ? before.end_time_min : std::min(index.end_time_min, before.end_time_min);
    index.end_time_max = none ? before.end_time_max : std::max(index.end_time_max, before.end_time_max);
    index.has_ends = true;
  }
  extend_xid_range(index, before.xid_first);
  extend_xid_range(index, before.xid_last);
  std::vector<WalMinute> minutes = before.minutes;
  for (const WalMinute& minute : index.minutes) {
    if (minutes.empty() || minutes.back().minute != minute.minute) {
      minutes.push_back(minute);
      continue;
    }
    minutes.back().commit_count += minute.commit_count;
    minutes.back().abort_count += minute.abort_count;
  }
  index.minutes = std::move(minutes);
  index.restore_points.insert(index.restore_points.begin(), before.restore_points.begin(), before.restore_points.end());
  index.events.insert(index.events.begin(), before.events.begin(), before.events.end());
}

}  // namespace pgark::pg
