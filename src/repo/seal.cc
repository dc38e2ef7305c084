// Key derivation and frame encryption of sealed repositories: docs/format/seal.md.
#include "repo/seal.h"

#include <fmt/format.h>

#include <cstring>

#include "codec/kdf.h"
#include "core/check.h"
#include "repo/container.h"

namespace pgark {
namespace {

// Each holds a page or two of locked memory; a restore reads from few packs at a time.
constexpr size_t kCachedObjectsMax = 256;
// A nonce is 8 random bytes and the offset in units of this: no two frames of an object are as close.
constexpr uint64_t kNonceOffsetUnit = 16;
constexpr size_t kNonceRandomBytes = 8;

std::vector<std::byte> derivation_info(std::string_view purpose, Bytes repository_id, const ObjectKey& key) {
  ByteWriter info;
  info.string(purpose);
  info.raw(repository_id);
  info.raw(as_bytes(key.value));
  return std::move(info).take();
}

AeadKey aead_key(const Secret& key) { return key.bytes().first<kAeadKeyBytes>(); }

std::array<std::byte, kAeadNonceBytes> nonce_of(Bytes random, uint64_t offset) {
  std::array<std::byte, kAeadNonceBytes> nonce{};
  std::memcpy(nonce.data(), random.data(), kNonceRandomBytes);
  CHECK(offset / kNonceOffsetUnit <= UINT32_MAX);
  const auto unit = static_cast<uint32_t>(offset / kNonceOffsetUnit);
  std::memcpy(nonce.data() + kNonceRandomBytes, &unit, sizeof unit);
  return nonce;
}

}  // namespace

const Secret& ObjectKeys::of_frame(FrameType type, const ObjectKey& object) const {
  if (!is_data_frame(type, object)) return metadata;
  CHECK(data.has_value());
  return *data;
}

ObjectKeyring::ObjectKeyring(Bytes repository_id, RepositoryKeys keys)
    : repository_id_(repository_id.begin(), repository_id.end()), keys_(std::move(keys)) {
  CHECK(keys_.metadata_key.size() == kAeadKeyBytes);
}

Secret ObjectKeyring::derive_metadata(const ObjectKey& key) const {
  Secret derived(kAeadKeyBytes);
  hkdf_sha256(keys_.metadata_key.bytes(), {}, derivation_info("pgark metadata 1", repository_id_, key),
              derived.bytes());
  return derived;
}

Secret ObjectKeyring::derive_data(const ObjectKey& key, const Secret& shared, const X25519Public& sender) const {
  ByteWriter salt;
  salt.raw(sender);
  salt.raw(keys_.data_public);
  Secret derived(kAeadKeyBytes);
  hkdf_sha256(shared.bytes(), salt.bytes(), derivation_info("pgark data 1", repository_id_, key), derived.bytes());
  return derived;
}

Result<std::shared_ptr<const ObjectKeys>> ObjectKeyring::make(const ObjectKey& key, bool with_data) const {
  auto keys = std::make_shared<ObjectKeys>();
  keys->metadata = derive_metadata(key);
  if (with_data) {
    TRY_ASSIGN_CTX(const X25519KeyPair sender, x25519_generate(), "make a key for " + key.value);
    TRY_ASSIGN_CTX(const Secret shared, x25519_shared(sender.private_view(), keys_.data_public),
                   "make a key for " + key.value);
    keys->data_sender = sender.public_key;
    keys->data = derive_data(key, shared, sender.public_key);
  }
  return std::shared_ptr<const ObjectKeys>(std::move(keys));
}

std::shared_ptr<const ObjectKeys> ObjectKeyring::remember(const ObjectKey& key,
                                                          std::shared_ptr<const ObjectKeys> keys) {
  MutexLock lock(mu_);
  if (const auto found = by_name_.find(key.value); found != by_name_.end()) {
    by_use_.erase(found->second);
    by_name_.erase(found);
  }
  by_use_.push_front({key.value, keys});
  by_name_[key.value] = by_use_.begin();
  if (by_use_.size() > kCachedObjectsMax) {
    by_name_.erase(by_use_.back().name);
    by_use_.pop_back();
  }
  return keys;
}

std::shared_ptr<const ObjectKeys> ObjectKeyring::metadata(const ObjectKey& key) {
  {
    MutexLock lock(mu_);
    if (const auto found = by_name_.find(key.value); found != by_name_.end()) {
      by_use_.splice(by_use_.begin(), by_use_, found->second);
      return found->second->keys;
    }
  }
  auto keys = std::make_shared<ObjectKeys>();
  keys->metadata = derive_metadata(key);
  return remember(key, std::move(keys));
}

std::shared_ptr<const ObjectKeys> ObjectKeyring::find_data(const ObjectKey& key) {
  MutexLock lock(mu_);
  const auto found = by_name_.find(key.value);
  if (found == by_name_.end() || !found->second->keys->data.has_value()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->keys;
}

Result<std::shared_ptr<const ObjectKeys>> ObjectKeyring::open_data(const ObjectKey& key, const X25519Public& sender) {
  if (!keys_.data_private.has_value())
    return Error(Errc::kPermission,
                 fmt::format("read {}: its data is sealed to recipients, and this host has only the key of the "
                             "repository's metadata",
                             key.value))
        .with_hint(fmt::format("give the identity of a recipient ({}-identity-file) where data is read: restore, "
                               "archive-get, verify",
                               keys_.repo));
  auto shared = x25519_shared(keys_.data_private->bytes().first<kX25519KeyBytes>(), sender);
  if (!shared.has_value())
    return Error(Errc::kCorrupt, fmt::format("object {}: its key frame holds no key", key.value));
  auto keys = std::make_shared<ObjectKeys>();
  keys->metadata = derive_metadata(key);
  keys->data_sender = sender;
  keys->data = derive_data(key, *shared, sender);
  return remember(key, std::move(keys));
}

Result<> seal_frame(const Secret& key, Bytes identity, uint64_t offset, MutableBytes coded,
                    std::span<std::byte, kAeadTagBytes> tag) {
  CHECK(coded.size() >= kNonceRandomBytes);
  TRY(random_bytes(coded.first(kNonceRandomBytes)));
  const auto nonce = nonce_of(coded, offset);
  return aead_seal(aead_key(key), nonce, identity, coded.subspan(kNonceRandomBytes), tag);
}

Result<> open_frame(const Secret& key, Bytes identity, uint64_t offset, MutableBytes coded,
                    std::span<const std::byte, kAeadTagBytes> tag) {
  CHECK(coded.size() >= kNonceRandomBytes);
  const auto nonce = nonce_of(coded, offset);
  return aead_open(aead_key(key), nonce, identity, coded.subspan(kNonceRandomBytes), tag);
}

}  // namespace pgark
