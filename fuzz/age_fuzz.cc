// Feeds arbitrary bytes to the reader of age files and to the parsers of the keys of age.
#include "codec/age.h"
#include "codec/bech32.h"
#include "core/check.h"

using namespace pgark;

namespace {
// An identity whose recipient a fuzzer can learn from a corpus; what is behind the header is then reached too.
const std::vector<AgeIdentity>& identities() {
  static const std::vector<AgeIdentity> one = [] {
    AgeIdentity identity{Secret(kX25519KeyBytes), {}};
    for (std::byte& b : identity.private_key.bytes()) b = std::byte{0x42};
    identity.recipient.key = *x25519_public(identity.private_key.bytes().first<kX25519KeyBytes>());
    std::vector<AgeIdentity> identities;
    identities.push_back(std::move(identity));
    return identities;
  }();
  return one;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto plain = age_decrypt(identities(), bytes);
  if (!plain.has_value()) {
    const Errc code = plain.error().code();
    CHECK(code == Errc::kCorrupt || code == Errc::kPermission || code == Errc::kUnsupported);
  } else {
    CHECK(plain->size() < size);
  }
  const auto text = bech32_decode(as_text(bytes));
  // One text for each meaning; a prefix without letters does not say which case the rest had.
  if (text.has_value()) {
    const auto again = bech32_encode(text->prefix, text->data);
    CHECK(again.has_value() && again->size() == size);
  }
  const auto recipient = parse_age_recipient(as_text(bytes));
  if (recipient.has_value()) CHECK(as_text(bytes).find(to_string(*recipient)) != std::string_view::npos);
  const auto parsed = parse_age_identities(as_text(bytes));
  if (parsed.has_value())
    for (const AgeIdentity& identity : *parsed)
      CHECK(as_text(bytes).find(format_age_identity(identity).text()) != std::string_view::npos);
  return 0;
}
