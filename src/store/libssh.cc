// Looking up libssh's functions.
#include "store/libssh.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>
#include <type_traits>

#include "core/check.h"

namespace pgark {
namespace {

constexpr const char* kLibrary = "libssh.so.4";  // Of all releases since 0.4.

struct LoadedSsh {
  LibSsh functions;
  std::string error;  // Empty: all functions are there.
};

LoadedSsh load() {
  LoadedSsh loaded;
  // Never unloaded: threads may still be in it when the process ends.
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    loaded.error = reason != nullptr ? reason : "unknown reason";
    return loaded;
  }
  const auto find = [&](auto& function, const char* name) {
    void* found = ::dlsym(library, name);
    if (found == nullptr && loaded.error.empty()) loaded.error = fmt::format("it has no {}", name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
  };
#define PGARK_LIBSSH_FIND(name) find(loaded.functions.name, #name);
  PGARK_LIBSSH_FUNCTIONS(PGARK_LIBSSH_FIND)
#undef PGARK_LIBSSH_FIND
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
