// The list of conformance checks, and how one is run and tidied up after.
#include "store/conformance.h"

#include <algorithm>

#include "store/conformance_util.h"

namespace pgark {
namespace conformance {

Buffer pattern(uint64_t seed, size_t bytes) {
  Buffer buffer(bytes);
  uint64_t state = seed * 0x9e3779b97f4a7c15u;
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    // One step of the SplitMix64 generator: cheap, and no two words alike.
    uint64_t word = state += 0x9e3779b97f4a7c15u;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    word ^= word >> 31;
    std::memcpy(buffer.data() + at, &word, std::min(sizeof word, bytes - at));
  }
  return buffer;
}

bool same_bytes(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

ObjectKey key_below(const std::string& prefix, std::string_view name) {
  return ObjectKey{fmt::format("{}/{}", prefix, name)};
}

Result<> expect_content(ObjectStore& store, const ObjectKey& key, Bytes expected) {
  TRY_ASSIGN(const auto info, store.stat(key));
  PROMISE(info.has_value(), "object '{}' was committed and stat does not find it", key.value);
  PROMISE(info->bytes == expected.size(), "object '{}' holds {} bytes, {} were committed", key.value, info->bytes,
          expected.size());
  // One byte more than there is, so that an object longer than its size is noticed.
  Buffer content(expected.size() + 1);
  TRY_ASSIGN(const size_t count, store.read(key, 0, content.bytes()));
  PROMISE(count == expected.size(), "reading all of '{}' gave {} bytes of {}", key.value, count, expected.size());
  PROMISE(same_bytes(content.bytes().first(count), expected), "object '{}' holds other bytes than committed",
          key.value);
  return {};
}

Result<> expect_absent(ObjectStore& store, const ObjectKey& key) {
  TRY_ASSIGN(const auto info, store.stat(key));
  PROMISE(!info.has_value(), "stat finds '{}', which does not exist", key.value);
  Buffer byte(1);
  const auto read = store.read(key, 0, byte.bytes());
  PROMISE(failed_with(read, Errc::kNotFound), "reading '{}', which does not exist, gave {}", key.value, outcome(read));
  TRY_ASSIGN(const auto listed, store.list_all(key.value));
  for (const ObjectInfo& object : listed)
    PROMISE(object.key != key, "the listing shows '{}', which does not exist", key.value);
  return {};
}

Result<> put_text(ObjectStore& store, const ObjectKey& key, std::string_view text) {
  TRY(store.put(key, as_bytes(text)));
  return {};
}

}  // namespace conformance

const std::vector<ConformanceCheck>& conformance_checks() {
  static const std::vector<ConformanceCheck> checks = [] {
    std::vector<ConformanceCheck> all = conformance::write_checks();
    for (auto& check : conformance::read_checks()) all.push_back(std::move(check));
    for (auto& check : conformance::list_checks()) all.push_back(std::move(check));
    return all;
  }();
  return checks;
}

Result<> run_conformance_check(const ConformanceCheck& check, ObjectStore& store, const std::string& prefix,
                               unsigned threads) {
  const std::string own = prefix + "/" + check.name;
  auto result = check.run(store, own, threads);
  const auto tidy = [&]() -> Result<> {
    TRY_ASSIGN(const auto left, store.list_all(own + "/"));
    for (const ObjectInfo& object : left) TRY(store.remove(object.key));
    return {};
  };
  auto tidied = tidy();
  if (!result.has_value()) return std::move(result).error().with_context(check.name);
  if (!tidied.has_value()) return std::move(tidied).error().with_context(check.name + ": remove what it made");
  return {};
}

std::vector<ConformanceOutcome> run_conformance(ObjectStore& store, const std::string& prefix, unsigned threads) {
  std::vector<ConformanceOutcome> outcomes;
  for (const ConformanceCheck& check : conformance_checks())
    outcomes.push_back({&check, run_conformance_check(check, store, prefix, threads)});
  return outcomes;
}

}  // namespace pgark
