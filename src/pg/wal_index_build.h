// Gathering what records do into the index of their segment.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "pg/wal_index.h"
#include "pg/wal_transaction.h"

namespace pgark::pg {

/// Gathers block numbers of many forks, most of them often; keeps each once in memory, about.
class WalChangeCollector {
 public:
  void mark(const WalFork& fork, uint32_t block) {
    State& state = find(fork);
    if (!state.changes.blocks.empty() && state.changes.blocks.back() == block) return;
    state.changes.blocks.push_back(block);
    if (state.changes.blocks.size() >= state.tidy_at) tidy(state);
  }
  /// The fork has, or had for a moment, `blocks` blocks only.
  void limit(const WalFork& fork, uint32_t blocks);
  /// Hand over everything, in order.
  void finish(std::map<WalFork, WalForkChanges>& out);

 private:
  struct State {
    WalFork fork;
    WalForkChanges changes;
    size_t tidy_at = size_t{1} << 14;
  };
  static constexpr size_t kCacheSlots = 64;

  static size_t hash(const WalFork& fork) {
    const uint64_t file = uint64_t{fork.relation.relfilenode} << 2 | static_cast<uint64_t>(fork.fork);
    const uint64_t place = uint64_t{fork.relation.database_oid} << 32 | fork.relation.tablespace_oid;
    return static_cast<size_t>((file * 0x9e3779b97f4a7c15u ^ place * 0xc2b2ae3d27d4eb4fu) >> 16);
  }
  struct Hash {
    size_t operator()(const WalFork& fork) const { return hash(fork); }
  };

  State& find(const WalFork& fork) {
    State*& cached = cache_[hash(fork) % kCacheSlots];
    if (cached != nullptr && cached->fork == fork) return *cached;
    cached = &states_[fork];  // Stays where it is.
    cached->fork = fork;
    return *cached;
  }
  static void tidy(State& state);

  std::unordered_map<WalFork, State, Hash> states_;
  std::array<State*, kCacheSlots> cache_{};
};

/// Counts rows deleted by each open transaction; what ends with few of them is forgotten.
class WalDeleteCounter {
 public:
  void add(Xid xid, const WalRelation& relation, Lsn lsn);
  /// The transaction ended, with all it did in subtransactions.
  void end(const WalTransactionRecord& ended, std::vector<WalEvent>& events);
  /// Those that are still open.
  void finish(std::vector<WalEvent>& events);

 private:
  struct Count {
    WalRelation relation;
    Lsn first;
    uint32_t rows = 0;
  };
  using Counts = std::vector<Count>;

  static void emit(Xid xid, const Counts& counts, std::vector<WalEvent>& events);

  std::unordered_map<uint32_t, Counts> open_;  // By xid.
  Xid last_xid_;
  Counts* last_ = nullptr;  // Of last_xid_.
};

/// Applies records, in the order of WAL, to an index.
class WalIndexBuilder {
 public:
  /// `index` says which version the records are of; its other fields of what records do are empty.
  WalIndexBuilder(WalIndex& index, uint32_t page_bytes) : index_(index), page_bytes_(page_bytes) {}

  /// Shape: records that begin before the segment count for everything but deletes.
  void add(const WalRecord& record);
  /// Complete the index: nothing may be added any more.
  void finish();

 private:
  void xlog(const WalRecord& record);
  void wal_level(const WalRecord& record, size_t offset_bytes);
  void storage(const WalRecord& record);
  void database(const WalRecord& record);
  void tablespace(const WalRecord& record);
  void heap(const WalRecord& record);
  void heap2(const WalRecord& record);
  void heap_truncate(const WalRecord& record);
  void transaction_end(const WalRecord& record);
  void drop(const WalRelation& relation);
  void note_end(const WalRecord& record);
  void note_xid(Xid xid);
  void visibility_cleared(const WalBlockRef& heap);
  void whole(WalWholeReason reason) { index_.whole_reasons |= static_cast<uint8_t>(reason); }
  /// The record changes files, and what it says of them cannot be understood.
  void not_understood() { whole(WalWholeReason::kUnknownFileChange); }
  void count_written(const WalRecord& record);
  void event(const WalRecord& record, WalEventKind kind, const WalRelation& relation, uint32_t count = 0);
  uint32_t heap_blocks_per_vm_page() const { return (page_bytes_ - 24) * 4; }

  WalIndex& index_;
  uint32_t page_bytes_;
  WalChangeCollector changes_;
  WalDeleteCounter deletes_;
  WalTransactionRecord ended_;  // Kept for its memory.
  struct Created {
    Xid xid;       // As the record has it.
    size_t event;  // Place in index_.events.
  };
  std::map<WalRelation, Created> created_;
  std::unordered_set<uint32_t> event_xids_;
  std::unordered_map<uint32_t, Xid> top_of_;  // Of those in event_xids_ that turned out to be subtransactions.
};

/// Extend the range of transactions of an index; 0 is none.
void extend_xid_range(WalIndex& index, Xid xid);

/// Add to `index` what happened right before it.
void merge_in_front(const WalIndex& before, WalIndex& index);

}  // namespace pgark::pg
