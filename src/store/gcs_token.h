// Bearer tokens for Google Cloud Storage.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "store/bearer_token.h"
#include "store/environment.h"
#include "store/gcs_store.h"

namespace pgark {

/// As settings.key_type says: of a service account, whose key file is read again for each token, so that it may be
/// replaced; settings.key itself; or of the metadata server of the instance (GCE_METADATA_HOST, else
/// metadata.google.internal).
/// Errors: kInvalid for a key file that cannot be read or used. Nothing is asked yet.
Result<std::unique_ptr<BearerTokenSource>> make_gcs_token_source(const GcsSettings& settings,
                                                                 const Environment& env = process_environment());

/// A JSON web token for a service account: what it exchanges for an access token, good for an hour.
/// Shape:  RS256 under `private_key` (PEM). `key_id` may be empty.
/// Errors: kInvalid if the key cannot be used, without showing it.
/// Source: RFC 7515, RFC 7523.
struct ServiceAccountClaim {
  std::string client_email;
  std::string private_key;
  std::string key_id;
  std::string token_uri;
};
Result<std::string> sign_service_account_claim(const ServiceAccountClaim& account, Timestamp now);

}  // namespace pgark
