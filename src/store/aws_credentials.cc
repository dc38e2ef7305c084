// The order in which AWS's tools look for credentials, and how long they are kept.
#include "store/aws_credentials.h"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "net/http_client.h"
#include "store/aws_profile.h"
#include "store/aws_services.h"
#include "store/fresh_value.h"
#include "store/s3_store.h"

namespace pgark {
namespace {

using Found = std::optional<AwsCredentials>;

class FreshCredentials final : public AwsCredentialSource {
 public:
  using Ask = std::function<Result<AwsCredentials>()>;

  FreshCredentials(Ask ask, Clock& clock, std::string what)
      : held_([ask = std::move(ask)] { return fetch(ask); }, clock, std::move(what)) {}
  Result<AwsCredentials> get() override { return held_.get(); }
  void invalidate() override { held_.invalidate(); }

 private:
  using Held = FreshValue<AwsCredentials>;
  static Result<Held::Fetched> fetch(const Ask& ask) {
    TRY_ASSIGN(AwsCredentials credentials, ask());
    log_debug("credentials from {}", credentials.origin);
    const auto expires = credentials.expires;
    return Held::Fetched{std::move(credentials), expires};
  }
  Held held_;
};

// Looks for credentials in one place after the other.
class AwsChain {
 public:
  AwsChain(const S3Settings& settings, HttpClient& http, Environment env)
      : label_(settings.cloud.label),
        role_(settings.role),
        region_(settings.region),
        http_(http),
        env_(std::move(env)) {}

  Result<AwsCredentials> ask() {
    for (const auto step : {&AwsChain::environment, &AwsChain::web_identity_of_environment, &AwsChain::profile,
                            &AwsChain::container, &AwsChain::instance}) {
      TRY_ASSIGN(Found found, (this->*step)());
      if (found) return std::move(*found);
    }
    return none(Error(Errc::kPermission, "instance metadata is switched off (AWS_EC2_METADATA_DISABLED)"));
  }

  Result<AwsCredentials> web_identity() {
    const WebIdentity identity = identity_of_environment();
    if (identity.token_file.empty() || identity.role_arn.empty()) {
      return Error(Errc::kPermission,
                   fmt::format("find web identity: {} is not set",
                               identity.token_file.empty() ? "AWS_WEB_IDENTITY_TOKEN_FILE" : "AWS_ROLE_ARN"))
          .with_hint("run pgark where the service account's token is mounted, and set both in its environment");
    }
    return web_identity_credentials(http_, identity, env_);
  }

 private:
  Result<Found> environment() {
    AwsCredentials credentials{.access_key = env_("AWS_ACCESS_KEY_ID"),
                               .secret_key = env_("AWS_SECRET_ACCESS_KEY"),
                               .session_token = env_("AWS_SESSION_TOKEN"),
                               .origin = "environment"};
    if (credentials.access_key.empty() && credentials.secret_key.empty()) return Found();
    if (credentials.access_key.empty() || credentials.secret_key.empty()) {
      return Error(Errc::kPermission,
                   "read credentials from the environment: only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is "
                   "set");
    }
    return Found(std::move(credentials));
  }

  WebIdentity identity_of_environment() const {
    std::string region = region_;
    if (region.empty()) region = env_("AWS_REGION");
    return {.token_file = env_("AWS_WEB_IDENTITY_TOKEN_FILE"),
            .role_arn = role_.empty() || role_.find(':') == std::string::npos ? env_("AWS_ROLE_ARN") : role_,
            .session_name = env_("AWS_ROLE_SESSION_NAME"),
            .region = std::move(region)};
  }

  Result<Found> web_identity_of_environment() {
    if (env_("AWS_WEB_IDENTITY_TOKEN_FILE").empty()) return Found();
    TRY_ASSIGN(AwsCredentials credentials, web_identity());
    return Found(std::move(credentials));
  }

  Result<Found> profile() {
    TRY_ASSIGN(const AwsProfile profile, read_aws_profile(env_));
    if (!profile.found) return Found();
    const std::string role = profile.get("role_arn");
    if (!role.empty() && !profile.get("web_identity_token_file").empty()) {
      const WebIdentity identity{.token_file = profile.get("web_identity_token_file"),
                                 .role_arn = role,
                                 .session_name = profile.get("role_session_name"),
                                 .region = region_};
      TRY_ASSIGN(AwsCredentials credentials, web_identity_credentials(http_, identity, env_));
      return Found(std::move(credentials));
    }
    if (!role.empty()) return needs_aws_cli(profile, "assumes a role through another profile");
    if (!profile.get("aws_access_key_id").empty() && !profile.get("aws_secret_access_key").empty()) {
      return Found(AwsCredentials{.access_key = profile.get("aws_access_key_id"),
                                  .secret_key = profile.get("aws_secret_access_key"),
                                  .session_token = profile.get("aws_session_token"),
                                  .origin = profile.origin});
    }
    if (const std::string command = profile.get("credential_process"); !command.empty()) {
      TRY_ASSIGN(AwsCredentials credentials, process_credentials(command, profile.origin));
      return Found(std::move(credentials));
    }
    if (!profile.get("sso_session").empty() || !profile.get("sso_start_url").empty()) {
      return needs_aws_cli(profile, "signs in at IAM Identity Center");
    }
    return Found();
  }

  static Error needs_aws_cli(const AwsProfile& profile, std::string_view how) {
    return Error(Errc::kUnsupported,
                 fmt::format("use profile {}: it {}, which pgark does not do itself", profile.origin, how))
        .with_hint(fmt::format("make a profile with credential_process = aws configure export-credentials --profile {} "
                               "--format process",
                               profile.name));
  }

  Result<Found> container() { return container_credentials(http_, env_); }

  Result<Found> instance() {
    const std::string disabled = env_("AWS_EC2_METADATA_DISABLED");
    if (disabled == "true" || disabled == "TRUE" || disabled == "True") return Found();
    const std::string role = role_.find(':') == std::string::npos ? role_ : std::string();
    auto credentials = instance_credentials(http_, role, env_);
    if (credentials) {
      instance_answered_ = true;
      return Found(std::move(*credentials));
    }
    // A machine that never had this service will not have it later.
    if (credentials.error().code() == Errc::kTransient && !instance_answered_) {
      return none(std::move(credentials).error());
    }
    return std::move(credentials).error();
  }

  Error none(Error last) const {
    return std::move(last)
        .with_code(Errc::kPermission)
        .with_context(
            "find credentials of AWS: none in the environment, in ~/.aws, of a web identity or of a container")
        .with_hint(fmt::format(
            "give this machine a role, or set {0}-s3-key-type=shared, {0}-s3-key and {0}-s3-key-secret", label_));
  }

  const std::string label_;
  const std::string role_;  // The name of an instance's or the ARN of a web identity's.
  const std::string region_;
  HttpClient& http_;
  const Environment env_;
  bool instance_answered_ = false;  // Asked by one thread at a time.
};

Result<FreshCredentials::Ask> ask_shared(const S3Settings& settings) {
  if (settings.key.empty() || settings.key_secret.empty()) {
    return Error(Errc::kInvalid, fmt::format("{}-s3-key and {}-s3-key-secret are both needed", settings.cloud.label,
                                             settings.cloud.label));
  }
  const AwsCredentials credentials{.access_key = settings.key,
                                   .secret_key = settings.key_secret,
                                   .session_token = settings.token,
                                   .origin = settings.cloud.label + "-s3-key"};
  return FreshCredentials::Ask([credentials] { return Result<AwsCredentials>(credentials); });
}

Result<FreshCredentials::Ask> ask_process(const S3Settings& settings) {
  if (settings.credential_process.empty()) {
    return Error(Errc::kInvalid, fmt::format("{}: no program for credentials is set", settings.cloud.label));
  }
  return FreshCredentials::Ask([command = settings.credential_process, origin = settings.cloud.label] {
    return process_credentials(command, origin);
  });
}

}  // namespace

Result<std::unique_ptr<AwsCredentialSource>> make_aws_credentials(const S3Settings& settings, HttpClient& metadata_http,
                                                                  Clock& clock, const Environment& env) {
  FreshCredentials::Ask ask;
  switch (settings.key_type) {
    case S3KeyType::kShared: {
      TRY_ASSIGN(ask, ask_shared(settings));
      break;
    }
    case S3KeyType::kProcess: {
      TRY_ASSIGN(ask, ask_process(settings));
      break;
    }
    case S3KeyType::kAuto:
    case S3KeyType::kWebIdentity: {
      // Owned by the function that asks it, which std::function wants to be able to copy.
      auto chain = std::make_shared<AwsChain>(settings, metadata_http, env);
      if (settings.key_type == S3KeyType::kAuto) {
        ask = [chain] { return chain->ask(); };
      } else {
        ask = [chain] { return chain->web_identity(); };
      }
      break;
    }
  }
  return std::unique_ptr<AwsCredentialSource>(std::make_unique<FreshCredentials>(
      std::move(ask), clock, fmt::format("refresh credentials of {}", settings.cloud.label)));
}

}  // namespace pgark
