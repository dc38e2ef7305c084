// Writes the golden repositories of the current format: make_golden DIRECTORY [wal|passphrase|recipient]. Run once for
// each format version; what it wrote is committed and never made again, so that every later pgark is held to reading
// it. The first is a small data directory with one of everything the format can say, and expected.txt beside it: kind,
// size, mode, content hash and path of each entry. The second is WAL with indexes. The others are the first one sealed:
// with a passphrase, or with one and a recipient, whose identity is beside it. They are test keys and guard nothing.
#include <fmt/format.h>

#include <cstdio>
#include <map>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "codec/age.h"
#include "core/file.h"
#include "pg/wal_index.h"
#include "repo/keyring.h"
#include "repo/stored_file.h"
#include "store/posix_store.h"
#include "testing/wal_records.h"

namespace pgark {
namespace {

constexpr const char* kStanza = "main";
constexpr const char* kLabel = "20261122-101500F";

/// A moment that does not move.
class FixedClock final : public Clock {
 public:
  Timestamp now() override { return Timestamp(std::chrono::seconds(1795342500)); }
  std::chrono::steady_clock::time_point steady() override { return {}; }
  void sleep_for(std::chrono::milliseconds) override {}
};

Buffer content_of(size_t bytes, uint64_t seed) {
  Rng rng(seed);
  std::string text;
  while (text.size() < bytes) text += fmt::format("{}|{:x}|", rng.below(50), rng.next() % 4096);
  Buffer out;
  out.append(as_bytes(std::string_view(text).substr(0, bytes)));
  return out;
}

/// A segment of 1 MiB, of which the first 40 kB are in use.
Buffer segment_content() {
  Buffer segment = content_of(1 << 20, 9);
  std::fill(segment.bytes().begin() + 40000, segment.bytes().end(), std::byte{0});
  return segment;
}

/// Collects entries and extents the way a backup does.
class Golden {
 public:
  Golden(const Repository& repository, PackSet& packs) : repository_(repository), packs_(packs) {}

  FileEntry entry(std::string path, EntryKind kind, uint32_t mode) {
    FileEntry file;
    file.path = std::move(path);
    file.kind = kind;
    file.mode = mode;
    file.modified_us = 1795342000000000;
    file.user = "postgres";
    file.group = "postgres";
    return file;
  }

  void directory(const std::string& path) { files_.push_back(entry(path, EntryKind::kDirectory, 0700)); }
  void symlink(const std::string& path, const std::string& target) {
    files_.push_back(entry(path, EntryKind::kSymlink, 0777));
    files_.back().link_target = target;
  }

  /// A file alone in its extents; `zero_blocks` (of 8 KiB) are holes.
  Result<> large_file(const std::string& path, Buffer content, Codec codec, const std::vector<size_t>& zero_blocks) {
    for (const size_t block : zero_blocks)
      std::fill_n(content.data() + block * kHashBlockBytes, kHashBlockBytes, std::byte{0});
    FileEntry file = entry(path, EntryKind::kFile, 0600);
    file.bytes = content.size();
    PackWriter writer(packs_, codec, 1, /*pack_bytes=*/100000);
    for (size_t at = 0; at < content.size();) {
      size_t count = 0;
      const auto is_hole = [&](size_t offset) {
        return std::find(zero_blocks.begin(), zero_blocks.end(), offset / kHashBlockBytes) != zero_blocks.end();
      };
      if (is_hole(at)) {
        at += kHashBlockBytes;
        continue;
      }
      while (at + count < content.size() && count < kExtentBytes && !is_hole(at + count)) count += kHashBlockBytes;
      Buffer raw(count);
      const size_t bytes = std::min(count, content.size() - at);
      std::fill(raw.bytes().begin(), raw.bytes().end(), std::byte{0});
      std::copy_n(content.data() + at, bytes, raw.data());
      TRY_ASSIGN(const ExtentRef extent, writer.append(raw, {{path, at, 0, static_cast<uint32_t>(bytes)}}));
      file.runs.push_back({at, bytes, static_cast<uint32_t>(extents_.size()), 0});
      extents_.push_back(extent);
      at += count;
    }
    TRY(writer.close());
    remember(file, content);
    return {};
  }

  /// Files that share one extent.
  Result<> small_files(const std::map<std::string, std::string>& contents, uint32_t mode) {
    Buffer raw;
    std::vector<ExtentPiece> pieces;
    for (const auto& [path, text] : contents) {
      FileEntry file = entry(path, EntryKind::kFile, mode);
      file.bytes = text.size();
      if (!text.empty()) {
        const auto offset = static_cast<uint32_t>(raw.size());
        file.runs.push_back({0, text.size(), static_cast<uint32_t>(extents_.size()), offset});
        pieces.push_back({path, 0, offset, static_cast<uint32_t>(text.size())});
        raw.append(as_bytes(text));
        const size_t padded = (raw.size() + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes;
        const Buffer zeros = [&] {
          Buffer fill(padded - raw.size());
          std::fill(fill.bytes().begin(), fill.bytes().end(), std::byte{0});
          return fill;
        }();
        raw.append(zeros);
      }
      Buffer content;
      content.append(as_bytes(text));
      remember(file, content);
    }
    PackWriter writer(packs_, Codec::kZstd, 1);
    TRY_ASSIGN(const ExtentRef extent, writer.append(raw, pieces));
    extents_.push_back(extent);
    return writer.close();
  }

  Result<> commit(BackupMeta meta) {
    TRY(packs_.finish());
    meta.stored_bytes = packs_.stored_bytes();
    meta.file_count = files_.size();
    for (const FileEntry& file : files_) meta.logical_bytes += file.bytes;
    meta.read_bytes = meta.logical_bytes;
    TRY_ASSIGN(ManifestWriter writer, ManifestWriter::create(repository_, kStanza, kLabel));
    for (const FileEntry& file : files_) TRY(writer.add(file, extents_));
    std::vector<PackName> names;
    for (uint32_t number = 1; number <= packs_.count(); ++number) names.push_back({kLabel, number});
    TRY(std::move(writer).commit(names, encode_backup_meta(meta)));
    return {};
  }

  std::string expected() const {
    std::string text;
    for (const FileEntry& file : files_) {
      const auto hash = hashes_.find(file.path);
      text += fmt::format("{} {} {:o} {} {}\n", static_cast<unsigned>(file.kind), file.bytes, file.mode,
                          hash == hashes_.end() ? "-" : fmt::format("{:016x}", hash->second), file.path);
    }
    return text;
  }

 private:
  void remember(const FileEntry& file, Bytes content) {
    Hasher64 hasher;
    hasher.update(content);
    hashes_[file.path] = hasher.digest();
    files_.push_back(file);
  }

  const Repository& repository_;
  PackSet& packs_;
  std::vector<FileEntry> files_;
  std::vector<ExtentRef> extents_;
  std::map<std::string, uint64_t> hashes_;
};

BackupMeta golden_meta() {
  BackupMeta meta;
  meta.label = kLabel;
  meta.pgark_version = "0.1.0";
  meta.system_identifier = 7512345678901234567;
  meta.pg_major = 15;
  meta.pg_version_num = 150020;
  meta.control_version = 1300;
  meta.catalog_version = 202209061;
  meta.wal_segment_bytes = 1 << 20;
  meta.checksum_version = 1;
  meta.started = Timestamp(std::chrono::seconds(1795342500));
  meta.stopped = Timestamp(std::chrono::seconds(1795342560));
  meta.start_lsn = Lsn{0x200028};
  meta.checkpoint_lsn = Lsn{0x200060};
  meta.stop_lsn = Lsn{0x200150};
  meta.start_timeline = meta.stop_timeline = TimelineId{1};
  meta.wal_start = meta.wal_stop = "000000010000000000000002";
  meta.source = "primary";
  meta.backup_label =
      "START WAL LOCATION: 0/200028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/200060\n"
      "BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-22 10:15:00 UTC\nLABEL: pgark\nSTART "
      "TIMELINE: 1\n";
  meta.codec = "zst";
  meta.data_directory = "/var/lib/postgresql/15/main";
  meta.settings = {{"max_connections", "100"}, {"data_checksums", "on"}};
  meta.databases = {{1, "template1", 16383, "c", ""}, {5, "postgres", 16383, "c", ""}};
  meta.extensions = {{"postgres", "plpgsql", "1.0"}};
  meta.libc_version = "2.36";
  meta.annotations = {{"why", "golden"}};
  return meta;
}

/// Keys for a repository that is sealed, and files beside it that hold them.
Result<KeyConfig> golden_keys(const std::string& directory, bool with_recipient) {
  const std::string passphrase = "a test passphrase that everybody knows";
  TRY(write_file_durable(directory + "/passphrase", passphrase, 0644));
  KeyConfig keys;
  keys.sealed = true;
  keys.passphrase = NamedSecret{"passphrase", Secret::copy_of(as_bytes(passphrase))};
  if (!with_recipient) return keys;
  TRY_ASSIGN(const AgeIdentity identity, generate_age_identity());
  TRY(write_file_durable(directory + "/identity", format_age_identity_file(identity, "2026-11-22T10:15:00Z").text(),
                         0644));
  keys.recipients.push_back(to_string(identity.recipient));
  return keys;
}

Result<> make_golden(const std::string& directory, const KeyConfig& keys) {
  FixedClock clock;
  TRY_ASSIGN(auto store, PosixStore::open(directory + "/repo"));
  TRY_ASSIGN(auto repository, Repository::open_or_create(*store, clock, keys));
  const BackupMeta meta = golden_meta();
  TRY(write_cluster(*repository, kStanza,
                    {1, meta.system_identifier, meta.pg_major, meta.control_version, meta.catalog_version,
                     meta.wal_segment_bytes, clock.now()}));
  TRY_ASSIGN(const ObjectKey segment, wal_key(kStanza, 1, "000000010000000000000002"));
  TRY(write_stored_file(*repository, segment, segment_content(), "{}"));
  TRY_ASSIGN(const ObjectKey history, wal_key(kStanza, 1, "00000002.history"));
  TRY(write_stored_file(*repository, history, as_bytes("1\t0/200150\tno recovery target specified\n"), "{}"));

  PackSet packs(*repository, kStanza, kLabel);
  Golden golden(*repository, packs);
  for (const char* path : {"base", "base/5", "global", "pg_wal", "pg_wal/archive_status", "pg_tblspc"})
    golden.directory(path);
  golden.symlink("postgresql.link", "postgresql.auto.conf");
  TRY(golden.large_file("base/5/16384", content_of(400 << 10, 1), Codec::kZstd, {0, 17, 18, 49}));
  TRY(golden.large_file("base/5/16385", content_of(200 << 10, 2), Codec::kLz4, {}));
  TRY(golden.large_file("base/5/16386", content_of((64 << 10) + 100, 3), Codec::kNone, {3}));
  TRY(golden.small_files({{"PG_VERSION", "15\n"},
                          {"postgresql.auto.conf", "# empty\n"},
                          {"base/5/PG_VERSION", "15\n"},
                          {"base/5/empty", ""},
                          {"base/5/2619", std::string(as_text(content_of(16384, 4)))},
                          {"global/pg_control", std::string(as_text(content_of(8192, 5)))}},
                         0600));
  TRY(golden.commit(meta));
  TRY(annotate_backup(*repository, kStanza, kLabel, {{"added", "later"}}));
  return write_file_durable(directory + "/expected.txt", golden.expected(), 0644);
}

/// Two segments with one of everything an index can say; a commit that drops a relation crosses from one into the
/// other.
std::vector<std::byte> golden_wal() {
  using namespace testing;
  constexpr pg::WalRelation kTable{1663, 5, 16384};
  constexpr pg::WalRelation kDropped{1663, 5, 16390};
  WalBuilder wal(
      {.segment_bytes = 1u << 20, .system_id = 7512345678901234567, .start = Lsn{0x20'0000}, .prev = Lsn{0x1f'ffd0}});
  for (const uint32_t block : {7u, 8u, 9u, 100u, 5u}) wal.add(touch(kTable, block));
  wal.add(create({1663, 5, 16400}, 0, Xid{730}));
  wal.add(end_record({.xid = Xid{730}, .time = kSampleNoonPg}));
  wal.add(truncate(kTable, 60, 7));
  wal.add(end_record({.opcode = 0x20, .xid = Xid{731}, .time = kSampleNoonPg + 61'000'000}));
  const auto filler = [&](size_t bytes) {
    SampleRecord message{.rmgr = pg::wal_rmgr::kLogicalMessage};
    message.main_data.resize(bytes);
    wal.add(message);
  };
  while (wal.bytes().size() < (1u << 20) - 8192) filler(4000);
  filler(wal.room() - 29 - 64);
  wal.add(end_record({.xid = Xid{732},
                      .time = kSampleNoonPg + 62'000'000,
                      .subxids = {733},
                      .dropped = {kDropped},
                      .invalidations = 3}));
  ByteWriter point;
  point.fixed(kSampleNoonPg + 63'000'000);
  point.raw(as_bytes("golden"));
  std::vector<std::byte> raw = std::move(point).take();
  raw.resize(72);
  wal.add({.rmgr = pg::wal_rmgr::kXlog, .info = 0x70, .main_data = raw});
  wal.add({.rmgr = pg::wal_rmgr::kDatabase, .info = 0x11, .main_data = std::vector<std::byte>(8, std::byte{1})});
  wal.add_switch();
  return std::move(wal.bytes());
}

Result<> make_golden_wal(const std::string& directory) {
  FixedClock clock;
  TRY(make_directories(directory + "/repo"));
  TRY_ASSIGN(auto store, PosixStore::open(directory + "/repo"));
  TRY_ASSIGN(auto repository, Repository::open_or_create(*store, clock));
  const BackupMeta meta = golden_meta();
  TRY(write_cluster(*repository, kStanza,
                    {1, meta.system_identifier, meta.pg_major, meta.control_version, meta.catalog_version,
                     meta.wal_segment_bytes, clock.now()}));
  const std::vector<std::byte> wal = golden_wal();
  for (uint64_t number = 2; number <= 3; ++number) {
    const pg::WalSegment segment{TimelineId{1}, number};
    const Bytes content = Bytes(wal).subspan((number - 2) << 20, 1u << 20);
    TRY_ASSIGN(const pg::WalIndex index, pg::make_wal_index(content, segment));
    TRY_ASSIGN(const ObjectKey key, wal_key(kStanza, 1, pg::segment_name(segment, 1u << 20)));
    TRY(write_stored_file(*repository, key, content, "{}", Codec::kZstd, 1, 1, pg::encode_wal_index(index)));
  }
  return {};
}

Result<> make(const std::string& directory, std::string_view kind) {
  TRY(make_directories(directory + "/repo"));
  if (kind.empty()) return make_golden(directory, {});
  if (kind == "wal") return make_golden_wal(directory);
  if (kind != "passphrase" && kind != "recipient")
    return Error(Errc::kInvalid, "usage: make_golden DIRECTORY [wal|passphrase|recipient]");
  TRY_ASSIGN(const KeyConfig keys, golden_keys(directory, kind == "recipient"));
  return make_golden(directory, keys);
}

}  // namespace
}  // namespace pgark

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: make_golden DIRECTORY [wal|passphrase|recipient]\n");
    return 2;
  }
  if (const auto made = pgark::make(argv[1], argc == 3 ? argv[2] : ""); !made.has_value()) {
    std::fprintf(stderr, "%s\n", made.error().to_string().c_str());
    return 1;
  }
  return 0;
}
