// Incremental backups of a scene, held against full backups of the same moment.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "restore_scene.h"
#include "same_bytes.h"

namespace pgark::testing {

inline std::string text_of(const nlohmann::json& document, const char* member) {
  const auto found = document.find(member);
  return found == document.end() || !found->is_string() ? "" : found->get<std::string>();
}

struct IncrementalScene {
  std::unique_ptr<RestoreScene> scene;
  int restored = 0;

  /// Page checksums are on: hint bits are in WAL then, and pages can be compared byte for byte.
  static Result<IncrementalScene> create(const PgInstall& install, PgOptions options = {},
                                         const LedgerOptions& rows = {}) {
    options.config.emplace_back("autovacuum = off");
    options.config.emplace_back("max_wal_size = 256MB");
    IncrementalScene out;
    TRY_ASSIGN(out.scene, RestoreScene::create(install, options, rows));
    TRY(out.scene->cli->set("global", "start-fast", "y"));
    return out;
  }
  PgServer& server() { return *scene->server; }
  const PgarkCli& cli() const { return *scene->cli; }

  Result<nlohmann::json> back_up(const std::string& type, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args{"backup", "--type=" + type};
    args.insert(args.end(), more.begin(), more.end());
    return cli().run_json(args);
  }

  /// Restore a backup as it is, not to be started; where it is.
  Result<std::string> restore_files(const nlohmann::json& backup) {
    const std::string name = "files" + std::to_string(++restored);
    TRY(cli().run_ok(scene->restore_args(name, {"--set=" + text_of(backup, "label"), "--type=immediate",
                                                "--tablespace-map-all=" + scene->place("spaces_of_" + name)})));
    return scene->place(name);
  }

  /// Fail unless `earlier` restores to the same bytes as the full backup `later`, made right after it.
  void expect_same_bytes(const nlohmann::json& earlier, const nlohmann::json& later, bool of_another_node = false) {
    const auto one = restore_files(earlier);
    ASSERT_OK(one);
    const auto other = restore_files(later);
    ASSERT_OK(other);
    expect_same_bytes(*one, *other, earlier, of_another_node);
    ASSERT_OK(remove_tree(*one));
    ASSERT_OK(remove_tree(*other));
  }
  void expect_same_bytes(const std::string& one, const std::string& other, const nlohmann::json& earlier,
                         bool of_another_node = false) {
    ASSERT_OK_AND_ASSIGN(const Lsn begun, parse_lsn(text_of(earlier, "start_lsn")));
    ASSERT_OK_AND_ASSIGN(const ByteComparison compared, RestoredFiles(one, other, begun, of_another_node).compare());
    std::string shown;
    for (size_t i = 0; i < std::min<size_t>(20, compared.differences.size()); ++i)
      shown += "\n  " + compared.differences[i];
    EXPECT_TRUE(compared.differences.empty()) << compared.differences.size() << " differences:" << shown;
    EXPECT_GT(compared.page_count, 1000u);
    EXPECT_LT(compared.later_count, compared.page_count / 20) << "too much changed meanwhile to tell anything";
  }
};

inline void expect_incremental(const nlohmann::json& made, const nlohmann::json& prior,
                               const std::string& scan = "wal") {
  EXPECT_EQ(text_of(made, "type"), "incr") << made.dump(1);
  EXPECT_EQ(text_of(made, "prior"), text_of(prior, "label")) << made.dump(1);
  EXPECT_EQ(text_of(made, "scan"), scan) << made.dump(1);
}

}  // namespace pgark::testing
