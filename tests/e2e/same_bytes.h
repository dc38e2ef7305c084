// "Same bytes": two restored directories, not started, compared block by block.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/result.h"
#include "pg/page.h"
#include "pg/relation_path.h"

namespace pgark::testing {

inline constexpr size_t kPageBytes = 8192;

/// Files of a data directory and its tablespaces by path, as they are while no server runs.
inline Result<std::map<std::string, std::string>> read_files(const std::string& directory) {
  std::map<std::string, std::string> files;
  const auto options = std::filesystem::directory_options::follow_directory_symlink;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, options)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().lexically_relative(directory);
    TRY_ASSIGN(files[path], read_file(entry.path(), size_t{2} << 30));
  }
  return files;
}

struct ByteComparison {
  std::vector<std::string> differences;  // "block 7 of base/5/16384", "only one has base/5/16385".
  size_t page_count = 0;                 // Compared.
  size_t later_count = 0;                // Pages that differ and may.
};

/// A heap page without what differs between nodes that replay the same WAL: hints of which transactions have ended and
/// what depends on them, which are not always logged, and command ids, which replay makes 0. Other pages as they are.
/// Source: PostgreSQL src/backend/access/heap/heapam.c, heap_mask().
inline std::string as_replayed(std::string_view page) {
  std::string out(page);
  const pg::PageHeader header = pg::decode_page_header(as_bytes(page));
  if (header.special != kPageBytes || header.lower < pg::kPageHeaderBytes || header.lower > kPageBytes) return out;
  const auto clear = [&](size_t at, size_t bytes) { std::memset(out.data() + at, 0, bytes); };
  clear(8, 4);   // Checksum, flags.
  clear(20, 4);  // Oldest transaction to prune.
  for (size_t at = pg::kPageHeaderBytes; at + 4 <= header.lower; at += 4) {
    const auto pointer = load_le<uint32_t>(as_bytes(page).data() + at);
    const size_t tuple = pointer & 0x7fff;
    if ((pointer >> 15 & 3) != 1 || tuple + 24 > kPageBytes) continue;
    clear(tuple + 8, 4);                                          // Command id.
    out[tuple + 21] = static_cast<char>(out[tuple + 21] & 0xf0);  // Of t_infomask: xmin, xmax committed or invalid.
  }
  return out;
}

/// Compare what a backup restores to with what another one, made right after it, restores to.
/// Shape:  neither was started. A page may differ if the later backup has it with an LSN past `begun`, the start of the
///         earlier one: WAL then tells. Page checksums are on in such a cluster, so that hint bits are in WAL, too.
///         `of_another_node`: the earlier one took pages from a backup of another node; see as_replayed().
inline Result<ByteComparison> compare_restored(const std::string& earlier, const std::string& later, Lsn begun,
                                               bool of_another_node = false) {
  TRY_ASSIGN(const auto ours, read_files(earlier));
  TRY_ASSIGN(const auto theirs, read_files(later));
  ByteComparison out;
  const auto is_own = [](const std::string& path) {  // What a restore writes for itself, and what names the backup.
    return path.starts_with("pg_wal/") || path == "global/pg_control" || path == "backup_label" ||
           path == "tablespace_map" || path == "recovery.signal" || path == "recovery.conf" ||
           path == "postgresql.auto.conf";
  };
  for (const auto& [path, content] : ours)
    if (!is_own(path) && !theirs.contains(path)) out.differences.push_back("only the earlier one has " + path);
  for (const auto& [path, content] : theirs) {
    if (is_own(path)) continue;
    const auto found = ours.find(path);
    if (found == ours.end()) {
      out.differences.push_back("only the later one has " + path);
      continue;
    }
    const std::string& own = found->second;
    if (own.size() != content.size())
      out.differences.push_back(fmt::format("{} has {} bytes and {}", path, own.size(), content.size()));
    const bool has_pages = pg::parse_relation_path(path).has_value();
    if (!has_pages && own != content) out.differences.push_back("content of " + path);
    for (size_t at = 0; has_pages && at + kPageBytes <= std::min(own.size(), content.size()); at += kPageBytes) {
      ++out.page_count;
      const std::string_view page = std::string_view(content).substr(at, kPageBytes);
      const std::string_view old = std::string_view(own).substr(at, kPageBytes);
      if (page == old || (of_another_node && as_replayed(page) == as_replayed(old))) continue;
      if (pg::decode_page_header(as_bytes(page)).lsn > begun)
        ++out.later_count;
      else
        out.differences.push_back(fmt::format("block {} of {}", at / kPageBytes, path));
    }
  }
  return out;
}

}  // namespace pgark::testing
