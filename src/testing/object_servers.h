// One object store server for many tests: the one that ctest started for its whole run, or else one that the first test
// of a process to ask for it starts. Tests keep apart by buckets of their own.
#pragma once

#include <string>

#include "core/result.h"
#include "testing/raw_azure.h"
#include "testing/raw_s3.h"
#include "testing/s3_server.h"

namespace pgark::testing {

/// A server that stays up and whole: a test that stops it starts an S3Server of its own instead.
/// Errors: kNotFound with the reason why there is none on this machine.
Result<S3Endpoint> shared_s3();
Result<AzureEndpoint> shared_azure();
/// A store without conditional create, through its S3 interface.
Result<S3Endpoint> shared_swift();

/// Whether tests may go without what this machine lacks. Under CI (CI=true) an S3 server has to be there.
bool may_lack_servers();

/// Start a server ("s3", "azure" or "swift") and write into `directory` how to reach it, then serve until SIGTERM or
/// until the process that started this one ends. Returns in the caller when the server answers, or cannot be had, which
/// is noted for the tests too; the server goes on in a process of its own.
Result<> start_shared_server(const std::string& kind, const std::string& directory);
/// Stop it and wait for its end. Success if it is gone already.
Result<> stop_shared_server(const std::string& kind, const std::string& directory);

}  // namespace pgark::testing

/// Declare `endpoint` of the shared S3 server, or skip the test with the reason why there is none.
#define PGARK_REQUIRE_S3(endpoint)                                                                                \
  const auto endpoint##_found = ::pgark::testing::shared_s3();                                                    \
  if (!endpoint##_found && !::pgark::testing::may_lack_servers()) FAIL() << endpoint##_found.error().to_string(); \
  if (!endpoint##_found && endpoint##_found.error().code() != ::pgark::Errc::kNotFound)                           \
    FAIL() << endpoint##_found.error().to_string();                                                               \
  if (!endpoint##_found) GTEST_SKIP() << endpoint##_found.error().to_string();                                    \
  const ::pgark::testing::S3Endpoint& endpoint = *endpoint##_found

/// Skip a test that starts an S3Server of its own where there is none to start.
#define PGARK_REQUIRE_OWN_S3()                                                                             \
  do {                                                                                                     \
    const auto installed = ::pgark::testing::s3_server_installed();                                        \
    if (!installed && ::pgark::testing::may_lack_servers()) GTEST_SKIP() << installed.error().to_string(); \
    ASSERT_TRUE(installed.has_value()) << installed.error().to_string();                                   \
  } while (false)

/// Declare `endpoint` of the shared Azure server, or skip the test with the reason why there is none.
#define PGARK_REQUIRE_AZURE(endpoint)                                                   \
  const auto endpoint##_found = ::pgark::testing::shared_azure();                       \
  if (!endpoint##_found && endpoint##_found.error().code() != ::pgark::Errc::kNotFound) \
    FAIL() << endpoint##_found.error().to_string();                                     \
  if (!endpoint##_found) GTEST_SKIP() << endpoint##_found.error().to_string();          \
  const ::pgark::testing::AzureEndpoint& endpoint = *endpoint##_found

/// Declare `endpoint` of the shared Swift server, or skip the test with the reason why there is none.
#define PGARK_REQUIRE_SWIFT(endpoint)                                                   \
  const auto endpoint##_found = ::pgark::testing::shared_swift();                       \
  if (!endpoint##_found && endpoint##_found.error().code() != ::pgark::Errc::kNotFound) \
    FAIL() << endpoint##_found.error().to_string();                                     \
  if (!endpoint##_found) GTEST_SKIP() << endpoint##_found.error().to_string();          \
  const ::pgark::testing::S3Endpoint& endpoint = *endpoint##_found
