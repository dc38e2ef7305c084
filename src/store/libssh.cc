// Looking up libssh's functions.
#include "store/libssh.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "core/dynamic_library.h"

namespace pgark {
namespace {

constexpr const char* kLibrary = "libssh.so.4";  // Of all releases since 0.4.

struct LoadedSsh {
  LibSsh functions;
  std::string error;  // Empty: all functions are there.
};

LoadedSsh load() {
  LoadedSsh loaded;
  DynamicLibrary library(kLibrary, RTLD_NOW);
#define PGARK_LIBSSH_FIND(name) library.find(loaded.functions.name, #name);
  PGARK_LIBSSH_FUNCTIONS(PGARK_LIBSSH_FIND)
#undef PGARK_LIBSSH_FIND
  loaded.error = library.error();
  return loaded;
}

const LoadedSsh& library() {
  static const LoadedSsh loaded = load();
  return loaded;
}

}  // namespace

Result<> load_libssh() {
  if (library().error.empty()) return {};
  return Error(Errc::kUnsupported, fmt::format("load {}: {}", kLibrary, library().error))
      .with_hint("install libssh 0.9 or later (Debian: libssh-4, Red Hat: libssh)");
}

const LibSsh& ssh() {
  CHECK(library().error.empty());
  return library().functions;
}

}  // namespace pgark
