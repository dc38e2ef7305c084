#include "ops/repo_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace pgark {
namespace {

constexpr size_t kChunkBytes = 1u << 20;

/// Second components of the names that a stanza's objects have.
constexpr std::string_view kStanzaParts[] = {"backup", "cluster", "drill",  "dump", "expire",
                                             "lease",  "pack",    "verify", "wal"};

Error absent(const ObjectStore& store, const ObjectKey& key) {
  return Error(Errc::kNotFound, fmt::format("no object '{}' in {}", key.value, store.describe()))
      .with_hint("run 'pgark repo-ls' for the names there are");
}

/// Remove a page of objects, counting those that are gone now.
Result<> remove_page(ObjectStore& store, const std::vector<ObjectInfo>& objects, RemovedObjects& removed) {
  std::vector<ObjectKey> keys;
  keys.reserve(objects.size());
  for (const ObjectInfo& object : objects) keys.push_back(object.key);
  std::vector<Result<bool>> results = store.remove_many(keys);
  std::optional<Error> failed;
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].has_value()) {
      if (!failed) failed = std::move(results[i]).error();
    } else if (*results[i]) {
      ++removed.count;
      removed.bytes += objects[i].bytes;
    }
  }
  if (failed) return std::move(*failed);
  return {};
}

}  // namespace

Result<bool> belongs_to_pgark(ObjectStore& store, std::string_view path) {
  const size_t slash = std::min(path.find('/'), path.size());
  const std::string_view first = path.substr(0, slash);
  if (slash == path.size() && (first.starts_with("pgark.") || first.starts_with("keyring."))) return true;
  if (slash < path.size() && !first.starts_with("pgark-check-")) {
    const std::string_view rest = path.substr(slash + 1);
    const std::string_view second = rest.substr(0, rest.find('/'));
    if (std::ranges::find(kStanzaParts, second) != std::end(kStanzaParts)) return true;
  }
  TRY_ASSIGN_CTX(const ListPage cluster, store.list({.prefix = fmt::format("{}/cluster/", first), .limit = 1}),
                 fmt::format("look whether '{}' is a stanza", first));
  return !cluster.objects.empty();
}

Result<ObjectInfo> put_object(ObjectStore& store, const ObjectKey& key, const ReadSome& read,
                              const CancelToken& cancel) {
  TRY_ASSIGN(const auto writer, store.create(key));
  Buffer chunk(kChunkBytes);
  for (;;) {
    TRY(cancel.check());
    TRY_ASSIGN(const size_t count, read(chunk.bytes()));
    if (count == 0) break;
    TRY(writer->append(chunk.bytes().first(count)));
  }
  return std::move(*writer).commit();
}

Result<RemovedObjects> remove_object(ObjectStore& store, const ObjectKey& key) {
  TRY_ASSIGN(const auto info, store.stat(key));
  if (!info) {
    TRY_ASSIGN(const ListPage below, store.list({.prefix = key.value + "/", .limit = 1}));
    if (below.objects.empty()) return absent(store, key);
    return Error(Errc::kInvalid, fmt::format("'{}' is no object: objects lie below it", key.value))
        .with_hint("--recurse removes all of them");
  }
  TRY_ASSIGN(const bool removed, store.remove(key));
  if (!removed) return absent(store, key);
  return RemovedObjects{1, info->bytes};
}

Result<RemovedObjects> remove_objects_below(ObjectStore& store, const ObjectKey& path, const CancelToken& cancel) {
  RemovedObjects removed;
  TRY_ASSIGN(const auto info, store.stat(path));
  if (info) TRY(remove_page(store, {*info}, removed));
  ListRequest request{.prefix = path.value + "/"};
  for (;;) {
    TRY(cancel.check());
    TRY_ASSIGN(const ListPage page, store.list(request));
    TRY(remove_page(store, page.objects, removed));
    if (!page.more) break;
    request.after = page.objects.back().key.value;
  }
  if (removed.count == 0) return absent(store, path);
  return removed;
}

}  // namespace pgark
