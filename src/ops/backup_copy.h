// The second step of a backup: worker threads read what has to be read of the planned files, check its pages, and
// gather what is not zero and not stored already into extents. What each file became is kept in a few bytes an extent.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/progress.h"
#include "core/rate_limiter.h"
#include "core/result.h"
#include "ops/backup_plan.h"
#include "ops/backup_prior.h"
#include "repo/block_hashes.h"
#include "repo/pack.h"

namespace pgark {

/// A bound no page's LSN can have passed: the server's insert position, asked again and again while workers copy.
class InsertPosition {
 public:
  void update(Lsn lsn) {
    lsn_.store(lsn.bytes, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
  }
  Lsn get() const { return {lsn_.load(std::memory_order_relaxed)}; }
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> lsn_ = 0;
  std::atomic<uint64_t> generation_ = 0;
};

/// Where a block lies that was stored before.
struct HeldBlock {
  ExtentRef extent;
  uint32_t extent_offset = 0;
};
/// Asked for every block that would be stored, by path, place in the file and hash; thread-safe.
using FindHeldBlock =
    std::function<std::optional<HeldBlock>(std::string_view path, uint64_t file_offset, uint64_t hash)>;

/// An older backup as the copier uses it. What it refers to must outlive the copier.
struct CopyPrior {
  const PriorBackup& backup;
  const PriorSurvey& survey;
  const PlanIndex& index;
  BlockHashes& hashes;  // Of the older backup's packs.
};

struct BackupCopyOptions {
  std::string data_directory;
  unsigned workers = 1;
  Codec codec = Codec::kZstd;
  int level = 1;
  bool check_pages = false;  // The cluster has checksums, and the user wants them looked at.
  uint32_t page_bytes = 8192;
  uint32_t relation_segment_blocks = 131072;
  Lsn start_lsn;
  RateLimiter* read_limiter = nullptr;  // Of what is read of the data directory, by all workers together; may be null.
  std::optional<CopyPrior> prior;
  FindHeldBlock find_held;  // Empty: nothing is.
  /// Packs of other backups that extents may lie in: the prior's, in its order, then those of find_held.
  std::vector<PackName> older_packs;
};

/// Sums over the files copied so far.
struct BackupCopyTotals {
  uint64_t file_count = 0;
  uint64_t logical_bytes = 0;  // Sum of file sizes as they are in the backup.
  uint64_t read_bytes = 0;
  uint64_t referenced_bytes = 0;  // Of the prior's extents, raw.
  uint64_t reused_bytes = 0;      // Of find_held's.
  uint64_t vanished_count = 0;
  uint64_t shrunk_count = 0;
  uint64_t bad_page_count = 0;
};

/// Files longer than this are copied in parts, so that the last big one does not leave workers idle.
inline constexpr uint64_t kCopyPartBytes = 256u << 20;
/// Files shorter than this share extents.
inline constexpr uint64_t kSmallFileBytes = kExtentBytes;

/// Copies the files of one plan into packs.
class BackupCopier {
 public:
  /// `plan`, `packs`, `position`, `clock` and `progress` must outlive it.
  BackupCopier(const BackupPlan& plan, BackupCopyOptions options, PackSet& packs, const InsertPosition& position,
               Clock& clock, Progress& progress);
  ~BackupCopier();

  /// Copy every file but global/pg_control; what the prior holds unchanged is not read. `while_waiting` is called on
  /// the calling thread several times a second until the workers are done; its error stops them. Errors: naming the
  /// file; kCancelled.
  Result<> copy_files(const CancelToken& cancel, const std::function<Result<>()>& while_waiting);

  /// Copy pg_control, whose content the caller has read and checked, and hand all packs over to be committed.
  Result<> copy_control(Bytes content);

  /// Call `each` with every entry of the backup: directories, links and empty files first, in the plan's order, then
  /// files in the order of their first extent. ExtentRef::pack indexes pack_table(). After copy_control().
  Result<> for_each_entry(const std::function<Result<>(const FileEntry&, const std::vector<ExtentRef>&)>& each) const;

  /// Packs the backup needs: those of older_packs that something of it lies in, then its own, `own_count` of them.
  std::vector<PackName> pack_table(const std::string& label, uint32_t own_count) const;

  const BackupCopyTotals& totals() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
