// A repository in a bucket of Google Cloud Storage, over its JSON API.
#include "store/gcs_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "store/gcs_client.h"
#include "store/gcs_token.h"
#include "store/gcs_upload.h"
#include "store/http_range.h"
#include "store/part_upload.h"

namespace pgark {
namespace {

constexpr size_t kPageMax = 1000;  // The service gives no more in one answer.
constexpr size_t kRemovalsAtOnce = 64;
// A resumable upload has no number of parts to run out of.
constexpr unsigned kPartsMax = 1'000'000;

/// The first key of ours that could sort behind `after`, or one before it, in characters the service takes.
std::string list_start(std::string_view after) {
  for (size_t at = 0; at < after.size(); ++at) {
    const auto byte = static_cast<unsigned char>(after[at]);
    if (byte < 0x20) return std::string(after.substr(0, at));
    if (byte > 0x7e) return std::string(after.substr(0, at)) + "~";
  }
  return std::string(after);
}

class GcsBucket final : public GcsStore {
 public:
  GcsBucket(CloudSettings cloud, std::shared_ptr<GcsClient> client)
      : cloud_(std::move(cloud)), client_(std::move(client)), sender_(make_part_sender(cloud_)) {}

  StoreCaps caps() const override { return {.kind = "gcs"}; }
  std::string describe() const override { return client_->place(); }

  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    TRY(check_object_key(key));
    return make_part_writer(key, make_gcs_upload(client_, cloud_, key), sender_, cloud_, kPartsMax);
  }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
    TRY(check_object_key(key));
    TRY_ASSIGN(const auto object, client_->find(cloud_.prefix + key.value, what("look for", key)));
    if (!object) return std::optional<ObjectInfo>();
    return std::optional(ObjectInfo{key, object->bytes, object->created});
  }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override {
    TRY(check_object_key(key));
    const GcsRequest request = removal(key);
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, what("remove", key)));
    return removed(answer, request, key);
  }
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override;

 private:
  std::string what(std::string_view verb, const ObjectKey& key) const {
    return fmt::format("{} object '{}' in {}", verb, key.value, describe());
  }
  GcsRequest removal(const ObjectKey& key) const {
    return {.method = "DELETE", .path = client_->object_path(cloud_.prefix + key.value), .call = CloudCall::kRepeat};
  }
  Result<bool> removed(const HttpResponse& answer, const GcsRequest& request, const ObjectKey& key) const {
    if (answer.ok()) return true;
    Error error = client_->failure(answer, request, what("remove", key));
    if (error.code() == Errc::kNotFound) return false;
    if (answer.status >= 500) return std::move(error).with_code(Errc::kOutcomeUnknown);
    return error;
  }
  Result<std::unique_ptr<HttpCall>> start_removal(const ObjectKey& key) {
    TRY(check_object_key(key));
    return client_->start(removal(key), what("remove", key));
  }
  Result<bool> end_removal(const ObjectKey& key, Result<std::unique_ptr<HttpCall>> call) {
    if (!call.has_value()) return std::move(call).error();
    TRY_ASSIGN_CTX(const HttpResponse answer, (*call)->wait(), what("remove", key));
    if (answer.status == 401) return remove(key);  // A token that went stale.
    return removed(answer, removal(key), key);
  }
  Result<GcsPage> fetch_page(const GcsRequest& request, const std::string& text);

  const CloudSettings cloud_;
  const std::shared_ptr<GcsClient> client_;   // Shared with writers.
  const std::shared_ptr<PartSender> sender_;  // Shared with writers.
};

Result<size_t> GcsBucket::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  TRY(check_object_key(key));
  const std::string text = what("read", key);
  if (into.empty() || offset >= kHttpOffsetMax) {
    // Nothing can be read there, but only of an object that exists.
    TRY_ASSIGN(const auto info, stat(key));
    if (!info) return Error(Errc::kNotFound, text + ": no such object");
    return 0;
  }
  return read_resumed(offset, into, [&](uint64_t from, MutableBytes rest, HttpResponse& broken_off) -> Result<size_t> {
    GcsRequest request{.path = client_->object_path(cloud_.prefix + key.value)};
    request.query = {{"alt", "media"}};
    request.headers = {{"Range", http_range(from, rest.size())}};
    request.into = rest;
    request.broken_off = &broken_off;
    TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
    if (answer.status == 416) return 0;
    if (!answer.ok()) return client_->failure(answer, request, text);
    TRY_ASSIGN_CTX(const size_t count, check_range_answer(answer, from, rest.size()), text);
    return count;
  });
}

Result<GcsPage> GcsBucket::fetch_page(const GcsRequest& request, const std::string& text) {
  TRY_ASSIGN(const HttpResponse answer, client_->perform(request, text));
  if (answer.status != 200) return client_->failure(answer, request, text);
  auto page = parse_gcs_page(answer.body);
  if (!page.has_value()) return std::move(page).error().with_context(text);
  return page;
}

Result<ListPage> GcsBucket::list(const ListRequest& wanted) {
  const std::string text = fmt::format("list '{}' in {}", wanted.prefix, describe());
  if (wanted.limit == 0) return Error(Errc::kInvalid, text + ": the limit is 0");
  ListPage page;
  // Keys that begin with the prefix sort behind `after` all, none, or, if `after` begins with it too, some.
  const bool some = wanted.after.starts_with(wanted.prefix) && wanted.after.size() > wanted.prefix.size();
  const bool possible = std::ranges::all_of(wanted.prefix, [](char c) { return c > 0x20 && c < 0x7f; });
  if (!possible || (!some && wanted.after > wanted.prefix)) return page;
  const std::string start = some ? cloud_.prefix + list_start(wanted.after) : std::string();
  for (std::string token;;) {
    // One more tells whether there is more; and the listing starts at `after` itself, which is not wanted.
    const size_t missing = wanted.limit + 1 - page.objects.size() + (some && token.empty() ? 1 : 0);
    GcsRequest request{.path = client_->objects_path()};
    request.query = {{"maxResults", std::to_string(std::min(missing, kPageMax))},
                     {"fields", "items(name,size,timeCreated),nextPageToken"}};
    if (!cloud_.prefix.empty() || !wanted.prefix.empty())
      request.query.emplace_back("prefix", cloud_.prefix + wanted.prefix);
    if (!start.empty()) request.query.emplace_back("startOffset", start);
    if (!token.empty()) request.query.emplace_back("pageToken", token);
    TRY_ASSIGN(GcsPage got, fetch_page(request, text));
    for (GcsObject& object : got.objects) {
      if (!object.name.starts_with(cloud_.prefix)) continue;
      ObjectKey key{object.name.substr(cloud_.prefix.size())};
      // What is no key of ours somebody else has put there.
      if (key.value <= wanted.after || !check_object_key(key).has_value()) continue;
      if (page.objects.size() == wanted.limit) {
        page.more = true;
        return page;
      }
      page.objects.push_back({std::move(key), object.bytes, object.created});
    }
    if (got.next_token.empty()) return page;
    token = std::move(got.next_token);
  }
}

std::vector<Result<bool>> GcsBucket::remove_many(std::span<const ObjectKey> keys) {
  std::vector<Result<bool>> results;
  results.reserve(keys.size());
  while (!keys.empty()) {
    const auto some = keys.first(std::min(keys.size(), kRemovalsAtOnce));
    keys = keys.subspan(some.size());
    std::vector<Result<std::unique_ptr<HttpCall>>> calls;
    for (const ObjectKey& key : some) calls.push_back(start_removal(key));
    for (size_t i = 0; i < some.size(); ++i) results.push_back(end_removal(some[i], std::move(calls[i])));
  }
  return results;
}

}  // namespace

Result<std::unique_ptr<GcsStore>> GcsStore::open(GcsSettings settings, std::unique_ptr<BearerTokenSource> tokens) {
  const std::string text = "open " + settings.cloud.label;
  if (!tokens) {
    TRY_ASSIGN_CTX(tokens, make_gcs_token_source(settings), text);
  }
  TRY_ASSIGN_CTX(std::shared_ptr<GcsClient> client, GcsClient::create(settings, std::move(tokens)), text);
  return std::unique_ptr<GcsStore>(std::make_unique<GcsBucket>(std::move(settings.cloud), std::move(client)));
}

}  // namespace pgark
