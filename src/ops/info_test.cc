// What info asks of a repository.
#include "ops/info.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "store/calls_at_once.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_backup.h"

namespace pgark {
namespace {

/// Remembers what listings begin.
class ListLog final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  Result<ListPage> list(const ListRequest& request) override {
    if (request.after.empty()) begun.push_back(request);
    return ForwardingStore::list(request);
  }
  std::vector<ListRequest> begun;
};

TEST(Info, ListsTheWalOfAClusterOnce) {
  MemoryStore memory;
  ListLog store(memory);
  const auto repository = new_repository(store);
  constexpr uint32_t kSegment = 1u << 20;
  testing::SampleBackup backup(*repository, "20261122-101500F");
  backup.meta.wal_segment_bytes = kSegment;
  backup.meta.start_lsn = Lsn{32 * kSegment + 40};
  backup.meta.stop_lsn = Lsn{33 * kSegment + 256};
  backup.meta.wal_start = pg::segment_name({TimelineId{1}, 32}, kSegment);
  backup.meta.wal_stop = pg::segment_name({TimelineId{1}, 33}, kSegment);
  ASSERT_OK(write_cluster(*repository, "main",
                          {.number = 1,
                           .system_identifier = backup.meta.system_identifier,
                           .pg_major = backup.meta.pg_major,
                           .control_version = backup.meta.control_version,
                           .catalog_version = backup.meta.catalog_version,
                           .wal_segment_bytes = kSegment,
                           .created = {}}));
  backup.minimal_cluster();
  backup.commit();
  backup.archive_wal(2);

  store.begun.clear();
  ASSERT_OK_AND_ASSIGN(const InfoStanza info, stanza_info(*repository, "main"));
  EXPECT_EQ(info.status, StanzaStatus::kOk);
  ASSERT_EQ(info.clusters.size(), 1u);
  ASSERT_EQ(info.clusters[0].wal.size(), 1u);
  EXPECT_EQ(info.clusters[0].wal[0].count, 4u);
  EXPECT_NE(info.clusters[0].coverage.current_timeline(), nullptr);
  size_t of_all_wal = 0;
  for (const ListRequest& request : store.begun)
    if (request.prefix == "main/wal/1/" && request.limit == list_page(store)) ++of_all_wal;
  EXPECT_EQ(of_all_wal, 1u);
}

}  // namespace
}  // namespace pgark
