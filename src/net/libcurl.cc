// Looking up libcurl's functions.
#include "net/libcurl.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "core/dynamic_library.h"

namespace pgark {
namespace {

constexpr const char* kLibrary = "libcurl.so.4";  // Of all releases since 7.16.

struct LoadedCurl {
  LibCurl functions;
  std::string error;     // Empty: all functions are there.
  bool started = false;  // curl_global_init() was content.
};

LoadedCurl load() {
  LoadedCurl loaded;
  // Lazily bound: most of what it brings is not called.
  DynamicLibrary library(kLibrary, RTLD_LAZY);
#define PGARK_LIBCURL_FIND(name) library.find(loaded.functions.name, "curl_" #name);
  PGARK_LIBCURL_FUNCTIONS(PGARK_LIBCURL_FIND)
#undef PGARK_LIBCURL_FIND
  loaded.error = library.error();
  if (loaded.error.empty()) loaded.started = loaded.functions.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return loaded;
}

const LoadedCurl& library() {
  static const LoadedCurl loaded = load();
  return loaded;
}

}  // namespace

Result<> load_libcurl() {
  if (!library().error.empty()) {
    return Error(Errc::kUnsupported, fmt::format("load {}: {}", kLibrary, library().error))
        .with_hint("install libcurl 7.85 or later (Debian: libcurl4, Red Hat: libcurl)");
  }
  if (!library().started) return Error(Errc::kInternal, "start libcurl: out of resources");
  return {};
}

const LibCurl& curl() {
  CHECK(library().error.empty());
  return library().functions;
}

}  // namespace pgark
