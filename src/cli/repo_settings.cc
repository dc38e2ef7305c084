#include "cli/repo_settings.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "codec/encoding.h"
#include "core/check.h"
#include "store/cloud_util.h"

namespace pgark {
namespace {

constexpr uint64_t kMiB = 1u << 20;

/// The options of one repository by their names without "repoN-".
class RepoOptions {
 public:
  RepoOptions(const Settings& settings, unsigned repo) : settings_(settings), repo_(repo) {}

  std::string name(std::string_view option) const { return fmt::format("repo{}-{}", repo_, option); }
  const Settings& all() const { return settings_; }
  unsigned repo() const { return repo_; }

  const std::string& text(std::string_view option) const { return settings_.text(name(option)); }
  bool has(std::string_view option) const { return settings_.has(name(option)); }
  bool flag(std::string_view option) const { return settings_.boolean(name(option)); }

  /// The text of an option that has to be there because `reason` (another option) has its value.
  Result<std::string> required(std::string_view option, std::string_view reason) const {
    if (has(option)) return text(option);
    return missing(option, fmt::format("{}={}", name(reason), text(reason)));
  }
  /// The same where `reason` may be a secret.
  Result<> required_by(std::string_view option, std::string_view reason) const {
    if (has(option)) return {};
    return missing(option, name(reason));
  }

  /// An error about the value of an option, saying where that was given.
  Error invalid(std::string_view option, std::string_view what, Errc code = Errc::kInvalid) const {
    return Error(code, fmt::format("{}: {}", settings_.origin(name(option)), what));
  }

 private:
  Error missing(std::string_view option, std::string_view reason) const {
    const std::string& file = settings_.config_file();
    return Error(Errc::kInvalid, fmt::format("{} is required with {}", name(option), reason))
        .with_hint(
            fmt::format("set {} in [global] of {}", name(option), file.empty() ? "the configuration file" : file));
  }

  const Settings& settings_;
  const unsigned repo_;
};

/// Prefix of every key, of a path as pgBackRest writes it: "/demo" is "demo/", "/" is nothing.
Result<std::string> prefix_of(const RepoOptions& options) {
  std::string prefix = options.text("path").substr(1);
  if (!prefix.empty()) prefix += '/';
  const Result<> checked = check_cloud_prefix(prefix);
  if (!checked.has_value()) return options.invalid("path", checked.error().message());
  return prefix;
}

Result<CloudSettings> cloud_settings(const RepoOptions& options) {
  const Settings& all = options.all();
  CloudSettings cloud;
  cloud.label = fmt::format("repo{}", options.repo());
  TRY_ASSIGN(cloud.prefix, prefix_of(options));
  cloud.storage_host = options.text("storage-host");
  if (options.has("storage-port"))
    cloud.storage_port = static_cast<uint16_t>(all.integer(options.name("storage-port")));
  cloud.verify_tls = options.flag("storage-verify-tls");
  cloud.ca_file = options.text("storage-ca-file");
  cloud.ca_path = options.text("storage-ca-path");
  cloud.tags = all.map(options.name("storage-tag"));
  if (options.has("storage-upload-chunk-size"))
    cloud.chunk_bytes = all.bytes(options.name("storage-upload-chunk-size"));
  // Room for what goes on at once, however large a part is.
  cloud.upload_memory_max = std::max(cloud.upload_memory_max, 4 * cloud.chunk_bytes);
  cloud.stall_timeout = all.duration("io-timeout");
  // A host that does not answer at all is told sooner, unless somebody knows better.
  cloud.connect_timeout =
      all.given("io-timeout") ? cloud.stall_timeout : std::min(cloud.stall_timeout, cloud.connect_timeout);
  cloud.total_timeout = all.duration("protocol-timeout");
  return cloud;
}

Result<> check_endpoint(const RepoOptions& options, std::string_view option) {
  const auto parsed = parse_cloud_endpoint(options.text(option), options.name(option));
  if (parsed.has_value()) return {};
  return Error(parsed.error()).with_context(options.all().origin(options.name(option)));
}

Result<> read_s3_credentials(const RepoOptions& options, S3Settings& s3) {
  const std::string& type = options.text("s3-key-type");
  if (type == "shared") {
    s3.key_type = S3KeyType::kShared;
    TRY_ASSIGN(s3.key, options.required("s3-key", "s3-key-type"));
    TRY_ASSIGN(s3.key_secret, options.required("s3-key-secret", "s3-key-type"));
    s3.token = options.text("s3-token");
  } else if (type == "auto") {
    s3.key_type = S3KeyType::kAuto;
  } else if (type == "web-id") {
    s3.key_type = S3KeyType::kWebIdentity;
  } else {
    s3.key_type = S3KeyType::kProcess;
    TRY_ASSIGN(s3.credential_process, options.required("s3-credential-process", "s3-key-type"));
  }
  s3.role = options.text("s3-role");
  return {};
}

Result<> check_s3_address(const RepoOptions& options, const S3Settings& s3) {
  TRY(check_endpoint(options, "s3-endpoint"));
  if (s3.bucket.find('/') != s3.bucket.npos)
    return options.invalid("s3-bucket", fmt::format("'{}' is not the name of a bucket", s3.bucket))
        .with_hint(fmt::format("a path in the bucket goes into {}", options.name("path")));
  if (s3.uri_style == S3UriStyle::kPath) return {};
  if (s3.endpoint.starts_with(s3.bucket + "."))
    return options.invalid("s3-endpoint", "the bucket is not part of the endpoint")
        .with_hint(fmt::format("leave '{}.' out: it is put before the endpoint", s3.bucket));
  const bool amazon = s3.endpoint.ends_with(".amazonaws.com");
  if (amazon && s3.bucket.find('.') != s3.bucket.npos && s3.cloud.verify_tls)
    return options.invalid("s3-bucket", "Amazon's certificates do not fit host names of buckets with a dot")
        .with_hint(fmt::format("set {}=path", options.name("s3-uri-style")));
  return {};
}

Result<> read_s3_protection(const RepoOptions& options, S3Settings& s3) {
  s3.kms_key_id = options.text("s3-kms-key-id");
  s3.sse_customer_key = options.text("s3-sse-customer-key");
  if (!s3.sse_customer_key.empty()) {
    if (!s3.kms_key_id.empty())
      return options.invalid("s3-sse-customer-key", fmt::format("{} is set as well, and an object has one key of the "
                                                                "service",
                                                                options.name("s3-kms-key-id")));
    const auto key = base64_decode(s3.sse_customer_key);
    if (!key.has_value() || key->size() != 32)
      return options.invalid("s3-sse-customer-key", "the value is not 32 bytes in base64")
          .with_hint("make one with `openssl rand -base64 32`");
  }
  s3.object_lock_mode = options.text("s3-object-lock-mode");
  if (options.has("s3-object-lock-days"))
    s3.object_lock_days = static_cast<unsigned>(options.all().integer(options.name("s3-object-lock-days")));
  if (!s3.object_lock_mode.empty() && s3.object_lock_days == 0) {
    TRY(options.required("s3-object-lock-days", "s3-object-lock-mode"));
  }
  if (s3.object_lock_mode.empty() && s3.object_lock_days > 0)
    return options.invalid("s3-object-lock-days",
                           fmt::format("has no effect without {}", options.name("s3-object-lock-mode")));
  s3.storage_class = options.text("s3-storage-class");
  // GLACIER_IR is read at once.
  if (s3.storage_class == "GLACIER" || s3.storage_class == "DEEP_ARCHIVE")
    return options
        .invalid("s3-storage-class",
                 fmt::format("objects of class {} cannot be read until they are thawed, and pgark reads what "
                             "it wrote",
                             s3.storage_class),
                 Errc::kUnsupported)
        .with_hint("use STANDARD_IA, INTELLIGENT_TIERING or GLACIER_IR");
  return {};
}

Result<S3Settings> s3_settings(const RepoOptions& options) {
  S3Settings s3;
  TRY_ASSIGN(s3.cloud, cloud_settings(options));
  TRY_ASSIGN(s3.bucket, options.required("s3-bucket", "type"));
  TRY_ASSIGN(s3.endpoint, options.required("s3-endpoint", "type"));
  TRY_ASSIGN(s3.region, options.required("s3-region", "type"));
  s3.uri_style = options.text("s3-uri-style") == "path" ? S3UriStyle::kPath : S3UriStyle::kHost;
  TRY(check_s3_address(options, s3));
  if (s3.cloud.chunk_bytes < 5 * kMiB)
    return options.invalid("storage-upload-chunk-size", "parts of an S3 upload are 5MiB or more");
  TRY(read_s3_credentials(options, s3));
  TRY(read_s3_protection(options, s3));
  s3.requester_pays = options.flag("s3-requester-pays");
  return s3;
}

Result<AzureSettings> azure_settings(const RepoOptions& options) {
  AzureSettings azure;
  TRY_ASSIGN(azure.cloud, cloud_settings(options));
  TRY_ASSIGN(azure.account, options.required("azure-account", "type"));
  TRY_ASSIGN(azure.container, options.required("azure-container", "type"));
  azure.endpoint = options.text("azure-endpoint");
  TRY(check_endpoint(options, "azure-endpoint"));
  azure.uri_style = options.text("azure-uri-style") == "path" ? AzureUriStyle::kPath : AzureUriStyle::kHost;
  const std::string& type = options.text("azure-key-type");
  azure.key_type = type == "shared" ? AzureKeyType::kShared
                   : type == "sas"  ? AzureKeyType::kSas
                                    : AzureKeyType::kManagedIdentity;
  if (azure.key_type == AzureKeyType::kManagedIdentity) return azure;
  TRY_ASSIGN(azure.key, options.required("azure-key", "azure-key-type"));
  if (azure.key_type == AzureKeyType::kSas) {
    // Azure's portal shows it with the question mark of its URL.
    if (azure.key.starts_with('?')) azure.key.erase(0, 1);
  } else if (!base64_decode(azure.key).has_value()) {
    return options.invalid("azure-key", "the value is not a key in base64")
        .with_hint(fmt::format("for a shared access signature, set {}=sas", options.name("azure-key-type")));
  }
  return azure;
}

/// Google's S3 interface, for which its HMAC keys are.
Result<S3Settings> gcs_hmac_settings(const RepoOptions& options) {
  S3Settings s3;
  TRY_ASSIGN(s3.cloud, cloud_settings(options));
  TRY_ASSIGN(s3.bucket, options.required("gcs-bucket", "type"));
  s3.endpoint = options.text("gcs-endpoint");
  TRY(check_endpoint(options, "gcs-endpoint"));
  s3.region = "auto";
  s3.conditional_create = false;  // Google heeds If-None-Match of requests that read, and of no others.
  s3.uri_style = S3UriStyle::kPath;
  TRY_ASSIGN(const std::string key, options.required("gcs-key", "gcs-key-type"));
  const size_t colon = key.find(':');
  if (colon == 0 || colon == key.npos || colon + 1 == key.size())
    return options.invalid("gcs-key", "the value is not of the form ACCESS-ID:SECRET");
  s3.key = key.substr(0, colon);
  s3.key_secret = key.substr(colon + 1);
  for (const char* option : {"gcs-user-project", "storage-tag"}) {
    const bool given = std::string_view(option) == "storage-tag" ? !s3.cloud.tags.empty() : options.has(option);
    if (given)
      return options
          .invalid(option, fmt::format("not provided with {}=hmac", options.name("gcs-key-type")), Errc::kUnsupported)
          .with_hint(fmt::format("use {}=service", options.name("gcs-key-type")));
  }
  return s3;
}

Result<GcsSettings> gcs_settings(const RepoOptions& options) {
  GcsSettings gcs;
  TRY_ASSIGN(gcs.cloud, cloud_settings(options));
  TRY_ASSIGN(gcs.bucket, options.required("gcs-bucket", "type"));
  gcs.endpoint = options.text("gcs-endpoint");
  TRY(check_endpoint(options, "gcs-endpoint"));
  gcs.user_project = options.text("gcs-user-project");
  if (gcs.cloud.chunk_bytes % (256u << 10) != 0)
    return options.invalid("storage-upload-chunk-size", "parts of a GCS upload are a multiple of 256KiB");
  const std::string& type = options.text("gcs-key-type");
  gcs.key_type = type == "service" ? GcsKeyType::kService
                 : type == "token" ? GcsKeyType::kToken
                                   : GcsKeyType::kMetadata;
  if (gcs.key_type == GcsKeyType::kMetadata) return gcs;
  TRY_ASSIGN(gcs.key, options.required("gcs-key", "gcs-key-type"));
  if (gcs.key_type == GcsKeyType::kService && !gcs.key.starts_with('/'))
    return options.invalid("gcs-key", "the value is not the absolute path of a service account's key file")
        .with_hint(fmt::format("for an access token, set {}=token", options.name("gcs-key-type")));
  return gcs;
}

std::string system_user() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry == nullptr ? "" : entry->pw_name;
}

Result<> read_sftp_login(const RepoOptions& options, SftpOptions& sftp) {
  sftp.user = options.has("sftp-host-user") ? options.text("sftp-host-user") : system_user();
  sftp.private_key_file = options.text("sftp-private-key-file");
  sftp.private_key_passphrase = options.text("sftp-private-key-passphrase");
  sftp.public_key_file = options.text("sftp-public-key-file");
  for (const char* option : {"sftp-private-key-passphrase", "sftp-public-key-file"})
    if (options.has(option)) TRY(options.required_by("sftp-private-key-file", option));
  return {};
}

Result<> read_sftp_host_key(const RepoOptions& options, SftpOptions& sftp) {
  const std::string& check = options.text("sftp-host-key-check-type");
  sftp.host_key_check = check == "strict"        ? SftpHostKeyCheck::kStrict
                        : check == "accept-new"  ? SftpHostKeyCheck::kAcceptNew
                        : check == "fingerprint" ? SftpHostKeyCheck::kFingerprint
                                                 : SftpHostKeyCheck::kNone;
  const std::string& hash = options.text("sftp-host-key-hash-type");
  sftp.host_key_hash = hash == "md5"    ? SftpHostKeyHash::kMd5
                       : hash == "sha1" ? SftpHostKeyHash::kSha1
                                        : SftpHostKeyHash::kSha256;
  sftp.host_fingerprint = options.text("sftp-host-fingerprint");
  if (sftp.host_key_check == SftpHostKeyCheck::kFingerprint)
    TRY(options.required("sftp-host-fingerprint", "sftp-host-key-check-type"));
  sftp.known_hosts = options.all().list(options.name("sftp-known-host"));
  for (std::string& file : sftp.known_hosts) {
    if (file.starts_with("~/")) {
      const passwd* entry = ::getpwuid(::geteuid());
      if (entry != nullptr) file = std::string(entry->pw_dir) + file.substr(1);
    }
    if (!file.starts_with('/'))
      return options.invalid("sftp-known-host", fmt::format("'{}' is not an absolute path", file));
  }
  return {};
}

/// Connections that may be of use at once, as far as servers let one host have them.
unsigned connections_of(const Settings& all) {
  if (find_option("process-max", all.command()) == nullptr) return 4;
  return static_cast<unsigned>(std::clamp<int64_t>(all.integer("process-max"), 2, 8));
}

Result<SftpOptions> sftp_settings(const RepoOptions& options) {
  const Settings& all = options.all();
  SftpOptions sftp;
  sftp.label = fmt::format("repo{}", options.repo());
  TRY_ASSIGN(sftp.host, options.required("sftp-host", "type"));
  sftp.port = static_cast<uint16_t>(all.integer(options.name("sftp-host-port")));
  sftp.path = options.text("path");
  TRY(read_sftp_login(options, sftp));
  TRY(read_sftp_host_key(options, sftp));
  sftp.io_timeout = all.duration("io-timeout");
  sftp.connect_timeout = all.given("io-timeout") ? sftp.io_timeout : std::min(sftp.io_timeout, sftp.connect_timeout);
  sftp.connections_max = connections_of(all);
  TRY(check_sftp_options(sftp));
  return sftp;
}

}  // namespace

Result<RepositorySettings> repository_settings(const Settings& settings, unsigned repo) {
  const RepoOptions options(settings, repo);
  RepositorySettings found;
  found.label = fmt::format("repo{}", repo);
  if (options.has("bandwidth-max")) found.bytes_per_second_max = settings.bytes(options.name("bandwidth-max"));
  const std::string& type = options.text("type");
  if (type == "posix") {
    found.place = DirectorySettings{options.text("path")};
  } else if (type == "s3") {
    TRY_ASSIGN(found.place, s3_settings(options));
  } else if (type == "azure") {
    TRY_ASSIGN(found.place, azure_settings(options));
  } else if (type == "gcs" && options.text("gcs-key-type") == "hmac") {
    TRY_ASSIGN(found.place, gcs_hmac_settings(options));
  } else if (type == "gcs") {
    TRY_ASSIGN(found.place, gcs_settings(options));
  } else {
    CHECK(type == "sftp");
    TRY_ASSIGN(found.place, sftp_settings(options));
  }
  return found;
}

}  // namespace pgark
