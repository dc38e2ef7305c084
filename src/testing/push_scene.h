// A pg_wal with files ready to be archived and repositories that can fail: what tests of archiving share.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "ops/archive_push.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_cluster_record.h"
#include "testing/scratch.h"
#include "testing/wal_samples.h"

namespace pgark::testing {

/// A directory like pg_wal, and `repo1`, `repo2`, ... in memory with stanza "main".
class PushScene {
 public:
  explicit PushScene(size_t repository_count = 1) {
    auto made = ScratchDir::create("push");
    EXPECT_TRUE(made.has_value());
    scratch_ = std::move(*made);
    EXPECT_TRUE(make_directories(wal() + "/archive_status").has_value());
    for (size_t i = 0; i < repository_count; ++i) add_repository();
  }

  static ClusterRecord cluster() { return sample_cluster_record(SampleWal{}.system_id, SampleWal{}.segment_bytes); }
  static std::string segment_name(uint64_t number, uint32_t timeline = 1) {
    return pg::segment_name({TimelineId{timeline}, number}, SampleWal{}.segment_bytes);
  }

  std::string wal() const { return scratch_ / "pg_wal"; }
  std::string spool() const { return scratch_ / "spool/archive/main"; }
  std::string path(const std::string& name) const { return wal() + "/" + name; }
  std::string segment_path(uint64_t number, uint32_t timeline = 1) const {
    return path(segment_name(number, timeline));
  }

  /// Put a file into pg_wal: always another file than the one that had the name.
  void put(const std::string& name, std::string_view content, bool ready = true) const {
    write(path(name), content);
    if (ready) mark_ready(name);
  }
  void mark_ready(const std::string& name) const { write(wal() + "/archive_status/" + name + ".ready", ""); }
  void mark_done(const std::string& name) const {
    const std::string status = wal() + "/archive_status/" + name;
    EXPECT_EQ(std::rename((status + ".ready").c_str(), (status + ".done").c_str()), 0);
  }
  /// A segment that was switched after its first pages: quick to make, and to compress.
  void put_segment(uint64_t number, uint64_t seed = 1, uint32_t timeline = 1) const {
    const Buffer content = sample_segment({TimelineId{timeline}, number}, seed + number, {}, size_t{3} * 8192);
    put(segment_name(number, timeline), as_text(content));
  }

  void add_repository() {
    stores_.push_back(
        std::make_unique<FaultStore>(std::make_unique<MemoryStore>(fmt::format("repo{}", stores_.size() + 1))));
    repositories_.push_back(new_repository(*stores_.back()));
    EXPECT_TRUE(write_cluster(*repositories_.back(), "main", cluster()).has_value());
    faultless_.push_back(new_repository(stores_.back()->inner()));
  }
  FaultStore& store(size_t index = 0) { return *stores_[index]; }
  const Repository& repository(size_t index = 0) { return *repositories_[index]; }
  size_t repository_count() const { return stores_.size(); }

  /// As archiving opens them: reads pgark.json each time.
  std::vector<PushTarget> targets() {
    std::vector<PushTarget> targets;
    for (size_t i = 0; i < stores_.size(); ++i) {
      targets.push_back({.name = fmt::format("repo{}", i + 1), .open = [this, i]() -> Result<PushTarget::Opened> {
                           PushTarget::Opened opened;
                           TRY_ASSIGN(opened.repository, Repository::open(*stores_[i]));
                           return opened;
                         }});
    }
    return targets;
  }
  ArchivePushOptions options(const std::string& source_path = "") const {
    return {.stanza = "main", .source_path = source_path, .data_directory = "", .host = "db1"};
  }

  /// Whether a repository holds the very bytes of a file of pg_wal; faults of its store do not meet this.
  bool holds(const std::string& name, size_t index = 0) {
    const auto copies = find_wal_copies(*faultless_[index], "main", 1, name);
    if (!copies || copies->empty()) return false;
    const auto stored = read_stored_file(*faultless_[index], copies->back());
    return stored.has_value() && as_text(stored->raw) == read_file(path(name)).value_or("original");
  }

 private:
  /// Not synced, which would take most of the time of a test.
  static void write(const std::string& path, std::string_view content) {
    auto file = File::open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(file.has_value());
    EXPECT_TRUE(file->write(as_bytes(content)).has_value());
    EXPECT_EQ(std::rename((path + ".new").c_str(), path.c_str()), 0);
  }

  ScratchDir scratch_;
  std::vector<std::unique_ptr<FaultStore>> stores_;
  std::vector<std::unique_ptr<Repository>> repositories_;
  std::vector<std::unique_ptr<Repository>> faultless_;
};

}  // namespace pgark::testing
