// What the tests of stores on real servers share: contents to store, promises to keep there and over a bad network,
// calls that must be refused, and the options that point pgark at a server.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "store/conformance.h"
#include "store/object_store.h"
#include "store/retry_store.h"
#include "testing/fault_proxy.h"
#include "testing/pg_server.h"
#include "testing/raw_azure.h"
#include "testing/raw_s3.h"
#include "testing/sftp_server.h"

namespace pgark::testing {

/// Bytes that do not compress, the same for the same seed.
inline Buffer noise(size_t bytes, uint64_t seed) {
  Buffer buffer(bytes);
  Rng rng(seed);
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t word = rng.next();
    std::memcpy(buffer.data() + at, &word, std::min(sizeof word, bytes - at));
  }
  return buffer;
}

/// As the binary stacks it: a server may close a connection that was idle just when it is used again.
inline std::unique_ptr<ObjectStore> with_retries(std::unique_ptr<ObjectStore> inner) {
  return std::make_unique<RetryStore>(std::move(inner), RetryPolicy{}, system_clock(), 1);
}

/// Every promise of stores, and nothing of it is left.
inline void expect_conformance(ObjectStore& store) {
  for (const ConformanceOutcome& outcome : run_conformance(store, "conformance", 16))
    EXPECT_TRUE(outcome.result.has_value()) << outcome.check->name << ": " << outcome.result.error().to_string();
  EXPECT_THAT(store.list_all("").value(), ::testing::IsEmpty());
}

/// The same where connections break in the middle of requests, of answers, and between them.
template <typename Store, typename Settings>
void expect_conformance_over_a_bad_network(Settings settings, const std::string& host, int port,
                                           uint64_t drop_after_bytes_mean) {
  ASSERT_OK_AND_ASSIGN(
      auto proxy,
      FaultProxy::start(host, port, {.rules = {.drop_after_bytes_mean = drop_after_bytes_mean}, .seed = 7}));
  settings.endpoint = proxy->url();
  settings.cloud.retry.attempts_max = 30;
  settings.cloud.retry.delay_first = settings.cloud.retry.delay_max = std::chrono::milliseconds(1);
  ASSERT_OK_AND_ASSIGN(auto store, Store::open(settings));
  RetryStore patient(std::move(store), settings.cloud.retry, system_clock(), 1);
  expect_conformance(patient);
  EXPECT_GT(proxy->connections_dropped(), 5u);
}

inline void expect_content(ObjectStore& store, const ObjectKey& key, const Buffer& content) {
  Buffer back(content.size());
  ASSERT_OK(store.read_exact(key, 0, back.bytes()));
  EXPECT_EQ(0, std::memcmp(back.data(), content.data(), content.size())) << key.value << " differs";
}

/// Of two writers of a large object, the one that is done first wins, although it began later.
inline void expect_first_of_two_writers_wins(ObjectStore& store, const ObjectKey& key, const Buffer& content) {
  ASSERT_OK_AND_ASSIGN(auto late, store.create(key));
  ASSERT_OK(late->append(noise(content.size(), 4711)));
  ASSERT_OK_AND_ASSIGN(const ObjectInfo info, store.put(key, content));
  EXPECT_EQ(info.bytes, content.size());
  const auto second = std::move(*late).commit();
  late.reset();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Errc::kAlreadyExists) << second.error().to_string();
  expect_content(store, key, content);
}

/// Every call fails with `code`, names the place and not the secret; and that of a put says `text`.
inline void expect_all_calls_refused(ObjectStore& store, Errc code, const std::string& text, const std::string& place,
                                     const std::string& secret) {
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  using ::testing::Not;
  const auto put = store.put({"key"}, as_bytes("content"));
  const auto stat = store.stat({"key"});
  const auto list = store.list({});
  const auto removed = store.remove({"key"});
  Buffer byte(1);
  const auto read = store.read({"key"}, 0, byte.bytes());
  ASSERT_FALSE(put.has_value() || stat.has_value() || list.has_value() || removed.has_value() || read.has_value());
  for (const Error& error : {put.error(), stat.error(), list.error(), removed.error(), read.error()}) {
    EXPECT_EQ(error.code(), code) << error.to_string();
    EXPECT_THAT(error.to_string(), AllOf(HasSubstr("repo1 at " + place), Not(HasSubstr(secret))));
  }
  EXPECT_THAT(put.error().to_string(), HasSubstr(text));
}

/// Settings of [global].
using PgarkOptions = std::vector<std::pair<std::string, std::string>>;

inline PgarkOptions repository_options(const S3Endpoint& endpoint, const std::string& bucket,
                                       const std::string& path = "/cycle") {
  return {{"repo1-type", "s3"},
          {"repo1-path", path},
          {"repo1-s3-bucket", bucket},
          {"repo1-s3-endpoint", endpoint.url()},
          {"repo1-s3-region", endpoint.region},
          {"repo1-s3-uri-style", "path"},
          {"repo1-s3-key", endpoint.keys.access_key},
          {"repo1-s3-key-secret", endpoint.keys.secret}};
}

inline PgarkOptions repository_options(const AzureEndpoint& endpoint, const std::string& container,
                                       const std::string& path = "/cycle") {
  return {{"repo1-type", "azure"},
          {"repo1-path", path},
          {"repo1-azure-account", endpoint.account},
          {"repo1-azure-container", container},
          {"repo1-azure-endpoint", fmt::format("http://{}:{}", endpoint.host, endpoint.port)},
          {"repo1-azure-uri-style", "path"},
          {"repo1-azure-key", endpoint.key}};
}

inline PgarkOptions repository_options(const SftpServer& server, const std::string& path) {
  const SftpOptions options = server.options();
  return {{"repo1-type", "sftp"},
          {"repo1-path", path},
          {"repo1-sftp-host", options.host},
          {"repo1-sftp-host-port", std::to_string(options.port)},
          {"repo1-sftp-host-user", options.user},
          {"repo1-sftp-private-key-file", options.private_key_file},
          {"repo1-sftp-known-host", server.known_hosts()}};
}

}  // namespace pgark::testing
