// Writing one object to Google Cloud Storage. What is small goes with its metadata in one request. The rest goes
// through a resumable upload: its parts follow each other, since the other ways to write in parallel either leave
// pieces behind when their writer dies (compose) or do not check whether the name is free (multipart uploads of the XML
// API).
#include "store/gcs_upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/crc32c.h"
#include "core/log.h"
#include "store/cloud_util.h"

namespace pgark {
namespace {

constexpr uint64_t kGrain = 256u << 10;  // Every request but the last carries a multiple of this.
constexpr int kStandstillsMax = 3;
constexpr std::string_view kContentType = "application/octet-stream";

class GcsUpload final : public PartUpload {
 public:
  GcsUpload(std::shared_ptr<GcsClient> client, const CloudSettings& cloud, ObjectKey key)
      : client_(std::move(client)),
        key_(std::move(key)),
        name_(cloud.prefix + key_.value),
        tags_(cloud.tags),
        mark_(new_writer_mark()) {}

  Result<ObjectInfo> put_whole(Bytes content) override;
  bool parallel() const override { return false; }
  Result<> begin() override;
  Result<std::string> put_part(unsigned number, Bytes content) override;
  Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) override;
  Result<std::optional<ObjectInfo>> find_own() override;
  void abort() override;

 private:
  std::string what(std::string_view verb) const {
    return fmt::format("{} object '{}' in {}", verb, key_.value, client_->place());
  }
  nlohmann::json metadata() const;
  std::vector<std::pair<std::string, std::string>> creation_query(std::string_view type) const;
  GcsRequest session_request(std::string range, Bytes body) const;
  Result<ObjectInfo> made(const HttpResponse& answer, uint32_t crc, uint64_t bytes);
  Result<> ask_persisted(std::string_view text);
  Error session_failure(const HttpResponse& answer, const GcsRequest& request, std::string_view text) const;
  Result<> send_up_to(uint64_t end, Bytes content, std::string_view text);
  Result<> advance(const HttpResponse& answer, std::string_view text);
  Bytes from_persisted(uint64_t end, Bytes content, Buffer& joined) const;

  const std::shared_ptr<GcsClient> client_;  // Shared with the store.
  const ObjectKey key_;
  const std::string name_;
  const std::vector<std::pair<std::string, std::string>> tags_;
  const std::string mark_;

  // Of a resumable upload. The object so far: what the service has (`persisted_`), and behind `base_` what it may not
  // have yet: `tail_` (less than a grain) and the part that is being sent.
  std::string session_;
  uint64_t persisted_ = 0;
  uint64_t base_ = 0;
  Buffer tail_;
  uint32_t crc_ = 0;
  unsigned part_ = 0;        // That is being sent, or was last.
  bool part_done_ = true;    // It was sent, as far as it goes in whole grains.
  bool completing_ = false;  // complete() was tried before.
};

nlohmann::json GcsUpload::metadata() const {
  nlohmann::json custom = nlohmann::json::object();
  for (const auto& [name, value] : tags_) custom[name] = value;
  custom[std::string(kWriterMarkName)] = mark_;
  return {{"name", name_}, {"contentType", kContentType}, {"metadata", std::move(custom)}};
}

std::vector<std::pair<std::string, std::string>> GcsUpload::creation_query(std::string_view type) const {
  return {{"uploadType", std::string(type)},
          {"name", name_},
          {"ifGenerationMatch", "0"},  // No object has this generation: only a free name matches.
          {"fields", std::string(kGcsObjectFields)}};
}

Result<ObjectInfo> GcsUpload::put_whole(Bytes content) {
  const uint32_t crc = crc32c(content);
  nlohmann::json resource = metadata();
  resource["crc32c"] = gcs_crc32c(crc);  // The service refuses content that has another.
  const std::string boundary = "pgark-" + new_writer_mark();
  Buffer body;
  const std::string head = fmt::format(
      "--{}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{}\r\n--{}\r\nContent-Type: {}\r\n\r\n", boundary,
      resource.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), boundary, kContentType);
  const std::string end = fmt::format("\r\n--{}--\r\n", boundary);
  body.reserve(head.size() + content.size() + end.size());
  body.append(as_bytes(head));
  body.append(content);
  body.append(as_bytes(end));
  GcsRequest request{.method = "POST", .path = client_->upload_path(), .call = CloudCall::kCreate};
  request.query = creation_query("multipart");
  request.headers = {{"Content-Type", "multipart/related; boundary=" + boundary}};
  request.body = body;
  TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what("create")));
  if (!answer.ok()) return client_->failure(answer, request, what("create"));
  return made(answer, crc, content.size());
}

/// The object that an answer of success describes, which must be the one that was sent.
Result<ObjectInfo> GcsUpload::made(const HttpResponse& answer, uint32_t crc, uint64_t bytes) {
  auto object = parse_gcs_object(answer.body);
  // It is there; what it is must be seen.
  if (!object.has_value())
    return std::move(object).error().with_code(Errc::kOutcomeUnknown).with_context(what("create"));
  if (object->bytes == bytes && object->crc32c == gcs_crc32c(crc)) return ObjectInfo{key_, bytes, object->created};
  // Never seen of the service, which has checked the sum. Nobody may take the object for whole.
  GcsRequest removal{.method = "DELETE", .path = client_->object_path(name_), .call = CloudCall::kRepeat};
  removal.query = {{"ifGenerationMatch", object->generation}};
  const auto removed = client_->perform(removal, what("remove damaged"));
  if (!removed.has_value() || !removed->ok())
    return Error(Errc::kCorrupt, what("create") + ": it is stored damaged and cannot be removed");
  return Error(Errc::kTransient, what("create") + ": it arrived damaged");
}

Result<> GcsUpload::begin() {
  const std::string text = what("begin the upload of");
  const std::string resource = metadata().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  // An upload of which we do not hear is never completed, and forgotten after a week.
  GcsRequest request{.method = "POST", .path = client_->upload_path(), .call = CloudCall::kRepeat};
  request.query = creation_query("resumable");
  request.headers = {{"Content-Type", "application/json; charset=UTF-8"},
                     {"X-Upload-Content-Type", std::string(kContentType)}};
  request.body = as_bytes(resource);
  TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
  request.call = CloudCall::kCreate;  // Whether the name is free is looked at already.
  if (!answer.ok()) return client_->failure(answer, request, text);
  session_ = answer.header("location");
  if (!session_.starts_with("https://") && !session_.starts_with("http://"))
    return Error(Errc::kCorrupt, text + ": the answer does not say where to send it");
  return {};
}

GcsRequest GcsUpload::session_request(std::string range, Bytes body) const {
  GcsRequest request{.method = "PUT", .session = session_, .call = CloudCall::kRepeat};
  request.headers = {{"Content-Range", std::move(range)}};
  request.body = body;
  return request;
}

Result<std::string> GcsUpload::put_part(unsigned number, Bytes content) {
  const std::string text = fmt::format("write part {} of object '{}' in {}", number, key_.value, client_->place());
  CHECK(number == part_ + (part_done_ ? 1 : 0));  // One after the other.
  if (part_done_) {
    part_ = number;
    part_done_ = false;
    base_ = persisted_;
  } else {
    TRY(ask_persisted(text));
  }
  const uint64_t end = base_ + tail_.size() + content.size();
  TRY(send_up_to(end / kGrain * kGrain, content, text));
  Buffer joined;
  const Bytes rest = from_persisted(end, content, joined);
  Buffer tail;
  tail.append(rest);
  tail_ = std::move(tail);
  base_ = persisted_;
  crc_ = crc32c(content, crc_);
  part_done_ = true;
  return std::string();
}

/// What of `tail_` and `content`, which lie behind `base_`, the service lacks up to `end`.
Bytes GcsUpload::from_persisted(uint64_t end, Bytes content, Buffer& joined) const {
  const uint64_t content_begin = base_ + tail_.size();
  if (persisted_ >= content_begin)
    return content.subspan(static_cast<size_t>(persisted_ - content_begin), static_cast<size_t>(end - persisted_));
  joined.append(tail_.bytes().subspan(static_cast<size_t>(persisted_ - base_)));
  if (end > content_begin) joined.append(content.first(static_cast<size_t>(end - content_begin)));
  return joined.bytes().first(static_cast<size_t>(end - persisted_));
}

/// Send until the service has everything before `end`, a multiple of the grain.
Result<> GcsUpload::send_up_to(uint64_t end, Bytes content, std::string_view text) {
  for (int standstills = 0; persisted_ < end;) {
    Buffer joined;
    const Bytes body = from_persisted(end, content, joined);
    const GcsRequest request = session_request(fmt::format("bytes {}-{}/*", persisted_, end - 1), body);
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
    if (answer.status != 308) return session_failure(answer, request, text);
    const uint64_t before = persisted_;
    TRY(advance(answer, text));
    if (persisted_ > end)
      return Error(Errc::kCorrupt, fmt::format("{}: the service has {} bytes, of {} sent", text, persisted_, end));
    if (persisted_ == before && ++standstills >= kStandstillsMax)
      return Error(Errc::kTransient, fmt::format("{}: the service takes nothing after byte {}", text, persisted_));
  }
  return {};
}

/// After a failure: how far the service has come.
Result<> GcsUpload::ask_persisted(std::string_view text) {
  const GcsRequest request = session_request("bytes */*", {});
  TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
  if (answer.status != 308) return session_failure(answer, request, text);
  return advance(answer, text);
}

Error GcsUpload::session_failure(const HttpResponse& answer, const GcsRequest& request, std::string_view text) const {
  Error error = client_->failure(answer, request, text);
  // The service forgets uploads after a week, and after faults of its own: the whole object can be sent again.
  if (answer.status == 404 || answer.status == 410) return std::move(error).with_code(Errc::kTransient);
  return error;
}

Result<> GcsUpload::advance(const HttpResponse& answer, std::string_view text) {
  auto persisted = parse_gcs_persisted(answer);
  if (!persisted.has_value()) return std::move(persisted).error().with_context(text);
  if (*persisted < base_)
    return Error(Errc::kTransient,
                 fmt::format("{}: the service has lost what it had of it, from byte {}", text, *persisted));
  persisted_ = *persisted;
  return {};
}

Result<ObjectInfo> GcsUpload::complete(const std::vector<std::string>&, uint64_t bytes) {
  const std::string text = what("create");
  CHECK(part_done_ && base_ + tail_.size() == bytes);
  for (int standstills = 0; standstills < kStandstillsMax; ++standstills) {
    // With nothing in its body, the request also asks how far the service has come: after a failure, that comes first.
    const bool ask = completing_ || persisted_ == bytes;
    completing_ = true;
    Buffer joined;
    const Bytes body = ask ? Bytes() : from_persisted(bytes, {}, joined);
    const std::string range =
        ask ? fmt::format("bytes */{}", bytes) : fmt::format("bytes {}-{}/{}", persisted_, bytes - 1, bytes);
    GcsRequest request = session_request(range, body);
    request.headers.push_back({"X-Goog-Hash", "crc32c=" + gcs_crc32c(crc_)});
    request.call = CloudCall::kCreate;
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
    if (answer.ok()) return made(answer, crc_, bytes);
    if (answer.status != 308) {
      Error error = client_->failure(answer, request, text);
      // A session that is gone may have ended with the object that it made.
      if (answer.status == 404 || answer.status == 410) return std::move(error).with_code(Errc::kOutcomeUnknown);
      return error;
    }
    TRY(advance(answer, text));
    if (persisted_ > bytes)
      return Error(Errc::kCorrupt, fmt::format("{}: the service has {} bytes, of {} sent", text, persisted_, bytes));
    completing_ = false;
  }
  return Error(Errc::kTransient, text + ": the service does not take the end of it");
}

Result<std::optional<ObjectInfo>> GcsUpload::find_own() {
  TRY_ASSIGN(const auto object, client_->find(name_, what("look for")));
  if (!object) return std::optional<ObjectInfo>();
  if (object->writer != mark_) return Error(Errc::kAlreadyExists, what("create") + ": the name is taken");
  return std::optional(ObjectInfo{key_, object->bytes, object->created});
}

void GcsUpload::abort() {
  if (session_.empty()) return;
  const GcsRequest request{.method = "DELETE", .session = session_, .call = CloudCall::kRepeat};
  const auto answer = client_->perform(request, what("give up"));
  if (!answer.has_value()) log_debug("{}", answer.error().message());
}

}  // namespace

std::unique_ptr<PartUpload> make_gcs_upload(std::shared_ptr<GcsClient> client, const CloudSettings& cloud,
                                            ObjectKey key) {
  return std::make_unique<GcsUpload>(std::move(client), cloud, std::move(key));
}

Result<uint64_t> parse_gcs_persisted(const HttpResponse& answer) {
  const std::string_view range = answer.header("range");
  if (range.empty()) return 0;
  constexpr std::string_view kBefore = "bytes=0-";
  uint64_t last = 0;
  if (range.starts_with(kBefore)) {
    const char* const end = range.data() + range.size();
    const auto [stop, error] = std::from_chars(range.data() + kBefore.size(), end, last);
    if (error == std::errc() && stop == end && last < ~uint64_t{0}) return last + 1;
  }
  return Error(Errc::kCorrupt, fmt::format("the service says that it has '{}'", one_line(range, 60)));
}

}  // namespace pgark
