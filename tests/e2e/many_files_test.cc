// Clusters of very many relations: memory stays bounded (I6), and an incremental of which nothing changed costs next to
// nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/file.h"
#include "restore_scene.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // Slow, and their shadow memory is not pgark's.
#else
constexpr bool kSanitized = false;
#endif
constexpr uint64_t kResidentBytesMax = 512u << 20;
constexpr int kFirstNumber = 5'000'000;  // Of the files: far from what the server gives out.

std::string content(int number) { return fmt::format("relation {}", number); }

/// Bytes that may be taken without pushing others out; 0 if the system does not say.
uint64_t memory_available() {
  constexpr std::string_view kName = "MemAvailable:";
  const std::string text = read_file("/proc/meminfo").value_or("");
  const size_t at = text.find(kName);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + kName.size(), nullptr, 10) << 10;
}

/// Has scratch directories made in memory while it lives, if there is room: a journal of a disk makes and removes files
/// a hundred times slower, and is not what these tests are about.
class ScratchInMemory {
 public:
  explicit ScratchInMemory(int file_count) {
    std::error_code none;
    const fs::space_info space = fs::space("/dev/shm", none);
    // A page for each file and what the kernel keeps of it, twice; and the server.
    const uint64_t wanted = static_cast<uint64_t>(file_count) * 12'000 + (1ull << 30);
    if (none || std::min<uint64_t>(space.available, memory_available()) < wanted) return;
    if (const char* set = std::getenv("TMPDIR"); set != nullptr) before_ = set;
    active_ = ::setenv("TMPDIR", "/dev/shm", 1) == 0;
  }
  ~ScratchInMemory() {
    if (!active_) return;
    if (before_.has_value())
      ::setenv("TMPDIR", before_->c_str(), 1);
    else
      ::unsetenv("TMPDIR");
  }
  ScratchInMemory(const ScratchInMemory&) = delete;
  ScratchInMemory& operator=(const ScratchInMemory&) = delete;

 private:
  bool active_ = false;
  std::optional<std::string> before_;
};

/// A cluster with `count` files named like relations, which are what a backup sees of relations: the server need not
/// know them. A few tables that it does know lie among them.
class ManyFiles {
 public:
  static Result<ManyFiles> create(const PgInstall& install, int count) {
    ManyFiles many;
    PgOptions options;
    options.config.emplace_back("autovacuum = off");
    TRY_ASSIGN(many.scene, RestoreScene::create(install, options));
    TRY_ASSIGN(const PgRows database,
               many.scene->server->query("SELECT oid FROM pg_database WHERE datname = 'postgres'"));
    many.directory = fmt::format("base/{}", database.integer());
    many.count = count;
    TRY(many.scene->server->exec("CREATE TABLE known AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g"));
    TRY(many.scene->server->exec("VACUUM (FREEZE, ANALYZE)"));
    for (int i = 0; i < count; ++i) {
      TRY_ASSIGN(const File file, File::open(many.path(many.scene->server->data_dir(), i), O_WRONLY | O_CREAT));
      TRY(file.write(as_bytes(content(i))));
    }
    return many;
  }

  std::string path(const std::string& data_directory, int number) const {
    return fmt::format("{}/{}/{}", data_directory, directory, kFirstNumber + number);
  }

  /// Run a command that must succeed within the memory bound; what it printed.
  Result<json> run(const std::vector<std::string>& args) {
    std::vector<std::string> all = args;
    all.emplace_back("--output=json");
    const auto begin = std::chrono::steady_clock::now();
    TRY_ASSIGN(const ProcessResult result, scene->cli->run(all, {}, std::chrono::minutes(10)));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (!result.ok()) return Error(Errc::kInternal, result.to_string());
    std::printf("%d files, %s: %.1f s, peak %llu MiB\n", count, args.at(1).c_str(), elapsed.count(),
                static_cast<unsigned long long>(result.peak_resident_bytes >> 20));
    if (!kSanitized && result.peak_resident_bytes > kResidentBytesMax)
      return Error(Errc::kInternal,
                   fmt::format("{} took {} bytes of memory", args.front(), result.peak_resident_bytes));
    return json::parse(result.out);
  }

  std::unique_ptr<RestoreScene> scene;
  std::string directory;  // Of the database, below the data directory.
  int count = 0;
};

/// Full, incremental with nothing changed, a change, one more incremental, and what a restore of that gives back.
void back_up_and_restore(const PgInstall& install, int count) {
  const ScratchInMemory in_memory(count);
  ASSERT_OK_AND_ASSIGN(ManyFiles many, ManyFiles::create(install, count));
  PgServer& server = *many.scene->server;
  ASSERT_OK_AND_ASSIGN(const json full, many.run({"backup", "--type=full", "--start-fast"}));
  EXPECT_GT(full.at("file_count").get<int>(), count);

  ASSERT_OK_AND_ASSIGN(const json unchanged, many.run({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(unchanged.at("type"), "incr");
  EXPECT_EQ(unchanged.at("prior"), full.at("label"));
  // A backup's own checkpoint and start write a few blocks; files that are no relations are read to be compared.
  EXPECT_LT(unchanged.at("stored_bytes").get<uint64_t>(), 1u << 20) << unchanged.dump();
  EXPECT_LT(unchanged.at("read_bytes").get<uint64_t>(), 32u << 20) << unchanged.dump();
  EXPECT_EQ(unchanged.at("file_count"), full.at("file_count"));

  ASSERT_OK(server.exec("UPDATE known SET md5 = 'changed' WHERE g % 1000 = 0"));
  ASSERT_OK_AND_ASSIGN(const json changed, many.run({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(changed.at("prior"), unchanged.at("label"));
  EXPECT_LT(changed.at("stored_bytes").get<uint64_t>(), 2u << 20) << changed.dump();
  ASSERT_OK(server.archive_all());
  ASSERT_OK(server.stop());

  const std::string target = many.scene->place("restored");
  ASSERT_OK(many.run({"restore", "--pg1-path=" + target, "--archive-mode=off"}));
  for (int i = 0; i < count; ++i) {
    const auto found = read_file(many.path(target, i));
    ASSERT_TRUE(found.has_value()) << found.error().to_string();
    ASSERT_EQ(*found, content(i));
  }
  ASSERT_OK_AND_ASSIGN(auto restored, many.scene->adopt("restored"));
  ASSERT_OK(restored->start());
  ASSERT_OK(restored->wait_for_recovery_end());
  ASSERT_OK_AND_ASSIGN(const PgRows rows, restored->query("SELECT count(*) FROM known WHERE md5 = 'changed'"));
  EXPECT_EQ(rows.integer(), 20);
}

TEST(ManyFiles, AreBackedUpWithinTheMemoryBoundAndCostNothingWhenUnchanged) {
  PGARK_REQUIRE_PG(install, 15);
  back_up_and_restore(install, kSanitized ? 20'000 : 200'000);
}

TEST(ManyFiles, AMillionStaysWithinTheMemoryBound) {
  PGARK_REQUIRE_SLOW();
  PGARK_REQUIRE_PG(install, 15);
  back_up_and_restore(install, 1'000'000);
}

}  // namespace
}  // namespace pgark::testing
