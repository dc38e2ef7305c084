// What tests of credentials start from, wherever these come from.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "core/file.h"
#include "store/metadata_http.h"
#include "store/token_test_util.h"
#include "testing/http_fake.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// A server that plays the services credentials come from, an environment, and a place for files.
class CredentialTest : public ::testing::Test {
 protected:
  void start(const char* name, HttpHandler service) {
    auto scratch = ScratchDir::create(name);
    ASSERT_TRUE(scratch.has_value()) << scratch.error().to_string();
    scratch_ = std::move(*scratch);
    auto fake = HttpFake::start(std::move(service));
    ASSERT_TRUE(fake.has_value()) << fake.error().to_string();
    fake_ = std::move(*fake);
  }

  void set(const std::string& name, const std::string& value) { variables_[name] = value; }
  Environment env() {
    return [this](const char* name) { return variables_.contains(name) ? variables_.at(name) : std::string(); };
  }
  /// A file below the scratch directory; its path.
  std::string write(const std::string& name, const std::string& content) {
    const std::string path = scratch_ / name;
    EXPECT_TRUE(make_directories(parent_path(path)).has_value());
    EXPECT_TRUE(write_file_durable(path, content).has_value());
    return path;
  }
  /// Fails unless it is this error; its text must not show what the tests' secrets have in common.
  template <typename T>
  static void expect_error(const Result<T>& got, Errc code, const std::string& text) {
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code(), code) << got.error().to_string();
    EXPECT_THAT(got.error().to_string(),
                ::testing::AllOf(::testing::HasSubstr(text), ::testing::Not(::testing::HasSubstr("hidden"))));
  }

  StandingClock clock_;
  ScratchDir scratch_;
  std::map<std::string, std::string> variables_;
  std::unique_ptr<HttpFake> fake_;
};

}  // namespace pgark::testing
