// Uploads: media in one request, multipart with the resource before it, and resumable sessions.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "testing/gcs_fake_state.h"

namespace pgark::testing {
namespace {

using nlohmann::json;

constexpr size_t kQuantumBytes = 256u << 10;  // Chunks but the last are multiples of it.

/// "bytes 0-99/200", "bytes 0-99/*", "bytes */200" or "bytes */*".
struct ContentRange {
  std::optional<std::pair<size_t, size_t>> bytes = {};  // First and last.
  std::optional<size_t> total = {};
};

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string range(text.substr(0, slash));
  const std::string total(text.substr(slash + 1));
  ContentRange out;
  if (total != "*") out.total = std::strtoull(total.c_str(), nullptr, 10);
  if (range == "*") return out;
  const size_t dash = range.find('-');
  if (dash == std::string::npos) return std::nullopt;
  out.bytes = {std::strtoull(range.c_str(), nullptr, 10), std::strtoull(range.c_str() + dash + 1, nullptr, 10)};
  if (out.bytes->second < out.bytes->first) return std::nullopt;
  return out;
}

// What is known of the object so far: the query wins over the resource.
std::string object_name(const HttpRequest& request, const json& resource) {
  if (const auto name = request.parameter("name")) return *name;
  return resource.is_object() ? resource.value("name", "") : "";
}

HttpAnswer upload_media(GcsState& state, const HttpRequest& request, const std::string& bucket) REQUIRES(state.mu) {
  const std::string name = object_name(request, nullptr);
  if (name.empty()) return gcs_error(400, "required", "Required parameter: name");
  json resource = json::object();
  if (request.has_header("content-type")) resource["contentType"] = request.header("content-type");
  return gcs_store(state, request, bucket, name, request.body, resource);
}

// Body of a part and its headers' end: what stands between an empty line and the next boundary.
std::optional<std::string> take_part(std::string_view& rest, const std::string& mark) {
  const size_t head_end = rest.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return std::nullopt;
  const size_t end = rest.find("\r\n" + mark, head_end + 4);
  if (end == std::string_view::npos) return std::nullopt;
  std::string body(rest.substr(head_end + 4, end - head_end - 4));
  rest.remove_prefix(end + 2 + mark.size());
  return body;
}

HttpAnswer upload_multipart(GcsState& state, const HttpRequest& request, const std::string& bucket) REQUIRES(state.mu) {
  const std::string type = request.header("content-type");
  const size_t at = type.find("boundary=");
  if (!type.starts_with("multipart/related") || at == std::string::npos) {
    return gcs_error(400, "badContent", "Multipart upload needs Content-Type multipart/related with a boundary.");
  }
  std::string boundary = type.substr(at + 9, type.find(';', at) - at - 9);
  std::erase(boundary, '"');
  const std::string mark = "--" + boundary;
  std::string_view rest = request.body;
  const auto first = take_part(rest, mark);
  const auto media = first ? take_part(rest, mark) : std::nullopt;
  if (!media || !rest.starts_with("--")) return gcs_error(400, "badContent", "Malformed multipart body.");
  const json resource = json::parse(*first, nullptr, false);
  if (!resource.is_object()) return gcs_error(400, "parseError", "Parse Error");
  const std::string name = object_name(request, resource);
  if (name.empty()) return gcs_error(400, "required", "Required");
  return gcs_store(state, request, bucket, name, *media, resource);
}

HttpAnswer begin_session(GcsState& state, const HttpRequest& request, const std::string& bucket) REQUIRES(state.mu) {
  json resource = json::object();
  if (!request.body.empty()) {
    resource = json::parse(request.body, nullptr, false);
    if (!resource.is_object()) return gcs_error(400, "parseError", "Parse Error");
  }
  if (request.has_header("x-upload-content-type") && !resource.contains("contentType")) {
    resource["contentType"] = request.header("x-upload-content-type");
  }
  GcsUpload upload{.bucket = bucket, .name = object_name(request, resource), .resource = resource};
  if (upload.name.empty()) return gcs_error(400, "required", "Required");
  auto& objects = state.buckets[bucket];
  const auto found = objects.find(upload.name);
  if (auto refused =
          gcs_check_preconditions(parse_query(request.query), found == objects.end() ? nullptr : &found->second)) {
    return std::move(*refused);
  }
  upload.preconditions = parse_query(request.query);
  const std::string id = fmt::format("upload-{}", state.next_id++);
  state.uploads[id] = std::move(upload);
  return {.headers = {{"Location", gcs_base_url(request) + request.target + "&upload_id=" + id},
                      {"X-GUploader-UploadID", id}}};
}

HttpAnswer incomplete(const GcsUpload& upload) {
  HttpAnswer answer{.status = 308};
  // Left out while nothing is there.
  if (!upload.received.empty())
    answer.headers.emplace_back("Range", fmt::format("bytes=0-{}", upload.received.size() - 1));
  return answer;
}

HttpAnswer finish(GcsState& state, const HttpRequest& request, GcsUpload& upload) REQUIRES(state.mu) {
  json resource = upload.resource;
  // The final request may carry the checksums that only now are known.
  for (const auto& [header, value] : request.headers) {
    if (header.size() != 11 || find_header({{header, value}}, "x-goog-hash") == nullptr) continue;
    for (std::string_view rest = value; !rest.empty();) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(item.size() + 1, rest.size()));
      if (item.starts_with("crc32c=")) resource["crc32c"] = item.substr(7);
      if (item.starts_with("md5=")) resource["md5Hash"] = item.substr(4);
    }
  }
  HttpRequest first = request;  // The conditions are those that the session began with.
  first.query.clear();
  for (const auto& [name, value] : upload.preconditions) {
    first.query += fmt::format("{}={}&", percent_encode(name, false), percent_encode(value, false));
  }
  HttpAnswer answer = gcs_store(state, first, upload.bucket, upload.name, upload.received, resource);
  if (answer.status == 200) {
    upload.finished_generation = state.buckets[upload.bucket][upload.name].generation;
    upload.received.clear();
  }
  return answer;
}

HttpAnswer continue_session(GcsState& state, const HttpRequest& request, const std::string& id) REQUIRES(state.mu) {
  const auto found = state.uploads.find(id);
  if (found == state.uploads.end()) return gcs_error(404, "notFound", "No such upload session.");
  GcsUpload& upload = found->second;
  if (request.method == "DELETE") {
    state.uploads.erase(found);
    return {.status = 499};
  }
  if (upload.finished_generation) {
    const auto& objects = state.buckets[upload.bucket];
    const auto object = objects.find(upload.name);
    if (object == objects.end()) return gcs_error(410, "uploadGone", "The upload has finished and its object is gone.");
    return gcs_json(gcs_resource(state, request, upload.bucket, upload.name, object->second));
  }
  ContentRange range;
  if (request.has_header("content-range")) {
    const auto parsed = parse_content_range(request.header("content-range"));
    if (!parsed) return gcs_error(400, "badRequest", "Failed to parse Content-Range header.");
    range = *parsed;
  } else {
    // The whole rest in one request; its end is the end of the object.
    range.total = upload.received.size() + request.body.size();
    if (!request.body.empty()) range.bytes = {upload.received.size(), *range.total - 1};
  }
  if (!range.bytes) {
    if (!request.body.empty()) return gcs_error(400, "badRequest", "A body without its range.");
    return range.total == upload.received.size() ? finish(state, request, upload) : incomplete(upload);
  }
  const auto [first, last] = *range.bytes;
  if (request.body.size() != last - first + 1) {
    return gcs_error(
        400, "badRequest",
        fmt::format("Invalid request. There were {} byte(s) in the request body. There should have been {}.",
                    request.body.size(), last - first + 1));
  }
  if (first > upload.received.size()) return gcs_error(503, "backendError", "A chunk is missing before this one.");
  const bool is_last = range.total && last + 1 == *range.total;
  if (range.total && last >= *range.total) return gcs_error(400, "badRequest", "Range beyond the end.");
  // What is known already is passed over.
  std::string_view fresh =
      std::string_view(request.body).substr(std::min(request.body.size(), upload.received.size() - first));
  const size_t most = state.options.persisted_bytes_max;
  const bool shortened = most > 0 && fresh.size() > most;
  if (shortened) fresh = fresh.substr(0, most);
  // Of an unfinished object only whole quanta are kept.
  if (!is_last || shortened) {
    const size_t kept = (upload.received.size() + fresh.size()) / kQuantumBytes * kQuantumBytes;
    fresh = fresh.substr(0, kept > upload.received.size() ? kept - upload.received.size() : 0);
  }
  upload.received += fresh;
  if (is_last && upload.received.size() == *range.total) return finish(state, request, upload);
  return incomplete(upload);
}

}  // namespace

HttpAnswer gcs_upload(GcsState& state, const HttpRequest& request, const std::string& bucket) {
  const std::string type = request.parameter("uploadType").value_or("");
  if (type == "resumable") {
    if (const auto id = request.parameter("upload_id")) return continue_session(state, request, *id);
    if (request.method == "POST") return begin_session(state, request, bucket);
  }
  if (request.method != "POST") return gcs_error(405, "methodNotAllowed", "Method Not Allowed");
  if (type == "media") return upload_media(state, request, bucket);
  if (type == "multipart") return upload_multipart(state, request, bucket);
  return gcs_error(400, "invalid", "Invalid value for uploadType.");
}

}  // namespace pgark::testing
