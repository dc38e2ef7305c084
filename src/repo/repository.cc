// pgark.json: reading and making it; and the tag that ties sealed bytes to their place.
#include "repo/repository.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "codec/libcrypto.h"
#include "repo/keyring_store.h"

namespace pgark {

const ObjectKey kRepositoryRootKey{"pgark.json"};

namespace {

constexpr std::string_view kSealName = "aes-256-gcm";

/// Checksum of the document without its own member; nlohmann's objects are sorted by name, so the text is canonical.
std::string document_checksum(nlohmann::json document) {
  document.erase("checksum");
  return fmt::format("{:016x}", seeded_hash(as_bytes(document.dump()), 0));
}

Error damaged(const ObjectStore& store, std::string_view what) {
  return Error(Errc::kCorrupt, fmt::format("open repository {}: pgark.json {}", store.describe(), what))
      .with_hint(
          "restore pgark.json from a copy of the repository; without it nothing in the repository can be checked");
}

Result<RepositoryId> parse_id(const ObjectStore& store, const std::string& hex) {
  RepositoryId id{};
  if (hex.size() != id.size() * 2) return damaged(store, "holds no repository id");
  for (size_t i = 0; i < id.size(); ++i) {
    unsigned value = 0;
    const char* at = hex.data() + i * 2;
    if (std::from_chars(at, at + 2, value, 16).ptr != at + 2) return damaged(store, "holds no repository id");
    id[i] = static_cast<std::byte>(value);
  }
  return id;
}

/// What pgark.json says.
struct RootDocument {
  RepositoryId id{};
  bool sealed = false;
};

Result<RootDocument> parse_document(const ObjectStore& store, std::string_view text) {
  const auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return damaged(store, "is not a JSON object");
  const auto format = document.find("format");
  if (format == document.end() || !format->is_number_unsigned()) return damaged(store, "names no format");
  // The format comes before the checksum: a newer format may compute it in another way.
  if (format->get<uint64_t>() > kRepositoryFormat)
    return Error(Errc::kUnsupported, fmt::format("open repository {}: it has format {}, this pgark knows up to {}",
                                                 store.describe(), format->get<uint64_t>(), kRepositoryFormat))
        .with_hint("use a newer pgark");
  const auto checksum = document.find("checksum");
  if (checksum == document.end() || !checksum->is_string() || *checksum != document_checksum(document))
    return damaged(store, "does not match its checksum");
  const auto id = document.find("id");
  if (id == document.end() || !id->is_string()) return damaged(store, "holds no repository id");
  RootDocument root;
  TRY_ASSIGN(root.id, parse_id(store, id->get<std::string>()));
  const auto seal = document.find("seal");
  if (seal == document.end()) return root;
  if (!seal->is_string() || *seal != kSealName)
    return Error(Errc::kUnsupported,
                 fmt::format("open repository {}: it is encrypted in a way this pgark does not know", store.describe()))
        .with_hint("use a newer pgark");
  root.sealed = true;
  return root;
}

/// Both ways of not agreeing end here: a repository that is believed to be encrypted must not be plain.
Result<> check_sealed(const ObjectStore& store, bool sealed, const KeyConfig& config) {
  if (sealed == config.sealed) return {};
  if (sealed)
    return Error(Errc::kInvalid, fmt::format("open repository {}: it is encrypted, and {}-cipher-type is none",
                                             store.describe(), config.repo))
        .with_hint(fmt::format("set {}-cipher-type=aes-256-gcm and its key ({}-cipher-pass or {}-identity-file)",
                               config.repo, config.repo, config.repo));
  return Error(Errc::kInvalid, fmt::format("open repository {}: it is not encrypted, and {}-cipher-type asks for it",
                                           store.describe(), config.repo))
      .with_hint(
          "a repository stays as it was made: make a new one under another path or number and fill it with "
          "repo-copy, or remove the option");
}

std::string new_document(const RepositoryId& id, bool sealed, Clock& clock) {
  nlohmann::json document;
  document["format"] = sealed ? kSealedFormat : kPlainFormat;
  document["id"] = to_hex(id);
  document["created_us"] = clock.now().time_since_epoch().count();
  if (sealed) document["seal"] = kSealName;
  document["checksum"] = document_checksum(document);
  return document.dump(2) + "\n";
}

}  // namespace

Result<std::unique_ptr<Repository>> Repository::open(ObjectStore& store, const KeyConfig& config) {
  auto text = store.get(kRepositoryRootKey, 1 << 20);
  if (!text.has_value() && text.error().code() == Errc::kNotFound)
    return Error(Errc::kNotFound, fmt::format("open repository {}: there is no repository here", store.describe()))
        .with_hint("run stanza-create first, or correct repo1-path");
  if (!text.has_value()) return Error(std::move(text).error()).with_context("open repository");
  TRY_ASSIGN(const RootDocument root, parse_document(store, as_text(*text)));
  TRY(check_sealed(store, root.sealed, config));
  if (!root.sealed) return unlocked(store, root.id, std::nullopt);
  TRY_CTX(load_libcrypto(), "open repository " + store.describe());
  TRY_ASSIGN(RepositoryKeys keys, open_keyring(store, root.id, config));
  keys.repo = config.repo;
  return unlocked(store, root.id, std::move(keys));
}

Result<std::unique_ptr<Repository>> Repository::open(ObjectStore& store) { return open(store, KeyConfig{}); }

Result<std::unique_ptr<Repository>> Repository::open_or_create(ObjectStore& store, Clock& clock,
                                                               const KeyConfig& config) {
  auto opened = open(store, config);
  if (opened.has_value() || opened.error().code() != Errc::kNotFound) return opened;
  RepositoryId id{};
  TRY_CTX(random_bytes(id), "make repository id");
  if (config.sealed) {
    TRY_CTX(load_libcrypto(), "create repository");
    // The keyring comes first: a pgark.json without one would be a repository nobody can open.
    TRY_ASSIGN_CTX(const Keyring keyring, create_keyring(store, id, config), "create repository");
    id = keyring.repository_id();
  }
  const std::string document = new_document(id, config.sealed, clock);
  if (auto written = store.put(kRepositoryRootKey, as_bytes(document));
      !written.has_value() && written.error().code() != Errc::kAlreadyExists)
    return Error(std::move(written).error()).with_context("create repository");
  return open(store, config);
}

Result<std::unique_ptr<Repository>> Repository::open_or_create(ObjectStore& store, Clock& clock) {
  return open_or_create(store, clock, KeyConfig{});
}

std::unique_ptr<Repository> Repository::unlocked(ObjectStore& store, const RepositoryId& id,
                                                 std::optional<RepositoryKeys> keys) {
  auto keyring = keys ? std::make_unique<ObjectKeyring>(id, std::move(*keys)) : nullptr;
  return std::unique_ptr<Repository>(new Repository(store, id, std::move(keyring)));
}

Result<> Repository::check_can_open_data(std::string_view verb_object) const {
  if (can_open_data()) return {};
  return Error(Errc::kPermission, fmt::format("{}: the data in {} is sealed to recipients, and this host has only the "
                                              "key of its metadata",
                                              verb_object, store_.describe()))
      .with_hint(fmt::format("do it where the identity of a recipient is at hand, and name it with {}-identity-file",
                             keyring_->option_prefix()));
}

std::vector<std::byte> Repository::identity_bytes(const FrameIdentity& identity) const {
  ByteWriter bytes;
  bytes.raw(id_);
  bytes.fixed(identity.offset);
  bytes.fixed(identity.raw_bytes);
  bytes.fixed(identity.type);
  bytes.fixed(static_cast<uint8_t>(identity.codec));
  bytes.raw(as_bytes(identity.key.value));
  return std::move(bytes).take();
}

Tag Repository::tag(const FrameIdentity& identity, Bytes coded, Bytes following) const {
  Hasher64 hasher;
  hasher.update(id_);
  hasher.update(as_bytes(identity.key.value));
  // Fixed fields last and of fixed length: no two identities hash the same text.
  std::array<std::byte, 14> fields{};
  std::memcpy(fields.data(), &identity.offset, 8);
  std::memcpy(fields.data() + 8, &identity.raw_bytes, 4);
  fields[12] = static_cast<std::byte>(identity.type);
  fields[13] = static_cast<std::byte>(identity.codec);
  hasher.update(fields);
  return seeded_tag(coded, following, hasher.digest());
}

}  // namespace pgark
