// The table of contents of pg_dump's archives (toc.dat of the directory format, the head of the custom format):
// reading it, and writing it back with other owners. Pure. Source: what pg_dump 10 to 19 write (archive versions 1.13
// to 1.16), checked against `pg_restore --list`; docs/format/dump.md says what is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace pgark::pg {

/// When an entry is restored.
enum class DumpSection : uint8_t { kNone = 1, kPreData = 2, kData = 3, kPostData = 4 };

struct DumpTocEntry {
  int32_t dump_id = 0;  // What pg_restore -L names it by.
  bool has_data = false;
  uint32_t table_oid = 0;  // pg_class, pg_type, ...: the catalog it is from.
  uint32_t oid = 0;
  std::string tag;   // Name as text, of functions with arguments: "orders", "f(integer)", "orders orders_pkey".
  std::string desc;  // "TABLE", "TABLE DATA", "ACL", "SCHEMA", "EXTENSION", "BLOB METADATA", ...
  DumpSection section = DumpSection::kNone;
  std::optional<std::string> definition;
  std::optional<std::string> drop_statement;
  std::optional<std::string> copy_statement;
  std::optional<std::string> schema;
  std::optional<std::string> tablespace;
  std::optional<std::string> table_access_method;
  int32_t relkind = 0;  // From 1.16 on.
  std::optional<std::string> owner;
  std::optional<std::string> with_oids;
  std::vector<std::string> dependencies;  // Dump ids as text.
  std::string file_name;                  // Directory format: where its data are; empty if none.
  uint8_t offset_state = 0;               // Custom format.
  uint64_t offset = 0;
};

struct DumpToc {
  enum class Format : uint8_t { kCustom = 1, kTar = 3, kDirectory = 5 };
  unsigned version_major = 1, version_minor = 14, version_revision = 0;
  uint8_t int_bytes = 4, offset_bytes = 8;
  Format format = Format::kTar;  // What toc.dat of a directory says too; kDirectory is read, not written by pg_dump.
  int32_t compression = 0;       // Level up to 1.14, algorithm from 1.15 on; 0: none.
  int32_t created[7] = {};       // struct tm: sec, min, hour, mday, mon, year, isdst.
  std::string database;
  std::string server_version;  // "15.20 (Debian ...)"
  std::string dump_version;    // Of pg_dump.
  std::vector<DumpTocEntry> entries;
  size_t toc_bytes = 0;  // Where the table of contents ended: of the custom format data follow.

  unsigned dump_major() const;  // 15
};

/// Whether bytes begin like an archive of pg_dump ("PGDMP").
bool looks_like_archive(Bytes head);

/// Read the head of an archive.
/// Errors: kInvalid if these are no archive; kUnsupported for versions of the format that are not known;
///         kCorrupt if it does not decode; kNotFound if `bytes` end before the table of contents does (ask again with
///         more).
Result<DumpToc> read_dump_toc(Bytes bytes);
/// Write it back; read_dump_toc(write_dump_toc(toc)) is toc, and for an unchanged one the bytes are the same.
std::vector<std::byte> write_dump_toc(const DumpToc& toc);

/// Counts rows in the data pg_dump writes while it passes by, so that nothing has to be read twice.
class DumpRowCounter {
 public:
  virtual ~DumpRowCounter() = default;
  virtual void add(Bytes data) = 0;
  /// Rows by dump id (custom), by "schema"."name" as pg_dump writes the table (plain), or under "" (a data file of a
  /// directory). None where the data are not COPY's text (--inserts).
  struct Count {
    std::string of;
    int32_t dump_id = 0;
    uint64_t rows = 0;
  };
  virtual std::vector<Count> counts() const = 0;
  /// The table of contents that passed by; nothing where there is none or it has not come whole.
  virtual const DumpToc* toc() const { return nullptr; }
};
std::unique_ptr<DumpRowCounter> count_directory_file_rows();
std::unique_ptr<DumpRowCounter> count_custom_rows();  // Also keeps the table of contents, see toc().
std::unique_ptr<DumpRowCounter> count_plain_rows();

}  // namespace pgark::pg
