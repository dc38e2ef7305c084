#include "codec/age.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "codec/aead.h"
#include "codec/bech32.h"
#include "codec/kdf.h"
#include "core/check.h"

namespace pgark {
namespace {

constexpr std::string_view kRecipientPrefix = "age";
constexpr std::string_view kIdentityPrefix = "AGE-SECRET-KEY-";
constexpr std::string_view kVersionLine = "age-encryption.org/v1\n";
constexpr std::string_view kArmorLine = "-----BEGIN AGE ENCRYPTED FILE-----";
constexpr std::string_view kX25519Info = "age-encryption.org/v1/X25519";

constexpr size_t kFileKeyBytes = 16;
constexpr size_t kWrappedKeyBytes = kFileKeyBytes + kAeadTagBytes;
constexpr size_t kPayloadNonceBytes = 16;
constexpr size_t kChunkBytes = size_t{64} << 10;
constexpr size_t kBodyColumns = 64;
constexpr size_t kMacDigits = 43;
// The format has no bounds; a header that needs more than these is not one anybody wrote for us.
constexpr size_t kHeaderBytesMax = size_t{1} << 20;
constexpr size_t kStanzasMax = 1024;

using WrappedKey = std::array<std::byte, kWrappedKeyBytes>;
constexpr std::array<std::byte, kAeadNonceBytes> kZeroNonce{};  // Each wrapping key is used once.

Error corrupt(std::string_view what) { return {Errc::kCorrupt, "decrypt age file: " + std::string(what)}; }

AeadKey key_view(const Secret& key) { return key.bytes().first<kAeadKeyBytes>(); }

Secret derive(Bytes input_key, Bytes salt, std::string_view info) {
  Secret key(kAeadKeyBytes);
  hkdf_sha256(input_key, salt, info, key.bytes());
  return key;
}

// The key that wraps the file key for one recipient: bound to both public keys.
Secret wrapping_key(const Secret& shared, const X25519Public& share, const X25519Public& recipient) {
  std::array<std::byte, 2 * kX25519KeyBytes> salt;
  std::copy(recipient.begin(), recipient.end(), std::copy(share.begin(), share.end(), salt.begin()));
  return derive(shared.bytes(), salt, kX25519Info);
}

Sha256Digest header_mac(const Secret& file_key, std::string_view header) {
  return hmac_sha256(derive(file_key.bytes(), {}, "header").bytes(), header);
}

// STREAM: the nonce counts the chunks and marks the last, so that none can be dropped, repeated or moved.
std::array<std::byte, kAeadNonceBytes> chunk_nonce(uint64_t index, bool is_last) {
  std::array<std::byte, kAeadNonceBytes> nonce{};
  for (size_t i = 0; i < sizeof index; ++i) nonce[10 - i] = static_cast<std::byte>(index >> (8 * i));
  nonce[11] = std::byte{is_last};
  return nonce;
}

// ---- header ---------------------------------------------------------------------------------------------------------

struct Stanza {
  X25519Public share;
  WrappedKey wrapped;
};

struct Header {
  std::vector<Stanza> stanzas;  // Those of type X25519; a reader passes over the others.
  size_t stanza_count = 0;      // All of them.
  std::string_view authentic;   // What the MAC covers.
  Sha256Digest mac;
  size_t bytes = 0;
};

class HeaderParser {
 public:
  explicit HeaderParser(Bytes file) : text_(as_text(file.first(std::min(file.size(), kHeaderBytesMax)))) {}

  Result<Header> parse() {
    if (text_.starts_with(kArmorLine))
      return Error(Errc::kUnsupported, "decrypt age file: it is armored; only the binary form is read");
    if (text_.starts_with("age-encryption.org/") && !text_.starts_with(kVersionLine))
      return Error(Errc::kUnsupported, "decrypt age file: it is of another version of the format");
    if (!text_.starts_with(kVersionLine)) return corrupt("it does not begin like one");
    at_ = kVersionLine.size();
    Header header;
    while (text_.substr(at_).starts_with("-> ")) {
      if (++header.stanza_count > kStanzasMax) return corrupt("more recipients than can be");
      TRY(stanza(header));
    }
    if (header.stanza_count == 0) return corrupt("no recipient in its header");
    header.authentic = text_.substr(0, at_ + 3);
    TRY_ASSIGN(std::string_view last, line());
    if (!last.starts_with("--- ") || last.size() != 4 + kMacDigits) return corrupt("the end of its header is damaged");
    const auto mac = base64_decode(last.substr(4), Base64::kStandardNoPadding);
    if (!mac || mac->size() != header.mac.size()) return corrupt("the end of its header is damaged");
    std::copy(mac->begin(), mac->end(), header.mac.begin());
    header.bytes = at_;
    return header;
  }

 private:
  Result<std::string_view> line() {
    const size_t end = text_.find('\n', at_);
    if (end == std::string_view::npos) return corrupt("its header has no end");
    const std::string_view found = text_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }

  Result<> stanza(Header& header) {
    TRY_ASSIGN(const std::string_view first, line());
    std::vector<std::string_view> arguments;
    for (std::string_view rest = first.substr(3);;) {
      const size_t end = std::min(rest.find(' '), rest.size());
      const std::string_view argument = rest.substr(0, end);
      if (argument.empty() ||
          !std::all_of(argument.begin(), argument.end(), [](char c) { return c >= 33 && c <= 126; }))
        return corrupt("a recipient line is malformed");
      arguments.push_back(argument);
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
    }
    TRY_ASSIGN(const auto body, stanza_body());
    if (arguments[0] != "X25519") return {};
    const std::string_view share_digits = arguments.size() == 2 ? arguments[1] : std::string_view();
    const auto share = base64_decode(share_digits, Base64::kStandardNoPadding);
    if (!share || share->size() != kX25519KeyBytes || body.size() != kWrappedKeyBytes)
      return corrupt("an X25519 recipient is malformed");
    Stanza& stanza = header.stanzas.emplace_back();
    std::copy(share->begin(), share->end(), stanza.share.begin());
    std::copy(body.begin(), body.end(), stanza.wrapped.begin());
    return {};
  }

  // Lines of 64 columns, then one that is shorter, maybe empty.
  Result<std::vector<std::byte>> stanza_body() {
    std::string digits;
    while (true) {
      TRY_ASSIGN(const std::string_view part, line());
      if (part.size() > kBodyColumns) return corrupt("a recipient has a line that is too long");
      digits += part;
      if (part.size() < kBodyColumns) break;
    }
    auto body = base64_decode(digits, Base64::kStandardNoPadding);
    if (!body) return corrupt("a recipient is not base64");
    return *std::move(body);
  }

  std::string_view text_;
  size_t at_ = 0;
};

Result<std::string> wrap_file_key(const Secret& file_key, const AgeRecipient& recipient) {
  TRY_ASSIGN(const X25519KeyPair ephemeral, x25519_generate());
  TRY_ASSIGN(const Secret shared, x25519_shared(ephemeral.private_view(), recipient.key));
  const Secret key = wrapping_key(shared, ephemeral.public_key, recipient.key);
  WrappedKey wrapped;
  const MutableBytes sealed = MutableBytes(wrapped).first(kFileKeyBytes);
  std::copy(file_key.bytes().begin(), file_key.bytes().end(), sealed.begin());
  TRY(aead_seal(key_view(key), kZeroNonce, {}, sealed, std::span(wrapped).last<kAeadTagBytes>(),
                Aead::kChaCha20Poly1305));
  return fmt::format("-> X25519 {}\n{}\n", base64_encode(ephemeral.public_key, Base64::kStandardNoPadding),
                     base64_encode(wrapped, Base64::kStandardNoPadding));
}

// Nothing if the stanza is for somebody else.
Result<std::optional<Secret>> unwrap_file_key(const Stanza& stanza, const AgeIdentity& identity) {
  auto shared = x25519_shared(identity.private_key.bytes().first<kX25519KeyBytes>(), stanza.share);
  if (!shared && shared.error().code() == Errc::kInvalid) return corrupt("an X25519 recipient is malformed");
  if (!shared) return Error(std::move(shared).error());
  const Secret key = wrapping_key(*shared, stanza.share, identity.recipient.key);
  Secret file_key = Secret::copy_of(Bytes(stanza.wrapped).first(kFileKeyBytes));
  const auto opened = aead_open(key_view(key), kZeroNonce, {}, file_key.bytes(),
                                std::span(stanza.wrapped).last<kAeadTagBytes>(), Aead::kChaCha20Poly1305);
  if (!opened && opened.error().code() == Errc::kCorrupt) return std::optional<Secret>();
  TRY(opened);
  return std::optional<Secret>(std::move(file_key));
}

Result<Secret> find_file_key(const Header& header, std::span<const AgeIdentity> identities) {
  for (const AgeIdentity& identity : identities) {
    for (const Stanza& stanza : header.stanzas) {
      TRY_ASSIGN(auto file_key, unwrap_file_key(stanza, identity));
      if (file_key) return *std::move(file_key);
    }
  }
  return Error(Errc::kPermission, fmt::format("decrypt age file: none of {} identities is among its {} recipients",
                                              identities.size(), header.stanza_count));
}

// ---- payload --------------------------------------------------------------------------------------------------------

Result<Secret> open_payload(const Secret& file_key, Bytes payload) {
  constexpr size_t kSealedChunkBytes = kChunkBytes + kAeadTagBytes;
  if (payload.size() < kPayloadNonceBytes + kAeadTagBytes) return corrupt("it ends too early");
  const Secret key = derive(file_key.bytes(), payload.first(kPayloadNonceBytes), "payload");
  payload = payload.subspan(kPayloadNonceBytes);
  const size_t chunk_count = (payload.size() + kSealedChunkBytes - 1) / kSealedChunkBytes;
  const size_t last_bytes = payload.size() - (chunk_count - 1) * kSealedChunkBytes;
  if (last_bytes < kAeadTagBytes) return corrupt("it ends too early");
  if (last_bytes == kAeadTagBytes && chunk_count > 1) return corrupt("it has an empty chunk at its end");
  Secret plaintext(payload.size() - chunk_count * kAeadTagBytes);
  MutableBytes out = plaintext.bytes();
  for (size_t index = 0; index < chunk_count; ++index) {
    const Bytes sealed = payload.first(std::min(payload.size(), kSealedChunkBytes));
    payload = payload.subspan(sealed.size());
    const MutableBytes chunk = out.first(sealed.size() - kAeadTagBytes);
    out = out.subspan(chunk.size());
    std::copy_n(sealed.begin(), chunk.size(), chunk.begin());
    TRY_CTX(aead_open(key_view(key), chunk_nonce(index, payload.empty()), {}, chunk, sealed.last<kAeadTagBytes>(),
                      Aead::kChaCha20Poly1305),
            "decrypt age file");
  }
  return plaintext;
}

// ---- keys as text ---------------------------------------------------------------------------------------------------

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Result<AgeIdentity> parse_identity(std::string_view text) {
  if (text.starts_with("AGE-PLUGIN-"))
    return Error(Errc::kUnsupported, "identities of plug-ins are not supported; only AGE-SECRET-KEY-1... is");
  if (!text.starts_with(kIdentityPrefix)) return Error(Errc::kInvalid, "not an age identity (AGE-SECRET-KEY-1...)");
  auto decoded = bech32_decode(text);
  if (!decoded.has_value())
    return Error(Errc::kInvalid, "not an age identity: a character was changed or lost, or characters were added");
  AgeIdentity identity{Secret::copy_of(decoded->data), {}};
  wipe(decoded->data);
  if (decoded->prefix != kIdentityPrefix || identity.private_key.size() != kX25519KeyBytes)
    return Error(Errc::kInvalid, "not an age identity (AGE-SECRET-KEY-1...)");
  TRY_ASSIGN(identity.recipient.key, x25519_public(identity.private_key.bytes().first<kX25519KeyBytes>()));
  return identity;
}

}  // namespace

std::string to_string(const AgeRecipient& recipient) {
  auto text = bech32_encode(kRecipientPrefix, recipient.key);
  CHECK(text.has_value());
  return *std::move(text);
}

Result<AgeRecipient> parse_age_recipient(std::string_view text) {
  text = trim(text);
  if (text.starts_with("ssh-"))
    return Error(Errc::kUnsupported, "parse recipient: SSH keys are not supported; only age1... is");
  // Not shown: it may be the private key, put into the wrong place.
  if (!text.starts_with("age1")) return Error(Errc::kInvalid, "parse recipient: it does not begin with age1");
  const auto decoded = bech32_decode(text);
  if (decoded.has_value() && decoded->prefix != kRecipientPrefix)
    return Error(
        Errc::kUnsupported,
        fmt::format("parse recipient {}: recipients of plug-ins are not supported; only X25519 ones are", text));
  if (!decoded.has_value())
    return Error(decoded.error()).with_context(fmt::format("parse recipient {}", text.substr(0, 80)));
  AgeRecipient recipient;
  if (decoded->data.size() != recipient.key.size())
    return Error(Errc::kInvalid, fmt::format("parse recipient {}: not a key of 32 bytes", text));
  std::copy(decoded->data.begin(), decoded->data.end(), recipient.key.begin());
  return recipient;
}

Result<AgeIdentity> generate_age_identity() {
  TRY_ASSIGN_CTX(X25519KeyPair pair, x25519_generate(), "generate age identity");
  return AgeIdentity{std::move(pair.private_key), AgeRecipient{pair.public_key}};
}

Secret format_age_identity(const AgeIdentity& identity) {
  auto text = bech32_encode(kIdentityPrefix, identity.private_key.bytes());
  CHECK(text.has_value());
  return Secret::from_text(*std::move(text));
}

Secret format_age_identity_file(const AgeIdentity& identity, std::string_view created) {
  const Secret key = format_age_identity(identity);
  std::string comments = fmt::format("# created: {}\n# public key: {}\n", created, to_string(identity.recipient));
  Secret file(comments.size() + key.size() + 1);
  auto at = std::copy_n(as_bytes(comments).begin(), comments.size(), file.bytes().begin());
  *std::copy(key.bytes().begin(), key.bytes().end(), at) = std::byte{'\n'};
  return file;
}

Result<std::vector<AgeIdentity>> parse_age_identities(std::string_view text) {
  if (text.starts_with(kArmorLine) || text.starts_with("age-encryption.org/"))
    return Error(Errc::kUnsupported, "parse identities: the file is encrypted itself")
        .with_hint("decrypt it: age --decrypt");
  if (text.starts_with("-----BEGIN "))
    return Error(Errc::kUnsupported,
                 "parse identities: SSH and PEM keys are not supported; only AGE-SECRET-KEY-1... is");
  std::vector<AgeIdentity> identities;
  size_t line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    TRY_ASSIGN_CTX(identities.emplace_back(), parse_identity(line),
                   fmt::format("parse identities: line {}", line_number));
  }
  if (identities.empty())
    return Error(Errc::kInvalid, "parse identities: there is none").with_hint("make one: pgark key generate");
  return identities;
}

AgeEncryptor::AgeEncryptor(Secret key, Sink sink)
    : key_(std::move(key)), chunk_(kChunkBytes + kAeadTagBytes), sink_(std::move(sink)) {}

Result<AgeEncryptor> AgeEncryptor::start(std::span<const AgeRecipient> recipients, Sink sink) {
  if (recipients.empty()) return Error(Errc::kInvalid, "encrypt age file: there is no recipient");
  Secret file_key(kFileKeyBytes);
  TRY_CTX(random_bytes(file_key.bytes()), "encrypt age file");
  std::string header(kVersionLine);
  for (const AgeRecipient& recipient : recipients) {
    TRY_ASSIGN_CTX(const std::string stanza, wrap_file_key(file_key, recipient), "encrypt to " + to_string(recipient));
    header += stanza;
  }
  header += "---";
  header += " " + base64_encode(header_mac(file_key, header), Base64::kStandardNoPadding) + "\n";
  std::array<std::byte, kPayloadNonceBytes> nonce;
  TRY_CTX(random_bytes(nonce), "encrypt age file");
  TRY(sink(as_bytes(header)));
  TRY(sink(nonce));
  return AgeEncryptor(derive(file_key.bytes(), nonce, "payload"), std::move(sink));
}

Result<> AgeEncryptor::write(Bytes plaintext) {
  while (!plaintext.empty()) {
    // A full chunk may be the last, as long as nothing comes after it.
    if (gathered_ == kChunkBytes) TRY(seal_chunk(false));
    const Bytes part = plaintext.first(std::min(plaintext.size(), kChunkBytes - gathered_));
    std::copy(part.begin(), part.end(), chunk_.bytes().subspan(gathered_).begin());
    gathered_ += part.size();
    plaintext = plaintext.subspan(part.size());
  }
  return {};
}

Result<> AgeEncryptor::finish() { return seal_chunk(true); }

Result<> AgeEncryptor::seal_chunk(bool is_last) {
  const MutableBytes sealed = chunk_.bytes().first(gathered_ + kAeadTagBytes);
  TRY_CTX(aead_seal(key_view(key_), chunk_nonce(index_++, is_last), {}, sealed.first(gathered_),
                    sealed.last<kAeadTagBytes>(), Aead::kChaCha20Poly1305),
          "encrypt age file");
  gathered_ = 0;
  return sink_(sealed);
}

Result<std::vector<std::byte>> age_encrypt(std::span<const AgeRecipient> recipients, Bytes plaintext) {
  std::vector<std::byte> file;
  TRY_ASSIGN(AgeEncryptor encryptor, AgeEncryptor::start(recipients, [&file](Bytes part) -> Result<> {
               file.insert(file.end(), part.begin(), part.end());
               return {};
             }));
  TRY(encryptor.write(plaintext));
  TRY(encryptor.finish());
  return file;
}

Result<Secret> age_decrypt(std::span<const AgeIdentity> identities, Bytes file) {
  TRY_ASSIGN(const Header header, HeaderParser(file).parse());
  TRY_ASSIGN(const Secret file_key, find_file_key(header, identities));
  if (!constant_time_equal(header_mac(file_key, header.authentic), header.mac))
    return corrupt("its header was changed");
  return open_payload(file_key, file.subspan(header.bytes));
}

}  // namespace pgark
