// "Same bytes": two restored directories, not started, compared block by block.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/result.h"
#include "pg/page.h"
#include "pg/relation_path.h"

namespace pgark::testing {

inline constexpr size_t kPageBytes = 8192;

/// Files of a data directory and its tablespaces, by path below it.
inline std::set<std::string> list_files(const std::string& directory) {
  std::set<std::string> paths;
  const auto options = std::filesystem::directory_options::follow_directory_symlink;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, options))
    if (entry.is_regular_file()) paths.insert(entry.path().lexically_relative(directory));
  return paths;
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

/// Compares what a backup restores to with what another one, made right after it, restores to.
/// Shape:  neither was started. A page may differ if the later backup has it with an LSN past `begun`, the start of the
///         earlier one: WAL then tells. Page checksums are on in such a cluster, so that hint bits are in WAL, too.
///         `of_another_node`: the earlier one took pages from a backup of another node; see as_replayed().
class RestoredFiles {
 public:
  RestoredFiles(std::string earlier, std::string later, Lsn begun, bool of_another_node)
      : earlier_(std::move(earlier)), later_(std::move(later)), begun_(begun), of_another_node_(of_another_node) {}

  Result<ByteComparison> compare() {
    const std::set<std::string> ours = list_files(earlier_);
    const std::set<std::string> theirs = list_files(later_);
    for (const std::string& path : ours)
      if (!is_own(path) && !theirs.contains(path)) out_.differences.push_back("only the earlier one has " + path);
    for (const std::string& path : theirs) {
      if (is_own(path)) continue;
      if (ours.contains(path))
        TRY(compare_file(path));
      else
        out_.differences.push_back("only the later one has " + path);
    }
    return std::move(out_);
  }

 private:
  /// What a restore writes for itself, and what names the backup.
  static bool is_own(const std::string& path) {
    return path.starts_with("pg_wal/") || path == "global/pg_control" || path == "backup_label" ||
           path == "tablespace_map" || path == "recovery.signal" || path == "recovery.conf" ||
           path == "postgresql.auto.conf";
  }

  /// Piece by piece: a file may have 1 GiB.
  Result<> compare_file(const std::string& path) {
    TRY_ASSIGN(const File one, File::open(earlier_ + "/" + path, O_RDONLY));
    TRY_ASSIGN(const File other, File::open(later_ + "/" + path, O_RDONLY));
    const bool has_pages = pg::parse_relation_path(path).has_value();
    for (uint64_t at = 0;; at += kPieceBytes) {
      TRY_ASSIGN(const std::string_view old, read_piece(one, at, old_));
      TRY_ASSIGN(const std::string_view now, read_piece(other, at, now_));
      if (old.size() != now.size()) out_.differences.push_back("length of " + path);
      for (size_t page = 0; has_pages && page + kPageBytes <= std::min(old.size(), now.size()); page += kPageBytes)
        compare_page(old.substr(page, kPageBytes), now.substr(page, kPageBytes), path, (at + page) / kPageBytes);
      if (!has_pages && old != now) out_.differences.push_back("content of " + path);
      if (old.size() < kPieceBytes || now.size() < kPieceBytes) return {};
    }
  }

  void compare_page(std::string_view old, std::string_view now, const std::string& path, uint64_t block) {
    ++out_.page_count;
    if (old == now || (of_another_node_ && as_replayed(old) == as_replayed(now))) return;
    if (pg::decode_page_header(as_bytes(now)).lsn > begun_ || is_initialized(old, now))
      ++out_.later_count;
    else
      out_.differences.push_back(fmt::format("block {} of {}", block, path));
  }

  /// VACUUM up to 11 makes empty pages of pages of zeros, and does not tell WAL, as both mean the same.
  static bool is_initialized(std::string_view old, std::string_view now) {
    const pg::PageHeader header = pg::decode_page_header(as_bytes(now));
    return pg::is_all_zero(as_bytes(old)) && header.lsn == Lsn{} && header.lower == pg::kPageHeaderBytes;
  }

  static Result<std::string_view> read_piece(const File& file, uint64_t at, std::string& into) {
    into.resize(kPieceBytes);
    TRY_ASSIGN(const size_t got, file.pread({reinterpret_cast<std::byte*>(into.data()), into.size()}, at));
    return std::string_view(into).substr(0, got);
  }

  static constexpr size_t kPieceBytes = size_t{1} << 20;
  std::string earlier_;
  std::string later_;
  Lsn begun_;
  bool of_another_node_;
  std::string old_;
  std::string now_;
  ByteComparison out_;
};

}  // namespace pgark::testing
