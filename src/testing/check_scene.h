// A check without a server: answers that are made up, a repository in memory, places that are said to be anything.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/wal.h"
#include "ops/check.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_backup.h"
#include "testing/sample_cluster.h"
#include "testing/wal_samples.h"

namespace pgark {

using testing::SampleWal;

/// A server whose answers are made up: what check asks, and no more.
struct FakeServer {
  uint64_t system_id = SampleWal{}.system_id;
  bool in_recovery = false;
  std::map<std::string, std::string> settings = {{"archive_mode", "on"},
                                                 {"archive_command", "pgark --stanza=main archive-push %p"},
                                                 {"archive_library", ""},
                                                 {"wal_level", "replica"}};
  uint64_t failed_count = 0;
  std::optional<int64_t> failed_age;  // Seconds since the archiver last failed and last succeeded.
  std::optional<int64_t> archived_age = 1;
  std::chrono::microseconds ahead{};                    // Of the clock of the host.
  std::vector<std::string> other_collation;             // Databases.
  std::map<std::string, pgark::PgRows> unlogged;        // By database: name, bytes.
  std::map<std::string, pgark::PgRows> with_libraries;  // By database: extensions.
  std::vector<std::string> roles;
  std::map<std::string, pgark::PgRows> dumped_extensions;  // By database: those a dump should have.
  std::string current_lsn = "0/600000";
  std::function<void()> on_switch = [] {};
  std::function<void(FakeServer&)> on_look = [](FakeServer&) {};  // pg_stat_archiver was asked.
};

class FakeSession final : public PgSession {
 public:
  FakeSession(FakeServer& server, Clock& clock, std::string database = "postgres")
      : server_(server), clock_(clock), database_(std::move(database)) {}
  std::string describe() const override { return "fake server"; }
  Result<PgRows> query(const std::string& sql, const PgParams&) override {
    if (sql.find("pg_control_system") != std::string::npos) {
      return PgRows{{"150020", std::to_string(server_.system_id), "1300", "202209061",
                     std::to_string(SampleWal{}.segment_bytes), "1", server_.in_recovery ? "t" : "f"}};
    }
    if (sql.find("pg_walfile_name") != std::string::npos) return PgRows{{"000000010000000000000005"}};
    if (sql.find("pg_settings") != std::string::npos) {
      PgRows rows;
      for (const auto& [name, value] : server_.settings) rows.push_back({name, value});
      return rows;
    }
    if (sql.find("archived_age") != std::string::npos) {
      return PgRows{{std::to_string(server_.failed_count), "000000010000000000000004", "2026-11-22",
                     text(server_.failed_age), text(server_.archived_age)}};
    }
    if (sql.find("server_clock") != std::string::npos) {
      return PgRows{{std::to_string((clock_.now() + server_.ahead).time_since_epoch().count())}};
    }
    if (sql.find("datcollversion") != std::string::npos) {
      PgRows rows;
      for (const std::string& name : server_.other_collation) rows.push_back({name});
      return rows;
    }
    if (sql.find("datistemplate") != std::string::npos) return PgRows{{"app"}, {"closed"}, {"postgres"}};
    if (sql.find("relpersistence") != std::string::npos) return server_.unlogged[database_];
    if (sql.find("dumped_role") != std::string::npos) {
      PgRows rows;
      for (const std::string& name : server_.roles) rows.push_back({name});
      return rows;
    }
    if (sql.find("dumped_extension") != std::string::npos) return server_.dumped_extensions[database_];
    if (sql.find("pg_extension") != std::string::npos) return server_.with_libraries[database_];
    if (sql.find("pg_stat_archiver") != std::string::npos) {
      server_.on_look(server_);
      return PgRows{
          {std::to_string(server_.failed_count), "000000010000000000000004", "2026-11-22", "000000010000000000000003"}};
    }
    if (sql.find("pg_create_restore_point") != std::string::npos) return PgRows{{"0/500100"}};
    if (sql.find("pg_current_wal_lsn") != std::string::npos) return PgRows{{server_.current_lsn}};
    if (sql.find("pg_switch_wal") != std::string::npos) {
      server_.on_switch();
      return PgRows{{"0/500118"}};
    }
    return Error(Errc::kInternal, "unexpected statement: " + sql);
  }

 private:
  static std::optional<std::string> text(const std::optional<int64_t>& number) {
    return number ? std::optional(std::to_string(*number)) : std::nullopt;
  }
  FakeServer& server_;
  Clock& clock_;
  std::string database_;
};

/// A check of a stanza whose WAL segment 5 arrives when the server switches.
class CheckScene : public ::testing::Test {
 protected:
  void SetUp() override {
    clock_.set_start(kNow);
    store_clock_.set_start(kNow);
    auto memory = std::make_unique<FaultStore>(std::make_unique<MemoryStore>("repo1", store_clock_));
    store_ = memory.get();
    owned_ = std::move(memory);
    repository_ = new_repository(*store_);
    ASSERT_OK(write_cluster(*repository_, "main",
                            {.number = 1,
                             .system_identifier = SampleWal{}.system_id,
                             .pg_major = 15,
                             .control_version = 1300,
                             .catalog_version = 202209061,
                             .wal_segment_bytes = SampleWal{}.segment_bytes,
                             .created = {}}));
    server_.on_switch = [this] { archive(testing::sample_segment({TimelineId{1}, 5}, 1)); };
  }
  static constexpr Timestamp kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + std::chrono::hours(16)};

  void archive(const Buffer& segment) {
    ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, "000000010000000000000005"), segment, "{}"));
  }

  CheckAccess access() {
    return {.open_session = [this]() -> Result<std::unique_ptr<PgSession>> {
              if (server_down_) return Error(Errc::kTransient, "connection refused");
              return std::unique_ptr<PgSession>(std::make_unique<FakeSession>(server_, clock_));
            },
            .open_store = [this](unsigned repo) -> Result<std::unique_ptr<ObjectStore>> {
              if (repo != 1) return Error(Errc::kTransient, "repo2: no route to host");
              return std::move(owned_);
            },
            .key_config = key_config_,
            .open_database = [this](const std::string& name) -> Result<std::unique_ptr<PgSession>> {
              if (name == "closed") return Error(Errc::kPermission, "no CONNECT privilege");
              return std::unique_ptr<PgSession>(std::make_unique<FakeSession>(server_, clock_, name));
            },
            .look_at_place = [this](const std::string& path) -> Result<FilePlace> {
              const auto found = places_.find(path);
              if (found == places_.end()) return Error(Errc::kNotFound, "no such directory");
              return found->second;
            }};
  }

  /// "severity code" of the findings in order, those left out that `silent_` names.
  std::vector<std::string> run() {
    options_.stanza = "main";
    state_ = std::make_unique<CheckState>(options_, clock_, rng_, cancel_);
    EXPECT_TRUE(run_check(*state_, access()).has_value());
    std::vector<std::string> codes;
    for (const Finding& finding : state_->findings) {
      EXPECT_TRUE(find_finding_code(finding.code) != nullptr || finding.code.ends_with("_failed")) << finding.code;
      if (silent_.contains(finding.code)) continue;
      codes.push_back(fmt::format("{} {}", severity_name(finding.severity), finding.code));
    }
    return codes;
  }

  /// A backup that lies in one segment.
  void back_up(const std::string& label, uint64_t number, std::optional<Timestamp> stopped = {}) {
    testing::SampleBackup backup(*repository_, label);
    backup.meta.system_identifier = SampleWal{}.system_id;
    backup.meta.wal_segment_bytes = SampleWal{}.segment_bytes;
    backup.meta.start_lsn = Lsn{number * SampleWal{}.segment_bytes + 0x28};
    backup.meta.stop_lsn = Lsn{number * SampleWal{}.segment_bytes + 0x1000};
    backup.meta.wal_start = backup.meta.wal_stop = segment_name(number);
    if (stopped) backup.meta.stopped = *stopped;
    backup.meta.stored_bytes = stored_bytes_;
    backup.meta.bad_page_count = damaged_pages_;
    backup.minimal_cluster();
    backup.commit();
    backup.archive_wal();
  }
  static std::string segment_name(uint64_t number) {
    return pg::segment_name({TimelineId{1}, number}, SampleWal{}.segment_bytes);
  }

  /// The first finding of a code; an empty one if there is none.
  Finding found(std::string_view code) const {
    for (const Finding& finding : state_->findings)
      if (finding.code == code) return finding;
    return {};
  }

  FakeServer server_;
  bool server_down_ = false;
  uint64_t stored_bytes_ = 0;  // Of the backups to come, as is the next.
  uint64_t damaged_pages_ = 0;
  std::map<std::string, FilePlace> places_;
  std::function<Result<KeyConfig>(unsigned)> key_config_;
  std::set<std::string> silent_;
  testing::StepClock clock_;
  testing::StepClock store_clock_;
  Rng rng_{1};
  CancelToken cancel_;
  CheckOptions options_;
  FaultStore* store_ = nullptr;
  std::unique_ptr<ObjectStore> owned_;
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<CheckState> state_;
};

}  // namespace pgark
