// Records of the kinds that an index tells apart, as PostgreSQL writes them: to be put into WAL made by hand.
#pragma once

#include "core/clock.h"
#include "testing/wal_builder.h"

namespace pgark::testing {

/// 2026-11-22 12:00:00 UTC as PostgreSQL counts time, and as we do.
inline constexpr int64_t kSampleNoonPg = 848'664'000'000'000;
inline constexpr Timestamp kSampleNoon{std::chrono::microseconds(1'795'348'800'000'000)};

/// A reference to a block, with data and without an image.
inline SampleBlock block_ref(uint8_t id, const pg::WalRelation& relation, uint32_t block,
                             pg::Fork fork = pg::Fork::kMain) {
  SampleBlock out;
  out.ref.id = id;
  out.ref.fork = fork;
  out.ref.relation = relation;
  out.ref.block = block;
  out.ref.data_bytes = 3;
  return out;
}

inline void put_relation(ByteWriter& out, const pg::WalRelation& relation) {
  out.fixed(relation.tablespace_oid);
  out.fixed(relation.database_oid);
  out.fixed(relation.relfilenode);
}

/// A change of one block.
inline SampleRecord touch(const pg::WalRelation& relation, uint32_t block, pg::Fork fork = pg::Fork::kMain) {
  return {.rmgr = pg::wal_rmgr::kBtree, .blocks = {block_ref(0, relation, block, fork)}};
}

/// A fork's file is created.
inline SampleRecord create(const pg::WalRelation& relation, uint32_t fork = 0, Xid xid = {}) {
  ByteWriter data;
  put_relation(data, relation);
  data.fixed(fork);
  return {.rmgr = pg::wal_rmgr::kStorage, .info = 0x11, .xid = xid, .main_data = std::move(data).take()};
}

/// A relation is cut; flags: 1 main fork, 2 visibility map, 4 free space map.
inline SampleRecord truncate(const pg::WalRelation& relation, uint32_t blocks, uint32_t flags) {
  ByteWriter data;
  data.fixed(blocks);
  put_relation(data, relation);
  data.fixed(flags);
  return {.rmgr = pg::wal_rmgr::kStorage, .info = 0x21, .main_data = std::move(data).take()};
}

/// A commit or abort with everything that may stand in one.
struct End {
  uint8_t opcode = 0x00;  // 0x00 commit, 0x20 abort, 0x30 commit prepared, 0x40 abort prepared.
  Xid xid = {};
  int64_t time = kSampleNoonPg;
  std::vector<uint32_t> subxids = {};
  std::vector<pg::WalRelation> dropped = {};
  Xid prepared = {};
  bool database = false;
  uint32_t stats = 0;
  uint32_t invalidations = 0;
};

inline SampleRecord end_record(const End& end, uint32_t major = 15) {
  ByteWriter data;
  data.fixed(end.time);
  const uint32_t flags = (end.database ? 1u : 0u) | (end.subxids.empty() ? 0u : 2u) | (end.dropped.empty() ? 0u : 4u) |
                         (end.invalidations > 0 ? 8u : 0u) | (end.prepared.value > 0 ? 16u : 0u) |
                         (end.stats > 0 ? 256u : 0u);
  if (flags != 0) data.fixed(flags);
  if (end.database) data.raw(sample_bytes(8));
  if (!end.subxids.empty()) {
    data.fixed(static_cast<uint32_t>(end.subxids.size()));
    for (const uint32_t xid : end.subxids) data.fixed(xid);
  }
  if (!end.dropped.empty()) {
    data.fixed(static_cast<uint32_t>(end.dropped.size()));
    for (const pg::WalRelation& relation : end.dropped) put_relation(data, relation);
  }
  if (end.stats > 0) {
    data.fixed(end.stats);
    data.raw(sample_bytes(size_t{end.stats} * (major >= 18 ? 16 : 12)));
  }
  if (end.invalidations > 0) {
    data.fixed(end.invalidations);
    data.raw(sample_bytes(size_t{end.invalidations} * 16));
  }
  if (end.prepared.value > 0) {
    data.fixed(end.prepared.value);
    data.raw(as_bytes("name of it"));
  }
  return {.rmgr = pg::wal_rmgr::kTransaction,
          .info = static_cast<uint8_t>(end.opcode | (flags != 0 ? 0x80 : 0) | (end.dropped.empty() ? 0 : 1)),
          .xid = end.xid,
          .main_data = std::move(data).take()};
}

}  // namespace pgark::testing
