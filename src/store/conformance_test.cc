// The conformance suite over every backend and decorator of this folder.
#include "store/conformance.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/posix_store.h"
#include "store/retry_store.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

NoWaitClock& no_wait_clock() {
  static NoWaitClock clock;
  return clock;
}

using Make = std::unique_ptr<ObjectStore> (*)(const std::string& directory);

std::unique_ptr<ObjectStore> make_memory(const std::string&) { return std::make_unique<MemoryStore>(); }

std::unique_ptr<ObjectStore> make_posix(const std::string& directory) {
  return std::move(PosixStore::open(directory)).value();
}

std::unique_ptr<ObjectStore> make_posix_link(const std::string& directory) {
  PosixOptions options;
  options.use_rename_no_replace = false;
  return std::move(PosixStore::open(directory, options)).value();
}

std::unique_ptr<ObjectStore> with_retries(std::unique_ptr<ObjectStore> inner) {
  RetryPolicy policy;
  policy.attempts_max = 30;
  return std::make_unique<RetryStore>(std::move(inner), policy, no_wait_clock(), 1);
}

/// Every kind of call fails now and then, some of them after they have worked.
std::unique_ptr<ObjectStore> with_faults(std::unique_ptr<ObjectStore> inner) {
  std::vector<FaultRule> rules;
  for (const StoreCall call : {StoreCall::kCreate, StoreCall::kAppend, StoreCall::kCommit, StoreCall::kStat,
                               StoreCall::kRead, StoreCall::kList, StoreCall::kRemove})
    rules.push_back({.call = call, .nth = 2, .every = 5});
  for (const StoreCall call : {StoreCall::kStat, StoreCall::kRead, StoreCall::kList})
    rules.push_back({.call = call, .nth = 3, .every = 11, .fault = Fault::kDuplicate});
  rules.push_back(
      {.call = StoreCall::kCommit, .nth = 3, .every = 7, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown});
  rules.push_back(
      {.call = StoreCall::kCommit, .nth = 4, .every = 7, .fault = Fault::kFail, .code = Errc::kOutcomeUnknown});
  return std::make_unique<FaultStore>(std::move(inner), rules, no_wait_clock());
}

std::unique_ptr<ObjectStore> make_fault(const std::string& directory) {
  return std::make_unique<FaultStore>(make_posix(directory));
}
std::unique_ptr<ObjectStore> make_retry(const std::string& directory) { return with_retries(make_posix(directory)); }
std::unique_ptr<ObjectStore> make_retry_over_faulty_memory(const std::string&) {
  return with_retries(with_faults(std::make_unique<MemoryStore>()));
}
std::unique_ptr<ObjectStore> make_retry_over_faulty_posix(const std::string& directory) {
  return with_retries(with_faults(make_posix(directory)));
}

struct Backend {
  const char* name;
  Make make;
  ScratchPlace place = ScratchPlace::kMemory;
};

class ObjectStoreConformance : public testing::TestWithParam<std::tuple<Backend, size_t>> {};

TEST_P(ObjectStoreConformance, Keeps) {
  const auto& [backend, index] = GetParam();
  const ScratchDirectory scratch(backend.place);
  {
    const auto store = backend.make(scratch.path());
    const ConformanceCheck& check = conformance_checks()[index];
    const auto result = run_conformance_check(check, *store, "conformance/scratch", 16);
    EXPECT_TRUE(result.has_value()) << check.promise << "\n" << result.error().to_string();
    EXPECT_TRUE(store->list_all("").value().empty());
  }
  // A store on disk leaves nothing behind but its root: no temporaries, no empty directories.
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

INSTANTIATE_TEST_SUITE_P(
    All, ObjectStoreConformance,
    testing::Combine(testing::Values(Backend{"memory", make_memory}, Backend{"posix", make_posix, ScratchPlace::kDisk},
                                     Backend{"posix_by_link", make_posix_link}, Backend{"fault", make_fault},
                                     Backend{"retry", make_retry},
                                     Backend{"retry_over_faulty_memory", make_retry_over_faulty_memory},
                                     Backend{"retry_over_faulty_posix", make_retry_over_faulty_posix}),
                     testing::Range(size_t{0}, conformance_checks().size())),
    [](const auto& param_info) {
      return std::string(std::get<0>(param_info.param).name) + "_" +
             conformance_checks()[std::get<1>(param_info.param)].name;
    });

}  // namespace
}  // namespace pgark
