#include "store/s3_upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/log.h"
#include "store/s3_xml.h"

namespace pgark {
namespace {

/// "2026-11-22T22:10:00Z".
std::string format_utc(Timestamp time) {
  const std::string basic = format_basic_time(time);
  return fmt::format("{}-{}-{}T{}:{}:{}Z", basic.substr(0, 4), basic.substr(4, 2), basic.substr(6, 2),
                     basic.substr(9, 2), basic.substr(11, 2), basic.substr(13, 2));
}

bool has_component(std::string_view key, const std::vector<std::string>& names) {
  while (!key.empty()) {
    const size_t slash = std::min(key.find('/'), key.size());
    if (std::find(names.begin(), names.end(), key.substr(0, slash)) != names.end()) return true;
    key.remove_prefix(std::min(slash + 1, key.size()));
  }
  return false;
}

class S3Upload final : public PartUpload {
 public:
  S3Upload(S3Client& client, S3Conditions& conditions, ObjectKey key)
      : client_(client),
        conditions_(conditions),
        key_(std::move(key)),
        mark_(new_writer_mark()),
        locked_(!client.settings().object_lock_mode.empty() &&
                !has_component(key_.value, client.settings().unlocked_components)) {}

  Result<ObjectInfo> put_whole(Bytes content) override {
    const bool conditional = conditions_.conditional_create;
    if (!conditional) TRY(expect_absent());
    S3Request request = make("write", CloudCall::kCreate, "PUT");
    add_object_headers(request);
    if (conditional) request.headers.push_back({"If-None-Match", "*"});
    auto response = send_content(std::move(request), content);
    if (!response.has_value()) {
      if (!conditional || response.error().code() != Errc::kUnsupported) return Error(std::move(response).error());
      note_unconditional();
      return put_whole(content);
    }
    if (!conditional) {
      TRY(expect_own());
    }
    return info_of(content.size());
  }

  Result<> begin() override {
    S3Request request = make("begin", CloudCall::kRepeat, "POST");
    request.query = {{"uploads", ""}};
    add_object_headers(request);
    TRY_ASSIGN(const HttpResponse response, client_.send(request));
    TRY_ASSIGN_CTX(upload_id_, parse_s3_upload_id(response.body), request.what);
    return {};
  }

  Result<std::string> put_part(unsigned number, Bytes content) override {
    S3Request request = make(fmt::format("write part {} of", number), CloudCall::kRepeat, "PUT");
    request.query = {{"partNumber", fmt::format("{}", number)}, {"uploadId", upload_id_}};
    const auto& key_headers = client_.customer_key_headers();
    request.headers.insert(request.headers.end(), key_headers.begin(), key_headers.end());
    const std::string what = request.what;
    TRY_ASSIGN(const HttpResponse response, send_content(std::move(request), content));
    std::string etag(response.header("etag"));
    if (etag.empty()) return Error(Errc::kCorrupt, what + ": the answer has no ETag");
    return etag;
  }

  Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) override {
    const bool conditional = conditions_.conditional_create;
    // Ceph before 18 takes the condition of a completion without a word, and does not keep it.
    const bool look = !client_.is_aws() && !conditions_.conditional_complete;
    if (look) TRY(expect_absent());
    const std::string document = s3_complete_document(parts);
    S3Request request = make("complete", CloudCall::kCreate, "POST");
    request.query = {{"uploadId", upload_id_}};
    request.headers = {{"Content-Type", "application/xml"}};
    const auto& key_headers = client_.customer_key_headers();
    request.headers.insert(request.headers.end(), key_headers.begin(), key_headers.end());
    if (conditional) request.headers.push_back({"If-None-Match", "*"});
    request.body = as_bytes(document);
    auto response = client_.send(request);
    CloudFailure failure;
    if (!response.has_value()) return completion_error(std::move(response).error(), conditional, parts, bytes);
    if (!s3_completed(*response, failure))
      return completion_error(cloud_error(failure, CloudCall::kCreate, request.what), conditional, parts, bytes);
    if (!client_.is_aws()) TRY(finish());
    return info_of(bytes);
  }

  Result<std::optional<ObjectInfo>> find_own() override {
    TRY_ASSIGN(auto head, s3_head(client_, key_, "look for"));
    if (!head.has_value()) return std::optional<ObjectInfo>();
    if (head->writer_mark != mark_) return taken();
    return std::optional<ObjectInfo>(std::move(head->info));
  }

  void abort() override {
    S3Request request = make("drop the parts of", CloudCall::kRepeat, "DELETE");
    request.query = {{"uploadId", upload_id_}};
    request.accept = {404};
    if (const auto done = client_.send(request); !done.has_value())
      log_detail("{}; they are dropped when they are old", done.error().message());
  }

 private:
  S3Request make(std::string_view verb, CloudCall call, std::string method) const {
    return {
        .what = s3_what(client_, verb, key_), .call = call, .method = std::move(method), .key = s3_key(client_, key_)};
  }
  Error taken() const { return Error(Errc::kAlreadyExists, s3_what(client_, "write", key_) + ": the name is taken"); }
  ObjectInfo info_of(uint64_t bytes) const { return {key_, bytes, client_.now()}; }

  /// What is said of an object when it begins.
  void add_object_headers(S3Request& request) const {
    const S3Settings& settings = client_.settings();
    auto& headers = request.headers;
    headers.push_back({fmt::format("x-amz-meta-{}", kWriterMarkName), mark_});
    if (!settings.storage_class.empty()) headers.push_back({"x-amz-storage-class", settings.storage_class});
    if (!settings.kms_key_id.empty()) {
      headers.push_back({"x-amz-server-side-encryption", "aws:kms"});
      headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id", settings.kms_key_id});
    }
    const auto& key_headers = client_.customer_key_headers();
    headers.insert(headers.end(), key_headers.begin(), key_headers.end());
    std::string tags;
    for (const auto& [name, value] : settings.cloud.tags)
      tags += fmt::format("{}{}={}", tags.empty() ? "" : "&", url_encode(name), url_encode(value));
    if (!tags.empty()) headers.push_back({"x-amz-tagging", tags});
    if (locked_) {
      headers.push_back({"x-amz-object-lock-mode", lock_mode()});
      headers.push_back({"x-amz-object-lock-retain-until-date", lock_end()});
    }
  }
  std::string lock_mode() const {
    return client_.settings().object_lock_mode == "compliance" ? "COMPLIANCE" : "GOVERNANCE";
  }
  std::string lock_end() const {
    return format_utc(client_.now() + std::chrono::hours(24) * client_.settings().object_lock_days);
  }

  /// The signature covers the SHA-256 of the content, which the server checks. Where objects are locked it wants an
  /// MD5, too: whether a bucket locks them by itself, the server says.
  Result<HttpResponse> send_content(S3Request request, Bytes content) {
    request.body = content;
    const bool with_md5 = locked_ || conditions_.wants_md5;
    if (with_md5) TRY(add_md5(request));
    auto response = client_.send(request);
    if (response.has_value() || with_md5 || response.error().code() != Errc::kInvalid ||
        response.error().message().find("Content-MD5") == std::string::npos)
      return response;
    conditions_.wants_md5 = true;
    TRY(add_md5(request));
    return client_.send(request);
  }
  static Result<> add_md5(S3Request& request) {
    TRY_ASSIGN_CTX(const Md5Digest digest, md5(request.body), request.what);
    request.headers.push_back({"Content-MD5", base64_encode(digest)});
    return {};
  }

  Result<> expect_absent() {
    TRY_ASSIGN(const auto head, s3_head(client_, key_, "look for"));
    if (head.has_value()) return taken();
    return {};
  }
  /// After writing without a condition: another writer may have come after us.
  Result<S3Head> expect_own() {
    auto head = s3_head(client_, key_, "look for");
    // It is written, but whether it stayed is not known.
    if (!head.has_value()) return std::move(head).error().with_code(Errc::kOutcomeUnknown);
    if (!head->has_value())
      return Error(Errc::kOutcomeUnknown, s3_what(client_, "write", key_) + ": it was written and is not there");
    if ((*head)->writer_mark != mark_) return taken();
    return std::move(**head);
  }

  /// Look what became of an object that was made of parts, and add what some servers (Ceph before 17) leave out of it.
  Result<> finish() {
    const auto& tags = client_.settings().cloud.tags;
    if (conditions_.conditional_complete && !locked_ && tags.empty()) return {};
    TRY_ASSIGN(const S3Head head, expect_own());
    if (locked_ && head.locked_until.empty())
      TRY(put_property("retention", "lock", s3_retention_document(lock_mode(), lock_end())));
    if (!tags.empty() && !head.has_tags) TRY(put_property("tagging", "tag", s3_tagging_document(tags)));
    return {};
  }
  Result<> put_property(std::string property, std::string_view verb, const std::string& document) {
    S3Request request = make(verb, CloudCall::kRepeat, "PUT");
    request.query = {{std::move(property), ""}};
    request.headers = {{"Content-Type", "application/xml"}};
    request.body = as_bytes(document);
    TRY(add_md5(request));
    TRY(client_.send(request));
    return {};
  }

  Result<ObjectInfo> completion_error(Error error, bool conditional, const std::vector<std::string>& parts,
                                      uint64_t bytes) {
    switch (error.code()) {
      case Errc::kAlreadyExists:
        conditions_.conditional_complete = true;
        return error;
      case Errc::kUnsupported:
        if (!conditional) return error;
        note_unconditional();
        return complete(parts, bytes);
      case Errc::kNotFound:
        // No such upload: done by an attempt whose answer was lost, or dropped by somebody.
        return std::move(error).with_code(Errc::kOutcomeUnknown);
      default:
        return error;
    }
  }

  void note_unconditional() {
    if (conditions_.conditional_create.exchange(false))
      log_detail(
          "{}: the server does not create under a condition (If-None-Match); names are looked at before and after",
          client_.place());
  }

  S3Client& client_;
  S3Conditions& conditions_;
  const ObjectKey key_;
  const std::string mark_;
  const bool locked_;
  std::string upload_id_;
};

}  // namespace

std::string s3_what(const S3Client& client, std::string_view verb, const ObjectKey& key) {
  return fmt::format("{} object '{}' in {}", verb, key.value, client.place());
}

std::string s3_key(const S3Client& client, const ObjectKey& key) { return client.settings().cloud.prefix + key.value; }

Result<std::optional<S3Head>> s3_head(S3Client& client, const ObjectKey& key, std::string_view verb) {
  const S3Request request{.what = s3_what(client, verb, key),
                          .method = "HEAD",
                          .key = s3_key(client, key),
                          .headers = client.customer_key_headers(),
                          .accept = {404}};
  TRY_ASSIGN(const HttpResponse response, client.send(request));
  if (response.status == 404) {
    // Without a body it does not say what is not there.
    TRY(client.check_bucket());
    return std::optional<S3Head>();
  }
  S3Head head;
  const std::string_view size = response.header("content-length");
  const auto [end, status] = std::from_chars(size.data(), size.data() + size.size(), head.info.bytes);
  if (status != std::errc{} || end != size.data() + size.size())
    return Error(Errc::kCorrupt, request.what + ": the answer does not tell its size");
  head.info.key = key;
  head.info.modified = parse_http_date(response.header("last-modified")).value_or(Timestamp{});
  head.writer_mark = response.header(fmt::format("x-amz-meta-{}", kWriterMarkName));
  head.version_id = response.header("x-amz-version-id");
  head.locked_until = response.header("x-amz-object-lock-retain-until-date");
  const std::string_view tags = response.header("x-amz-tagging-count");
  head.has_tags = !tags.empty() && tags != "0";
  return std::optional<S3Head>(std::move(head));
}

std::unique_ptr<PartUpload> make_s3_upload(S3Client& client, S3Conditions& conditions, ObjectKey key) {
  return std::make_unique<S3Upload>(client, conditions, std::move(key));
}

}  // namespace pgark
