// Requests to one bucket: addressed, signed, sent, and put right where the store's answer says how.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/thread_annotations.h"
#include "net/http_client.h"
#include "store/aws_credentials.h"
#include "store/cloud_errors.h"
#include "store/cloud_util.h"
#include "store/s3_store.h"

namespace pgark {

struct S3Request {
  std::string what;  // "read object 'k' in repo1 at s3://b/": of messages.
  CloudCall call = CloudCall::kRead;
  std::string method = "GET";
  std::string key{};                                         // With the prefix; empty: the bucket itself.
  std::vector<std::pair<std::string, std::string>> query{};  // Not encoded.
  std::vector<HttpHeader> headers{};
  Bytes body{};
  MutableBytes into{};
  HttpResponse* broken_off = nullptr;  // As HttpRequest::broken_off.
  std::vector<int> accept{};           // Statuses that are answers, besides those of 2xx.
};

/// Safe from several threads.
class S3Client {
 public:
  /// Errors: kInvalid for settings that contradict each other.
  static Result<std::unique_ptr<S3Client>> create(const S3Settings& settings);

  /// The answer, if its status is 2xx or accepted. Three refusals are put right and the request sent again, once each:
  /// the clock of this machine is wrong (the store's time is used from then on, and a warning logged), the bucket is in
  /// another region, temporary credentials have ended.
  /// Errors: of HttpCall::wait(), of the credentials, and as cloud_errc().
  Result<HttpResponse> send(const S3Request& request);
  /// Errors: kInvalid if the bucket does not exist. Asks only if no answer has shown it yet.
  Result<> check_bucket();

  const S3Settings& settings() const { return settings_; }
  /// "repo1 at s3://bucket/prefix".
  const std::string& place() const { return place_; }
  /// Time as the store has it.
  Timestamp now() const {
    return settings_.cloud.clock->now() + std::chrono::microseconds(skew_us_.load(std::memory_order_relaxed));
  }
  bool is_aws() const { return is_aws_; }

  /// Headers that every request needs which reads or writes content encrypted with the customer's key.
  const std::vector<HttpHeader>& customer_key_headers() const { return customer_key_headers_; }

 private:
  S3Client(S3Settings settings, CloudEndpoint endpoint);
  struct Remedies {
    bool clock = false;
    bool region = false;
    bool credentials = false;
    std::string access_key{};  // Of the last attempt.
  };
  std::string url_of(const S3Request& request) EXCLUDES(mu_);
  /// Whether the failure's cause was removed, so that it is worth another try.
  bool remedy(const HttpResponse& response, const CloudFailure& failure, Remedies& tried) EXCLUDES(mu_);
  /// Whether there are other credentials than those of `access_key`, which the store says may not do it. Ceph says so
  /// of keys that were revoked, too.
  bool has_other_credentials(const std::string& access_key) EXCLUDES(mu_);
  bool correct_clock(const HttpResponse& response, const CloudFailure& failure);
  bool follow_region(const HttpResponse& response) EXCLUDES(mu_);

  const S3Settings settings_;
  const std::string place_;
  const bool is_aws_;
  std::vector<HttpHeader> customer_key_headers_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<HttpClient> metadata_http_;
  std::unique_ptr<AwsCredentialSource> credentials_;  // Uses metadata_http_.
  std::atomic<int64_t> skew_us_ = 0;
  std::atomic<bool> bucket_seen_ = false;
  Mutex mu_;
  CloudEndpoint endpoint_ GUARDED_BY(mu_);
  std::string region_ GUARDED_BY(mu_);
  std::optional<std::chrono::steady_clock::time_point> doubted_at_ GUARDED_BY(mu_);  // The credentials.
};

}  // namespace pgark
