// pg_control layouts: one row of offsets per group of control versions. A row was checked against files of live
// servers, whose samples are in testdata.
#include "pg/control.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "core/crc32c.h"
#include "pg/wal.h"

namespace pgark::pg {
namespace {

/// Offsets of ControlFileData's members. The first ones (system id, versions, state, time, checkpoint) never moved.
struct Layout {
  uint32_t control_version;
  bool split_next_xid;  // Epoch and xid as two words, epoch first (10, 11).
  bool records_wal_senders;
  ChecksumState checksums_max;
  uint16_t redo;  // Of the checkpoint copy; timelines and full_page_writes follow it.
  uint16_t next_xid;
  uint16_t next_oid;
  uint16_t oldest_xid;
  uint16_t checkpoint_time;
  uint16_t min_recovery_point;  // The backup points follow it.
  uint16_t wal_level;           // wal_log_hints and the limits follow it.
  uint16_t block_bytes;         // Blocks in a relation's file follow it.
  uint16_t wal_block_bytes;     // The segment size follows it.
  uint16_t checksums;
  uint16_t crc;
};

constexpr Layout kLayout10 = {.control_version = 1002,
                              .split_next_xid = true,
                              .records_wal_senders = false,
                              .checksums_max = ChecksumState::kOn,
                              .redo = 48,  // Behind prevCheckPoint, which 11 dropped.
                              .next_xid = 68,
                              .next_oid = 76,
                              .oldest_xid = 88,
                              .checkpoint_time = 104,
                              .min_recovery_point = 136,
                              .wal_level = 172,
                              .block_bytes = 216,
                              .wal_block_bytes = 224,
                              .checksums = 252,
                              .crc = 288};

constexpr Layout kLayout11 = {.control_version = 1100,
                              .split_next_xid = true,
                              .records_wal_senders = false,
                              .checksums_max = ChecksumState::kOn,
                              .redo = 40,
                              .next_xid = 60,
                              .next_oid = 68,
                              .oldest_xid = 80,
                              .checkpoint_time = 96,
                              .min_recovery_point = 128,
                              .wal_level = 164,
                              .block_bytes = 208,
                              .wal_block_bytes = 216,
                              .checksums = 244,
                              .crc = 280};

constexpr Layout kLayout12 = {.control_version = 1201,
                              .split_next_xid = false,
                              .records_wal_senders = true,
                              .checksums_max = ChecksumState::kOn,
                              .redo = 40,
                              .next_xid = 64,
                              .next_oid = 72,
                              .oldest_xid = 84,
                              .checkpoint_time = 104,
                              .min_recovery_point = 136,
                              .wal_level = 172,
                              .block_bytes = 216,
                              .wal_block_bytes = 224,
                              .checksums = 252,
                              .crc = 288};

// Beta 1: logical decoding state and a wider multixact offset in the checkpoint, SLRU segment size before the WAL
// sizes.
constexpr Layout kLayout19Beta = {.control_version = 1902,
                                  .split_next_xid = false,
                                  .records_wal_senders = true,
                                  .checksums_max = ChecksumState::kTurningOn,
                                  .redo = 40,
                                  .next_xid = 72,
                                  .next_oid = 80,
                                  .oldest_xid = 96,
                                  .checkpoint_time = 112,
                                  .min_recovery_point = 144,
                                  .wal_level = 180,
                                  .block_bytes = 224,
                                  .wal_block_bytes = 236,
                                  .checksums = 264,
                                  .crc = 304};

constexpr Layout variant(Layout base, uint32_t control_version, uint16_t checksums, uint16_t crc,
                         ChecksumState checksums_max = ChecksumState::kOn) {
  base.control_version = control_version;
  base.checksums = checksums;
  base.crc = crc;
  base.checksums_max = checksums_max;
  return base;
}

constexpr std::array kLayouts = {
    kLayout10,
    kLayout11,
    kLayout12,
    variant(kLayout12, 1300, 252, 288),  // 13 dropped float4ByVal, behind everything read here.
    variant(kLayout12, 1700, 252, 288),  // 17 put wal_level into a gap of the checkpoint.
    variant(kLayout12, 1800, 252, 292),  // 18 added default_char_signedness.
    kLayout19Beta,
    variant(kLayout19Beta, 1903, 268, 308, ChecksumState::kTurningOn),  // The checksum state at initdb comes first now.
    variant(kLayout19Beta, 1905, 268, 308),  // Release candidate: no switching of checksums while running.
};

class Fields {
 public:
  explicit Fields(Bytes file) : file_(file) {}
  template <typename T>
  T get(size_t offset) const {
    return load_le<T>(file_.data() + offset);
  }
  Lsn lsn(size_t offset) const { return Lsn{get<uint64_t>(offset)}; }
  TimelineId timeline(size_t offset) const { return TimelineId{get<uint32_t>(offset)}; }
  bool flag(size_t offset) const { return get<uint8_t>(offset) != 0; }

 private:
  Bytes file_;
};

Error corrupt(std::string message) { return Error(Errc::kCorrupt, "decode pg_control: " + std::move(message)); }

Result<const Layout*> find_layout(uint32_t version) {
  const auto found = std::ranges::find(kLayouts, version, &Layout::control_version);
  if (found != kLayouts.end()) return &*found;
  if (version == 0) return corrupt("control version is 0, the file was never written");
  if (version % 65536 == 0) return corrupt("byte order is that of another machine");
  // Versions count major x 100 from 10 on, and 8xx, 9xx before.
  if (version < 800 || version > 9999) return corrupt(fmt::format("control version {} is impossible", version));
  return Error(Errc::kUnsupported, fmt::format("decode pg_control: control version {} is not known", version))
      .with_hint(fmt::format("PostgreSQL {} to {} are supported", kPgMajorMin.value, kPgMajorMax.value));
}

void read_checkpoint(const Fields& fields, const Layout& at, ControlData& out) {
  out.checkpoint = fields.lsn(32);
  out.redo = fields.lsn(at.redo);
  out.timeline = fields.timeline(at.redo + 8u);
  out.prev_timeline = fields.timeline(at.redo + 12u);
  out.full_page_writes = fields.flag(at.redo + 16u);
  out.next_xid = fields.get<uint64_t>(at.next_xid);
  if (at.split_next_xid) out.next_xid = std::rotl(out.next_xid, 32);
  out.next_oid = fields.get<uint32_t>(at.next_oid);
  out.oldest_xid = fields.get<uint32_t>(at.oldest_xid);
  out.checkpoint_time_unix_s = fields.get<int64_t>(at.checkpoint_time);
}

void read_recovery(const Fields& fields, const Layout& at, ControlData& out) {
  out.min_recovery_point = fields.lsn(at.min_recovery_point);
  out.min_recovery_timeline = fields.timeline(at.min_recovery_point + 8u);
  out.backup_start_point = fields.lsn(at.min_recovery_point + 16u);
  out.backup_end_point = fields.lsn(at.min_recovery_point + 24u);
  out.backup_end_required = fields.flag(at.min_recovery_point + 32u);
}

void read_settings(const Fields& fields, const Layout& at, ControlData& out) {
  out.wal_level = static_cast<WalLevel>(fields.get<int32_t>(at.wal_level));
  out.wal_log_hints = fields.flag(at.wal_level + 4u);
  size_t next = at.wal_level + 8u;
  const auto limit = [&] {
    next += 4;
    return fields.get<int32_t>(next - 4);
  };
  out.max_connections = limit();
  out.max_worker_processes = limit();
  if (at.records_wal_senders) out.max_wal_senders = limit();
  out.max_prepared_xacts = limit();
  out.max_locks_per_xact = limit();
  out.track_commit_timestamp = fields.flag(next);
}

Result<> check_ranges(const ControlData& control, const Layout& at) {
  const auto block_ok = [](uint32_t bytes) { return std::has_single_bit(bytes) && bytes >= 1024 && bytes <= 65536; };
  if (control.state > ClusterState::kInProduction)
    return corrupt(fmt::format("cluster state {} is impossible", static_cast<uint32_t>(control.state)));
  if (control.wal_level < WalLevel::kMinimal || control.wal_level > WalLevel::kLogical)
    return corrupt(fmt::format("wal_level {} is impossible", static_cast<int32_t>(control.wal_level)));
  if (control.checksums > at.checksums_max)
    return corrupt(fmt::format("data checksum state {} is impossible", static_cast<uint32_t>(control.checksums)));
  if (!block_ok(control.block_bytes) || control.block_bytes > 32768)
    return corrupt(fmt::format("block size {} is impossible", control.block_bytes));
  if (!block_ok(control.wal_block_bytes))
    return corrupt(fmt::format("WAL block size {} is impossible", control.wal_block_bytes));
  if (!is_wal_segment_bytes(control.wal_segment_bytes))
    return corrupt(fmt::format("WAL segment size {} is impossible", control.wal_segment_bytes));
  if (control.relation_segment_blocks == 0) return corrupt("relation segment size is 0");
  return {};
}

}  // namespace

std::string_view to_string(ClusterState state) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "starting up",       "shut down",           "shut down in recovery", "shutting down",
      "in crash recovery", "in archive recovery", "in production"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string_view to_string(WalLevel level) {
  switch (level) {
    case WalLevel::kMinimal:
      return "minimal";
    case WalLevel::kReplica:
      return "replica";
    case WalLevel::kLogical:
      return "logical";
  }
  return "unknown";
}

std::string_view to_string(ChecksumState state) {
  switch (state) {
    case ChecksumState::kOff:
      return "off";
    case ChecksumState::kOn:
      return "on";
    case ChecksumState::kTurningOff:
      return "inprogress-off";
    case ChecksumState::kTurningOn:
      return "inprogress-on";
  }
  return "unknown";
}

Result<ControlData> decode_control(Bytes file) {
  if (file.size() < 16) return corrupt(fmt::format("{} bytes are too few", file.size()));
  const Fields fields(file);
  TRY_ASSIGN(const Layout* at, find_layout(fields.get<uint32_t>(8)));
  if (file.size() < at->crc + sizeof(uint32_t)) return corrupt(fmt::format("{} bytes are too few", file.size()));
  const uint32_t stored = fields.get<uint32_t>(at->crc);
  const uint32_t computed = crc32c(file.first(at->crc));
  if (stored != computed) return corrupt(fmt::format("CRC is {:08x}, expected {:08x}", computed, stored));

  ControlData out;
  out.system_id = fields.get<uint64_t>(0);
  out.control_version = at->control_version;
  out.catalog_version = fields.get<uint32_t>(12);
  out.state = static_cast<ClusterState>(fields.get<uint32_t>(16));
  out.time_unix_s = fields.get<int64_t>(24);
  read_checkpoint(fields, *at, out);
  read_recovery(fields, *at, out);
  read_settings(fields, *at, out);
  out.block_bytes = fields.get<uint32_t>(at->block_bytes);
  out.relation_segment_blocks = fields.get<uint32_t>(at->block_bytes + 4u);
  out.wal_block_bytes = fields.get<uint32_t>(at->wal_block_bytes);
  out.wal_segment_bytes = fields.get<uint32_t>(at->wal_block_bytes + 4u);
  out.checksums = static_cast<ChecksumState>(fields.get<uint32_t>(at->checksums));
  TRY(check_ranges(out, *at));
  return out;
}

Result<> check_control_version(const ControlData& control, PgMajor major) {
  TRY_ASSIGN(const PgVersionFacts* facts, pg_version_facts(major));
  // 13 to 16 share a control version; the catalog version of a release never changes and tells them apart.
  const auto same_catalog = [&] {
    return facts->catalog_version == 0 || control.catalog_version == facts->catalog_version;
  };
  if (std::ranges::count(facts->control_versions, control.control_version) > 0 && same_catalog()) return {};
  return Error(Errc::kCorrupt,
               fmt::format("PG_VERSION says {}, but pg_control has control version {} and catalog version {}",
                           major.value, control.control_version, control.catalog_version));
}

}  // namespace pgark::pg
