// pgark.json: reading and making it; and the tag that ties sealed bytes to their place.
#include "repo/repository.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace pgark {
namespace {

const ObjectKey kRootKey{"pgark.json"};

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

Result<RepositoryId> parse_document(const ObjectStore& store, std::string_view text) {
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
  return parse_id(store, id->get<std::string>());
}

Result<std::string> new_document(Clock& clock) {
  RepositoryId id{};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(id.data()), static_cast<int>(id.size())) != 1)
    return Error(Errc::kInternal, "make repository id: the system's random source failed");
  nlohmann::json document;
  document["format"] = kPlainFormat;
  document["id"] = to_hex(id);
  document["created_us"] = clock.now().time_since_epoch().count();
  document["checksum"] = document_checksum(document);
  return document.dump(2) + "\n";
}

}  // namespace

Result<std::unique_ptr<Repository>> Repository::open(ObjectStore& store) {
  auto text = store.get(kRootKey, 1 << 20);
  if (!text.has_value() && text.error().code() == Errc::kNotFound)
    return Error(Errc::kNotFound, fmt::format("open repository {}: there is no repository here", store.describe()))
        .with_hint("run stanza-create first, or correct repo1-path");
  if (!text.has_value()) return Error(std::move(text).error()).with_context("open repository");
  TRY_ASSIGN(const RepositoryId id, parse_document(store, as_text(*text)));
  return unlocked(store, id, std::nullopt);
}

Result<std::unique_ptr<Repository>> Repository::open_or_create(ObjectStore& store, Clock& clock) {
  auto opened = open(store);
  if (opened.has_value() || opened.error().code() != Errc::kNotFound) return opened;
  TRY_ASSIGN(const std::string document, new_document(clock));
  if (auto written = store.put(kRootKey, as_bytes(document));
      !written.has_value() && written.error().code() != Errc::kAlreadyExists)
    return Error(std::move(written).error()).with_context("create repository");
  return open(store);
}

std::unique_ptr<Repository> Repository::unlocked(ObjectStore& store, const RepositoryId& id,
                                                 std::optional<RepositoryKeys> keys) {
  auto keyring = keys ? std::make_unique<ObjectKeyring>(id, std::move(*keys)) : nullptr;
  return std::unique_ptr<Repository>(new Repository(store, id, std::move(keyring)));
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

Tag Repository::tag(const FrameIdentity& identity, Bytes sealed) const {
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
  return seeded_tag(sealed, hasher.digest());
}

}  // namespace pgark
