// Names of relation files, as PostgreSQL builds them in src/common/relpath.c and reads them in storage/file/reinit.c.
#include "pg/relation_path.h"

#include <array>
#include <charconv>

namespace pgark::pg {
namespace {

/// Cut a decimal number without leading zeros off the front of `text`; "0" alone only if `zero_ok`.
std::optional<uint32_t> take_number(std::string_view& text, bool zero_ok = false) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  const auto digits = static_cast<size_t>(end - text.data());
  if (text.front() == '0' && (digits > 1 || !zero_ok)) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Cut the first part of a path, and the slash behind it, off the front of `path`.
std::string_view take_part(std::string_view& path) {
  const size_t slash = path.find('/');
  const std::string_view part = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  return part;
}

std::optional<uint32_t> parse_oid(std::string_view part) {
  const auto oid = take_number(part);
  return part.empty() ? oid : std::nullopt;
}

struct RelationDirectory {
  uint32_t tablespace_oid;
  uint32_t database_oid;
};

/// Read the directory part of `path`, leaving what is behind it.
std::optional<RelationDirectory> take_directory(std::string_view& path) {
  const std::string_view top = take_part(path);
  if (top == "global") return RelationDirectory{kGlobalTablespaceOid, 0};
  uint32_t tablespace = kDefaultTablespaceOid;
  if (top == "pg_tblspc") {
    const auto oid = parse_oid(take_part(path));
    if (!oid || !take_part(path).starts_with("PG_")) return std::nullopt;
    tablespace = *oid;
  } else if (top != "base") {
    return std::nullopt;
  }
  const auto database = parse_oid(take_part(path));
  if (!database) return std::nullopt;
  return RelationDirectory{tablespace, *database};
}

}  // namespace

std::string_view to_string(Fork fork) {
  static constexpr std::array<std::string_view, 4> kNames = {"main", "fsm", "vm", "init"};
  return kNames[static_cast<size_t>(fork)];
}

std::optional<RelationFileName> parse_relation_file_name(std::string_view name) {
  RelationFileName out;
  if (take(name, "t")) {
    out.is_temporary = true;
    if (!take_number(name, true) || !take(name, "_")) return std::nullopt;
  }
  const auto relfilenode = take_number(name);
  if (!relfilenode) return std::nullopt;
  out.relfilenode = *relfilenode;
  if (take(name, "_fsm")) {
    out.fork = Fork::kFreeSpaceMap;
  } else if (take(name, "_vm")) {
    out.fork = Fork::kVisibilityMap;
  } else if (take(name, "_init")) {
    out.fork = Fork::kInit;
  }
  if (take(name, ".")) {
    const auto segment = take_number(name);
    if (!segment) return std::nullopt;
    out.segment = *segment;
  }
  if (!name.empty()) return std::nullopt;
  return out;
}

std::optional<RelationFile> parse_relation_path(std::string_view path) {
  const auto directory = take_directory(path);
  if (!directory) return std::nullopt;
  const auto name = parse_relation_file_name(path);  // A slash left in it is refused.
  if (!name) return std::nullopt;
  return RelationFile{directory->tablespace_oid, directory->database_oid, *name};
}

bool is_relation_directory(std::string_view path) {
  if (path.ends_with('/')) return false;
  return take_directory(path).has_value() && path.empty();
}

}  // namespace pgark::pg
