// Routing, objects and lists.
#include "testing/gcs_fake.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "codec/encoding.h"
#include "core/crc32c.h"
#include "testing/gcs_fake_state.h"

namespace pgark::testing {
namespace {

using nlohmann::json;

std::string md5_base64(std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned bytes = 0;
  (void)EVP_Digest(data.data(), data.size(), out.data(), &bytes, EVP_md5(), nullptr);
  return base64_encode(std::string_view(reinterpret_cast<const char*>(out.data()), bytes));
}

std::string crc32c_base64(std::string_view data) {
  const uint32_t crc = crc32c(as_bytes(data));
  std::string big_endian;
  for (const unsigned shift : {24u, 16u, 8u, 0u})
    big_endian += static_cast<char>(static_cast<unsigned char>(crc >> shift));
  return base64_encode(big_endian);
}

std::string rfc3339_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S.000Z", &utc)};
}

std::optional<std::string> find(const HttpHeaders& pairs, std::string_view name) {
  for (const auto& [have, value] : pairs) {
    if (have == name) return value;
  }
  return std::nullopt;
}

// A part of the path: the decoded segments after `prefix`, nothing if it does not begin so.
std::optional<std::vector<std::string>> segments_after(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  std::vector<std::string> out;
  while (!path.empty()) {
    path.remove_prefix(1);  // The slash.
    const size_t end = std::min(path.find('/'), path.size());
    out.push_back(percent_decode(path.substr(0, end)));
    path.remove_prefix(end);
  }
  return out;
}

// First and last byte of "bytes=a-b", "bytes=a-" or "bytes=-n" in `size` bytes; nothing if none of them is there.
std::optional<std::pair<size_t, size_t>> parse_range(std::string_view range, size_t size) {
  range.remove_prefix(std::string_view("bytes=").size());
  const size_t dash = range.find('-');
  const std::string first(range.substr(0, dash));
  const std::string last(range.substr(std::min(dash + 1, range.size())));
  if (first.empty()) {
    const size_t count = std::min<size_t>(std::strtoull(last.c_str(), nullptr, 10), size);
    if (count == 0) return std::nullopt;
    return std::pair(size - count, size - 1);
  }
  const size_t begin = std::strtoull(first.c_str(), nullptr, 10);
  if (begin >= size) return std::nullopt;
  const size_t end = last.empty() ? size - 1 : std::min<size_t>(std::strtoull(last.c_str(), nullptr, 10), size - 1);
  if (end < begin) return std::nullopt;
  return std::pair(begin, end);
}

HttpAnswer download(const HttpRequest& request, const GcsObject& object) {
  HttpAnswer answer{
      .headers = {{"Content-Type", object.content_type},
                  {"X-Goog-Generation", std::to_string(object.generation)},
                  {"X-Goog-Metageneration", std::to_string(object.metageneration)},
                  {"X-Goog-Storage-Class", object.storage_class},
                  {"X-Goog-Stored-Content-Length", std::to_string(object.content.size())},
                  {"X-Goog-Hash", "crc32c=" + object.crc32c + (object.md5.empty() ? "" : ",md5=" + object.md5)},
                  {"Accept-Ranges", "bytes"}}};
  const std::string range = request.header("range");
  if (!range.starts_with("bytes=")) {
    answer.body = object.content;
    return answer;
  }
  const auto wanted = parse_range(range, object.content.size());
  if (!wanted) {
    return {
        .status = 416,
        .headers = {{"Content-Range", fmt::format("bytes */{}", object.content.size())}, {"Content-Type", "text/html"}},
        .body = "The requested range cannot be satisfied."};
  }
  answer.status = 206;
  answer.body = object.content.substr(wanted->first, wanted->second - wanted->first + 1);
  answer.headers.emplace_back("Content-Range",
                              fmt::format("bytes {}-{}/{}", wanted->first, wanted->second, object.content.size()));
  return answer;
}

// Of a partial response only what was asked for: "items(name,size),nextPageToken" or "items/name".
json select_fields(const json& document, std::string_view fields) {
  json out = json::object();
  while (!fields.empty()) {
    size_t end = 0;
    for (int depth = 0; end < fields.size() && (depth > 0 || fields[end] != ','); ++end) {
      if (fields[end] == '(') ++depth;
      if (fields[end] == ')') --depth;
    }
    const std::string_view field = fields.substr(0, end);
    fields.remove_prefix(std::min(end + 1, fields.size()));
    const size_t mark = std::min(field.find_first_of("(/"), field.size());
    const std::string name(field.substr(0, mark));
    if (!document.contains(name)) continue;
    const json& value = document[name];
    if (mark == field.size()) {
      out[name] = value;
      continue;
    }
    const std::string_view inner =
        field[mark] == '(' ? field.substr(mark + 1, field.size() - mark - 2) : field.substr(mark + 1);
    if (value.is_array()) {
      json& list = out[name];
      if (!list.is_array()) list = json::array();
      for (size_t i = 0; i < value.size(); ++i) {
        json selected = select_fields(value[i], inner);
        if (i < list.size())
          list[i].update(selected);
        else
          list.push_back(std::move(selected));
      }
    } else if (value.is_object()) {
      out[name] = select_fields(value, inner);
    }
  }
  return out;
}

HttpAnswer list_objects(GcsState& state, const HttpRequest& request, const std::string& bucket) REQUIRES(state.mu) {
  const auto text = [&](std::string_view name) { return request.parameter(name).value_or(""); };
  const std::string prefix = text("prefix");
  const std::string delimiter = text("delimiter");
  const std::string start = text("startOffset");
  const std::string end = text("endOffset");
  const std::string token = text("pageToken");
  std::string after;
  if (!token.empty()) {
    const auto decoded = base64_decode(token, Base64::kUrlNoPadding);
    if (!decoded) return gcs_error(400, "invalid", "Invalid page token.");
    after.assign(reinterpret_cast<const char*>(decoded->data()), decoded->size());
  }
  size_t most = 1000;
  if (const auto asked = request.parameter("maxResults")) {
    const long long number = std::atoll(asked->c_str());
    if (number < 0) return gcs_error(400, "invalid", "Invalid value for maxResults.");
    if (number > 0) most = std::min<size_t>(most, static_cast<size_t>(number));
  }
  most = std::min(most, state.options.page_items_max);
  json items = json::array();
  json prefixes = json::array();
  std::string last;  // Name or common prefix that the page ends with.
  json page = {{"kind", "storage#objects"}};
  for (const auto& [name, object] : state.buckets[bucket]) {
    if (!name.starts_with(prefix) || name < start || (!end.empty() && name >= end)) continue;
    std::string common;
    if (!delimiter.empty()) {
      const size_t at = name.find(delimiter, prefix.size());
      if (at != std::string::npos) common = name.substr(0, at + delimiter.size());
    }
    const std::string& entry = common.empty() ? name : common;
    if (!token.empty() && entry <= after) continue;
    if (!common.empty() && !prefixes.empty() && prefixes.back() == common) continue;
    if (items.size() + prefixes.size() == most) {
      page["nextPageToken"] = base64_encode(last, Base64::kUrlNoPadding);
      break;
    }
    last = entry;
    if (common.empty())
      items.push_back(gcs_resource(state, request, bucket, name, object));
    else
      prefixes.push_back(common);
  }
  // Left out when there are none, as the service does.
  if (!items.empty()) page["items"] = std::move(items);
  if (!prefixes.empty()) page["prefixes"] = std::move(prefixes);
  if (const auto fields = request.parameter("fields")) page = select_fields(page, *fields);
  return gcs_json(page);
}

HttpAnswer compose(GcsState& state, const HttpRequest& request, const std::string& bucket, const std::string& name)
    REQUIRES(state.mu) {
  const json wanted = json::parse(request.body, nullptr, false);
  if (!wanted.is_object() || !wanted.contains("sourceObjects")) return gcs_error(400, "required", "Required");
  if (wanted["sourceObjects"].size() > 32) {
    return gcs_error(400, "invalid", "The number of source components provided exceeds the maximum (32).");
  }
  auto& objects = state.buckets[bucket];
  std::string content;
  for (const json& source : wanted["sourceObjects"]) {
    const std::string from = source.value("name", "");
    const auto found = objects.find(from);
    if (found == objects.end()) return gcs_no_such_object(bucket, from);
    content += found->second.content;
  }
  HttpAnswer answer =
      gcs_store(state, request, bucket, name, std::move(content), wanted.value("destination", json::object()));
  if (answer.status != 200) return answer;
  GcsObject& made = objects[name];
  made.md5.clear();  // Composite objects have no MD5.
  return gcs_json(gcs_resource(state, request, bucket, name, made));
}

HttpAnswer object_request(GcsState& state, const HttpRequest& request, const std::string& bucket,
                          const std::string& name) REQUIRES(state.mu) {
  auto& objects = state.buckets[bucket];
  const auto found = objects.find(name);
  const HttpHeaders query = parse_query(request.query);
  const auto generation = request.parameter("generation");
  const bool there = found != objects.end() && (!generation || *generation == std::to_string(found->second.generation));
  if (!there) {
    // Downloads report errors in plain text.
    if (request.method == "GET" && request.parameter("alt") == "media") {
      return {.status = 404,
              .headers = {{"Content-Type", "text/html; charset=UTF-8"}},
              .body = "No such object: " + bucket + "/" + name};
    }
    return gcs_no_such_object(bucket, name);
  }
  if (auto refused = gcs_check_preconditions(query, &found->second)) return std::move(*refused);
  if (request.method == "DELETE") {
    objects.erase(found);
    return {.status = 204};
  }
  if (request.method != "GET" && request.method != "HEAD")
    return gcs_error(405, "methodNotAllowed", "Method Not Allowed");
  if (request.parameter("alt") == "media") return download(request, found->second);
  json resource = gcs_resource(state, request, bucket, name, found->second);
  if (const auto fields = request.parameter("fields")) resource = select_fields(resource, *fields);
  return gcs_json(resource);
}

// /storage/v1 and /download/storage/v1.
HttpAnswer storage_request(GcsState& state, const HttpRequest& request, const std::vector<std::string>& path)
    REQUIRES(state.mu) {
  if (path.size() < 2 || path[0] != "b") return gcs_error(404, "notFound", "Not Found");
  const std::string& bucket = path[1];
  if (!state.buckets.contains(bucket)) return gcs_error(404, "notFound", "The specified bucket does not exist.");
  if (path.size() == 2) {
    return gcs_json({{"kind", "storage#bucket"},
                     {"id", bucket},
                     {"name", bucket},
                     {"location", "US"},
                     {"storageClass", "STANDARD"}});
  }
  if (path[2] != "o") return gcs_error(404, "notFound", "Not Found");
  if (path.size() == 3) return list_objects(state, request, bucket);
  if (path.size() == 5 && path[4] == "compose" && request.method == "POST")
    return compose(state, request, bucket, path[3]);
  // A slash in a name has to be encoded: unencoded it makes another path.
  if (path.size() != 4) return gcs_error(404, "notFound", "Not Found");
  return object_request(state, request, bucket, path[3]);
}

HttpAnswer route(GcsState& state, const HttpRequest& request);

// Requests within one: each part is a head of a request, answered in order.
HttpAnswer batch_request(GcsState& state, const HttpRequest& request) {
  const std::string type = request.header("content-type");
  const size_t at = type.find("boundary=");
  if (at == std::string::npos) return gcs_error(400, "badRequest", "Failed to parse batch request.");
  std::string boundary = type.substr(at + 9);
  std::erase(boundary, '"');
  const std::string mark = "--" + boundary;
  std::string body;
  size_t count = 0;
  for (size_t begin = request.body.find(mark); begin != std::string::npos;) {
    begin += mark.size();
    const size_t end = request.body.find(mark, begin);
    if (end == std::string::npos) break;
    const std::string part = request.body.substr(begin, end - begin);
    begin = end;
    const size_t id_at = part.find("Content-ID: ");
    const std::string id =
        id_at == std::string::npos ? "" : part.substr(id_at + 13, part.find_first_of(">\r", id_at) - id_at - 13);
    const size_t inner_at = part.find("\r\n\r\n");
    if (inner_at == std::string::npos) return gcs_error(400, "badRequest", "Failed to parse batch request.");
    const std::string inner = part.substr(inner_at + 4);
    const size_t line_end = std::min(inner.find("\r\n"), inner.size());
    const std::string line = inner.substr(0, line_end);
    HttpRequest one = request;
    one.method = line.substr(0, line.find(' '));
    const size_t target_at = one.method.size() + 1;
    one.target = line.substr(std::min(target_at, line.size()), line.find(' ', target_at) - target_at);
    std::tie(one.path, one.query) = split_target(one.target);
    one.body.clear();
    if (++count > 100) return gcs_error(400, "badRequest", "The batch request exceeds the limit of 100 calls.");
    const HttpAnswer answer = route(state, one);
    body += fmt::format("--batch_answer\r\nContent-Type: application/http\r\nContent-ID: <response-{}>\r\n\r\n{}\r\n",
                        id, render_answer(answer, one.method));
  }
  return {.headers = {{"Content-Type", "multipart/mixed; boundary=batch_answer"}},
          .body = body + "--batch_answer--\r\n"};
}

HttpAnswer route(GcsState& state, const HttpRequest& request) {
  if (request.path == "/batch/storage/v1" && request.method == "POST") {
    if (const MutexLock lock(state.mu); auto refused = gcs_check_token(state, request)) return std::move(*refused);
    return batch_request(state, request);
  }
  const MutexLock lock(state.mu);
  if (auto answer = gcs_token(state, request)) return std::move(*answer);
  // The address of an upload session is a secret of its own.
  const bool session = request.parameter("upload_id").has_value();
  if (!session) {
    if (auto refused = gcs_check_token(state, request)) return std::move(*refused);
  }
  if (const auto path = segments_after(request.path, "/upload/storage/v1")) {
    if (path->size() != 3 || (*path)[0] != "b" || (*path)[2] != "o") return gcs_error(404, "notFound", "Not Found");
    if (!state.buckets.contains((*path)[1])) return gcs_error(404, "notFound", "The specified bucket does not exist.");
    return gcs_upload(state, request, (*path)[1]);
  }
  for (const char* prefix : {"/storage/v1", "/download/storage/v1"}) {
    if (const auto path = segments_after(request.path, prefix)) return storage_request(state, request, *path);
  }
  return gcs_error(404, "notFound", "Not Found");
}

}  // namespace

std::string gcs_base_url(const HttpRequest& request) { return "http://" + request.header("host"); }

HttpAnswer gcs_json(const json& document, int status) {
  return {.status = status, .headers = {{"Content-Type", "application/json; charset=UTF-8"}}, .body = document.dump(2)};
}

HttpAnswer gcs_error(int status, std::string_view reason, const std::string& message) {
  return gcs_json({{"error",
                    {{"code", status},
                     {"message", message},
                     {"errors", json::array({{{"message", message}, {"domain", "global"}, {"reason", reason}}})}}}},
                  status);
}

HttpAnswer gcs_no_such_object(const std::string& bucket, const std::string& name) {
  return gcs_error(404, "notFound", fmt::format("No such object: {}/{}", bucket, name));
}

std::optional<HttpAnswer> gcs_check_preconditions(const HttpHeaders& query, const GcsObject* object) {
  const int64_t generation = object != nullptr ? object->generation : 0;
  const int64_t metageneration = object != nullptr ? object->metageneration : 0;
  const auto differs = [&](const char* name, int64_t have) {
    const auto wanted = find(query, name);
    return wanted && std::atoll(wanted->c_str()) != have;
  };
  const auto equals = [&](const char* name, int64_t have) {
    const auto unwanted = find(query, name);
    return unwanted && std::atoll(unwanted->c_str()) == have;
  };
  if (differs("ifGenerationMatch", generation) || differs("ifMetagenerationMatch", metageneration)) {
    return gcs_error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
  }
  if (equals("ifGenerationNotMatch", generation) || equals("ifMetagenerationNotMatch", metageneration)) {
    return HttpAnswer{.status = 304};
  }
  return std::nullopt;
}

json gcs_resource(const GcsState&, const HttpRequest& request, const std::string& bucket, const std::string& name,
                  const GcsObject& object) {
  const std::string self =
      fmt::format("{}/storage/v1/b/{}/o/{}", gcs_base_url(request), bucket, percent_encode(name, false));
  json resource = {{"kind", "storage#object"},
                   {"id", fmt::format("{}/{}/{}", bucket, name, object.generation)},
                   {"selfLink", self},
                   {"mediaLink", fmt::format("{}?generation={}&alt=media", self, object.generation)},
                   {"name", name},
                   {"bucket", bucket},
                   {"generation", std::to_string(object.generation)},
                   {"metageneration", std::to_string(object.metageneration)},
                   {"contentType", object.content_type},
                   {"storageClass", object.storage_class},
                   {"size", std::to_string(object.content.size())},
                   {"crc32c", object.crc32c},
                   {"etag", "etag" + std::to_string(object.generation)},
                   {"timeCreated", object.time_created},
                   {"updated", object.time_created}};
  if (!object.md5.empty()) resource["md5Hash"] = object.md5;
  if (object.metadata.is_object()) resource["metadata"] = object.metadata;
  return resource;
}

void gcs_set_checksums(GcsObject& object) {
  object.crc32c = crc32c_base64(object.content);
  object.md5 = md5_base64(object.content);
}

HttpAnswer gcs_store(GcsState& state, const HttpRequest& request, const std::string& bucket, const std::string& name,
                     std::string content, const json& resource) {
  GcsObject object{.content = std::move(content)};
  gcs_set_checksums(object);
  const auto text = [&](const char* field) {
    return resource.is_object() && resource.contains(field) && resource[field].is_string()
               ? resource[field].get<std::string>()
               : std::string();
  };
  if (const std::string md5 = text("md5Hash"); !md5.empty() && md5 != object.md5) {
    return gcs_error(
        400, "invalid",
        fmt::format("Provided MD5 hash \"{}\" doesn't match calculated MD5 hash \"{}\".", md5, object.md5));
  }
  if (const std::string crc = text("crc32c"); !crc.empty() && crc != object.crc32c) {
    return gcs_error(400, "invalid",
                     fmt::format("Provided CRC32C \"{}\" doesn't match calculated CRC32C \"{}\".", crc, object.crc32c));
  }
  auto& objects = state.buckets[bucket];
  const auto found = objects.find(name);
  if (auto refused =
          gcs_check_preconditions(parse_query(request.query), found == objects.end() ? nullptr : &found->second)) {
    return std::move(*refused);
  }
  if (const std::string type = text("contentType"); !type.empty()) object.content_type = type;
  if (const std::string storage = text("storageClass"); !storage.empty()) object.storage_class = storage;
  if (resource.is_object() && resource.contains("metadata")) object.metadata = resource["metadata"];
  object.generation = state.next_generation++;
  object.time_created = rfc3339_now();
  GcsObject& stored = objects[name];
  stored = std::move(object);
  return gcs_json(gcs_resource(state, request, bucket, name, stored));
}

Result<std::unique_ptr<GcsFake>> GcsFake::start(const GcsOptions& options) {
  auto state = std::make_unique<GcsState>();
  static const Result<std::string> key = gcs_new_key();  // Takes a tenth of a second: one for the process.
  if (!key) return key.error();
  state->key_pem = *key;
  std::unique_ptr<GcsFake> fake(new GcsFake(std::move(state)));
  GcsState& shared = *fake->state_;
  {
    const MutexLock lock(shared.mu);
    shared.options = options;
    shared.buckets[options.bucket];
  }
  TRY_ASSIGN(fake->server_, HttpFake::start([&shared](const HttpRequest& request) { return route(shared, request); }));
  shared.base_url = fake->server_->url();
  return fake;
}

GcsFake::GcsFake(std::unique_ptr<GcsState> state) : state_(std::move(state)) {}
GcsFake::~GcsFake() = default;

std::string GcsFake::service_account_json() const {
  const json key = {{"type", "service_account"},          {"project_id", "pgark-test"},         {"private_key_id", "1"},
                    {"private_key", state_->key_pem},     {"client_email", GcsState::kAccount}, {"client_id", "1"},
                    {"token_uri", server_->url("/token")}};
  return key.dump(2);
}

std::string GcsFake::new_token() {
  const MutexLock lock(state_->mu);
  return gcs_issue_token(*state_);
}

void GcsFake::expire_tokens() {
  const MutexLock lock(state_->mu);
  state_->tokens.clear();
}

size_t GcsFake::tokens_issued() const {
  const MutexLock lock(state_->mu);
  return state_->tokens_issued;
}

void GcsFake::create_bucket(const std::string& bucket) {
  const MutexLock lock(state_->mu);
  state_->buckets[bucket];
}

void GcsFake::put(const std::string& bucket, const std::string& name, std::string content) {
  const MutexLock lock(state_->mu);
  GcsObject object{
      .content = std::move(content), .generation = state_->next_generation++, .time_created = rfc3339_now()};
  gcs_set_checksums(object);
  state_->buckets[bucket][name] = std::move(object);
}

std::optional<std::string> GcsFake::get(const std::string& bucket, const std::string& name) const {
  const MutexLock lock(state_->mu);
  auto& objects = state_->buckets[bucket];
  const auto found = objects.find(name);
  if (found == objects.end()) return std::nullopt;
  return found->second.content;
}

void GcsFake::remove(const std::string& bucket, const std::string& name) {
  const MutexLock lock(state_->mu);
  state_->buckets[bucket].erase(name);
}

std::vector<std::string> GcsFake::list(const std::string& bucket, const std::string& prefix) const {
  const MutexLock lock(state_->mu);
  std::vector<std::string> names;
  for (const auto& [name, object] : state_->buckets[bucket]) {
    if (name.starts_with(prefix)) names.push_back(name);
  }
  return names;
}

bool GcsFake::damage(const std::string& bucket, const std::string& name) {
  const MutexLock lock(state_->mu);
  auto& objects = state_->buckets[bucket];
  const auto found = objects.find(name);
  if (found == objects.end() || found->second.content.empty()) return false;
  char& byte = found->second.content[found->second.content.size() / 2];
  byte = static_cast<char>(~byte);
  return true;
}

size_t GcsFake::unfinished_uploads() const {
  const MutexLock lock(state_->mu);
  return static_cast<size_t>(std::count_if(state_->uploads.begin(), state_->uploads.end(), [](const auto& upload) {
    return !upload.second.finished_generation.has_value();
  }));
}

}  // namespace pgark::testing
