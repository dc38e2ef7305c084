// Finding, making and replacing the keyring object of a repository.
#include "repo/keyring_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pgark {
namespace {

constexpr std::string_view kPrefix = kKeyringPrefix;
constexpr uint64_t kDocumentBytesMax = 1 << 20;
// A keyring that is listed and gone when it is read was replaced in between; nobody does that all the time.
constexpr int kAttemptsMax = 5;

ObjectKey key_of(unsigned number) { return {fmt::format("{}{}", kPrefix, number)}; }

// 0 if the key is not of a keyring.
unsigned number_of(const ObjectKey& key) {
  const std::string_view digits = std::string_view(key.value).substr(std::min(kPrefix.size(), key.value.size()));
  unsigned number = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return status == std::errc{} && key == key_of(number) ? number : 0;
}

Result<std::vector<unsigned>> list_numbers(ObjectStore& store) {
  TRY_ASSIGN_CTX(const auto objects, store.list_all(std::string(kPrefix)), "list keyrings");
  std::vector<unsigned> numbers;
  for (const ObjectInfo& object : objects)
    if (const unsigned number = number_of(object.key); number > 0) numbers.push_back(number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

Result<std::optional<Keyring>> find_keyring(ObjectStore& store) {
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(const auto numbers, list_numbers(store));
    if (numbers.empty()) return std::optional<Keyring>();
    const auto text = store.get(key_of(numbers.back()), kDocumentBytesMax);
    if (text) {
      TRY_ASSIGN(Keyring keyring, Keyring::parse(as_text(*text), numbers.back()));
      return std::optional<Keyring>(std::move(keyring));
    }
    if (text.error().code() != Errc::kNotFound || attempt == kAttemptsMax) return Error(text.error());
  }
}

Result<Keyring> read_keyring(ObjectStore& store, const RepositoryId& id) {
  TRY_ASSIGN(auto keyring, find_keyring(store));
  if (!keyring)
    return Error(Errc::kCorrupt, "it is encrypted, and its keyring.* is gone")
        .with_hint("bring keyring.* back from a copy of the repository; without it nothing in it can be read");
  if (keyring->repository_id() != id)
    return Error(Errc::kCorrupt, fmt::format("keyring.{} is of another repository", keyring->number()))
        .with_hint("bring keyring.* back from a copy of this repository");
  return *std::move(keyring);
}

Result<RepositoryKeys> open_keyring(ObjectStore& store, const RepositoryId& id, const KeyConfig& config) {
  const std::string context = "open repository " + store.describe();
  TRY_ASSIGN_CTX(const Keyring keyring, read_keyring(store, id), context);
  TRY_ASSIGN_CTX(auto keys, keyring.unlock(config), context);
  return keys;
}

Result<Keyring> create_keyring(ObjectStore& store, const RepositoryId& proposed_id, const KeyConfig& config) {
  TRY_ASSIGN_CTX(auto found, find_keyring(store), "create keyring");
  if (found) return *std::move(found);
  TRY_ASSIGN_CTX(Keyring keyring, Keyring::create(proposed_id, config), "create keyring");
  const auto written = store.put(key_of(keyring.number()), as_bytes(keyring.text()));
  if (!written && written.error().code() != Errc::kAlreadyExists)
    return Error(written.error()).with_context("create keyring");
  // What is there now, whoever wrote it.
  TRY_ASSIGN_CTX(found, find_keyring(store), "create keyring");
  if (!found) return Error(Errc::kOutcomeUnknown, "create keyring: it was written and is not there");
  return *std::move(found);
}

Result<std::vector<std::string>> replace_keyring(ObjectStore& store, const Keyring& next) {
  const ObjectKey key = key_of(next.number());
  const std::string context = "write " + key.value;
  const std::string text = next.text();
  const auto written = store.put(key, as_bytes(text));
  if (!written && written.error().code() != Errc::kAlreadyExists && written.error().code() != Errc::kOutcomeUnknown)
    return Error(written.error()).with_context(context);
  // Also tells our own object, of which a time-out hid that it was written, from another command's.
  TRY_ASSIGN_CTX(const Buffer stored, store.get(key, kDocumentBytesMax), context);
  if (as_text(stored) != text)
    return Error(Errc::kAlreadyExists, context + ": another command has changed the keys in the meantime")
        .with_hint("look at them, and try again: pgark key list");
  TRY_ASSIGN(const auto numbers, list_numbers(store));
  std::vector<std::string> warnings;
  for (const unsigned number : numbers) {
    if (number >= next.number()) continue;
    if (const auto removed = store.remove(key_of(number)); !removed)
      warnings.push_back(fmt::format("keyring.{} could not be removed, and its keys still open the repository: {}",
                                     number, removed.error().message()));
  }
  return warnings;
}

}  // namespace pgark
