#include "codec/x25519.h"

#include <algorithm>
#include <memory>

#include "codec/libcrypto.h"

namespace pgark {
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { crypto().EVP_PKEY_free(key); }
};
struct FreeKeyContext {
  void operator()(EVP_PKEY_CTX* context) const { crypto().EVP_PKEY_CTX_free(context); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

Error unsupported(std::string_view what) {
  crypto().ERR_clear_error();
  return Error(Errc::kUnsupported, std::string(what) + ": OpenSSL does not provide X25519");
}

Key load_private(X25519PrivateView bytes) {
  return Key(crypto().EVP_PKEY_new_raw_private_key_ex(
      nullptr, "X25519", nullptr, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

}  // namespace

Result<X25519KeyPair> x25519_generate() {
  X25519KeyPair pair{Secret(kX25519KeyBytes), {}};
  TRY_CTX(random_bytes(pair.private_key.bytes()), "generate X25519 key");
  TRY_ASSIGN(pair.public_key, x25519_public(pair.private_view()));
  return pair;
}

Result<X25519Public> x25519_public(X25519PrivateView private_key) {
  const Key key = load_private(private_key);
  X25519Public bytes;
  size_t size = bytes.size();
  if (!key ||
      crypto().EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(bytes.data()), &size) != 1 ||
      size != bytes.size())
    return unsupported("compute X25519 public key");
  return bytes;
}

Result<Secret> x25519_shared(X25519PrivateView private_key, const X25519Public& peer) {
  const Key key = load_private(private_key);
  const Key peer_key(crypto().EVP_PKEY_new_raw_public_key_ex(
      nullptr, "X25519", nullptr, reinterpret_cast<const unsigned char*>(peer.data()), peer.size()));
  const std::unique_ptr<EVP_PKEY_CTX, FreeKeyContext> context(
      key ? crypto().EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr) : nullptr);
  if (!peer_key || !context || crypto().EVP_PKEY_derive_init(context.get()) != 1 ||
      crypto().EVP_PKEY_derive_set_peer_ex(context.get(), peer_key.get(), 0) != 1)
    return unsupported("agree on a key");
  Secret shared(kX25519KeyBytes);
  size_t size = shared.size();
  const bool derived =
      crypto().EVP_PKEY_derive(context.get(), reinterpret_cast<unsigned char*>(shared.bytes().data()), &size) == 1;
  // OpenSSL refuses the result zero by itself; that is a promise of ours, so it is looked at here too.
  std::byte any{};
  for (const std::byte b : shared.bytes()) any |= b;
  if (!derived || size != kX25519KeyBytes || any == std::byte{0}) {
    crypto().ERR_clear_error();
    return Error(Errc::kInvalid, "agree on a key: the public key is of low order, which no honest key is");
  }
  return shared;
}

}  // namespace pgark
