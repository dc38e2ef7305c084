// What the conformance checks are written with; for src/store/conformance*.cc only.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "store/conformance.h"

namespace pgark::conformance {

/// Return from a check: the store has broken its promise, in the way the text says.
#define PROMISE(condition, ...)                                                                     \
  do {                                                                                              \
    if (!(condition)) return ::pgark::Error(::pgark::Errc::kUnsupported, fmt::format(__VA_ARGS__)); \
  } while (false)

/// `bytes` bytes that differ from those of every other `seed`, and from themselves at every offset.
Buffer pattern(uint64_t seed, size_t bytes);
bool same_bytes(Bytes a, Bytes b);
ObjectKey key_below(const std::string& prefix, std::string_view name);
/// Code and message of a result, for the text of a broken promise.
template <typename T>
std::string outcome(const Result<T>& result) {
  if (result.has_value()) return "ok";
  return fmt::format("{} ({})", errc_name(result.error().code()), result.error().message());
}
template <typename T>
bool failed_with(const Result<T>& result, Errc code) {
  return !result.has_value() && result.error().code() == code;
}
/// The object holds exactly `expected`.
Result<> expect_content(ObjectStore& store, const ObjectKey& key, Bytes expected);
/// Neither stat, nor read, nor a listing knows the object.
Result<> expect_absent(ObjectStore& store, const ObjectKey& key);
/// create, append in one piece, commit: the error of whichever fails.
Result<> put_text(ObjectStore& store, const ObjectKey& key, std::string_view text);

std::vector<ConformanceCheck> write_checks();
std::vector<ConformanceCheck> read_checks();
std::vector<ConformanceCheck> list_checks();

}  // namespace pgark::conformance
