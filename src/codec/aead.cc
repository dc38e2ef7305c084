#include "codec/aead.h"

#include <algorithm>
#include <array>
#include <memory>

#include "codec/libcrypto.h"
#include "codec/secret.h"

namespace pgark {
namespace {

// EVP counts in int.
constexpr size_t kPieceBytesMax = size_t{1} << 30;
constexpr std::array<unsigned char, kAeadKeyBytes> kNoKey{};

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { crypto().EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* raw(const std::byte* at) { return reinterpret_cast<const unsigned char*>(at); }
unsigned char* raw(std::byte* at) { return reinterpret_cast<unsigned char*>(at); }

// A context with its cipher set; only the key and the nonce change from call to call, which keeps what it allocated.
Context make_context(Aead kind) {
  static EVP_CIPHER* const ciphers[] = {crypto().EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr),
                                        crypto().EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr)};
  EVP_CIPHER* const cipher = ciphers[static_cast<size_t>(kind)];
  Context context(cipher == nullptr ? nullptr : crypto().EVP_CIPHER_CTX_new());
  if (context && crypto().EVP_CipherInit_ex2(context.get(), cipher, nullptr, nullptr, 1, nullptr) != 1) context.reset();
  return context;
}

EVP_CIPHER_CTX* context_of_thread(Aead kind) {
  thread_local Context contexts[2];
  Context& context = contexts[static_cast<size_t>(kind)];
  if (!context) context = make_context(kind);
  return context.get();
}

// One pass with a key, which does not stay behind in the context.
class Pass {
 public:
  Pass(EVP_CIPHER_CTX* context, AeadKey key, AeadNonce nonce, bool sealing)
      : context_(context), sealing_(sealing ? 1 : 0) {
    ok_ = crypto().EVP_CipherInit_ex2(context_, nullptr, raw(key.data()), raw(nonce.data()), sealing_, nullptr) == 1;
  }
  ~Pass() {
    crypto().EVP_CipherInit_ex2(context_, nullptr, kNoKey.data(), nullptr, sealing_, nullptr);
    if (!ok_) crypto().ERR_clear_error();
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  /// Authenticate only.
  void authenticate(Bytes aad) {
    for_pieces(aad.size(), [&](size_t at, int count) {
      int done = 0;
      return crypto().EVP_CipherUpdate(context_, nullptr, &done, raw(aad.data() + at), count) == 1;
    });
  }
  void transform(MutableBytes data) {
    for_pieces(data.size(), [&](size_t at, int count) {
      int done = 0;
      return crypto().EVP_CipherUpdate(context_, raw(data.data() + at), &done, raw(data.data() + at), count) == 1 &&
             done == count;
    });
  }
  void tag(int control, void* tag) {
    ok_ = ok_ && crypto().EVP_CIPHER_CTX_ctrl(context_, control, static_cast<int>(kAeadTagBytes), tag) == 1;
  }
  bool finish() {
    unsigned char unused[16];
    int count = 0;
    ok_ = ok_ && crypto().EVP_CipherFinal_ex(context_, unused, &count) == 1;
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  template <typename Step>
  void for_pieces(size_t size, const Step& step) {
    for (size_t at = 0; ok_ && at < size; at += kPieceBytesMax)
      ok_ = step(at, static_cast<int>(std::min(kPieceBytesMax, size - at)));
  }

  EVP_CIPHER_CTX* context_;
  int sealing_;
  bool ok_;
};

Error unsupported(std::string_view what) {
  crypto().ERR_clear_error();
  return Error(Errc::kUnsupported, std::string(what) + ": OpenSSL does not provide the cipher");
}

}  // namespace

Result<> aead_seal(AeadKey key, AeadNonce nonce, Bytes aad, MutableBytes data, std::span<std::byte, kAeadTagBytes> tag,
                   Aead kind) {
  EVP_CIPHER_CTX* const context = context_of_thread(kind);
  if (context == nullptr) return unsupported("seal bytes");
  Pass pass(context, key, nonce, true);
  pass.authenticate(aad);
  pass.transform(data);
  if (pass.finish()) pass.tag(EVP_CTRL_AEAD_GET_TAG, tag.data());
  if (!pass.ok()) return unsupported("seal bytes");
  return {};
}

Result<> aead_open(AeadKey key, AeadNonce nonce, Bytes aad, MutableBytes data,
                   std::span<const std::byte, kAeadTagBytes> tag, Aead kind) {
  EVP_CIPHER_CTX* const context = context_of_thread(kind);
  if (context == nullptr) return unsupported("open sealed bytes");
  Pass pass(context, key, nonce, false);
  std::array<std::byte, kAeadTagBytes> expected;
  std::copy(tag.begin(), tag.end(), expected.begin());
  pass.authenticate(aad);
  pass.transform(data);
  pass.tag(EVP_CTRL_AEAD_SET_TAG, expected.data());
  if (!pass.ok()) {
    wipe(data);
    return unsupported("open sealed bytes");
  }
  if (!pass.finish()) {
    wipe(data);  // Nobody may use what was not authenticated.
    return Error(Errc::kCorrupt, "open sealed bytes: authentication failed");
  }
  return {};
}

}  // namespace pgark
