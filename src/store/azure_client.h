// Requests to one container of Azure Blob Storage: addresses, authorization, and what its refusals mean.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/secret.h"
#include "net/http_client.h"
#include "store/azure_store.h"
#include "store/bearer_token.h"
#include "store/cloud_errors.h"
#include "store/cloud_util.h"

namespace pgark {

/// A request; Authorization, x-ms-date and x-ms-version are added.
struct AzureRequest {
  std::string method = "GET";
  std::string blob{};                                        // Whole name, prefix included; empty: the container.
  std::vector<std::pair<std::string, std::string>> query{};  // Not encoded.
  std::vector<HttpHeader> headers{};
  Bytes body{};
  MutableBytes into{};
  HttpResponse* broken_off = nullptr;  // As HttpRequest::broken_off.
  CloudCall call = CloudCall::kRead;
};

/// Safe from several threads.
class AzureClient {
 public:
  /// `tokens` is for kManagedIdentity, else null. Errors: kInvalid for settings that contradict each other.
  static Result<std::unique_ptr<AzureClient>> create(const AzureSettings& settings,
                                                     std::unique_ptr<BearerTokenSource> tokens);

  /// "repo1 at azure://account/container/prefix".
  const std::string& place() const { return place_; }

  /// The answer, whatever its status; asked once more with a new token if the old one was refused, or with the time of
  /// the service if the clock of this machine is wrong (which is logged, and kept in mind).
  /// Errors: of the transport, with `what` before them.
  Result<HttpResponse> perform(const AzureRequest& request, std::string_view what);

  /// Send without waiting for the answer, and without a second try. `request.body` must live until the answer is there.
  Result<std::unique_ptr<HttpCall>> start(const AzureRequest& request, std::string_view what);

  /// What an answer that is no success means: kNotFound only if the blob is what is missing.
  Error failure(const HttpResponse& answer, const AzureRequest& request, std::string_view what) const;

  /// The word of the service for what went wrong: "BlobNotFound"; empty if it said none.
  static std::string error_code(const HttpResponse& answer);

 private:
  AzureClient() = default;
  Result<HttpRequest> prepare(const AzureRequest& request);
  Timestamp now() const {
    return settings_.cloud.clock->now() + std::chrono::microseconds(skew_us_.load(std::memory_order_relaxed));
  }
  bool correct_clock(const HttpResponse& answer);
  Error hinted(Error error, const CloudFailure& failure) const;

  AzureSettings settings_;
  std::string origin_;     // "https://account.blob.core.windows.net".
  std::string base_path_;  // Of the container: "/container", or "/account/container".
  std::string place_;
  Secret key_;  // kShared.
  Secret sas_;  // kSas.
  std::optional<Timestamp> sas_end_;
  std::atomic<int64_t> skew_us_ = 0;  // The service's clock before ours.
  std::unique_ptr<BearerTokenSource> tokens_;
  std::unique_ptr<HttpClient> http_;
};

}  // namespace pgark
