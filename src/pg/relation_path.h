// Which relation a file of the data directory belongs to, told from its path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgark::pg {

inline constexpr uint32_t kDefaultTablespaceOid = 1663;  // base/
inline constexpr uint32_t kGlobalTablespaceOid = 1664;   // global/

enum class Fork : unsigned char { kMain = 0, kFreeSpaceMap = 1, kVisibilityMap = 2, kInit = 3 };
/// "main", "fsm", "vm", "init".
std::string_view to_string(Fork fork);

/// Name of a relation file within its directory, taken apart: "16384_vm.1", "t3_16384".
struct RelationFileName {
  uint32_t relfilenode = 0;
  Fork fork = Fork::kMain;
  uint32_t segment = 0;
  bool is_temporary = false;  // Of one session: "t<backend>_<relfilenode>".
  auto operator<=>(const RelationFileName&) const = default;
};

/// Parse a file name as PostgreSQL does: no leading zeros, segment 1 and up; absent if it is no relation file.
std::optional<RelationFileName> parse_relation_file_name(std::string_view name);

/// A relation file by its path below the data directory.
struct RelationFile {
  uint32_t tablespace_oid = 0;
  uint32_t database_oid = 0;  // 0 for shared relations.
  RelationFileName name;
  auto operator<=>(const RelationFile&) const = default;

  /// Block number in the fork of the first block in this file.
  uint64_t first_block(uint32_t relation_segment_blocks) const {
    return static_cast<uint64_t>(name.segment) * relation_segment_blocks;
  }
};

/// Classify a path relative to the data directory with '/' between its parts:
///   global/<file>, base/<db>/<file>, pg_tblspc/<oid>/PG_<major>_<catalog>/<db>/<file>.
/// Absent if it is no relation file; its pages then have no standard header.
std::optional<RelationFile> parse_relation_path(std::string_view path);

/// True for a directory that holds relation files: "global", "base/<db>", "pg_tblspc/<oid>/PG_<...>/<db>".
bool is_relation_directory(std::string_view path);

}  // namespace pgark::pg
