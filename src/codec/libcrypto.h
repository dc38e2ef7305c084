// libcrypto, loaded when something is first enciphered or signed: moving its tables to where they were loaded was a
// third of what every process of pgark took to start, and the ones that PostgreSQL runs for each segment seldom use it.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "core/result.h"

namespace pgark {

// clang-format off
#define PGARK_LIBCRYPTO_FUNCTIONS(X) \
  X(BIO_free) X(BIO_new_mem_buf) X(ERR_clear_error) X(EVP_CIPHER_CTX_ctrl) X(EVP_CIPHER_CTX_free) \
  X(EVP_CIPHER_CTX_new) X(EVP_CIPHER_fetch) X(EVP_CipherFinal_ex) X(EVP_CipherInit_ex2) X(EVP_CipherUpdate) \
  X(EVP_Digest) X(EVP_DigestFinal_ex) X(EVP_DigestInit_ex2) X(EVP_DigestSign) X(EVP_DigestSignInit) \
  X(EVP_DigestUpdate) X(EVP_MD_CTX_free) X(EVP_MD_CTX_new) X(EVP_MD_fetch) X(EVP_PBE_scrypt) X(EVP_PKEY_CTX_free) \
  X(EVP_PKEY_CTX_new_from_pkey) X(EVP_PKEY_derive) X(EVP_PKEY_derive_init) X(EVP_PKEY_derive_set_peer_ex) \
  X(EVP_PKEY_free) X(EVP_PKEY_get_base_id) X(EVP_PKEY_get_raw_public_key) X(EVP_PKEY_get_size) \
  X(EVP_PKEY_new_raw_private_key_ex) X(EVP_PKEY_new_raw_public_key_ex) X(EVP_sha1) X(EVP_sha256) X(HMAC) \
  X(PEM_read_bio_PrivateKey)
// clang-format on

/// libcrypto's functions, by their own names and types.
struct LibCrypto {
#define PGARK_LIBCRYPTO_MEMBER(name) decltype(&::name) name = nullptr;
  PGARK_LIBCRYPTO_FUNCTIONS(PGARK_LIBCRYPTO_MEMBER)
#undef PGARK_LIBCRYPTO_MEMBER
};

/// Load the library, once in a process. For those who can tell their caller that it is not there.
/// Errors: kUnsupported if it is not installed or of another version, with what the loader says.
Result<> load_libcrypto();

/// The functions of the library, which is loaded if need be; the process ends if it cannot be.
const LibCrypto& crypto();

}  // namespace pgark
