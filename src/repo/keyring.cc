// The keyring document: reading, opening, and writing the next one. No store is touched here.
#include "repo/keyring.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "codec/aead.h"
#include "codec/encoding.h"
#include "codec/kdf.h"
#include "core/check.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr unsigned kVersion = 1;
constexpr size_t kInnerKeyBytes = 32;
constexpr size_t kSaltBytes = 16;
constexpr size_t kEntriesMax = 1000;
constexpr int kDepthMax = 3;
// About 80 ms and 32 MiB on the machine this was chosen on: archive-push pays it for each segment it is started for.
constexpr ScryptCost kNewCost{.log_n = 15, .r = 8, .p = 1};
constexpr std::string_view kPurpose = "pgark keyring 1";
constexpr std::string_view kMacPurpose = "pgark keyring mac 1";

using Salt = std::array<std::byte, kSaltBytes>;
using Nonce = std::array<std::byte, kAeadNonceBytes>;

struct PassphraseEntry {
  bool wraps_data = false;
  ScryptCost cost;
  Salt salt{};
  Nonce nonce{};
  std::vector<std::byte> sealed;  // Metadata key, then the private data key if it wraps that too, then the tag.
};

struct RecipientEntry {
  AgeRecipient recipient;
  std::vector<std::byte> sealed;  // An age file.
};

// What an entry belongs to. Another repository's entry, or one for other data keys, does not open here.
std::vector<std::byte> binding(const RepositoryId& id, const X25519Public& data_public) {
  ByteWriter out;
  out.string(kPurpose);
  out.raw(id);
  out.raw(data_public);
  return std::move(out).take();
}

std::vector<std::byte> passphrase_binding(const RepositoryId& id, const X25519Public& data_public,
                                          const PassphraseEntry& entry) {
  ByteWriter out;
  out.raw(binding(id, data_public));
  out.fixed(static_cast<uint8_t>(entry.wraps_data));
  out.fixed(entry.cost.log_n);
  out.fixed(entry.cost.r);
  out.fixed(entry.cost.p);
  out.raw(entry.salt);
  return std::move(out).take();
}

AeadKey key_view(const Secret& key) { return key.bytes().first<kAeadKeyBytes>(); }

Result<Secret> passphrase_key(const NamedSecret& passphrase, const PassphraseEntry& entry) {
  Secret key(kAeadKeyBytes);
  TRY(scrypt(passphrase.text.bytes(), entry.salt, entry.cost, key.bytes()));
  return key;
}

// Both keys one behind the other, or the first alone.
Secret join_keys(const RepositoryKeys& keys, bool with_data) {
  CHECK(keys.metadata_key.size() == kInnerKeyBytes && (!with_data || keys.data_private.has_value()));
  Secret joined(with_data ? 2 * kInnerKeyBytes : kInnerKeyBytes);
  std::copy_n(keys.metadata_key.bytes().begin(), kInnerKeyBytes, joined.bytes().begin());
  if (with_data)
    std::copy_n(keys.data_private->bytes().begin(), kInnerKeyBytes, joined.bytes().begin() + kInnerKeyBytes);
  return joined;
}

RepositoryKeys split_keys(Bytes joined, const X25519Public& data_public) {
  RepositoryKeys keys{Secret::copy_of(joined.first(kInnerKeyBytes)), data_public, std::nullopt};
  if (joined.size() > kInnerKeyBytes) keys.data_private = Secret::copy_of(joined.subspan(kInnerKeyBytes));
  return keys;
}

// ---- JSON -----------------------------------------------------------------------------------------------------------

json to_json(const PassphraseEntry& entry) {
  return {{"kind", "scrypt"},
          {"wraps", entry.wraps_data ? "all" : "metadata"},
          {"log_n", entry.cost.log_n},
          {"r", entry.cost.r},
          {"p", entry.cost.p},
          {"salt", base64_encode(entry.salt)},
          {"nonce", base64_encode(entry.nonce)},
          {"sealed", base64_encode(entry.sealed)}};
}

json to_json(const RecipientEntry& entry) {
  return {{"kind", "age"}, {"recipient", to_string(entry.recipient)}, {"sealed", base64_encode(entry.sealed)}};
}

// Reads members of a JSON object; the first that is missing or of another type is remembered.
class Members {
 public:
  explicit Members(const json& object) : object_(object) {}

  std::string text(const char* name) {
    const json* found = find(name);
    if (found == nullptr || !found->is_string()) return fail(name), std::string();
    return found->get<std::string>();
  }
  uint32_t number(const char* name) {
    const json* found = find(name);
    if (found == nullptr || !found->is_number_unsigned() || found->get<uint64_t>() > UINT32_MAX) return fail(name), 0;
    return static_cast<uint32_t>(found->get<uint64_t>());
  }
  std::vector<std::byte> bytes(const char* name) {
    auto decoded = base64_decode(text(name));
    if (!decoded.has_value()) return fail(name), std::vector<std::byte>();
    return *std::move(decoded);
  }
  template <size_t kSize>
  std::array<std::byte, kSize> array(const char* name) {
    std::array<std::byte, kSize> out{};
    const auto decoded = bytes(name);
    if (decoded.size() != kSize)
      fail(name);
    else
      std::copy(decoded.begin(), decoded.end(), out.begin());
    return out;
  }
  void fail(const char* name) {
    if (bad_.empty()) bad_ = name;
  }
  Result<> check() const {
    if (bad_.empty()) return {};
    return Error(Errc::kCorrupt, fmt::format("member '{}' is missing or malformed", bad_));
  }

 private:
  const json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

  const json& object_;
  std::string bad_;
};

Result<PassphraseEntry> parse_passphrase_entry(const json& object) {
  Members members(object);
  PassphraseEntry entry;
  const std::string wraps = members.text("wraps");
  if (wraps != "all" && wraps != "metadata") members.fail("wraps");
  entry.wraps_data = wraps == "all";
  entry.cost = {.log_n = members.number("log_n"), .r = members.number("r"), .p = members.number("p")};
  entry.salt = members.array<kSaltBytes>("salt");
  entry.nonce = members.array<kAeadNonceBytes>("nonce");
  entry.sealed = members.bytes("sealed");
  if (entry.sealed.size() != (entry.wraps_data ? 2 : 1) * kInnerKeyBytes + kAeadTagBytes) members.fail("sealed");
  TRY(members.check());
  if (auto checked = check_scrypt_cost(entry.cost); !checked)
    return Error(std::move(checked).error()).with_code(Errc::kCorrupt);
  return entry;
}

Result<RecipientEntry> parse_recipient_entry(const json& object) {
  Members members(object);
  const std::string recipient = members.text("recipient");
  RecipientEntry entry{{}, members.bytes("sealed")};
  TRY(members.check());
  auto parsed = parse_age_recipient(recipient);
  // One spelling only, so that what is listed is what was meant.
  if (!parsed || to_string(*parsed) != recipient) return Error(Errc::kCorrupt, "member 'recipient' is malformed");
  entry.recipient = *parsed;
  return entry;
}

std::string document_checksum(json document) {
  document.erase("checksum");
  return base64_encode(sha256(document.dump()));
}

Sha256Digest document_mac(json document, const Secret& metadata_key) {
  document.erase("checksum");
  document.erase("mac");
  Secret key(kInnerKeyBytes);
  hkdf_sha256(metadata_key.bytes(), {}, kMacPurpose, key.bytes());
  return hmac_sha256(key.bytes(), document.dump());
}

// ---- opening entries ------------------------------------------------------------------------------------------------

Error wrong_passphrase(const NamedSecret& passphrase) {
  return Error(Errc::kPermission, fmt::format("the passphrase of {} is wrong", passphrase.source));
}

Result<RepositoryKeys> open_entry(const RepositoryId& id, const X25519Public& data_public, const PassphraseEntry& entry,
                                  const NamedSecret& passphrase) {
  TRY_ASSIGN(const Secret key, passphrase_key(passphrase, entry));
  Secret joined = Secret::copy_of(Bytes(entry.sealed).first(entry.sealed.size() - kAeadTagBytes));
  const auto opened = aead_open(key_view(key), entry.nonce, passphrase_binding(id, data_public, entry), joined.bytes(),
                                std::span(entry.sealed).last<kAeadTagBytes>());
  if (!opened && opened.error().code() == Errc::kCorrupt) return wrong_passphrase(passphrase);
  TRY(opened);
  return split_keys(joined.bytes(), data_public);
}

Result<RepositoryKeys> open_entry(const RepositoryId& id, const X25519Public& data_public, const RecipientEntry& entry,
                                  std::span<const AgeIdentity> identity) {
  auto plain = age_decrypt(identity, entry.sealed);
  if (!plain)
    return Error(std::move(plain).error())
        .with_code(Errc::kCorrupt)
        .with_context("entry of recipient " + to_string(entry.recipient));
  const auto bound = binding(id, data_public);
  if (plain->size() != bound.size() + 2 * kInnerKeyBytes ||
      !constant_time_equal(plain->bytes().first(bound.size()), bound))
    return Error(Errc::kCorrupt,
                 fmt::format("entry of recipient {} is of another repository", to_string(entry.recipient)));
  return split_keys(plain->bytes().subspan(bound.size()), data_public);
}

Result<PassphraseEntry> seal_entry(const RepositoryId& id, const RepositoryKeys& keys, bool wraps_data,
                                   const NamedSecret& passphrase) {
  if (passphrase.text.empty())
    return Error(Errc::kInvalid, fmt::format("the passphrase of {} is empty", passphrase.source));
  PassphraseEntry entry;
  entry.wraps_data = wraps_data;
  entry.cost = kNewCost;
  TRY(random_bytes(entry.salt));
  // The key is used once, as the salt is new each time; a random nonce besides costs nothing.
  TRY(random_bytes(entry.nonce));
  TRY_ASSIGN(const Secret key, passphrase_key(passphrase, entry));
  const Secret joined = join_keys(keys, wraps_data);
  entry.sealed.assign(joined.size() + kAeadTagBytes, std::byte{});
  std::copy(joined.bytes().begin(), joined.bytes().end(), entry.sealed.begin());
  const MutableBytes sealed(entry.sealed);
  TRY(aead_seal(key_view(key), entry.nonce, passphrase_binding(id, keys.data_public, entry),
                sealed.first(joined.size()), sealed.last<kAeadTagBytes>()));
  return entry;
}

Result<RecipientEntry> seal_entry(const RepositoryId& id, const RepositoryKeys& keys, const AgeRecipient& recipient) {
  const auto bound = binding(id, keys.data_public);
  const Secret joined = join_keys(keys, true);
  Secret plain(bound.size() + joined.size());
  std::copy(joined.bytes().begin(), joined.bytes().end(), std::copy(bound.begin(), bound.end(), plain.bytes().begin()));
  TRY_ASSIGN(auto sealed, age_encrypt({&recipient, 1}, plain.bytes()));
  return RecipientEntry{recipient, std::move(sealed)};
}

Result<std::vector<AgeIdentity>> parse_identities(const KeyConfig& config) {
  std::vector<AgeIdentity> all;
  for (const NamedSecret& file : config.identities) {
    TRY_ASSIGN_CTX(auto identities, parse_age_identities(file.text.text()), file.source);
    std::move(identities.begin(), identities.end(), std::back_inserter(all));
  }
  return all;
}

Result<std::vector<AgeRecipient>> parse_recipients(const KeyConfig& config) {
  std::vector<AgeRecipient> all;
  for (const std::string& text : config.recipients) {
    TRY_ASSIGN_CTX(const AgeRecipient recipient, parse_age_recipient(text), config.repo + "-recipient");
    if (std::find(all.begin(), all.end(), recipient) == all.end()) all.push_back(recipient);
  }
  return all;
}

}  // namespace

struct Keyring::Document {
  unsigned number = 0;
  RepositoryId id{};
  X25519Public data_public{};
  std::optional<PassphraseEntry> passphrase;
  std::vector<RecipientEntry> recipients;
  json authentic;  // As it is stored.

  static Result<std::shared_ptr<const Document>> parse(std::string_view text, unsigned number);
  Result<> parse_entries(const json& entries);
  /// Write entries and MAC; what an unlocked keyring becomes.
  std::shared_ptr<const Document> finish(const RepositoryKeys& keys) &&;
  const RecipientEntry* find(const AgeRecipient& recipient) const;
  std::string recipient_list() const;

  Result<std::optional<RepositoryKeys>> open_with_passphrase(const KeyConfig& config) const;
  Result<std::optional<RepositoryKeys>> open_with_identities(const KeyConfig& config) const;
  Result<> authenticate(const RepositoryKeys& keys) const;
};

Result<> Keyring::Document::parse_entries(const json& entries) {
  if (!entries.is_array() || entries.empty() || entries.size() > kEntriesMax)
    return Error(Errc::kCorrupt, "member 'entries' is missing or malformed");
  for (const json& object : entries) {
    const std::string kind = object.is_object() ? object.value("kind", json()).dump() : "";
    if (kind == "\"scrypt\"") {
      if (passphrase) return Error(Errc::kCorrupt, "it has two passphrases");
      TRY_ASSIGN(passphrase, parse_passphrase_entry(object));
    } else if (kind == "\"age\"") {
      TRY_ASSIGN(auto entry, parse_recipient_entry(object));
      if (find(entry.recipient) != nullptr) return Error(Errc::kCorrupt, "it has one recipient twice");
      recipients.push_back(std::move(entry));
    } else {
      return Error(Errc::kCorrupt, "an entry is of an unknown kind");
    }
  }
  if (passphrase && passphrase->wraps_data != recipients.empty())
    return Error(Errc::kCorrupt, "its passphrase wraps what its recipients do not allow");
  return {};
}

Result<std::shared_ptr<const Keyring::Document>> Keyring::Document::parse(std::string_view text, unsigned number) {
  auto document = std::make_shared<Document>();
  // What is nested deeper than we write is dropped, and missed by the checksum: printing it would take a stack as deep.
  const auto is_shallow = [](int depth, json::parse_event_t, json&) { return depth <= kDepthMax; };
  document->authentic = json::parse(text, is_shallow, /*allow_exceptions=*/false);
  const json& stored = document->authentic;
  if (!stored.is_object()) return Error(Errc::kCorrupt, "it is not a JSON object");
  Members members(stored);
  const uint32_t version = members.number("keyring");
  TRY(members.check());
  if (version > kVersion)
    return Error(Errc::kUnsupported, fmt::format("it has version {}, this pgark knows up to {}", version, kVersion))
        .with_hint("use a newer pgark");
  const std::string checksum = members.text("checksum");
  TRY(members.check());
  if (checksum != document_checksum(stored)) return Error(Errc::kCorrupt, "it does not match its checksum");
  document->number = members.number("number");
  const auto id = from_hex(members.text("repository"));
  if (!id || id->size() != document->id.size()) members.fail("repository");
  document->data_public = members.array<kX25519KeyBytes>("data_public");
  members.array<sizeof(Sha256Digest)>("mac");
  TRY(members.check());
  std::copy(id->begin(), id->end(), document->id.begin());
  if (document->number != number)
    return Error(Errc::kCorrupt, fmt::format("it was written as keyring.{}", document->number));
  TRY(document->parse_entries(stored.value("entries", json())));
  return std::shared_ptr<const Document>(std::move(document));
}

std::shared_ptr<const Keyring::Document> Keyring::Document::finish(const RepositoryKeys& keys) && {
  json entries = json::array();
  if (passphrase) entries.push_back(to_json(*passphrase));
  for (const RecipientEntry& entry : recipients) entries.push_back(to_json(entry));
  authentic = {{"keyring", kVersion},
               {"number", number},
               {"repository", to_hex(id)},
               {"data_public", base64_encode(data_public)},
               {"entries", std::move(entries)}};
  authentic["mac"] = base64_encode(document_mac(authentic, keys.metadata_key));
  authentic["checksum"] = document_checksum(authentic);
  return std::make_shared<const Document>(std::move(*this));
}

const RecipientEntry* Keyring::Document::find(const AgeRecipient& recipient) const {
  const auto found = std::find_if(recipients.begin(), recipients.end(),
                                  [&](const RecipientEntry& entry) { return entry.recipient == recipient; });
  return found == recipients.end() ? nullptr : &*found;
}

std::string Keyring::Document::recipient_list() const {
  std::vector<std::string> names;
  for (const RecipientEntry& entry : recipients) names.push_back(to_string(entry.recipient));
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

Result<std::optional<RepositoryKeys>> Keyring::Document::open_with_passphrase(const KeyConfig& config) const {
  if (!config.passphrase) return std::optional<RepositoryKeys>();
  // Not passed over: who takes the entry away must not make us trust an identity alone.
  if (!passphrase)
    return Error(Errc::kPermission,
                 fmt::format("{} gives a passphrase, and the repository has none", config.passphrase->source))
        .with_hint("remove the option, or set a passphrase with an identity: pgark key rotate");
  TRY_ASSIGN(auto keys, open_entry(id, data_public, *passphrase, *config.passphrase));
  return std::optional<RepositoryKeys>(std::move(keys));
}

Result<std::optional<RepositoryKeys>> Keyring::Document::open_with_identities(const KeyConfig& config) const {
  if (config.identities.empty()) return std::optional<RepositoryKeys>();
  TRY_ASSIGN(const auto identities, parse_identities(config));
  // Identities of a repository to come: the passphrase opens everything.
  if (recipients.empty() && passphrase && config.passphrase) return std::optional<RepositoryKeys>();
  for (const AgeIdentity& identity : identities) {
    const RecipientEntry* entry = find(identity.recipient);
    if (entry == nullptr) continue;
    TRY_ASSIGN(auto keys, open_entry(id, data_public, *entry, {&identity, 1}));
    return std::optional<RepositoryKeys>(std::move(keys));
  }
  std::vector<std::string> ours;
  for (const AgeIdentity& identity : identities) ours.push_back(to_string(identity.recipient));
  return Error(Errc::kPermission,
               fmt::format("no identity of {}-identity-file is of a recipient of the repository; they are of {}",
                           config.repo, fmt::join(ours, ", ")))
      .with_hint("recipients of the repository: " + recipient_list());
}

Result<> Keyring::Document::authenticate(const RepositoryKeys& keys) const {
  const auto mac = base64_decode(authentic.value("mac", std::string()));
  if (!mac || !constant_time_equal(*mac, document_mac(authentic, keys.metadata_key)))
    return Error(Errc::kCorrupt, fmt::format("keyring.{} was changed by somebody who does not have the keys", number))
        .with_hint("find out who can write to this repository, and bring keyring.* back from a copy");
  if (!keys.data_private) return {};
  TRY_ASSIGN(const X25519Public actual, x25519_public(keys.data_private->bytes().first<kX25519KeyBytes>()));
  if (actual != data_public)
    return Error(Errc::kCorrupt, fmt::format("keyring.{}: its public key is not that of its private key", number));
  return {};
}

Result<Keyring> Keyring::create(const RepositoryId& id, const KeyConfig& config) {
  TRY_ASSIGN(const auto recipients, parse_recipients(config));
  TRY_ASSIGN(const auto identities, parse_identities(config));
  const bool has_own_identity = std::any_of(identities.begin(), identities.end(), [&](const AgeIdentity& identity) {
    return std::find(recipients.begin(), recipients.end(), identity.recipient) != recipients.end();
  });
  if (!config.passphrase && recipients.empty())
    return Error(Errc::kInvalid,
                 fmt::format("{}-cipher-type wants a sealed repository, and no key is configured", config.repo))
        .with_hint(fmt::format(
            "set {0}-cipher-pass (or -file, -command), and {0}-recipient if this host must not read its backups",
            config.repo));
  if (!config.passphrase && !has_own_identity)
    return Error(Errc::kInvalid,
                 fmt::format("with {}-recipient alone this host could not open the repository again", config.repo))
        .with_hint(fmt::format("set {0}-cipher-pass: with recipients it opens what a backup needs to know, and no "
                               "data; or {0}-identity-file, "
                               "on a host that may read everything",
                               config.repo));
  TRY_ASSIGN_CTX(X25519KeyPair data, x25519_generate(), "make keys of the repository");
  RepositoryKeys keys{Secret(kInnerKeyBytes), data.public_key, std::move(data.private_key)};
  TRY_CTX(random_bytes(keys.metadata_key.bytes()), "make keys of the repository");
  Document document{
      .number = 1, .id = id, .data_public = keys.data_public, .passphrase = {}, .recipients = {}, .authentic = {}};
  if (config.passphrase) {
    TRY_ASSIGN(document.passphrase, seal_entry(id, keys, recipients.empty(), *config.passphrase));
  }
  for (const AgeRecipient& recipient : recipients) {
    TRY_ASSIGN(document.recipients.emplace_back(), seal_entry(id, keys, recipient));
  }
  return Keyring(std::move(document).finish(keys));
}

Result<Keyring> Keyring::parse(std::string_view text, unsigned number) {
  TRY_ASSIGN_CTX(auto document, Document::parse(text, number), fmt::format("read keyring.{}", number));
  return Keyring(std::move(document));
}

std::string Keyring::text() const { return document_->authentic.dump(2) + "\n"; }
unsigned Keyring::number() const { return document_->number; }
const RepositoryId& Keyring::repository_id() const { return document_->id; }

std::vector<std::string> KeyringDescription::warnings() const {
  std::vector<std::string> all;
  if (has_single_key)
    all.push_back("one key alone opens the data of this repository; if it is lost, every backup is lost");
  all.insert(all.end(), differences.begin(), differences.end());
  return all;
}

KeyringDescription Keyring::describe(const KeyConfig& config) const {
  KeyringDescription out;
  out.number = document_->number;
  out.data_public = document_->data_public;
  if (document_->passphrase) out.keys.push_back({std::nullopt, document_->passphrase->wraps_data});
  for (const RecipientEntry& entry : document_->recipients) out.keys.push_back({entry.recipient, true});
  out.has_single_key =
      std::count_if(out.keys.begin(), out.keys.end(), [](const KeyringKey& key) { return key.opens_data; }) == 1;
  const auto configured = parse_recipients(config);
  if (!configured) out.differences.push_back(configured.error().message());
  if (!configured || configured->empty()) return out;
  for (const AgeRecipient& recipient : *configured)
    if (document_->find(recipient) == nullptr)
      out.differences.push_back(
          fmt::format("{} is in {}-recipient and cannot read the repository: pgark key add-recipient",
                      to_string(recipient), config.repo));
  for (const RecipientEntry& entry : document_->recipients)
    if (std::find(configured->begin(), configured->end(), entry.recipient) == configured->end())
      out.differences.push_back(fmt::format("{} can read the repository and is not in {}-recipient",
                                            to_string(entry.recipient), config.repo));
  return out;
}

std::vector<KeyTrial> Keyring::try_each(const KeyConfig& config) const {
  std::vector<KeyTrial> trials;
  const auto try_alone = [&](const std::string& source, const KeyConfig& alone) {
    auto keys = unlock(alone);
    KeyTrial trial{.source = source, .error = std::nullopt, .opens_data = keys && keys->data_private};
    if (!keys) trial.error = std::move(keys).error();
    trials.push_back(std::move(trial));
  };
  const auto key_of = [&](const NamedSecret& key) { return NamedSecret{key.source, key.text.clone()}; };
  if (config.passphrase) {
    KeyConfig alone{.sealed = true,
                    .repo = config.repo,
                    .passphrase = key_of(*config.passphrase),
                    .recipients = {},
                    .identities = {}};
    try_alone(config.passphrase->source, alone);
  }
  for (const NamedSecret& file : config.identities) {
    KeyConfig alone{
        .sealed = true, .repo = config.repo, .passphrase = std::nullopt, .recipients = {}, .identities = {}};
    alone.identities.push_back(key_of(file));
    try_alone(file.source, alone);
  }
  return trials;
}

Result<RepositoryKeys> Keyring::unlock(const KeyConfig& config) const {
  if (!config.has_keys())
    return Error(Errc::kInvalid, "it is encrypted, and no key is configured")
        .with_hint(fmt::format("set {0}-cipher-pass (or -file, -command), or {0}-identity-file", config.repo));
  TRY_ASSIGN(auto by_passphrase, document_->open_with_passphrase(config));
  TRY_ASSIGN(auto by_identity, document_->open_with_identities(config));
  if (by_passphrase && by_identity &&
      !constant_time_equal(by_passphrase->metadata_key.bytes(), by_identity->metadata_key.bytes()))
    return Error(Errc::kCorrupt, fmt::format("keyring.{}: its entries hold different keys", number()))
        .with_hint("find out who can write to this repository, and bring keyring.* back from a copy");
  std::optional<RepositoryKeys>& best = by_identity ? by_identity : by_passphrase;
  CHECK(best.has_value());
  TRY(document_->authenticate(*best));
  if (!config.recipients.empty() && document_->recipients.empty())
    return Error(Errc::kInvalid,
                 fmt::format("{}-recipient is configured, and the repository has no recipients: whoever has its "
                             "passphrase can read all data",
                             config.repo))
        .with_hint("pgark key add-recipient, or remove the option");
  return *std::move(best);
}

Result<Keyring> Keyring::with_passphrase(const RepositoryKeys& keys, const NamedSecret& passphrase) const {
  Document next = *document_;
  ++next.number;
  TRY_ASSIGN(next.passphrase, seal_entry(next.id, keys, next.recipients.empty(), passphrase));
  return Keyring(std::move(next).finish(keys));
}

Result<> Keyring::check_passphrase_is_current(const RepositoryKeys& keys, const NamedSecret& passphrase) const {
  TRY_ASSIGN(const auto opened, open_entry(document_->id, document_->data_public, *document_->passphrase, passphrase));
  CHECK(constant_time_equal(opened.metadata_key.bytes(), keys.metadata_key.bytes()));
  return {};
}

Result<Keyring> Keyring::with_recipient(const RepositoryKeys& keys, const AgeRecipient& recipient,
                                        const std::optional<NamedSecret>& passphrase) const {
  if (document_->find(recipient) != nullptr)
    return Error(Errc::kAlreadyExists, fmt::format("{} is a recipient already", to_string(recipient)));
  if (!keys.data_private)
    return Error(Errc::kPermission,
                 "this host cannot read the data of the repository, so it cannot let anybody else read it")
        .with_hint("add the recipient where the identity of another one is (repo-identity-file)");
  Document next = *document_;
  ++next.number;
  if (next.recipients.empty()) {
    if (!passphrase)
      return Error(Errc::kInvalid, "the first recipient takes the data away from the passphrase, which is not given");
    TRY(check_passphrase_is_current(keys, *passphrase));
    TRY_ASSIGN(next.passphrase, seal_entry(next.id, keys, /*wraps_data=*/false, *passphrase));
  }
  TRY_ASSIGN(next.recipients.emplace_back(), seal_entry(next.id, keys, recipient));
  return Keyring(std::move(next).finish(keys));
}

Result<Keyring> Keyring::without_recipient(const RepositoryKeys& keys, const AgeRecipient& recipient,
                                           const std::optional<NamedSecret>& passphrase) const {
  if (document_->find(recipient) == nullptr)
    return Error(Errc::kNotFound, fmt::format("{} is no recipient of the repository", to_string(recipient)))
        .with_hint("recipients of the repository: " + document_->recipient_list());
  Document next = *document_;
  ++next.number;
  std::erase_if(next.recipients, [&](const RecipientEntry& entry) { return entry.recipient == recipient; });
  if (next.recipients.empty()) {
    if (!passphrase)
      return Error(Errc::kInvalid,
                   "it is the last recipient, and without a passphrase nothing would open the data any more")
          .with_hint("give a passphrase (repo-cipher-pass), or add another recipient first");
    if (!keys.data_private)
      return Error(Errc::kPermission,
                   "it is the last recipient, and this host cannot read the data, so that it cannot be put under the "
                   "passphrase")
          .with_hint("give the identity of the recipient (repo-identity-file), or add another recipient first");
    if (document_->passphrase) TRY(check_passphrase_is_current(keys, *passphrase));
    TRY_ASSIGN(next.passphrase, seal_entry(next.id, keys, /*wraps_data=*/true, *passphrase));
  }
  return Keyring(std::move(next).finish(keys));
}

}  // namespace pgark
