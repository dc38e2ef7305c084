// Creation and removal of scratch directories.
#include "testing/scratch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;

// sun_path holds 107 characters; "/.s.PGSQL.54321.lock" and a few directories must fit behind the scratch directory.
constexpr size_t kParentBytesMax = 48;

std::string parent_directory() {
  const char* tmpdir = std::getenv("TMPDIR");
  if (tmpdir == nullptr || *tmpdir != '/' || std::string_view(tmpdir).size() > kParentBytesMax) return "/tmp";
  return tmpdir;
}

bool keep_requested() {
  const char* keep = std::getenv("PGARK_KEEP");
  return keep != nullptr && std::string_view(keep) == "1";
}

// Also true outside of a test body, so that a fixture's members see the failure of the test they belong to.
bool test_failed() {
  const auto* unit = ::testing::UnitTest::GetInstance();
  return unit->current_test_info() != nullptr && unit->current_test_info()->result()->Failed();
}

}  // namespace

Result<ScratchDir> ScratchDir::create(std::string_view name) {
  std::string path = fmt::format("{}/pgark-{}-XXXXXX", parent_directory(), name);
  if (::mkdtemp(path.data()) == nullptr) return errno_error(errno, "create scratch directory " + path);
  ScratchDir result;
  result.path_ = std::move(path);
  return result;
}

ScratchDir::~ScratchDir() {
  if (path_.empty()) return;
  if (keep_ || keep_requested() || test_failed()) {
    fmt::print(stderr, "kept {}\n", path_);
    return;
  }
  if (auto removed = remove_tree(path_); !removed) fmt::print(stderr, "{}\n", removed.error().to_string());
}

Result<> remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (!error) return {};
  // A test may have left directories without write permission: give it back, then try once more.
  const auto options = fs::directory_options::skip_permission_denied;
  std::vector<fs::path> directories{path};
  while (!directories.empty()) {
    const fs::path directory = directories.back();
    directories.pop_back();
    fs::permissions(directory, fs::perms::owner_all, fs::perm_options::add | fs::perm_options::nofollow, error);
    for (fs::directory_iterator entry(directory, options, error), end; !error && entry != end; entry.increment(error)) {
      if (entry->is_directory(error) && !entry->is_symlink(error)) directories.push_back(entry->path());
    }
  }
  fs::remove_all(path, error);
  if (error) return errno_error(error.value(), "remove " + path);
  return {};
}

Result<> copy_tree(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  if (error) return errno_error(error.value(), fmt::format("copy {} to {}", from, to));
  return {};
}

}  // namespace pgark::testing
