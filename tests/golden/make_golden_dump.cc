// Writes the golden repositories that hold a dump: make_golden_dump DIRECTORY [passphrase]. Run once for each format
// version; what it wrote is committed and never made again, so that every later pgark is held to reading it. Beside the
// repository expected.txt has unit, size, hash and name of each stream; the sealed one has its passphrase there, which
// guards nothing.
#include <fmt/format.h>

#include <cstdio>

#include "catalog/dump.h"
#include "catalog/hold.h"
#include "core/file.h"
#include "ops/dump_store.h"
#include "repo/keyring.h"
#include "store/posix_store.h"

namespace pgark {
namespace {

constexpr const char* kStanza = "main";
constexpr const char* kLabel = "20261122-101500L";
constexpr Timestamp kNow{std::chrono::seconds(1795342500)};
const std::string kLatin1 =
    "Stra\xdf"
    "e";

class FixedClock final : public Clock {
 public:
  Timestamp now() override { return kNow; }
  std::chrono::steady_clock::time_point steady() override { return {}; }
  void sleep_for(std::chrono::milliseconds) override {}
};

std::string rows(size_t bytes) {
  std::string text;
  for (uint64_t i = 0; text.size() < bytes; ++i) text += fmt::format("{}\t{}\torder\n", i, i * i % 1000);
  return text.substr(0, bytes);
}

std::string noise(size_t bytes) {
  Rng rng(4);
  std::string text;
  while (text.size() < bytes) text.push_back(static_cast<char>(rng.next()));
  return text;
}

DumpUnit unit(DumpUnit::Kind kind, DumpFormat format, std::string name) {
  DumpUnit made;
  made.kind = kind;
  made.format = format;
  made.name = std::move(name);
  if (kind == DumpUnit::Kind::kGlobals) return made;
  made.database = "app";
  made.client = "15.20";
  made.client_major = 15;
  made.arguments = {"--format=" + std::string(dump_format_name(format)), "--no-owner"};
  return made;
}

DumpMeta describe() {
  DumpMeta meta;
  meta.label = kLabel;
  meta.series = dump_series({"app"}, {}, "golden");
  meta.name = "golden";
  meta.pgark_version = "0.1.0";
  meta.host = "db1";
  meta.server = "host db1 port 5432";
  meta.system_identifier = 7512345678901234567u;
  meta.pg_version_num = 150020;
  meta.server_version = "15.20 (Debian 15.20-1)";
  meta.started = kNow;
  meta.stopped = kNow + std::chrono::seconds(90);
  meta.split = "schema";
  meta.globals = true;
  meta.role_passwords = true;
  meta.selection = {"--schema=" + kLatin1};
  DumpDatabase& database = meta.databases.emplace_back();
  database.name = "app";
  database.oid = 16384;
  database.owner = "owner";
  database.encoding = "SQL_ASCII";
  database.collate = "C";
  database.ctype = "C";
  database.locale_provider = "libc";
  database.tablespace = "pg_default";
  database.bytes = uint64_t{5} << 40;
  database.settings = {{"", "work_mem=64MB"}, {kLatin1, "search_path=a, b"}};
  database.extensions = {{"app", "hstore", "1.8"}};
  database.collation_versions = {{"public.de", "153.14"}};
  database.snapshot = "00000003-0000001B-1";
  database.lsn = "16/B374D848";
  database.snapshot_time = kNow;
  database.table_count = 2;
  database.row_count = 5'000'000'000;
  database.large_object_count = 1;
  meta.roles = {{"owner", true, false, {}}, {kLatin1, false, true, {"owner"}}};
  meta.tablespaces = {"pg_default", "fast"};
  meta.warnings = {"long_snapshot: vacuum waited"};
  meta.codec = "zst";
  return meta;
}

DumpTable table(std::string schema, std::string name, std::string stream) {
  DumpTable made;
  made.database = "app";
  made.oid = 16390;
  made.schema = std::move(schema);
  made.name = std::move(name);
  made.rows = 90'000;
  made.bytes = 8192;
  made.total_bytes = 16384;
  made.parent = "public.orders";
  made.bound = "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')";
  made.unlogged = true;
  made.unit = 1;
  made.stream = std::move(stream);
  return made;
}

class Maker {
 public:
  Maker(const Repository& repository, std::string directory)
      : repository_(repository),
        directory_(std::move(directory)),
        packs_(repository, {.stanza = kStanza, .label = kLabel, .level = 3, .pack_bytes = 96u << 10}) {}

  Result<> run() {
    dump_.meta = describe();
    dump_.meta.units = {unit(DumpUnit::Kind::kGlobals, DumpFormat::kPlain, ""),
                        unit(DumpUnit::Kind::kSchema, DumpFormat::kDirectory, kLatin1),
                        unit(DumpUnit::Kind::kCommon, DumpFormat::kCustom, "")};
    TRY(stream(0, "globals.sql", "CREATE ROLE owner;\n"));
    TRY(stream(1, "toc.dat", noise(5000)));
    TRY(stream(1, "3456.dat", rows(2'500'000)));
    TRY(stream(1, "3457.dat", ""));
    TRY(stream(1, "blobs.toc", "16400 blob_16400.dat\n"));
    TRY(stream(2, "dump", noise(70'000) + rows(1'200'000)));
    TRY(packs_.finish());
    DumpTable plain;
    plain.database = "app";
    plain.schema = "public";
    plain.name = "orders";
    plain.kind = 'p';
    plain.partition_key = "RANGE (day)";
    dump_.tables = {plain, table("public", kLatin1, "3456.dat")};
    dump_.meta.pack_count = packs_.pack_count();
    dump_.meta.stored_bytes = packs_.stored_bytes();
    TRY(write_dump(repository_, kStanza, dump_));
    TRY(write_hold(repository_, kStanza, kLabel, {std::nullopt, "released", kNow}));
    TRY(write_hold(repository_, kStanza, kLabel, {Timestamp::max(), "golden", kNow}));
    TRY(write_dump_verdict(repository_, kStanza, kLabel,
                           {kNow, false, "scratch cluster of PostgreSQL 15", {"app: 1 row too few"}, 2, 3}));
    return write_file_durable(directory_ + "/expected.txt", expected_, 0644);
  }

 private:
  Result<> stream(size_t unit_index, const std::string& name, const std::string& content) {
    TRY_ASSIGN(DumpPacks::Writer writer, packs_.begin(name));
    TRY(writer.append(as_bytes(content)));
    TRY_ASSIGN(DumpStream made, std::move(writer).finish());
    expected_ += fmt::format("{} {} {} {}\n", unit_index, made.raw_bytes, made.hash, made.name);
    dump_.meta.units[unit_index].streams.push_back(std::move(made));
    return {};
  }

  const Repository& repository_;
  const std::string directory_;
  DumpPacks packs_;
  Dump dump_;
  std::string expected_;
};

Result<> make(const std::string& directory, bool sealed) {
  FixedClock clock;
  TRY(make_directories(directory + "/repo"));
  TRY_ASSIGN(const auto store, PosixStore::open(directory + "/repo"));
  KeyConfig keys;
  keys.sealed = sealed;
  if (sealed) {
    constexpr const char* kPassphrase = "a test passphrase that everybody knows";
    keys.passphrase = NamedSecret{"repo1-cipher-pass-file", Secret::from_text(kPassphrase)};
    TRY(write_file_durable(directory + "/passphrase", kPassphrase, 0644));
  }
  TRY_ASSIGN(const auto repository, Repository::open_or_create(*store, clock, keys));
  return Maker(*repository, directory).run();
}

}  // namespace
}  // namespace pgark

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: make_golden_dump DIRECTORY [passphrase]\n");
    return 2;
  }
  if (const auto made = pgark::make(argv[1], argc == 3); !made.has_value()) {
    std::fprintf(stderr, "%s\n", made.error().to_string().c_str());
    return 1;
  }
  return 0;
}
