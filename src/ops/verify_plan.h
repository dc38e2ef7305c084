// What a round of verify has to read: the backups, the packs they name, WAL by runs of segments, and small records.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/wal_archive.h"
#include "ops/verify.h"
#include "ops/verify_state.h"

namespace pgark {

struct PlannedPack {
  PackName name;
  uint64_t bytes = 0;
  bool listed = false;  // Else it is missing.
};

/// Segments of one timeline, one behind the other or nearly so.
struct PlannedSegments {
  size_t cluster = 0;  // Index into VerifyPlan::clusters.
  TimelineId timeline;
  std::vector<uint64_t> numbers;
  uint64_t last = 0;  // Of the timeline.
};

/// A history, a partial segment or the like, with all its copies.
struct PlannedFile {
  size_t cluster = 0;
  std::string name;
  std::vector<ObjectKey> copies;
};

/// A dump and its packs as they are listed, with their sizes.
struct PlannedDump {
  std::string label;
  std::map<uint32_t, uint64_t> packs;
};

struct VerifyPlan {
  std::vector<ClusterRecord> clusters;
  std::vector<std::unique_ptr<RepositoryWal>> wal;  // By cluster; null if a history cannot be read.
  std::vector<std::string> labels;                  // Of the backups whose manifest could be opened.
  std::vector<PlannedPack> packs;                   // By label and number.
  std::vector<PlannedSegments> segments;
  std::vector<PlannedFile> files;
  std::vector<PlannedDump> dumps;  // By label.
  std::vector<ObjectKey> records;
  uint64_t segment_total = 0;
  uint64_t manifest_bytes = 0;
  uint64_t unreferenced_pack_count = 0;
  uint64_t unreferenced_bytes = 0;
  std::vector<VerifyDamage> damages;  // Of manifests and cluster records that cannot be opened.
  std::vector<std::string> chosen;    // All labels, also those that cannot be opened.
  std::vector<std::string> warnings;
};

/// Segments that are read by one worker one after the other, so that each is joined to the one before.
inline constexpr size_t kSegmentsAtOnce = 16;

/// List what is there and open every chosen manifest.
/// Errors: kNotFound if the stanza or a chosen backup does not exist; of the store.
Result<VerifyPlan> plan_verify(const Repository& repository, const VerifyOptions& options, const CancelToken& cancel);

}  // namespace pgark
