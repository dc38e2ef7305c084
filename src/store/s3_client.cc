#include "store/s3_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/log.h"
#include "store/aws_sigv4.h"
#include "store/metadata_http.h"
#include "store/s3_xml.h"

namespace pgark {
namespace {

constexpr std::chrono::minutes kSkewMin{5};  // AWS allows 15, and some stores less.
constexpr std::chrono::seconds kDoubtPause{30};
constexpr std::string_view kAwsDomain = ".amazonaws.com";

Error invalid(const S3Settings& settings, std::string_view option, std::string_view cause) {
  return Error(Errc::kInvalid, fmt::format("{}-{}: {}", settings.cloud.label, option, cause));
}

bool is_region(std::string_view region) {
  return !region.empty() && region.size() <= 64 && std::all_of(region.begin(), region.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

Result<> check_settings(const S3Settings& settings, const CloudEndpoint& endpoint) {
  const bool bucket_ok = !settings.bucket.empty() && settings.bucket.size() <= 255 && settings.bucket != "." &&
                         settings.bucket != ".." && settings.bucket.find_first_of("/?# ") == std::string::npos;
  if (!bucket_ok) return invalid(settings, "s3-bucket", "a bucket's name is neither empty nor has slashes or spaces");
  if (!is_region(settings.region)) return invalid(settings, "s3-region", "a region has letters, digits and hyphens");
  const bool is_address =
      endpoint.host.starts_with('[') || endpoint.host.find_first_not_of("0123456789.") == std::string::npos;
  if (settings.uri_style == S3UriStyle::kHost && is_address)
    return invalid(settings, "s3-uri-style", "the bucket cannot stand before an address in the host name")
        .with_hint(fmt::format("set {}-s3-uri-style=path", settings.cloud.label));
  if (settings.object_lock_mode.empty() != (settings.object_lock_days == 0))
    return invalid(settings, "s3-object-lock-mode", "mode and days go together");
  if (!settings.kms_key_id.empty() && !settings.sse_customer_key.empty())
    return invalid(settings, "s3-sse-customer-key", "it cannot be given together with s3-kms-key-id");
  if (settings.storage_class == "GLACIER" || settings.storage_class == "DEEP_ARCHIVE")
    return invalid(settings, "s3-storage-class", "objects of this class cannot be read before they were thawed")
        .with_hint("GLACIER_IR and STANDARD_IA are cheap classes that are read at once");
  return check_cloud_prefix(settings.cloud.prefix);
}

Result<std::vector<HttpHeader>> make_customer_key_headers(const S3Settings& settings) {
  std::vector<HttpHeader> headers;
  if (settings.sse_customer_key.empty()) return headers;
  const auto key = base64_decode(settings.sse_customer_key);
  if (!key.has_value() || key->size() != 32)
    return invalid(settings, "s3-sse-customer-key", "it is not 32 bytes in base64");
  TRY_ASSIGN(const Md5Digest digest, md5(*key));
  headers = {{"x-amz-server-side-encryption-customer-algorithm", "AES256"},
             {"x-amz-server-side-encryption-customer-key", settings.sse_customer_key},
             {"x-amz-server-side-encryption-customer-key-md5", base64_encode(digest)}};
  return headers;
}

/// "s3.amazonaws.com" and "s3.eu-west-1.amazonaws.com", but neither those of private links nor other services'.
bool is_aws_endpoint(const CloudEndpoint& endpoint) {
  return endpoint.host.starts_with("s3") && endpoint.host.ends_with(kAwsDomain) &&
         endpoint.host.find(".vpce.") == std::string::npos;
}

}  // namespace

S3Client::S3Client(S3Settings settings, CloudEndpoint endpoint)
    : settings_(std::move(settings)),
      place_(fmt::format("{} at s3://{}/{}", settings_.cloud.label, settings_.bucket, settings_.cloud.prefix)),
      is_aws_(is_aws_endpoint(endpoint)),
      endpoint_(std::move(endpoint)),
      region_(settings_.region) {}

Result<std::unique_ptr<S3Client>> S3Client::create(const S3Settings& settings) {
  TRY_ASSIGN(CloudEndpoint endpoint, parse_cloud_endpoint(settings.endpoint, settings.cloud.label + "-s3-endpoint"));
  TRY(check_settings(settings, endpoint));
  std::unique_ptr<S3Client> client(new S3Client(settings, std::move(endpoint)));
  TRY_ASSIGN(client->customer_key_headers_, make_customer_key_headers(settings));
  TRY_ASSIGN(client->http_, HttpClient::create(http_options(settings.cloud)));
  TRY_ASSIGN(client->metadata_http_, HttpClient::create(metadata_http_options(settings.cloud)));
  TRY_ASSIGN(client->credentials_,
             make_aws_credentials(client->settings_, *client->metadata_http_, *client->settings_.cloud.clock));
  return client;
}

std::string S3Client::url_of(const S3Request& request) {
  std::string url;
  {
    MutexLock lock(mu_);
    url = endpoint_.tls ? "https://" : "http://";
    if (settings_.uri_style == S3UriStyle::kHost) url.append(settings_.bucket).append(".");
    url += endpoint_.authority();
  }
  if (settings_.uri_style == S3UriStyle::kPath) url.append("/").append(url_encode(settings_.bucket));
  if (settings_.uri_style == S3UriStyle::kHost || !request.key.empty())
    url.append("/").append(url_encode(request.key, /*keep_slash=*/true));
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    url.append(1, separator).append(url_encode(name)).append("=").append(url_encode(value));
    separator = '&';
  }
  return url;
}

Result<HttpResponse> S3Client::send(const S3Request& request) {
  const std::string payload_sha256 = request.body.empty() ? std::string(kEmptySha256) : to_hex(sha256(request.body));
  for (Remedies tried;;) {
    TRY_ASSIGN_CTX(const AwsCredentials credentials, credentials_->get(), request.what);
    HttpRequest http{.method = request.method,
                     .url = url_of(request),
                     .headers = request.headers,
                     .body = request.body,
                     .into = request.into,
                     .broken_off = request.broken_off,
                     .repeatable = request.call != CloudCall::kCreate};
    if (settings_.requester_pays) http.headers.push_back({"x-amz-request-payer", "requester"});
    std::string region;
    {
      MutexLock lock(mu_);
      region = region_;
    }
    tried.access_key = credentials.access_key;
    sign_sigv4(http, payload_sha256, credentials, now(), {std::move(region), "s3"});
    TRY_ASSIGN_CTX(HttpResponse response, http_->perform(std::move(http)), request.what);
    if (response.ok()) bucket_seen_.store(true, std::memory_order_relaxed);
    if (response.ok() ||
        std::find(request.accept.begin(), request.accept.end(), response.status) != request.accept.end())
      return response;
    const CloudFailure failure = read_xml_failure(response);
    if (remedy(response, failure, tried)) continue;
    TRY(wait_as_asked(response, settings_.cloud, request.what));
    return cloud_error(failure, request.call, request.what);
  }
}

bool S3Client::remedy(const HttpResponse& response, const CloudFailure& failure, Remedies& tried) {
  const int status = response.status;
  if (!tried.region && (status == 301 || status == 307 || status == 400 || status == 403) && follow_region(response)) {
    tried.region = true;
    return true;
  }
  if (status != 400 && status != 401 && status != 403) return false;
  if (!tried.clock && correct_clock(response, failure)) {
    tried.clock = true;
    return true;
  }
  // An answer to HEAD has no body to say it. Keys in a file may have been replaced before they ended.
  const std::string& code = failure.code;
  const bool ended = code.empty() || code == "ExpiredToken" || code == "InvalidToken" ||
                     code == "TokenRefreshRequired" || code == "InvalidAccessKeyId" || code == "InvalidTokenId";
  if (!tried.credentials && settings_.key_type != S3KeyType::kShared && ended) {
    tried.credentials = true;
    credentials_->invalidate();
    return true;
  }
  if (!tried.credentials && settings_.key_type != S3KeyType::kShared && code == "AccessDenied") {
    tried.credentials = has_other_credentials(tried.access_key);
    return tried.credentials;
  }
  return false;
}

bool S3Client::has_other_credentials(const std::string& access_key) {
  const auto now_other = [&] {
    const auto credentials = credentials_->get();
    return credentials.has_value() && credentials->access_key != access_key;
  };
  if (now_other()) return true;
  {
    // As a rule it is a matter of policy: who hands them out is not asked again and again.
    const MutexLock lock(mu_);
    const auto now = settings_.cloud.clock->steady();
    if (!doubted_at_ || now - *doubted_at_ >= kDoubtPause) {
      doubted_at_ = now;
      credentials_->invalidate();
    }
  }
  return now_other();  // Another thread may have asked meanwhile.
}

bool S3Client::correct_clock(const HttpResponse& response, const CloudFailure& failure) {
  const auto theirs = parse_http_date(response.header("date"));
  if (!theirs) return false;
  const auto off = *theirs - now();
  if (std::chrono::abs(off) < kSkewMin && failure.code != "RequestTimeTooSkewed") return false;
  const auto skew = *theirs - settings_.cloud.clock->now();
  const auto before = skew_us_.exchange(std::chrono::duration_cast<std::chrono::microseconds>(skew).count());
  if (before == 0)
    log_warn("{}: the clock of this machine is {} s {}; requests are signed with the store's time", place_,
             std::abs(std::chrono::duration_cast<std::chrono::seconds>(skew).count()),
             skew.count() > 0 ? "slow" : "fast");
  return true;
}

bool S3Client::follow_region(const HttpResponse& response) {
  std::string region(response.header("x-amz-bucket-region"));
  if (region.empty()) region = s3_region_in_error(response.body);
  if (!is_region(region)) return false;
  MutexLock lock(mu_);
  if (region == region_) return false;
  log_warn("{}: the bucket is in region {}, not {}; set {}-s3-region", place_, one_line(region), region_,
           settings_.cloud.label);
  // Never to a host that an answer names: a signed request goes to Amazon alone.
  if (endpoint_.host == "s3.amazonaws.com" || endpoint_.host == fmt::format("s3.{}{}", region_, kAwsDomain))
    endpoint_.host = fmt::format("s3.{}{}", region, kAwsDomain);
  region_ = region;
  return true;
}

Result<> S3Client::check_bucket() {
  if (bucket_seen_.load(std::memory_order_relaxed)) return {};
  const S3Request request{.what = "look for the bucket of " + place_, .method = "HEAD", .accept = {403, 404}};
  TRY_ASSIGN(const HttpResponse response, send(request));
  if (response.status == 404) {
    const CloudFailure failure{.status = 404, .code = "NoSuchBucket", .message = "the bucket does not exist"};
    return cloud_error(failure, CloudCall::kRead, request.what);
  }
  bucket_seen_.store(true, std::memory_order_relaxed);  // Who may not look into it has been told that it exists.
  return {};
}

}  // namespace pgark
