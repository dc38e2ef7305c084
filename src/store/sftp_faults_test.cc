// The SFTP store over OpenSSH's sftp-server without SSH: connections lost at every request, refusals, servers that know
// less. With SSH, and a server that dies, it is tested in tests/e2e/sftp_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/file.h"
#include "store/conformance.h"
#include "store/retry_store.h"
#include "store/sftp_store.h"
#include "store/store_test_util.h"
#include "testing/sftp_filter.h"

namespace pgark {
namespace {

using pgark::testing::SftpFault;
using pgark::testing::SftpFaultRule;
using pgark::testing::SftpFilter;

const ObjectKey kKey{"main/pack/x"};

/// Names below a directory that begin with ".tmp-".
size_t temporaries_in(const std::string& directory) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.path().filename().string().starts_with(".tmp-")) ++count;
  return count;
}

std::unique_ptr<ObjectStore> open_store(SftpFilter& filter, const ScratchDirectory& scratch) {
  return std::move(SftpStore::open(filter.options(scratch.path()))).value();
}

/// 100 kB: several packets, the last one not full.
Buffer some_content(char fill) {
  Buffer content(100'000);
  std::fill(content.bytes().begin(), content.bytes().end(), static_cast<std::byte>(fill));
  return content;
}

class SftpFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!SftpFilter::available()) GTEST_SKIP() << "no /usr/lib/openssh/sftp-server: install openssh-sftp-server";
  }
  ScratchDirectory scratch_{ScratchPlace::kMemory};
};

struct Variant {
  const char* name;
  std::vector<std::string> ignored;
  std::vector<SftpFaultRule> rules;
  bool atomic;
};

class SftpVariants : public ::testing::TestWithParam<std::tuple<Variant, size_t>> {};

TEST_P(SftpVariants, KeepThePromisesOfAStore) {
  if (!SftpFilter::available()) GTEST_SKIP() << "no /usr/lib/openssh/sftp-server: install openssh-sftp-server";
  const auto& [variant, index] = GetParam();
  const ScratchDirectory scratch(ScratchPlace::kMemory);
  SftpFilter filter(variant.rules);
  SftpOptions options = filter.options(scratch.path());
  options.ignored_extensions = variant.ignored;
  {
    const auto store = std::move(SftpStore::open(options)).value();
    const ConformanceCheck& check = conformance_checks()[index];
    const auto result = run_conformance_check(check, *store, "conformance/scratch", 8);
    EXPECT_TRUE(result.has_value()) << check.promise << "\n" << result.error().to_string();
    if (check.name == "CreateOnlyKeepsFirstWriter") {
      EXPECT_EQ(store->caps().atomic_create_only, variant.atomic);
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

INSTANTIATE_TEST_SUITE_P(
    All, SftpVariants,
    ::testing::Combine(
        ::testing::Values(
            Variant{"openssh", {}, {}, true},
            Variant{"plain", {"hardlink@openssh.com", "fsync@openssh.com", "statvfs@openssh.com"}, {}, false},
            Variant{"no_links",
                    {},
                    {{SftpType::kExtended, "hardlink@openssh.com", 0, SftpFault::kRefuse, SftpCode::kFailure}},
                    false},
            Variant{"short_reads", {}, {{SftpType::kRead, "", 0, SftpFault::kShorten}}, true}),
        ::testing::Range(size_t{0}, conformance_checks().size())),
    [](const auto& param_info) {
      return std::string(std::get<0>(param_info.param).name) + "_" +
             conformance_checks()[std::get<1>(param_info.param)].name;
    });

/// Lose the connection at the n-th request of `act`, for every n: before the server gets it, or before its answer.
/// `check` is told what `act` reported; afterwards the server is whole again.
template <typename Prepare, typename Act, typename Check>
void lose_at_every_request(SftpFault fault, Prepare prepare, Act act, Check check) {
  constexpr uint64_t kMost = 200;
  for (uint64_t nth = 1; nth <= kMost; ++nth) {
    SCOPED_TRACE(fmt::format("{} request {}", fault == SftpFault::kLoseBefore ? "before" : "after", nth));
    const ScratchDirectory scratch(ScratchPlace::kMemory);
    SftpFilter prepare_filter;
    prepare(*open_store(prepare_filter, scratch));
    SftpFilter filter({{SftpType::kInit, "", nth, fault}});
    const auto store = open_store(filter, scratch);
    auto result = act(*store);
    if (filter.fired() == 0) {
      EXPECT_TRUE(result.has_value());
      EXPECT_GT(nth, 3u) << "the fault never struck";
      return;
    }
    check(*store, result, scratch.path());
  }
  FAIL() << "more requests than " << kMost;
}

TEST_F(SftpFaults, PutIsWholeOrAbsentWhereverItsConnectionIsLost) {
  for (const SftpFault fault : {SftpFault::kLoseBefore, SftpFault::kLoseAfter})
    lose_at_every_request(
        fault, [](ObjectStore&) {}, [](ObjectStore& store) { return store.put(kKey, some_content('a')); },
        [](ObjectStore& store, const Result<ObjectInfo>& result, const std::string& directory) {
          const auto found = store.stat(kKey);
          ASSERT_TRUE(found.has_value()) << found.error().to_string();
          if (result.has_value()) {
            EXPECT_TRUE(found->has_value());
          }
          if (!result.has_value() && result.error().code() != Errc::kOutcomeUnknown) {
            EXPECT_EQ(result.error().code(), Errc::kTransient) << result.error().to_string();
            EXPECT_FALSE(found->has_value());
          }
          if (found->has_value()) {
            EXPECT_EQ((*found)->bytes, 100'000u);
          }
          // The next writer clears away what the lost one could not.
          ASSERT_TRUE(store.put(ObjectKey{"main/pack/y"}, as_bytes("y")).has_value());
          EXPECT_EQ(temporaries_in(directory), 0u);
        });
}

TEST_F(SftpFaults, RetriesPutExactlyOneObjectWhereverAConnectionIsLost) {
  for (const SftpFault fault : {SftpFault::kLoseBefore, SftpFault::kLoseAfter})
    for (uint64_t nth = 1; nth <= 200; ++nth) {
      SCOPED_TRACE(fmt::format("{} request {}", fault == SftpFault::kLoseBefore ? "before" : "after", nth));
      const ScratchDirectory scratch(ScratchPlace::kMemory);
      SftpFilter filter({{SftpType::kInit, "", nth, fault}});
      NoWaitClock clock;
      RetryStore store(open_store(filter, scratch), {}, clock, 1);
      const auto put = store.put(kKey, some_content('a'));
      ASSERT_TRUE(put.has_value()) << put.error().to_string();
      EXPECT_EQ(put->bytes, 100'000u);
      EXPECT_TRUE(store.get(kKey).has_value());
      const auto again = store.put(kKey, some_content('b'));
      EXPECT_EQ(again.error().code(), Errc::kAlreadyExists);
      EXPECT_EQ(static_cast<char>(store.get(kKey).value().bytes()[0]), 'a');
      if (filter.fired() == 0) break;
      // The next writer clears away what the lost one could not.
      ASSERT_TRUE(store.put(ObjectKey{"main/pack/y"}, as_bytes("y")).has_value());
      EXPECT_EQ(temporaries_in(scratch.path()), 0u);
    }
}

TEST_F(SftpFaults, LostReadsAreNeverAbsence) {
  for (const SftpFault fault : {SftpFault::kLoseBefore, SftpFault::kLoseAfter}) {
    const auto prepare = [](ObjectStore& store) { ASSERT_TRUE(store.put(kKey, some_content('a')).has_value()); };
    const auto expect_transient = [](ObjectStore& store, const auto& result, const std::string&) {
      if (!result.has_value()) {
        EXPECT_EQ(result.error().code(), Errc::kTransient) << result.error().to_string();
      }
      EXPECT_TRUE(store.get(kKey).has_value());
    };
    lose_at_every_request(
        fault, prepare, [](ObjectStore& store) { return store.get(kKey); }, expect_transient);
    lose_at_every_request(
        fault, prepare, [](ObjectStore& store) { return store.list_all(""); },
        [&](ObjectStore& store, const Result<std::vector<ObjectInfo>>& result, const std::string& directory) {
          if (result.has_value()) {
            EXPECT_EQ(result->size(), 1u);
          }
          expect_transient(store, result, directory);
        });
  }
}

TEST_F(SftpFaults, LostRemovalsSayThatTheyMayHaveHappened) {
  for (const SftpFault fault : {SftpFault::kLoseBefore, SftpFault::kLoseAfter})
    lose_at_every_request(
        fault, [](ObjectStore& store) { ASSERT_TRUE(store.put(kKey, some_content('a')).has_value()); },
        [](ObjectStore& store) { return store.remove(kKey); },
        [](ObjectStore& store, const Result<bool>& result, const std::string&) {
          const auto found = store.stat(kKey);
          ASSERT_TRUE(found.has_value());
          if (result.has_value()) {
            EXPECT_TRUE(*result && !found->has_value());
          }
          if (!result.has_value() && result.error().code() == Errc::kTransient) {
            EXPECT_TRUE(found->has_value());
          }
          if (!result.has_value() && result.error().code() != Errc::kTransient) {
            EXPECT_EQ(result.error().code(), Errc::kOutcomeUnknown) << result.error().to_string();
          }
        });
}

TEST_F(SftpFaults, RefusedRequestsOfAPutFailIt) {
  struct Case {
    SftpType type;
    const char* extension;
    SftpCode code;
    Errc expected;
  };
  for (const Case& refused : {Case{SftpType::kOpen, "", SftpCode::kPermissionDenied, Errc::kPermission},
                              Case{SftpType::kWrite, "", SftpCode::kFailure, Errc::kTransient},
                              Case{SftpType::kWrite, "", SftpCode::kPermissionDenied, Errc::kPermission},
                              Case{SftpType::kExtended, "fsync@openssh.com", SftpCode::kFailure, Errc::kTransient},
                              Case{SftpType::kClose, "", SftpCode::kFailure, Errc::kTransient}}) {
    SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(refused.type), refused.extension));
    const ScratchDirectory scratch(ScratchPlace::kMemory);
    // The second open is the first that finds the directory.
    const uint64_t nth = refused.type == SftpType::kOpen ? 2 : 1;
    SftpFilter filter({{refused.type, refused.extension, nth, SftpFault::kRefuse, refused.code}});
    const auto store = open_store(filter, scratch);
    const auto put = store->put(kKey, some_content('a'));
    EXPECT_EQ(filter.fired(), 1u);
    ASSERT_FALSE(put.has_value());
    EXPECT_EQ(put.error().code(), refused.expected) << put.error().to_string();
    EXPECT_NE(put.error().message().find("main/pack/x"), std::string::npos) << put.error().message();
    EXPECT_FALSE(store->stat(kKey).value().has_value());
    EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  }
}

TEST_F(SftpFaults, DirectoryThatCannotBeSyncedLeavesTheOutcomeUnknown) {
  // The first fsync is of the file; then come the directories.
  SftpFilter filter({{SftpType::kExtended, "fsync@openssh.com", 2, SftpFault::kRefuse, SftpCode::kFailure}});
  const auto store = open_store(filter, scratch_);
  EXPECT_EQ(store->put(kKey, some_content('a')).error().code(), Errc::kOutcomeUnknown);
  // Whoever finds it there may acknowledge it: it is synced before that is said.
  const auto again = store->put(kKey, some_content('a'));
  EXPECT_EQ(again.error().code(), Errc::kAlreadyExists) << again.error().to_string();
}

TEST_F(SftpFaults, RepositoryThatVanishesIsNotEmpty) {
  SftpFilter filter;
  const std::string directory = scratch_.path() + "/repository";
  SftpOptions options = filter.options(directory);
  EXPECT_EQ(SftpStore::open(options).value()->stat(kKey).error().code(), Errc::kPermission);
  options.create = true;
  const auto store = SftpStore::open(options).value();
  ASSERT_TRUE(store->put(kKey, as_bytes("x")).has_value());
  EXPECT_TRUE(store->list_all("other").value().empty());
  std::filesystem::rename(directory, directory + ".away");
  EXPECT_EQ(store->stat(kKey).error().code(), Errc::kPermission);
  EXPECT_EQ(store->get(kKey).error().code(), Errc::kPermission);
  EXPECT_EQ(store->list_all("").error().code(), Errc::kPermission);
  EXPECT_EQ(store->remove(kKey).error().code(), Errc::kPermission);
  EXPECT_EQ(store->create(kKey).error().code(), Errc::kPermission);
  EXPECT_FALSE(std::filesystem::exists(directory));
  std::filesystem::rename(directory + ".away", directory);
  EXPECT_TRUE(store->get(kKey).has_value());
}

TEST_F(SftpFaults, NamesThatRunThroughObjectsAreRefused) {
  SftpFilter filter;
  const auto store = open_store(filter, scratch_);
  ASSERT_TRUE(store->put(ObjectKey{"a"}, as_bytes("a")).has_value());
  ASSERT_TRUE(store->put(ObjectKey{"d/e"}, as_bytes("e")).has_value());
  EXPECT_EQ(store->put(ObjectKey{"a/b"}, as_bytes("b")).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->put(ObjectKey{"a/b/c"}, as_bytes("b")).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->put(ObjectKey{"d"}, as_bytes("d")).error().code(), Errc::kInvalid);
  EXPECT_FALSE(store->stat(ObjectKey{"d"}).value().has_value());
  EXPECT_FALSE(store->remove(ObjectKey{"d"}).value());
  EXPECT_EQ(store->get(ObjectKey{"d"}).error().code(), Errc::kNotFound);
}

TEST_F(SftpFaults, WhatPeopleLeaveInTheDirectoryIsNoObject) {
  SftpFilter filter;
  const auto store = open_store(filter, scratch_);
  std::filesystem::create_directory(scratch_.path() + "/lost+found");
  std::filesystem::create_symlink("/etc/passwd", scratch_.path() + "/link");
  ASSERT_TRUE(write_file_durable(scratch_.path() + "/notes ~", "x").has_value());
  ASSERT_TRUE(store->put(ObjectKey{"a"}, as_bytes("a")).has_value());
  EXPECT_EQ(store->list_all("").value().size(), 1u);
  EXPECT_EQ(store->get(ObjectKey{"link"}).error().code(), Errc::kInvalid);
}

TEST_F(SftpFaults, TemporariesOfDeadWritersAreRemovedByAge) {
  SftpFilter filter;
  const auto store = open_store(filter, scratch_);
  ASSERT_TRUE(store->put(kKey, as_bytes("x")).has_value());
  auto writing = store->create(ObjectKey{"main/young"}).value();
  const auto leave = [&](const std::string& path, std::chrono::hours age) {
    std::filesystem::create_directories(std::filesystem::path(scratch_.path() + "/" + path).parent_path());
    ASSERT_TRUE(write_file_durable(scratch_.path() + "/" + path, "12345").has_value());
    std::filesystem::last_write_time(scratch_.path() + "/" + path, std::filesystem::file_time_type::clock::now() - age);
  };
  leave("main/pack/.tmp-host-1-a", std::chrono::hours(25));
  leave("gone/deep/.tmp-host-1-b", std::chrono::hours(99));
  leave("main/.tmp-host-1-c", std::chrono::hours(23));
  const auto swept = store->remove_stale_temporaries(std::chrono::hours(24)).value();
  EXPECT_EQ(swept.removed, 2u);
  EXPECT_EQ(swept.removed_bytes, 10u);
  EXPECT_EQ(swept.kept, 2u);
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() + "/gone"));
  EXPECT_TRUE(store->get(kKey).has_value());
  EXPECT_TRUE(std::move(*writing).commit().has_value());
}

}  // namespace
}  // namespace pgark
