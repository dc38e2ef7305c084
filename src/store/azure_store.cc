// A repository in a container of Azure Blob Storage: block blobs, made under the condition that the name is free.
#include "store/azure_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/check.h"
#include "core/log.h"
#include "store/azure_client.h"
#include "store/azure_crc64.h"
#include "store/azure_list.h"
#include "store/azure_token.h"
#include "store/http_range.h"
#include "store/part_upload.h"

namespace pgark {
namespace {

constexpr unsigned kPartsMax = 50'000;
constexpr size_t kRemovalsAtOnce = 64;
constexpr std::string_view kContentType = "application/octet-stream";
// Names of metadata are identifiers here: no hyphen.
constexpr std::string_view kWriterHeader = "x-ms-meta-pgarkwriter";

/// "a=b&c=d", as x-ms-tags wants it.
std::string encode_tags(const std::vector<std::pair<std::string, std::string>>& tags) {
  std::string text;
  for (const auto& [name, value] : tags)
    text += fmt::format("{}{}={}", text.empty() ? "" : "&", url_encode(name), url_encode(value));
  return text;
}

/// The checksum by which the service notices damage on the way.
HttpHeader checksum_header(Bytes content) {
  if (const auto digest = md5(content); digest.has_value()) return {"Content-MD5", base64_encode(*digest)};
  return {"x-ms-content-crc64", azure_crc64_header(content)};  // The policy of this machine forbids MD5.
}

Timestamp modified_of(const HttpResponse& answer, Clock& clock) {
  return parse_http_date(answer.header("last-modified")).value_or(clock.now());
}

/// One object on its way: Put Blob, or Put Block and Put Block List.
class AzureUpload final : public PartUpload {
 public:
  AzureUpload(std::shared_ptr<AzureClient> client, const CloudSettings& cloud, ObjectKey key)
      : client_(std::move(client)),
        tags_(encode_tags(cloud.tags)),
        clock_(*cloud.clock),
        key_(std::move(key)),
        blob_(cloud.prefix + key_.value),
        mark_(new_writer_mark()) {}

  Result<ObjectInfo> put_whole(Bytes content) override {
    AzureRequest request = creation(content);
    request.headers.push_back({"x-ms-blob-type", "BlockBlob"});
    request.headers.push_back({"Content-Type", std::string(kContentType)});
    auto made = create(request, content.size());
    if (made.has_value() || made.error().code() != Errc::kAlreadyExists) return made;
    // Blocks that a dead writer left are enough for some to say so, though there is no object.
    TRY_ASSIGN(const auto found, find_own());
    return found ? Result<ObjectInfo>(*found) : put_as_block(content);
  }

  /// Blocks have no upload to belong to: that ours do not meet those of another writer is seen to by their names.
  Result<> begin() override { return {}; }

  Result<std::string> put_part(unsigned number, Bytes content) override {
    // Of one length for all blocks of a blob, and without padding in base64.
    const std::string id = base64_encode(fmt::format("{}-{:06}", mark_, number));
    const std::string what = fmt::format("write part {} of object '{}' in {}", number, key_.value, client_->place());
    AzureRequest request{.method = "PUT", .blob = blob_, .call = CloudCall::kRepeat};
    request.query = {{"comp", "block"}, {"blockid", id}};
    request.headers = {{"Content-Type", std::string(kContentType)}, checksum_header(content)};
    request.body = content;
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.status != 201) return client_->failure(answer, request, what);
    return id;
  }

  Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) override {
    std::string list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
    for (const std::string& id : parts) list += fmt::format("<Uncommitted>{}</Uncommitted>", id);
    list += "</BlockList>";
    AzureRequest request = creation(as_bytes(list));
    request.query = {{"comp", "blocklist"}};
    request.headers.push_back({"Content-Type", "application/xml"});
    request.headers.push_back({"x-ms-blob-content-type", std::string(kContentType)});
    return create(request, bytes);
  }

  Result<std::optional<ObjectInfo>> find_own() override {
    const std::string what = fmt::format("look for object '{}' in {}", key_.value, client_->place());
    const AzureRequest request{.method = "HEAD", .blob = blob_};
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.status != 200) {
      Error error = client_->failure(answer, request, what);
      if (error.code() == Errc::kNotFound) return std::optional<ObjectInfo>();
      return error;
    }
    if (answer.header(kWriterHeader) != mark_)
      return Error(Errc::kAlreadyExists,
                   fmt::format("create object '{}' in {}: the name is taken", key_.value, client_->place()));
    uint64_t bytes = 0;
    const std::string_view length = answer.header("content-length");
    std::from_chars(length.data(), length.data() + length.size(), bytes);
    return std::optional(ObjectInfo{key_, bytes, modified_of(answer, clock_)});
  }

  /// Blocks that were not committed go by themselves, a week after the last one; nothing else removes them.
  void abort() override {}

 private:
  Result<ObjectInfo> put_as_block(Bytes content) {
    std::vector<std::string> parts;
    if (!content.empty()) {
      TRY_ASSIGN(parts.emplace_back(), put_part(1, content));
    }
    return complete(parts, content.size());
  }

  /// What both ways of making the object have in common.
  AzureRequest creation(Bytes body) const {
    AzureRequest request{.method = "PUT", .blob = blob_, .call = CloudCall::kCreate};
    request.headers = {{"If-None-Match", "*"}, {std::string(kWriterHeader), mark_}, checksum_header(body)};
    if (!tags_.empty()) request.headers.push_back({"x-ms-tags", tags_});
    request.body = body;
    return request;
  }

  Result<ObjectInfo> create(const AzureRequest& request, uint64_t bytes) {
    const std::string what = fmt::format("create object '{}' in {}", key_.value, client_->place());
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.status == 201) return ObjectInfo{key_, bytes, modified_of(answer, clock_)};
    const std::string code = AzureClient::error_code(answer);
    if (code == "AuthorizationPermissionMismatch") {
      // Perhaps the signature allows to create and not to replace, and there is something to replace.
      auto found = find_own();
      if (!found.has_value() && found.error().code() == Errc::kAlreadyExists) return std::move(found).error();
    }
    if (code == "InvalidBlockList")
      // Another writer's object took the blocks with it, or they have expired: whose object is there must be seen.
      return Error(Errc::kOutcomeUnknown, what + ": the parts that were sent are gone");
    return client_->failure(answer, request, what);
  }

  const std::shared_ptr<AzureClient> client_;  // Shared with the store.
  const std::string tags_;
  Clock& clock_;
  const ObjectKey key_;
  const std::string blob_;
  const std::string mark_;
};

class AzureBlobs final : public AzureStore {
 public:
  AzureBlobs(CloudSettings cloud, std::shared_ptr<AzureClient> client)
      : cloud_(std::move(cloud)),
        client_(std::move(client)),
        sender_(make_part_sender(cloud_)),
        lister_([this](const AzurePageRequest& request) { return fetch_page(request); },
                [this] { return ask_hierarchical(); }, cloud_.prefix, *cloud_.clock) {}

  StoreCaps caps() const override { return {.kind = "azure"}; }
  std::string describe() const override { return client_->place(); }

  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    TRY(check_object_key(key));
    return make_part_writer(key, std::make_unique<AzureUpload>(client_, cloud_, key), sender_, cloud_, kPartsMax);
  }

  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
    TRY(check_object_key(key));
    const std::string what = fmt::format("look for object '{}' in {}", key.value, describe());
    const AzureRequest request{.method = "HEAD", .blob = cloud_.prefix + key.value};
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.status != 200) {
      Error error = client_->failure(answer, request, what);
      if (error.code() == Errc::kNotFound) return std::optional<ObjectInfo>();
      return error;
    }
    // Accounts with a hierarchical namespace have directories, which are no objects.
    if (answer.header("x-ms-meta-hdi_isfolder") == "true") return std::optional<ObjectInfo>();
    ObjectInfo info{key, 0, {}};
    const std::string_view length = answer.header("content-length");
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), info.bytes);
    const auto modified = parse_http_date(answer.header("last-modified"));
    if (error != std::errc() || end != length.data() + length.size() || !modified)
      return Error(Errc::kCorrupt, what + ": the answer has no length or no time");
    info.modified = *modified;
    return std::optional(std::move(info));
  }

  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    TRY(check_object_key(key));
    const std::string what = fmt::format("read object '{}' in {}", key.value, describe());
    if (into.empty() || offset >= kHttpOffsetMax) {
      // Nothing can be read there, but only of an object that exists.
      TRY_ASSIGN(const auto info, stat(key));
      if (!info) return Error(Errc::kNotFound, what + ": no such object");
      return 0;
    }
    return read_resumed(
        offset, into, [&](uint64_t from, MutableBytes rest, HttpResponse& broken_off) -> Result<size_t> {
          AzureRequest request{.blob = cloud_.prefix + key.value, .into = rest, .broken_off = &broken_off};
          request.headers = {{"x-ms-range", http_range(from, rest.size())}};
          TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
          if (answer.status == 416) return 0;
          if (!answer.ok()) return client_->failure(answer, request, what);
          TRY_ASSIGN_CTX(const size_t count, check_range_answer(answer, from, rest.size()), what);
          return count;
        });
  }

  Result<ListPage> list(const ListRequest& request) override {
    if (request.limit == 0)
      return Error(Errc::kInvalid, fmt::format("list '{}' in {}: the limit is 0", request.prefix, describe()));
    TRY_ASSIGN(auto listing, lister_.list(request.prefix, request.after, request.limit));
    ListPage page{.objects = {}, .more = listing.more};
    page.objects.reserve(listing.entries.size());
    for (AzureEntry& entry : listing.entries)
      page.objects.push_back({ObjectKey{std::move(entry.name)}, entry.bytes, entry.modified});
    return page;
  }

  Result<bool> remove(const ObjectKey& key) override {
    TRY(check_object_key(key));
    const AzureRequest request = removal(key);
    const std::string what = fmt::format("remove object '{}' in {}", key.value, describe());
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    return removed(answer, request, what);
  }

  /// The service has batches, but not for every kind of authorization: many requests at once serve as well.
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override {
    std::vector<Result<bool>> results;
    results.reserve(keys.size());
    for (; !keys.empty(); keys = keys.subspan(std::min(keys.size(), kRemovalsAtOnce))) {
      const auto some = keys.first(std::min(keys.size(), kRemovalsAtOnce));
      std::vector<Result<std::unique_ptr<HttpCall>>> calls;
      for (const ObjectKey& key : some) calls.push_back(start_removal(key));
      for (size_t i = 0; i < some.size(); ++i) results.push_back(end_removal(some[i], std::move(calls[i])));
    }
    return results;
  }

 private:
  AzureRequest removal(const ObjectKey& key) const {
    AzureRequest request{.method = "DELETE", .blob = cloud_.prefix + key.value, .call = CloudCall::kRepeat};
    // A blob with snapshots, which somebody else has made, can only be deleted with them.
    request.headers = {{"x-ms-delete-snapshots", "include"}};
    return request;
  }
  Result<bool> removed(const HttpResponse& answer, const AzureRequest& request, std::string_view what) const {
    if (answer.ok()) return true;
    Error error = client_->failure(answer, request, what);
    if (error.code() == Errc::kNotFound) return false;
    // Except "busy", which comes before anything is done, what the service says of itself leaves this open.
    if (answer.status >= 500 && answer.status != 503) return std::move(error).with_code(Errc::kOutcomeUnknown);
    return error;
  }
  Result<std::unique_ptr<HttpCall>> start_removal(const ObjectKey& key) {
    TRY(check_object_key(key));
    return client_->start(removal(key), fmt::format("remove object '{}' in {}", key.value, describe()));
  }
  Result<bool> end_removal(const ObjectKey& key, Result<std::unique_ptr<HttpCall>> call) {
    if (!call.has_value()) return std::move(call).error();
    const std::string what = fmt::format("remove object '{}' in {}", key.value, describe());
    TRY_ASSIGN_CTX(const HttpResponse answer, (*call)->wait(), what);
    if (answer.status == 401) return remove(key);  // A token that went stale.
    return removed(answer, removal(key), what);
  }

  Result<AzurePage> fetch_page(const AzurePageRequest& wanted) {
    const std::string what = fmt::format("list '{}' in {}", wanted.prefix, describe());
    AzureRequest request;
    request.query = {{"restype", "container"}, {"comp", "list"}, {"maxresults", std::to_string(wanted.entries_max)}};
    if (!wanted.prefix.empty()) request.query.emplace_back("prefix", wanted.prefix);
    if (!wanted.marker.empty()) request.query.emplace_back("marker", wanted.marker);
    if (wanted.by_directory) request.query.emplace_back("delimiter", "/");
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.status != 200) return client_->failure(answer, request, what);
    auto page = parse_azure_page(answer.body);
    if (!page.has_value()) return std::move(page).error().with_context(what);
    return page;
  }

  Result<bool> ask_hierarchical() {
    const std::string what = "ask for the kind of account of " + describe();
    AzureRequest request;
    request.query = {{"restype", "account"}, {"comp", "properties"}};
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what));
    if (answer.ok()) return answer.header("x-ms-is-hns-enabled") == "true";
    Error error = client_->failure(answer, request, what);
    if (error.code() == Errc::kTransient) return error;
    // Not everybody who may list may ask this. A listing that is out of order will tell too.
    log_debug("{}: {}", what, error.message());
    return false;
  }

  const CloudSettings cloud_;
  const std::shared_ptr<AzureClient> client_;  // Shared with writers.
  const std::shared_ptr<PartSender> sender_;   // Shared with writers.
  AzureLister lister_;
};

}  // namespace

Result<std::unique_ptr<AzureStore>> AzureStore::open(AzureSettings settings,
                                                     std::unique_ptr<BearerTokenSource> tokens) {
  if (!tokens && settings.key_type == AzureKeyType::kManagedIdentity) {
    TRY_ASSIGN(tokens, make_azure_token_source(settings.cloud));
  }
  TRY_ASSIGN_CTX(std::shared_ptr<AzureClient> client, AzureClient::create(settings, std::move(tokens)),
                 fmt::format("open {}", settings.cloud.label));
  return std::unique_ptr<AzureStore>(std::make_unique<AzureBlobs>(std::move(settings.cloud), std::move(client)));
}

}  // namespace pgark
