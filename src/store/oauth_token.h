// What the token sources of Google and Azure share: the answers of OAuth services, and tokens kept until they expire.
// Private to this folder.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "net/http_client.h"
#include "store/bearer_token.h"
#include "store/cloud_settings.h"
#include "store/environment.h"
#include "store/fresh_value.h"

namespace pgark {

using OauthToken = FreshValue<std::string>::Fetched;

/// Ask for a token with a client of our own, whose request is given; `now` is when it was sent.
using AskForToken = std::function<Result<OauthToken>(HttpClient& http, Timestamp now)>;

/// A source that keeps what `ask` brings. `what` is for messages: "refresh token of repo1".
Result<std::unique_ptr<BearerTokenSource>> make_token_source(const CloudSettings& cloud, const Environment& env,
                                                             AskForToken ask, std::string what);

/// Send `request` and read {"access_token": ..., "expires_in": seconds}.
/// Shape:  `secret`, which was sent, is kept out of the error's text should the service repeat it.
/// Errors: kPermission if it is refused, with the service's reason; kTransient if it is not reached, or says to come
///         back; kInvalid for an answer without a token.
Result<OauthToken> ask_for_token(HttpClient& http, HttpRequest request, Timestamp now, std::string_view what,
                                 std::string_view secret = {});

/// Whether what is sent there cannot be read on the way: https, or this machine.
bool is_private_url(std::string_view url);

}  // namespace pgark
