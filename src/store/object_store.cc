// What every store shares: the rules of keys, and the calls made of other calls.
#include "store/object_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

constexpr size_t kKeyBytesMax = 512;
constexpr uint64_t kFirstReadBytes = 64u << 10;
constexpr size_t kComponentBytesMax = 255;  // NAME_MAX of every file system a repository lives on.
constexpr std::string_view kTemporaryPrefix = ".tmp-";

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/// The rule that a component breaks; empty if none.
std::string_view broken_rule(std::string_view component) {
  if (component.empty()) return "a component is empty";
  if (component.size() > kComponentBytesMax) return "a component is longer than 255 bytes";
  if (component == "." || component == "..") return "a component is '.' or '..'";
  if (component.starts_with(kTemporaryPrefix)) return "a component begins with '.tmp-'";
  if (!std::ranges::all_of(component, is_key_char))
    return "only A-Z, a-z, 0-9, '.', '_', '-' and single '/' are allowed";
  return {};
}

std::string_view broken_rule_of_key(std::string_view key) {
  if (key.empty()) return "it is empty";
  if (key.size() > kKeyBytesMax) return "it is longer than 512 bytes";
  for (;;) {
    const size_t slash = key.find('/');
    if (const auto rule = broken_rule(key.substr(0, slash)); !rule.empty()) return rule;
    if (slash == std::string_view::npos) return {};
    key.remove_prefix(slash + 1);
  }
}

}  // namespace

bool is_key_component(std::string_view name) { return broken_rule(name).empty(); }

Result<> check_object_key(const ObjectKey& key) {
  if (const auto rule = broken_rule_of_key(key.value); !rule.empty())
    return Error(Errc::kInvalid, fmt::format("'{}' is not an object key: {}", key.value, rule));
  return {};
}

Result<ObjectKey> make_object_key(std::string value) {
  ObjectKey key{std::move(value)};
  TRY(check_object_key(key));
  return key;
}

Result<StaleTemporaries> ObjectStore::remove_stale_temporaries(std::chrono::seconds) { return StaleTemporaries{}; }

Result<> ObjectStore::read_exact(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  TRY_ASSIGN(const size_t count, read(key, offset, into));
  if (count < into.size())
    return Error(Errc::kCorrupt,
                 fmt::format("read object '{}' in {}: it ends after byte {}, bytes {} to {} were wanted", key.value,
                             describe(), offset + count, offset, offset + into.size()));
  return {};
}

std::vector<Result<bool>> ObjectStore::remove_many(std::span<const ObjectKey> keys) {
  std::vector<Result<bool>> results;
  results.reserve(keys.size());
  for (const ObjectKey& key : keys) results.push_back(remove(key));
  return results;
}

Result<ObjectInfo> ObjectStore::put(const ObjectKey& key, Bytes data) {
  TRY_ASSIGN(auto writer, create(key));
  TRY(writer->append(data));
  return std::move(*writer).commit();
}

Result<Buffer> ObjectStore::get(const ObjectKey& key, uint64_t bytes_max) {
  // Most of what is wanted whole is small, and a question for its size would take as long as the object.
  Buffer start(static_cast<size_t>(std::min(kFirstReadBytes, bytes_max) + 1));
  TRY_ASSIGN(const size_t first, read(key, 0, start.bytes()));
  if (first < start.size()) {
    start.resize(first);
    return start;
  }
  TRY_ASSIGN(const auto info, stat(key));
  if (!info.has_value())
    return Error(Errc::kNotFound, fmt::format("read object '{}' in {}: no such object", key.value, describe()));
  if (info->bytes > bytes_max)
    return Error(Errc::kInvalid, fmt::format("read object '{}' in {}: its {} bytes are more than the {} allowed here",
                                             key.value, describe(), info->bytes, bytes_max));
  Buffer content(static_cast<size_t>(info->bytes));
  const size_t known = std::min(first, content.size());
  std::copy_n(start.data(), known, content.data());
  TRY(read_exact(key, known, content.bytes().subspan(known)));
  return content;
}

Result<std::vector<ObjectInfo>> ObjectStore::list_all(const std::string& prefix) {
  std::vector<ObjectInfo> all;
  ListRequest request{.prefix = prefix, .after = "", .limit = list_page(*this)};
  for (;;) {
    TRY_ASSIGN(ListPage page, list(request));
    // A store that says "more" without having moved on would keep us here for ever.
    CHECK(!page.more || (!page.objects.empty() && page.objects.back().key.value > request.after));
    if (page.more) request.after = page.objects.back().key.value;
    all.insert(all.end(), std::move_iterator(page.objects.begin()), std::move_iterator(page.objects.end()));
    if (!page.more) return all;
  }
}

}  // namespace pgark
