// One thread of the copy: reads parts of files, judges their pages, and settles for each block whether it is stored, or
// where it lies already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/backup_copy.h"
#include "ops/backup_parts.h"

namespace pgark {

enum class PartState : uint8_t { kPlanned, kCopied, kVanished };

/// A stretch of a file as one unit of work: the whole file unless it is longer than kCopyPartBytes.
struct BackupPart {
  PartStore::Place place = 0;
  uint32_t entry = 0;
  uint32_t number = 0;  // Within the file.
  uint16_t worker = 0;  // Whose store `place` is in.
  PartState state = PartState::kPlanned;
};
uint64_t part_count(uint64_t bytes);

/// A file that the prior has, and what is done with it.
struct PriorFile {
  const FileEntry* entry = nullptr;
  const std::vector<ExtentRef>* extents = nullptr;
  FileWork work;
};

/// A part to be copied; `prior` is null if nothing older is to be looked at.
struct PartTask {
  uint32_t part = 0;
  const PriorFile* prior = nullptr;
};

class CopyWorker {
 public:
  /// All arguments must outlive it.
  CopyWorker(const BackupCopyOptions& options, PackSet& packs, const InsertPosition& position, Clock& clock,
             Progress& progress);
  ~CopyWorker();

  /// Copy some parts together: small files among them share extents.
  Result<> copy(const BackupPlan& plan, std::vector<BackupPart>& parts, const std::vector<PartTask>& tasks,
                uint16_t index, const CancelToken& cancel);
  /// Store content that is at hand: a multiple of 8 KiB.
  Result<> add_whole(PartRuns& part, const std::string& path, Bytes content);
  /// Hand the open pack over.
  Result<> close();

  const PartStore& store() const;
  const BackupCopyTotals& totals() const;
  /// Which of BackupCopyOptions::older_packs something lies in.
  const std::vector<bool>& used_packs() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
