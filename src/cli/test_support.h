// What tests of src/cli share: a scratch directory, settings from words, a store that commands open.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cli/program.h"
#include "store/memory_store.h"

namespace pgark {

class ScratchTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/pgark-cli-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
    input_.default_config = directory_ + "/pgark.conf";
    input_.default_include_path = directory_ + "/conf.d";
    input_.foreign_configs = {directory_ + "/pgbackrest.conf"};
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(directory_ + "/" + name).parent_path());
    std::ofstream(directory_ + "/" + name) << text;
  }
  Result<Settings> resolve(std::vector<std::string> words) {
    input_.arguments = std::move(words);
    return resolve_settings(input_);
  }
  /// Text of the error, with hints; "resolved" if there is none.
  std::string failure(std::vector<std::string> words) {
    const auto resolved = resolve(std::move(words));
    return resolved.has_value() ? "resolved" : resolved.error().to_string();
  }

  std::string directory_;
  SettingsInput input_;
};

}  // namespace pgark
