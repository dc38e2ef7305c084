#include "ops/backup_sizes.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/clock.h"
#include "repo/manifest.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"

namespace pgark {
namespace {

using Tables = std::map<std::string, std::vector<PackName>>;

/// A store with packs of random sizes (their content does not matter) and manifests that name some of them.
struct SizedRepository {
  void add_pack(const PackName& name, uint64_t bytes) {
    Buffer content(static_cast<size_t>(bytes));
    ASSERT_OK(store.put(pack_key("main", name.label, name.number), content));
    packs[name] = bytes;
  }
  void add_manifest(const std::string& label, const std::vector<PackName>& names) {
    auto writer = ManifestWriter::create(*repository, "main", label);
    ASSERT_OK(writer);
    ASSERT_OK(std::move(*writer).commit(names, "{}"));
    tables[label] = names;
  }
  std::vector<std::string> labels() const {
    std::vector<std::string> out;
    for (const auto& [label, names] : tables) out.push_back(label);
    return out;
  }
  /// The slow way.
  BackupSizes expected(const std::string& label) const {
    BackupSizes sizes;
    for (const auto& [pack, bytes] : packs) {
      const auto names_it = [&pack = pack](const std::vector<PackName>& names) {
        return std::find(names.begin(), names.end(), pack) != names.end();
      };
      if (!names_it(tables.at(label))) continue;
      sizes.repository_bytes += bytes;
      const auto count =
          std::count_if(tables.begin(), tables.end(), [&](const auto& one) { return names_it(one.second); });
      if (count == 1) sizes.unique_bytes += bytes;
    }
    return sizes;
  }

  FaultStore store{std::make_unique<MemoryStore>()};
  std::unique_ptr<Repository> repository = new_repository(store);
  std::map<PackName, uint64_t> packs;
  Tables tables;
};

TEST(BackupSizes, AgreeWithCountingEachPackByHand) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  for (int round = 0; round < 30; ++round) {
    SizedRepository scene;
    const uint64_t backup_count = 1 + rng.below(6);
    std::vector<PackName> all;
    for (uint64_t b = 0; b < backup_count; ++b) {
      const std::string label = fmt::format("20261122-10{:02}00F", b);
      for (uint64_t p = 0; p < 1 + rng.below(5); ++p) {
        // Also numbers of seven digits, which sort before those of six as text.
        all.push_back({label, static_cast<uint32_t>(p % 2 == 0 ? p + 1 : 1'000'000 + p)});
        scene.add_pack(all.back(), 1 + rng.below(5000));
      }
      std::vector<PackName> named;
      for (const PackName& pack : all)
        if (rng.below(3) > 0) named.push_back(pack);
      if (rng.below(4) == 0) named.push_back({"20260101-000000F", 1});  // Missing.
      if (!named.empty() && rng.below(4) == 0) named.push_back(named.front());
      scene.add_manifest(label, named);
    }
    const uint64_t reads = scene.store.calls(StoreCall::kRead);
    ASSERT_OK_AND_ASSIGN(const auto sizes, backup_sizes(*scene.repository, "main", scene.labels()));
    EXPECT_EQ(scene.store.calls(StoreCall::kRead) - reads, backup_count) << "one read for each manifest";
    for (const std::string& label : scene.labels()) EXPECT_EQ(sizes.at(label), scene.expected(label)) << label;
  }
}

TEST(BackupSizes, DamagedManifestIsLeftOut) {
  SizedRepository scene;
  scene.add_pack({"20261122-100000F", 1}, 1000);
  scene.add_manifest("20261122-100000F", {{"20261122-100000F", 1}});
  ASSERT_OK(scene.store.put(manifest_key("main", "20261122-110000F"), as_bytes("rubbish")));
  ASSERT_OK_AND_ASSIGN(const auto sizes,
                       backup_sizes(*scene.repository, "main", {"20261122-100000F", "20261122-110000F"}));
  EXPECT_EQ(sizes, (std::map<std::string, BackupSizes>{{"20261122-100000F", {1000, 1000}}}));
  scene.store.set_rules({{.call = StoreCall::kList, .prefix = "main/pack/"}});
  EXPECT_FALSE(backup_sizes(*scene.repository, "main", {"20261122-100000F"}).has_value());
}

}  // namespace
}  // namespace pgark
