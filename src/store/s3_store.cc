#include "store/s3_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "store/http_range.h"
#include "store/s3_client.h"
#include "store/s3_upload.h"
#include "store/s3_xml.h"

namespace pgark {
namespace {

constexpr uint64_t kChunkBytesMin = 5u << 20;  // S3 refuses smaller parts.
constexpr size_t kListMax = 1000;
constexpr size_t kDeleteMax = 1000;

CloudSettings upload_settings(CloudSettings settings) {
  settings.chunk_bytes = std::max(settings.chunk_bytes, kChunkBytesMin);
  return settings;
}

class BucketStore final : public S3Store {
 public:
  explicit BucketStore(std::unique_ptr<S3Client> client)
      : client_(std::move(client)),
        conditions_(client_->settings().conditional_create),
        upload_settings_(upload_settings(client_->settings().cloud)),
        sender_(make_part_sender(upload_settings_)) {}

  StoreCaps caps() const override { return {.kind = "s3", .atomic_create_only = conditions_.conditional_create}; }
  std::string describe() const override { return client_->place(); }

  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    TRY(check_object_key(key));
    return make_part_writer(key, make_s3_upload(*client_, conditions_, key), sender_, upload_settings_);
  }

  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
    TRY(check_object_key(key));
    TRY_ASSIGN(auto head, s3_head(*client_, key, "look for"));
    if (!head.has_value()) return std::optional<ObjectInfo>();
    return std::optional<ObjectInfo>(std::move(head->info));
  }

  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override;
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override;

 private:
  Result<S3Listing> fetch_listing(const ListRequest& request, const std::string& after, const std::string& token,
                                  size_t limit);
  Result<std::vector<S3NotDeleted>> delete_batch(std::span<const ObjectKey> keys);
  bool keeps_versions_locked() const { return !client_->settings().object_lock_mode.empty(); }
  const std::string& prefix() const { return client_->settings().cloud.prefix; }

  const std::unique_ptr<S3Client> client_;
  S3Conditions conditions_;
  const CloudSettings upload_settings_;
  const std::shared_ptr<PartSender> sender_;  // Shared with writers.
  std::atomic<bool> batch_delete_ = true;     // As far as is known.
};

Result<size_t> BucketStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  TRY(check_object_key(key));
  const std::string what = s3_what(*client_, "read", key);
  if (into.empty() || offset > kHttpOffsetMax) {
    TRY_ASSIGN(const auto found, stat(key));
    if (!found.has_value()) return Error(Errc::kNotFound, what + ": no such object");
    return 0;
  }
  return read_resumed(offset, into, [&](uint64_t from, MutableBytes rest, HttpResponse& broken_off) -> Result<size_t> {
    S3Request request{.what = what,
                      .key = s3_key(*client_, key),
                      .headers = client_->customer_key_headers(),
                      .into = rest,
                      .broken_off = &broken_off,
                      .accept = {416}};
    request.headers.push_back({"Range", http_range(from, rest.size())});
    TRY_ASSIGN(const HttpResponse response, client_->send(request));
    if (response.status == 416) return 0;  // Behind the end, or the object is empty.
    TRY_ASSIGN_CTX(const size_t count, check_range_answer(response, from, rest.size()), what);
    return count;
  });
}

Result<S3Listing> BucketStore::fetch_listing(const ListRequest& request, const std::string& after,
                                             const std::string& token, size_t limit) {
  S3Request fetch{.what = fmt::format("list '{}' in {}", request.prefix, client_->place())};
  fetch.query = {{"list-type", "2"},
                 {"encoding-type", "url"},
                 {"max-keys", fmt::format("{}", std::min(limit, kListMax))},
                 {"prefix", prefix() + request.prefix}};
  if (!token.empty()) {
    fetch.query.emplace_back("continuation-token", token);
  } else if (!after.empty()) {
    fetch.query.emplace_back("start-after", after);
  }
  TRY_ASSIGN(const HttpResponse response, client_->send(fetch));
  TRY_ASSIGN_CTX(S3Listing listing, parse_s3_listing(response.body), fetch.what);
  const auto before = [](const S3ListedObject& a, const S3ListedObject& b) { return a.key < b.key; };
  if (!std::is_sorted(listing.objects.begin(), listing.objects.end(), before))
    return Error(Errc::kUnsupported, fetch.what + ": the store does not list in the order of keys")
        .with_hint("directory buckets (S3 Express) cannot hold a repository");
  return listing;
}

Result<ListPage> BucketStore::list(const ListRequest& request) {
  if (request.limit == 0)
    return Error(Errc::kInvalid, fmt::format("list '{}' in {}: the limit is 0", request.prefix, describe()));
  ListPage page;
  std::string after = request.after.empty() ? "" : prefix() + request.after;
  std::string token;
  // Again where a page held nothing that is ours: a prefix may be shared with what others put there.
  for (;;) {
    TRY_ASSIGN(S3Listing listing, fetch_listing(request, after, token, request.limit - page.objects.size()));
    for (S3ListedObject& object : listing.objects) {
      if (!object.key.starts_with(prefix())) continue;
      ObjectKey key{object.key.substr(prefix().size())};
      // Some servers begin with the key itself after which to begin.
      if (key.value <= request.after || !check_object_key(key).has_value()) continue;
      if (page.objects.size() == request.limit) {
        page.more = true;
        return page;
      }
      page.objects.push_back({std::move(key), object.bytes, object.modified});
    }
    if (!listing.truncated) return page;
    if (page.objects.size() == request.limit) {
      page.more = true;
      return page;
    }
    if (!listing.objects.empty() && listing.next_token.empty()) after = listing.objects.back().key;
    if (listing.next_token == token && (listing.objects.empty() || !token.empty()))
      return Error(Errc::kCorrupt, fmt::format("list '{}' in {}: the store says there is more, and does not go on",
                                               request.prefix, describe()));
    token = listing.next_token;
  }
}

Result<bool> BucketStore::remove(const ObjectKey& key) {
  TRY(check_object_key(key));
  TRY_ASSIGN(const auto head, s3_head(*client_, key, "remove"));
  if (!head.has_value()) return false;
  S3Request request{.what = s3_what(*client_, "remove", key),
                    .call = CloudCall::kRepeat,
                    .method = "DELETE",
                    .key = s3_key(*client_, key),
                    .accept = {404}};
  // Without its version only the name goes, and the content is kept and paid for.
  if (keeps_versions_locked() && !head->version_id.empty()) request.query = {{"versionId", head->version_id}};
  auto removed = client_->send(request);
  if (removed.has_value()) return true;
  Error error = std::move(removed).error();
  // It was there, and an attempt whose answer was lost may have removed it.
  if (error.code() == Errc::kTransient) return std::move(error).with_code(Errc::kOutcomeUnknown);
  if (error.code() == Errc::kPermission && !head->locked_until.empty())
    error = std::move(error).with_hint("the object is locked until " + one_line(head->locked_until, 40));
  return error;
}

Result<std::vector<S3NotDeleted>> BucketStore::delete_batch(std::span<const ObjectKey> keys) {
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const ObjectKey& key : keys) names.push_back(s3_key(*client_, key));
  const std::string document = s3_delete_document(names);
  S3Request request{.what = fmt::format("remove {} objects, the first of them '{}', in {}", keys.size(),
                                        keys.front().value, describe()),
                    .call = CloudCall::kRepeat,
                    .method = "POST",
                    .query = {{"delete", ""}},
                    .headers = {{"Content-Type", "application/xml"}}};
  request.body = as_bytes(document);
  if (const auto digest = md5(request.body); digest.has_value()) {
    request.headers.push_back({"Content-MD5", base64_encode(*digest)});
  } else {
    request.headers.push_back({"x-amz-sdk-checksum-algorithm", "SHA256"});
    request.headers.push_back({"x-amz-checksum-sha256", base64_encode(sha256(request.body))});
  }
  TRY_ASSIGN(const HttpResponse response, client_->send(request));
  return parse_s3_not_deleted(response.body);
}

std::vector<Result<bool>> BucketStore::remove_many(std::span<const ObjectKey> keys) {
  // Versions must be named, and are not known.
  if (keeps_versions_locked() || keys.size() < 2 || !batch_delete_) return S3Store::remove_many(keys);
  std::vector<Result<bool>> results;
  results.reserve(keys.size());
  for (const ObjectKey& key : keys) {
    const auto legal = check_object_key(key);
    results.push_back(legal.has_value() ? Result<bool>(true) : Result<bool>(legal.error()));
  }
  for (size_t begin = 0; begin < keys.size(); begin += kDeleteMax) {
    const auto batch = keys.subspan(begin, std::min(kDeleteMax, keys.size() - begin));
    auto failed = delete_batch(batch);
    if (!failed.has_value() && begin == 0 &&
        (failed.error().code() == Errc::kUnsupported || failed.error().code() == Errc::kInvalid)) {
      batch_delete_ = false;
      return S3Store::remove_many(keys);
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!results[begin + i].has_value()) continue;
      if (!failed.has_value()) {
        results[begin + i] = failed.error();
        continue;
      }
      const std::string name = s3_key(*client_, batch[i]);
      const auto found = std::find_if(failed->begin(), failed->end(), [&](const auto& one) { return one.key == name; });
      if (found != failed->end())
        results[begin + i] = cloud_error(found->failure, CloudCall::kRepeat, s3_what(*client_, "remove", batch[i]));
    }
  }
  return results;
}

Result<StaleTemporaries> BucketStore::remove_stale_temporaries(std::chrono::seconds age_min) {
  StaleTemporaries result;
  S3Request list{.what = "list unfinished uploads in " + describe()};
  // No encoding is asked for: Ceph does it, and does not say so.
  list.query = {{"uploads", ""}, {"prefix", prefix()}};
  for (;;) {
    TRY_ASSIGN(const HttpResponse response, client_->send(list));
    TRY_ASSIGN_CTX(const S3Uploads found, parse_s3_uploads(response.body), list.what);
    for (const S3ListedUpload& upload : found.uploads) {
      if (!upload.key.starts_with(prefix())) continue;
      if (client_->now() - upload.begun < age_min) {
        ++result.kept;
        continue;
      }
      const S3Request abort{
          .what = fmt::format("drop an unfinished upload of '{}' in {}", one_line(upload.key), describe()),
          .call = CloudCall::kRepeat,
          .method = "DELETE",
          .key = upload.key,
          .query = {{"uploadId", upload.id}},
          .accept = {404}};
      TRY(client_->send(abort));
      ++result.removed;
    }
    if (!found.truncated || (found.next_key.empty() && found.next_id.empty())) return result;
    list.query.resize(2);
    list.query.emplace_back("key-marker", found.next_key);
    list.query.emplace_back("upload-id-marker", found.next_id);
  }
}

}  // namespace

Result<std::unique_ptr<S3Store>> S3Store::open(S3Settings settings) {
  TRY_ASSIGN(auto client, S3Client::create(settings));
  return std::make_unique<BucketStore>(std::move(client));
}

}  // namespace pgark
