// Looking up libcrypto's functions.
#include "codec/libcrypto.h"

#include <dlfcn.h>

#include "core/dynamic_library.h"
#include "core/log.h"

namespace pgark {
namespace {

#define PGARK_TEXT_OF(number) PGARK_QUOTED(number)
#define PGARK_QUOTED(number) #number
// Of the version whose headers this was compiled with: they say what the functions take.
constexpr const char* kLibrary = "libcrypto.so." PGARK_TEXT_OF(OPENSSL_VERSION_MAJOR);

const FunctionTable<LibCrypto>& library() {
  // Lazily bound: most of what it has is not called. Never freed: what threads keep is given back with its functions
  // when they end.
  static const auto& table =
      *new FunctionTable<LibCrypto>(kLibrary, RTLD_LAZY, [](DynamicLibrary& library, LibCrypto& functions) {
#define PGARK_LIBCRYPTO_FIND(name) library.find(functions.name, #name);
        PGARK_LIBCRYPTO_FUNCTIONS(PGARK_LIBCRYPTO_FIND)
#undef PGARK_LIBCRYPTO_FIND
      });
  return table;
}

}  // namespace

Result<> load_libcrypto() {
  return library().usable("install OpenSSL's library (Debian: libssl3, Red Hat: openssl-libs)");
}

const LibCrypto& crypto() {
  if (const auto loaded = load_libcrypto(); !loaded) log_error("{}", loaded.error().to_string());
  return library().functions();
}

}  // namespace pgark
