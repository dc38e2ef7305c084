// The index of a segment as bytes; docs/format/wal.md describes them.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "pg/wal_index.h"

namespace pgark::pg {
namespace {

constexpr uint8_t kVersion = 1;

constexpr unsigned kJoined = 1;
constexpr unsigned kOverwritten = 2;
constexpr unsigned kReachesEnd = 4;
constexpr unsigned kHasFragment = 8;
constexpr unsigned kHasRecords = 16;
constexpr unsigned kHasLastRecord = 32;
constexpr unsigned kHasEnds = 64;
constexpr unsigned kHasCommits = 128;
constexpr unsigned kTablespacesChanged = 256;
constexpr unsigned kFlagsKnown = 511;

constexpr std::array kForks{Fork::kMain, Fork::kVisibilityMap, Fork::kInit};

// Of an event: which members follow, or are those of the event before.
constexpr unsigned kEventKindMask = 0x0f;
constexpr unsigned kEventHasCount = 0x10;
constexpr unsigned kEventHasTime = 0x20;
constexpr unsigned kEventSameDatabase = 0x40;
constexpr unsigned kEventSameXid = 0x80;

int64_t us_of(Timestamp time) { return time.time_since_epoch().count(); }
Timestamp time_of(int64_t us) { return Timestamp(std::chrono::microseconds(us)); }

/// Difference and sum that go round: any two values have one, and it leads
/// back.
int64_t difference(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t sum(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }

class Encoder {
 public:
  explicit Encoder(const WalIndex& index)
      : index_(index), lsn_(segment_start(index.segment, index.segment_bytes).bytes) {}

  std::vector<std::byte> run() && {
    out_.fixed(kVersion);
    head();
    crossing();
    changes();
    out_.varint(index_.whole_databases.size());
    for (const WalDatabase& database : index_.whole_databases) {
      out_.varint(database.tablespace_oid);
      out_.varint(database.database_oid);
    }
    ends();
    restore_points();
    events();
    return std::move(out_).take();
  }

 private:
  unsigned flags() const {
    const auto bit = [](bool set, unsigned value) { return set ? value : 0u; };
    return bit(index_.is_joined, kJoined) | bit(index_.continuation_overwritten, kOverwritten) |
           bit(index_.continuation_reaches_end, kReachesEnd) | bit(index_.fragment.has_value(), kHasFragment) |
           bit(index_.first_record.has_value(), kHasRecords) | bit(index_.last_record.has_value(), kHasLastRecord) |
           bit(index_.has_ends, kHasEnds) | bit(index_.first_commit.has_value(), kHasCommits) |
           bit(index_.tablespaces_changed, kTablespacesChanged);
  }

  void head() {
    out_.varint(flags());
    out_.varint(index_.major.value);
    out_.fixed(index_.system_id);
    out_.varint(index_.segment_bytes);
    out_.varint(index_.wal_block_bytes);
    out_.varint(index_.segment.timeline.value);
    out_.varint(index_.segment.number);
    out_.varint(index_.first_timeline.value);
    out_.varint(index_.last_timeline.value);
    lsn_from_start(index_.valid_to);
    out_.string(index_.end_reason);
    out_.varint(index_.record_count);
    if (index_.first_record) {
      lsn_from_start(*index_.first_record);
      lsn_from_start(index_.first_record_prev);
    }
    if (index_.last_record) lsn_from_start(*index_.last_record);
    out_.fixed(index_.whole_reasons);
  }

  void crossing() {
    out_.varint(index_.continuation_bytes);
    out_.varint(index_.continuation.size());
    out_.raw(index_.continuation);
    if (index_.fragment) index_.fragment->encode(out_);
  }

  void changes() {
    std::map<WalRelation, std::array<const WalForkChanges*, kForks.size()>> relations;
    for (const auto& [fork, changes] : index_.changes) {
      const auto at = std::ranges::find(kForks, fork.fork);
      CHECK(at != kForks.end());
      relations[fork.relation][static_cast<size_t>(at - kForks.begin())] = &changes;
    }
    out_.varint(relations.size());
    WalRelation last;
    for (const auto& [relation, forks] : relations) {
      const bool same = relation.tablespace_oid == last.tablespace_oid && relation.database_oid == last.database_oid;
      unsigned which = same ? 1 : 0;
      for (size_t i = 0; i < forks.size(); ++i)
        if (forks[i] != nullptr) which |= 2u << i;
      out_.fixed(static_cast<uint8_t>(which));
      if (!same) {
        out_.varint(relation.tablespace_oid);
        out_.varint(relation.database_oid);
      }
      out_.varint(relation.relfilenode - (same ? last.relfilenode : 0));
      last = relation;
      for (const WalForkChanges* fork : forks)
        if (fork != nullptr) fork_changes(*fork);
    }
  }

  void fork_changes(const WalForkChanges& changes) {
    const std::vector<uint32_t>& blocks = changes.blocks;
    ByteWriter runs;
    uint64_t count = 0;
    uint32_t next = 0;  // First block that the next run may begin with.
    for (size_t i = 0; i < blocks.size(); ++count) {
      const uint32_t first = blocks[i];
      uint32_t length = 1;
      while (i + length < blocks.size() && blocks[i + length] == first + length) ++length;
      runs.varint(uint64_t{first - next} << 1 | (length > 1 ? 1 : 0));
      if (length > 1) runs.varint(length - 2);
      next = first + length + 1;  // The block behind a run is not in one.
      i += length;
    }
    out_.varint(count << 1 | (changes.limit_block ? 1 : 0));
    if (changes.limit_block) out_.varint(*changes.limit_block);
    out_.raw(runs.bytes());
  }

  void ends() {
    if (index_.first_commit) {
      commit(*index_.first_commit);
      commit(*index_.last_commit);
      time(index_.commit_time_min);
      time(index_.commit_time_max);
    }
    if (index_.has_ends) {
      time(index_.end_time_min);
      time(index_.end_time_max);
    }
    out_.varint(index_.xid_first.value);
    out_.varint(index_.xid_last.value - index_.xid_first.value);
    out_.varint(index_.minutes.size());
    int64_t last = 0;
    for (const WalMinute& minute : index_.minutes) {
      const int64_t number = std::chrono::floor<std::chrono::minutes>(minute.minute).time_since_epoch().count();
      out_.svarint(number - last);
      out_.varint(minute.commit_count);
      out_.varint(minute.abort_count);
      last = number;
    }
  }

  void restore_points() {
    out_.varint(index_.restore_points.size());
    for (const WalRestorePoint& point : index_.restore_points) {
      lsn(point.lsn);
      out_.varint(point.end.bytes - point.lsn.bytes);
      time(point.time);
      out_.string(point.name);
    }
  }

  void events() {
    out_.varint(index_.events.size());
    WalEvent last;
    for (const WalEvent& event : index_.events) {
      const WalRelation& relation = event.relation;
      const bool same_database = relation.tablespace_oid == last.relation.tablespace_oid &&
                                 relation.database_oid == last.relation.database_oid;
      const unsigned flags = static_cast<unsigned>(event.kind) | (event.count != 0 ? kEventHasCount : 0) |
                             (event.time != Timestamp{} ? kEventHasTime : 0) |
                             (same_database ? kEventSameDatabase : 0) | (event.xid == last.xid ? kEventSameXid : 0);
      out_.fixed(static_cast<uint8_t>(flags));
      lsn(event.lsn);
      if (event.count != 0) out_.varint(event.count);
      if (event.time != Timestamp{}) time(event.time);
      if (!same_database) {
        out_.varint(relation.tablespace_oid);
        out_.varint(relation.database_oid);
      }
      if (event.xid != last.xid) out_.varint(event.xid.value);
      out_.svarint(difference(relation.relfilenode, last.relation.relfilenode));
      last = event;
    }
  }

  void commit(const WalCommit& commit) {
    lsn(commit.lsn);
    out_.varint(commit.end.bytes - commit.lsn.bytes);
    time(commit.time);
    out_.varint(commit.xid.value);
  }
  void lsn_from_start(Lsn lsn) {
    const Lsn start = segment_start(index_.segment, index_.segment_bytes);
    out_.svarint(difference(static_cast<int64_t>(lsn.bytes), static_cast<int64_t>(start.bytes)));
  }
  /// Positions and times that follow each other, each from the one before.
  void lsn(Lsn lsn) {
    out_.svarint(difference(static_cast<int64_t>(lsn.bytes), static_cast<int64_t>(lsn_)));
    lsn_ = lsn.bytes;
  }
  void time(Timestamp time) {
    out_.svarint(difference(us_of(time), time_));
    time_ = us_of(time);
  }

  const WalIndex& index_;
  ByteWriter out_;
  uint64_t lsn_;
  int64_t time_ = 0;
};

Error malformed(std::string_view what) { return Error(Errc::kCorrupt, fmt::format("WAL index: {}", what)); }

class Decoder {
 public:
  explicit Decoder(Bytes raw) : in_(raw) {}

  Result<WalIndex> run() && {
    const auto version = in_.fixed<uint8_t>();
    if (!in_.ok()) return malformed("is empty");
    if (version != kVersion)
      return Error(Errc::kUnsupported, fmt::format("WAL index is of version {}, known is {}", version, kVersion));
    TRY(head());
    TRY(crossing());
    TRY(changes());
    const uint64_t databases = in_.varint();
    for (uint64_t i = 0; i < databases && in_.ok(); ++i) {
      const auto tablespace = number();
      index_.whole_databases.push_back({tablespace, number()});
    }
    ends();
    restore_points();
    TRY(events());
    if (!in_.ok()) return malformed("is cut short");
    if (bad_number_) return malformed("has a number that is too large");
    if (in_.remaining() != 0) return malformed("has bytes left over");
    return std::move(index_);
  }

 private:
  Result<> head() {
    flags_ = in_.varint();
    if ((flags_ & ~uint64_t{kFlagsKnown}) != 0) return malformed("has unknown flags");
    index_.is_joined = has(kJoined);
    index_.continuation_overwritten = has(kOverwritten);
    index_.continuation_reaches_end = has(kReachesEnd);
    index_.has_ends = has(kHasEnds);
    index_.tablespaces_changed = has(kTablespacesChanged);
    index_.major = PgMajor{number()};
    index_.system_id = in_.fixed<uint64_t>();
    index_.segment_bytes = number();
    index_.wal_block_bytes = number();
    index_.segment.timeline = TimelineId{number()};
    index_.segment.number = in_.varint();
    if (!in_.ok() || !is_wal_segment_bytes(index_.segment_bytes) ||
        index_.segment.number > (uint64_t{1} << 62) / index_.segment_bytes)
      return malformed("is of an impossible segment");
    if (index_.wal_block_bytes < 1024 || index_.wal_block_bytes > index_.segment_bytes)
      return malformed("is of an impossible page size");
    lsn_ = start_ = segment_start(index_.segment, index_.segment_bytes).bytes;
    index_.first_timeline = TimelineId{number()};
    index_.last_timeline = TimelineId{number()};
    index_.valid_to = lsn_from_start();
    index_.end_reason = in_.string();
    index_.record_count = in_.varint();
    if (has(kHasRecords)) {
      index_.first_record = lsn_from_start();
      index_.first_record_prev = lsn_from_start();
    }
    if (has(kHasLastRecord)) index_.last_record = lsn_from_start();
    index_.whole_reasons = in_.fixed<uint8_t>();
    return {};
  }

  Result<> crossing() {
    index_.continuation_bytes = number();
    const uint64_t kept = in_.varint();
    if (kept > in_.remaining() || kept > std::min(index_.continuation_bytes, kWalContinuationKeptMax))
      return malformed("has too much of a continued record");
    const Bytes continuation = in_.raw(static_cast<size_t>(kept));
    index_.continuation.assign(continuation.begin(), continuation.end());
    if (!has(kHasFragment)) return {};
    const WalFragment::Limits limits{.major = index_.major, .main_data_kept_bytes_max = SIZE_MAX};
    TRY_ASSIGN_CTX(index_.fragment, WalFragment::decode(in_, limits), "WAL index");
    return {};
  }

  Result<> changes() {
    const uint64_t count = in_.varint();
    // A reference takes 8 bytes of WAL, and none marks more than one other
    // block: so many blocks at most.
    blocks_left_ = index_.segment_bytes / 4;
    WalRelation relation;
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      const auto which = in_.fixed<uint8_t>();
      const bool same = (which & 1) != 0;
      if (!same) {
        relation.tablespace_oid = number();
        relation.database_oid = number();
      }
      const uint32_t file = number();
      if (same && file > UINT32_MAX - relation.relfilenode) return malformed("has a relation out of range");
      relation.relfilenode = same ? relation.relfilenode + file : file;
      if (which >> 1 == 0 || which >> 1 >= 1u << kForks.size()) return malformed("has a relation of unknown forks");
      for (size_t f = 0; f < kForks.size(); ++f) {
        if ((which >> 1 & 1u << f) == 0) continue;
        const auto [at, added] = index_.changes.try_emplace({relation, kForks[f]});
        if (!added) return malformed("has a relation twice");
        TRY(fork_changes(at->second));
      }
    }
    return {};
  }

  Result<> fork_changes(WalForkChanges& changes) {
    const uint64_t head = in_.varint();
    if ((head & 1) != 0) changes.limit_block = number();
    uint64_t next = 0;
    for (uint64_t i = 0; i < head >> 1 && in_.ok(); ++i) {
      const uint64_t run = in_.varint();
      const uint64_t more = (run & 1) != 0 ? in_.varint() : 0;
      const uint64_t gap = run >> 1;
      if (gap > UINT32_MAX || more > UINT32_MAX) return malformed("has a block out of range");
      const uint64_t first = next + gap;
      const uint64_t length = (run & 1) != 0 ? more + 2 : 1;
      if (first + length - 1 > UINT32_MAX) return malformed("has a block out of range");
      if (length > blocks_left_) return malformed("has more blocks than its segment can change");
      blocks_left_ -= length;
      for (uint64_t block = first; block < first + length; ++block)
        changes.blocks.push_back(static_cast<uint32_t>(block));
      next = first + length + 1;
    }
    return {};
  }

  void ends() {
    if (has(kHasCommits)) {
      index_.first_commit = commit();
      index_.last_commit = commit();
      index_.commit_time_min = time();
      index_.commit_time_max = time();
    }
    if (index_.has_ends) {
      index_.end_time_min = time();
      index_.end_time_max = time();
    }
    index_.xid_first = Xid{number()};
    index_.xid_last = Xid{index_.xid_first.value + number()};  // May go round.
    const uint64_t count = in_.varint();
    int64_t last = 0;
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      WalMinute minute;
      last = sum(last, in_.svarint());
      constexpr int64_t kMinuteMax = INT64_MAX / 60'000'000 - 1;
      if (last > kMinuteMax || last < -kMinuteMax) bad_number_ = true;
      minute.minute = Timestamp(std::chrono::minutes(bad_number_ ? 0 : last));
      minute.commit_count = number();
      minute.abort_count = number();
      index_.minutes.push_back(minute);
    }
  }

  void restore_points() {
    const uint64_t count = in_.varint();
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      WalRestorePoint point;
      point.lsn = lsn();
      point.end = Lsn{point.lsn.bytes + in_.varint()};
      point.time = time();
      point.name = in_.string();
      index_.restore_points.push_back(std::move(point));
    }
  }

  Result<> events() {
    const uint64_t count = in_.varint();
    WalEvent last;
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      const auto flags = in_.fixed<uint8_t>();
      WalEvent event;
      event.kind = static_cast<WalEventKind>(flags & kEventKindMask);
      if (event.kind < WalEventKind::kCreate || event.kind > WalEventKind::kDropTablespace)
        return malformed("has an event of unknown kind");
      event.lsn = lsn();
      if ((flags & kEventHasCount) != 0) event.count = number();
      if ((flags & kEventHasTime) != 0) event.time = time();
      event.relation = last.relation;
      if ((flags & kEventSameDatabase) == 0) {
        event.relation.tablespace_oid = number();
        event.relation.database_oid = number();
      }
      event.xid = (flags & kEventSameXid) != 0 ? last.xid : Xid{number()};
      event.relation.relfilenode = static_cast<uint32_t>(sum(last.relation.relfilenode, in_.svarint()));
      index_.events.push_back(event);
      last = event;
    }
    return {};
  }

  WalCommit commit() {
    WalCommit out;
    out.lsn = lsn();
    out.end = Lsn{out.lsn.bytes + in_.varint()};
    out.time = time();
    out.xid = Xid{number()};
    return out;
  }
  bool has(unsigned flag) const { return (flags_ & flag) != 0; }
  /// One of 32 bits.
  uint32_t number() {
    const uint64_t value = in_.varint();
    if (value > UINT32_MAX) bad_number_ = true;
    return static_cast<uint32_t>(value);
  }
  Lsn lsn_from_start() { return Lsn{static_cast<uint64_t>(sum(static_cast<int64_t>(start_), in_.svarint()))}; }
  Lsn lsn() {
    lsn_ = static_cast<uint64_t>(sum(static_cast<int64_t>(lsn_), in_.svarint()));
    return Lsn{lsn_};
  }
  Timestamp time() {
    time_ = sum(time_, in_.svarint());
    return time_of(time_);
  }

  ByteReader in_;
  WalIndex index_;
  uint64_t flags_ = 0;
  uint64_t start_ = 0;
  uint64_t lsn_ = 0;
  int64_t time_ = 0;
  uint64_t blocks_left_ = 0;
  bool bad_number_ = false;
};

}  // namespace

std::vector<std::byte> encode_wal_index(const WalIndex& index) { return Encoder(index).run(); }

Result<WalIndex> decode_wal_index(Bytes raw) { return Decoder(raw).run(); }

}  // namespace pgark::pg
