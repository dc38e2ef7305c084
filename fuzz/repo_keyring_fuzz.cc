// Feeds arbitrary bytes to the parser of keyrings: as they are, and with the checksum put right, so that what is behind
// it is reached too.
#include <nlohmann/json.hpp>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/check.h"
#include "repo/keyring.h"

using namespace pgark;

namespace {

void parse(std::string_view text) {
  const auto keyring = Keyring::parse(text, 1);
  if (!keyring.has_value()) {
    CHECK(keyring.error().code() == Errc::kCorrupt || keyring.error().code() == Errc::kUnsupported);
    return;
  }
  CHECK(keyring->number() == 1 && !keyring->describe(KeyConfig{}).keys.empty());
  const auto again = Keyring::parse(keyring->text(), 1);
  CHECK(again.has_value() && again->text() == keyring->text());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  parse(text);
  const auto is_shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 3; };
  auto document = nlohmann::json::parse(text, is_shallow, false);
  if (!document.is_object()) return 0;
  document.erase("checksum");
  document["checksum"] = base64_encode(sha256(document.dump()));
  parse(document.dump());
  return 0;
}
