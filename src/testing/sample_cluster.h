// A made-up cluster on disk, a server that answers from a script, and a clock that never waits: for tests of backup.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "catalog/wal.h"
#include "core/clock.h"
#include "core/crc32c.h"
#include "core/file.h"
#include "core/thread_annotations.h"
#include "pg/page.h"
#include "pgwire/pg_session.h"
#include "repo/stored_file.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// Time passes only by sleeping.
class StepClock final : public Clock {
 public:
  Timestamp now() override { return start_ + std::chrono::duration_cast<std::chrono::microseconds>(slept()); }
  std::chrono::steady_clock::time_point steady() override { return std::chrono::steady_clock::time_point(slept()); }
  void sleep_for(std::chrono::milliseconds duration) override {
    const MutexLock lock(mu_);
    slept_ += duration;
  }
  void set_start(Timestamp start) { start_ = start; }

 private:
  std::chrono::nanoseconds slept() {
    const MutexLock lock(mu_);
    return slept_;
  }
  Timestamp start_{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + std::chrono::hours(10)};
  Mutex mu_;
  std::chrono::nanoseconds slept_ GUARDED_BY(mu_){0};
};

template <typename T>
void put_le(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// A page whose checksum is right: `fill` everywhere behind the header.
inline std::string sample_page(uint32_t block, Lsn lsn, char fill) {
  std::string page(8192, fill);
  put_le<uint32_t>(page, 0, static_cast<uint32_t>(lsn.bytes >> 32));
  put_le<uint32_t>(page, 4, static_cast<uint32_t>(lsn.bytes));
  put_le<uint16_t>(page, 8, 0);
  put_le<uint16_t>(page, 10, 0);
  put_le<uint16_t>(page, 12, 28);
  put_le<uint16_t>(page, 14, 8000);
  put_le<uint16_t>(page, 16, 8192);
  put_le<uint16_t>(page, 18, 8192 | 4);
  put_le<uint32_t>(page, 20, 0);
  put_le<uint16_t>(page, 8, pg::page_checksum(as_bytes(page), block));
  return page;
}

/// A data directory of PostgreSQL 15 with the least a cluster has.
class SampleCluster {
 public:
  static constexpr uint64_t kSystemId = 7570000000000000001;
  static constexpr uint32_t kCatalog = 202209061;
  static constexpr uint32_t kSegmentBytes = 1u << 20;

  SampleCluster() {
    auto scratch = ScratchDir::create("cluster");
    EXPECT_TRUE(scratch.has_value());
    scratch_ = std::move(*scratch);
    make_directory("");
    for (const char* directory :
         {"global", "base", "base/1", "pg_wal", "pg_wal/archive_status", "pg_tblspc", "pg_xact"})
      make_directory(directory);
    put("PG_VERSION", "15\n");
    put("base/1/PG_VERSION", "15\n");
    put("global/pg_filenode.map", std::string(512, 'm'));
    put("pg_xact/0000", std::string(8192, 'x'));
    put("postgresql.conf", "port = 5455\n");
    put("postmaster.pid", fmt::format("{}\n{}\n1000000\n5455\n/tmp\n\n 1 1\nready   \n", ::getpid(), data()));
    put_control(kSystemId);
  }

  std::string data() const { return scratch_ / "data"; }
  /// Something beside the data directory.
  std::string outside(const std::string& name) const { return scratch_ / name; }
  std::string at(const std::string& path) const { return path.empty() ? data() : data() + "/" + path; }

  void make_directory(const std::string& path) { ASSERT_TRUE(make_directories(at(path), 0700).has_value()); }
  void put(const std::string& path, std::string_view content) { put_absolute(at(path), content); }
  static void put_absolute(const std::string& path, std::string_view content) {
    auto file = File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(file.has_value()) << file.error().to_string();
    ASSERT_TRUE(file->write(as_bytes(content)).has_value());
  }
  void link(const std::string& path, const std::string& target) {
    ASSERT_EQ(::symlink(target.c_str(), at(path).c_str()), 0);
  }

  /// pg_control of PostgreSQL 15, checksums on.
  void put_control(uint64_t system_id) {
    std::string control(8192, '\0');
    put_le<uint64_t>(control, 0, system_id);
    put_le<uint32_t>(control, 8, 1300);
    put_le<uint32_t>(control, 12, kCatalog);
    put_le<uint32_t>(control, 16, 6);
    put_le<int64_t>(control, 24, 1700000000);
    put_le<uint64_t>(control, 32, 0x2000060);
    put_le<uint64_t>(control, 40, 0x2000028);
    put_le<uint32_t>(control, 48, 1);
    put_le<uint32_t>(control, 52, 1);
    put_le<int32_t>(control, 172, 1);
    put_le<int32_t>(control, 180, 100);
    put_le<uint32_t>(control, 204, 8);
    put_le<double>(control, 208, 1234567.0);
    put_le<uint32_t>(control, 216, 8192);
    put_le<uint32_t>(control, 220, 131072);
    put_le<uint32_t>(control, 224, 8192);
    put_le<uint32_t>(control, 228, kSegmentBytes);
    put_le<uint32_t>(control, 232, 64);
    put_le<uint32_t>(control, 236, 32);
    put_le<uint32_t>(control, 240, 1996);
    put_le<uint32_t>(control, 244, 2048);
    put_le<uint32_t>(control, 252, 1);
    put_le<uint32_t>(control, 288, crc32c(as_bytes(control).first(288)));
    put("global/pg_control", control);
  }

 private:
  ScratchDir scratch_;
};

/// A server of PostgreSQL 15 that answers what run_backup() asks. Start is in segment 2, stop at its end.
class ScriptedServer final : public PgSession {
 public:
  using PgRows = pgark::PgRows;  // Not that of pg_connection.h.
  using Answer = std::function<Result<PgRows>()>;

  explicit ScriptedServer(const SampleCluster& cluster) {
    settings = {{"data_directory", cluster.data()},
                {"wal_level", "replica"},
                {"archive_mode", "on"},
                {"archive_command", "pgark --stanza=main archive-push %p"},
                {"archive_library", ""},
                {"max_connections", "100"},
                {"shared_preload_libraries", ""},
                {"log_directory", "log"}};
  }

  Result<PgRows> query(const std::string& sql, const PgParams&) override {
    asked.push_back(sql);
    for (const auto& [part, answer] : overrides)
      if (sql.find(part) != std::string::npos) return answer();
    const auto has = [&](std::string_view part) { return sql.find(part) != std::string::npos; };
    if (has("pg_control_system"))
      return PgRows{{"150020", std::to_string(system_id), "1300", std::to_string(SampleCluster::kCatalog),
                     std::to_string(SampleCluster::kSegmentBytes), "1", in_recovery ? "t" : "f"}};
    if (has("pg_walfile_name(pg_current")) return PgRows{{segment(2)}};
    if (has("FROM pg_settings")) {
      PgRows rows;
      for (const auto& [name, value] : settings) rows.push_back({name, value});
      return rows;
    }
    if (has("current_setting('port')")) return PgRows{{"5455", "1000002"}};
    if (has("pg_backup_start(")) {
      if (on_start) on_start();
      return PgRows{{"0/200028"}};
    }
    if (has("pg_current_wal_insert_lsn()")) return PgRows{{"0/200100"}};
    if (has("FROM pg_database")) return PgRows{{"1", "template1", "16383", "c", "", "t", "f"}};
    if (has("FROM pg_tablespace")) return PgRows{};
    if (has("FROM pg_stat_archiver") && has("past")) return PgRows{{""}};
    if (has("FROM pg_stat_archiver")) return PgRows{{"none", "never", "000000010000000000000001", "just now", "7"}};
    if (has("pg_backup_stop(")) {
      if (on_stop) on_stop();
      return PgRows{{"0/200138",
                     "START WAL LOCATION: 0/200028 (file " + segment(2) +
                         ")\nCHECKPOINT LOCATION: 0/200060\n"
                         "BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-22 10:00:00 UTC\n"
                         "LABEL: pgark backup\nSTART TIMELINE: " +
                         std::to_string(timeline) + "\n",
                     "", "1795341600123456"}};
    }
    return Error(Errc::kInternal, "the script has no answer to: " + sql);
  }
  std::string describe() const override { return "a scripted server"; }

  bool was_asked(std::string_view part) const {
    return std::any_of(asked.begin(), asked.end(),
                       [&](const std::string& sql) { return sql.find(part) != std::string::npos; });
  }

  /// Name of a segment on the server's timeline.
  std::string segment(unsigned number) const { return fmt::format("{:08X}00000000{:08X}", timeline, number); }

  uint32_t timeline = 1;
  uint64_t system_id = SampleCluster::kSystemId;
  bool in_recovery = false;
  std::map<std::string, std::string> settings;
  std::function<void()> on_start;                         // Archives segment 1, as a rule.
  std::function<void()> on_stop;                          // Archives segment 2.
  std::vector<std::pair<std::string, Answer>> overrides;  // Part of a statement, and what it gets.
  std::vector<std::string> asked;
};

}  // namespace pgark::testing
