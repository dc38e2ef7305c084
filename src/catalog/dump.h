// A dump: what its manifest says of it, and finding the dumps of a stanza. docs/format/dump.md is normative.
//
//   <stanza>/dump/<label>/<number>     packs: the bytes of streams, in frames
//   <stanza>/dump/<label>/manifest     written last; without it there is no dump (I2)
//   <stanza>/dump/<label>/hold.<n>     holds, as of backups
//   <stanza>/dump/<label>/verified.<n> what dump-verify found
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/backup.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/container.h"
#include "repo/repository.h"
#include "repo/repository_set.h"

namespace pgark {

enum class DumpFormat : uint8_t { kDirectory, kCustom, kPlain, kTar };
std::string_view dump_format_name(DumpFormat format);  // "directory", "custom", "plain", "tar"
/// Also pg_dump's letters: d, c, p, t. Errors: kInvalid.
Result<DumpFormat> parse_dump_format(std::string_view text);

/// Consecutive frames of one pack.
struct DumpRun {
  uint32_t pack = 0;
  uint32_t first_frame = 0;  // Index into ContainerReader::frames().
  uint32_t frame_count = 0;
  auto operator<=>(const DumpRun&) const = default;
};

/// A sequence of bytes that pg_dump wrote: one file of a directory, or the whole of another format.
struct DumpStream {
  std::string name;  // "toc.dat", "3456.dat", "blob_16400.dat"; "dump" for formats of one file; "globals.sql".
  uint64_t raw_bytes = 0;
  std::string hash;  // xxh3-128 of the bytes, 32 hex digits.
  std::vector<DumpRun> runs;
};

/// What one run of pg_dump (or pg_dumpall, or standard input) wrote: restorable alone, but for what its kind says.
struct DumpUnit {
  enum class Kind : uint8_t {
    kWhole,       // Of the database, as far as options chose.
    kCommon,      // split=schema: all that is in none of the schemas dumped apart.
    kSchema,      // split=schema: one schema.
    kDefinition,  // split=partition: everything but the data of partitions.
    kPartition,   // split=partition: the data of one partition.
    kGlobals,     // Roles, memberships, tablespaces, settings: SQL text. Of no database.
    kGiven,       // From standard input.
  };
  Kind kind = Kind::kWhole;
  std::string name;      // Schema; of a partition its name.
  std::string schema;    // Of a partition.
  std::string database;  // Empty for kGlobals.
  DumpFormat format = DumpFormat::kDirectory;
  std::string client;                  // Version of pg_dump: "15.20 (Debian ...)"; empty if not known.
  unsigned client_major = 0;           // 0: not known.
  std::vector<std::string> arguments;  // Given to pg_dump, without where to connect.
  std::vector<DumpStream> streams;
  uint64_t raw_bytes() const;
};
std::string_view dump_unit_kind_name(DumpUnit::Kind kind);  // "whole", "common", "schema", ...

/// A table, partition, materialized view, or sequence as of the dump's snapshot.
struct DumpTable {
  std::string database;
  uint32_t oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';               // pg_class.relkind.
  std::optional<uint64_t> rows;  // Dumped, counted in the stream; none where pg_dump's output does not tell.
  uint64_t bytes = 0;            // pg_table_size.
  uint64_t total_bytes = 0;      // With indexes.
  std::string parent;            // "schema.name" (quoted as identifiers) of the partitioned table it belongs to.
  std::string bound;             // "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')", "DEFAULT".
  std::string partition_key;     // Of a partitioned table: "RANGE (day)".
  bool unlogged = false;
  std::optional<uint32_t> unit;  // Index of the unit that has its data.
  std::string stream;            // In that unit, if it has one of its own.
};

struct DumpDatabase {
  std::string name;
  uint32_t oid = 0;
  std::string owner;
  std::string encoding;
  std::string collate;
  std::string ctype;
  std::string locale_provider;  // "libc", "icu", "builtin"
  std::string collation_version;
  std::string tablespace;
  uint64_t bytes = 0;  // pg_database_size; 0: not known.
  std::string acl;     // datacl as text; empty: default.
  int32_t connection_limit = -1;
  /// ALTER DATABASE ... SET and ALTER ROLE ... IN DATABASE ... SET: role ("" for all) and "name=value".
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<BackupExtension> extensions;
  std::map<std::string, std::string> collation_versions;  // "schema.name": version, of collations in use that have one.
  std::string snapshot;                                   // That everything of the database was read with.
  std::string lsn;  // Of the server when it was taken; empty on servers that hide it.
  Timestamp snapshot_time{};
  uint64_t table_count = 0;
  uint64_t row_count = 0;
  uint64_t large_object_count = 0;
};

struct DumpRole {
  std::string name;
  bool login = false;
  bool superuser = false;
  std::vector<std::string> member_of;
};

struct DumpMeta {
  std::string label;   // "20261122-101500L"
  std::string series;  // What retention counts together: see dump_series().
  std::string name;    // Given with --name.
  std::string pgark_version;
  std::string host;                // Where pgark ran.
  std::string server;              // "host db1 port 5432"; of no secret.
  uint64_t system_identifier = 0;  // 0: not known (managed servers may hide it, standard input).
  uint32_t pg_version_num = 0;
  std::string server_version;  // As it says: "15.20 (Debian ...)".
  bool in_recovery = false;
  Timestamp started{};
  Timestamp stopped{};
  std::string split = "none";  // "none", "schema", "partition"
  bool globals = false;
  bool role_passwords = false;
  std::vector<std::string> selection;  // Options that chose a part: "--schema=tenant_42"; empty: everything.
  std::vector<DumpDatabase> databases;
  std::vector<DumpRole> roles;           // Of the server.
  std::vector<std::string> tablespaces;  // Names.
  std::vector<DumpUnit> units;           // Streams are left out in read_dump_meta().
  std::vector<std::string> warnings;     // Said when it was made.
  uint64_t raw_bytes = 0;                // Sum over streams.
  uint64_t stored_bytes = 0;             // Packs and manifest.
  uint32_t pack_count = 0;
  uint64_t stream_count = 0;
  std::string codec;
  unsigned pg_major() const;
};

/// All of a dump.
struct Dump {
  DumpMeta meta;  // Units with their streams.
  std::vector<DumpTable> tables;
};

/// "20261122-101500L": UTC, later than all of `used`.
std::string next_dump_label(Timestamp started, const std::vector<std::string>& used);
bool is_dump_label(std::string_view text);
/// Errors: kInvalid with what a label looks like.
Result<> parse_dump_label(std::string_view text);

/// Dumps of one series replace each other in retention: the same databases and selection, or the same --name.
std::string dump_series(const std::vector<std::string>& databases, const std::vector<std::string>& selection,
                        const std::string& name);

ObjectKey dump_pack_key(const std::string& stanza, const std::string& label, uint32_t number);
ObjectKey dump_manifest_key(const std::string& stanza, const std::string& label);

/// Write the manifest: the dump exists from now on. Errors: as ContainerWriter; kAlreadyExists.
Result<ObjectInfo> write_dump(const RepositorySet& repositories, const std::string& stanza, const Dump& dump);
/// What describes it, without streams and tables: one small read.
/// Errors: kNotFound with the hint to run dump-ls; kCorrupt naming the dump.
Result<DumpMeta> read_dump_meta(const Repository& repository, const std::string& stanza, const std::string& label);
Result<Dump> read_dump(const Repository& repository, const std::string& stanza, const std::string& label);

/// Whether both were written by one run of pgark, into several repositories or copied: of one label there may be
/// others.
bool is_same_dump(const DumpMeta& a, const DumpMeta& b);

/// Labels of the dumps that exist, oldest first.
Result<std::vector<std::string>> list_dump_labels(const Repository& repository, const std::string& stanza);
/// Labels some object of which exists: a new one must differ from all of them.
Result<std::vector<std::string>> list_used_dump_labels(const Repository& repository, const std::string& stanza);

/// As a listing shows it: one that cannot be read is shown with its error.
struct ListedDump {
  std::string label;
  std::optional<DumpMeta> meta;
  std::optional<Error> error;
};
Result<std::vector<ListedDump>> list_dumps(const Repository& repository, const std::string& stanza);

/// What dump-verify found: "<stanza>/dump/<label>/verified.<n>" (I1), the newest counts.
struct DumpVerdict {
  Timestamp when{};
  bool ok = false;
  std::string where;                  // "scratch cluster of PostgreSQL 15", "scratch database on host db1 port 5432"
  std::vector<std::string> findings;  // What differed; empty if ok.
  uint64_t tables = 0;                // Whose rows were counted.
  uint64_t checks = 0;                // SQL checks that ran.
};
Result<> write_dump_verdict(const Repository& repository, const std::string& stanza, const std::string& label,
                            const DumpVerdict& verdict);
Result<std::map<std::string, DumpVerdict>> read_dump_verdicts(const Repository& repository, const std::string& stanza);

}  // namespace pgark
