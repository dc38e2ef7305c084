// Looking up libcrypto's functions.
#include "codec/libcrypto.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "core/dynamic_library.h"
#include "core/log.h"

namespace pgark {
namespace {

#define PGARK_TEXT_OF(number) PGARK_QUOTED(number)
#define PGARK_QUOTED(number) #number
// Of the version whose headers this was compiled with: they say what the functions take.
constexpr const char* kLibrary = "libcrypto.so." PGARK_TEXT_OF(OPENSSL_VERSION_MAJOR);

struct LoadedCrypto {
  LibCrypto functions;
  std::string error;  // Empty: all functions are there.
};

LoadedCrypto load() {
  LoadedCrypto loaded;
  // Lazily bound: most of what it has is not called.
  DynamicLibrary library(kLibrary, RTLD_LAZY);
#define PGARK_LIBCRYPTO_FIND(name) library.find(loaded.functions.name, #name);
  PGARK_LIBCRYPTO_FUNCTIONS(PGARK_LIBCRYPTO_FIND)
#undef PGARK_LIBCRYPTO_FIND
  loaded.error = library.error();
  return loaded;
}

const LoadedCrypto& library() {
  // Never freed: what threads keep is given back with its functions when they end.
  static const LoadedCrypto& loaded = *new LoadedCrypto(load());
  return loaded;
}

}  // namespace

Result<> load_libcrypto() {
  if (library().error.empty()) return {};
  return Error(Errc::kUnsupported, fmt::format("load {}: {}", kLibrary, library().error))
      .with_hint("install OpenSSL's library (Debian: libssl3, Red Hat: openssl-libs)");
}

const LibCrypto& crypto() {
  const LoadedCrypto& loaded = library();
  if (!loaded.error.empty()) {
    log_error("{}", load_libcrypto().error().to_string());
    CHECK(loaded.error.empty());
  }
  return loaded.functions;
}

}  // namespace pgark
