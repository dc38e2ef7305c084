// libcurl, loaded when a store is first talked to over HTTP: with what it needs (thirty libraries, Kerberos and LDAP
// among them) it was more than half of what every process of pgark took to start. Private to this folder.
#pragma once

#include <curl/curl.h>

#include "core/result.h"

namespace pgark {

// clang-format off
#define PGARK_LIBCURL_FUNCTIONS(X) \
  X(easy_cleanup) X(easy_getinfo) X(easy_init) X(easy_reset) X(easy_setopt) X(easy_strerror) X(global_init) \
  X(multi_add_handle) X(multi_cleanup) X(multi_info_read) X(multi_init) X(multi_perform) X(multi_poll) \
  X(multi_remove_handle) X(multi_setopt) X(multi_wakeup) X(slist_append) X(slist_free_all)
// clang-format on

/// libcurl's functions, by their own types and, without the prefix "curl_", their own names: some of the whole names
/// are macros of its header. Those macros check the types of options; here whoever calls sees to it that a number is a
/// `long` or, where libcurl says so, a `curl_off_t`.
struct LibCurl {
#define PGARK_LIBCURL_MEMBER(name) decltype(&::curl_##name) name = nullptr;
  PGARK_LIBCURL_FUNCTIONS(PGARK_LIBCURL_MEMBER)
#undef PGARK_LIBCURL_MEMBER
};

/// Load the library and initialize it, once in a process. To be called with success before curl().
/// Errors: kUnsupported if it is not installed or too old, with what the loader says; kInternal if it cannot start.
Result<> load_libcurl();

/// The functions of the loaded library.
const LibCurl& curl();

}  // namespace pgark
