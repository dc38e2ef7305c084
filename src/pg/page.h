// Pages of relation files: header, checksum, and the rules by which a backup of a running cluster judges a page.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bytes.h"
#include "core/ids.h"
#include "core/result.h"

namespace pgark::pg {

inline constexpr size_t kPageHeaderBytes = 24;
inline constexpr size_t kPageBytesDefault = 8192;

/// Header of a page, decoded.
/// Source: PostgreSQL src/include/storage/bufpage.h, PageHeaderData.
struct PageHeader {
  Lsn lsn;  // End of the last WAL record that changed the page.
  uint16_t checksum = 0;
  uint16_t flags = 0;
  uint16_t lower = 0;
  uint16_t upper = 0;  // 0: the page is new and must be all zero.
  uint16_t special = 0;
  uint16_t page_bytes = 0;  // 32768 at most, a power of two.
  uint8_t layout_version = 0;
  uint32_t prune_xid = 0;

  bool is_new() const { return upper == 0; }
};

/// Read the header of a page without judging it.
/// Shape: `page` holds at least kPageHeaderBytes.
PageHeader decode_page_header(Bytes page);

/// Compute the checksum a page should carry; the stored one does not matter.
/// Shape: `page` is a whole page (1 to 32 KiB, a power of two), `block` counts from the start of the fork:
///        segment number x blocks per segment + block in the file.
/// Source: PostgreSQL src/include/storage/checksum_impl.h.
uint16_t page_checksum(Bytes page, uint32_t block);

/// The same without instructions beyond the compiler's baseline; for tests and for comparing speed.
uint16_t page_checksum_portable(Bytes page, uint32_t block);
/// What page_checksum runs on here: "avx2", "sse4.1" or "baseline".
std::string_view page_checksum_implementation();

/// True if every byte is zero. Fast: made to be asked of every block.
bool is_all_zero(Bytes bytes);

/// What a page read from a running cluster is.
enum class PageState : unsigned char {
  kOk,              // Its checksum is right.
  kNew,             // All zero, as an extended but unused page is.
  kNewerThanStart,  // Checksum wrong but written after the backup began: may be torn, replay of WAL mends it.
  kBad,             // Damaged, or torn by the read: read again, then report.
};
std::string_view to_string(PageState state);

/// Judge one page of a cluster whose checksums are on.
/// Shape:  `page` and `block` as for page_checksum; `start_lsn` is the backup's start, `insert_lsn_limit` a position no
///         page can have passed (the current insert position asked after the read, or a bound above it): an LSN beyond
///         it is garbage and excuses nothing.
PageState check_page(Bytes page, uint32_t block, Lsn start_lsn, Lsn insert_lsn_limit);

/// Judge one page of a cluster without checksums: only its shape can be wrong.
/// Shape:  as above. kBad means that header fields contradict each other or the page size.
PageState check_page_shape(Bytes page);

}  // namespace pgark::pg
