// Whether each of many backups has its WAL, told from few listings.
#include "catalog/retention_input.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "catalog/wal.h"
#include "pg/wal.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

constexpr uint32_t kSegment = 16u << 20;

/// Counts listings; says that it is far away if it is told to.
class ListingStore final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  StoreCaps caps() const override {
    StoreCaps caps = inner().caps();
    if (far) caps.kind = "s3";
    return caps;
  }
  Result<ListPage> list(const ListRequest& request) override {
    ++listings;
    ListRequest page = request;
    if (far) page.limit = std::min<size_t>(page.limit, 1000);
    return inner().list(page);
  }

  bool far = false;
  uint64_t listings = 0;
};

std::string name_of(uint64_t number) { return pg::segment_name({TimelineId{1}, number}, kSegment); }

struct Archive {
  void put(uint64_t number) {
    const auto key = wal_key("main", 1, name_of(number));
    ASSERT_TRUE(key.has_value());
    ASSERT_TRUE(memory.put(*key, as_bytes("wal")).has_value());
    there.insert(number);
  }
  static ListedBackup backup(uint64_t first, uint64_t last) {
    ListedBackup one;
    one.label = make_backup_label(BackupType::kFull, Timestamp(std::chrono::seconds(1795342000 + first)), "");
    one.meta.emplace();
    one.meta->label = one.label;
    one.meta->wal_segment_bytes = kSegment;
    one.meta->wal_start = name_of(first);
    one.meta->wal_stop = name_of(last);
    return one;
  }

  MemoryStore memory;
  ListingStore store{memory};
  std::unique_ptr<Repository> repository = new_repository(store);
  std::set<uint64_t> there;
};

TEST(RetentionInput, KnowsOfEachBackupWhetherItsWalIsThere) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 40; ++round) {
    Archive archive;
    archive.store.far = rng.below(2) == 0;
    const uint64_t sparse = 1 + rng.below(4);
    for (uint64_t number = 1; number < 3000; ++number)
      if (rng.below(10 * sparse) >= sparse) archive.put(number);
    std::vector<ListedBackup> listed;
    for (uint64_t first = 1 + rng.below(100); first < 3000; first += 1 + rng.below(1u << rng.below(9)))
      listed.push_back(Archive::backup(first, first + rng.below(3)));
    if (rng.below(2) == 0 && !listed.empty()) std::swap(listed.front(), listed.back());
    const auto backups = read_retention_backups(*archive.repository, "main", listed);
    ASSERT_TRUE(backups.has_value()) << backups.error().to_string();
    for (size_t i = 0; i < listed.size(); ++i) {
      bool all = true;
      const uint64_t last = pg::parse_segment_name(listed[i].meta->wal_stop, kSegment)->number;
      for (uint64_t number = pg::parse_segment_name(listed[i].meta->wal_start, kSegment)->number; number <= last;
           ++number)
        all = all && archive.there.contains(number);
      ASSERT_EQ((*backups)[i].restorable, all) << listed[i].meta->wal_start;
    }
  }
}

TEST(RetentionInput, AsksForFewListingsHoweverManyBackupsThereAre) {
  for (const bool far : {false, true}) {
    Archive archive;
    archive.store.far = far;
    std::vector<ListedBackup> listed;
    for (uint64_t number = 1; number < 6000; number += 3) {
      archive.put(number);
      archive.put(number + 1);
      listed.push_back(Archive::backup(number, number + 1));
    }
    archive.store.listings = 0;
    const auto backups = read_retention_backups(*archive.repository, "main", listed);
    ASSERT_TRUE(backups.has_value());
    for (const RetentionBackup& backup : *backups) ASSERT_TRUE(backup.restorable);
    EXPECT_LT(archive.store.listings, 30u) << "of " << listed.size() << " backups, far " << far;
  }
}

TEST(RetentionInput, LabelsInUseTakeFewListings) {
  Archive archive;
  for (int i = 0; i < 3000; ++i) {
    const auto label = make_backup_label(BackupType::kFull, Timestamp(std::chrono::seconds(1795342000 + i)), "");
    for (const uint32_t number : {1u, 2u})
      ASSERT_TRUE(archive.memory.put(pack_key("main", label, number), {}).has_value());
  }
  archive.store.listings = 0;
  const auto labels = list_used_labels(*archive.repository, "main");
  ASSERT_TRUE(labels.has_value());
  EXPECT_EQ(labels->size(), 3000u);
  EXPECT_LT(archive.store.listings, 20u);
}

}  // namespace
}  // namespace pgark
