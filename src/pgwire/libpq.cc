#include "pgwire/libpq.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>
#include <type_traits>

#include "core/check.h"

namespace pgark {
namespace {

constexpr const char* kLibrary = "libpq.so.5";  // The only one there has been since PostgreSQL 8.2.

struct Loaded {
  LibPq functions;
  std::string error;  // Empty: all functions are there.
};

Loaded load() {
  Loaded loaded;
  // Never unloaded: what it registers with OpenSSL and with the end of the process stays.
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  const auto find = [&](auto& function, const char* name) {
    if (library == nullptr || !loaded.error.empty()) return;
    void* found = ::dlsym(library, name);
    if (found == nullptr) loaded.error = fmt::format("it has no {}", name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
  };
  if (library == nullptr) {
    const char* reason = ::dlerror();
    loaded.error = reason != nullptr ? reason : "unknown reason";
  }
#define PGARK_LIBPQ_FIND(name) find(loaded.functions.name, #name);
  PGARK_LIBPQ_FUNCTIONS(PGARK_LIBPQ_FIND)
#undef PGARK_LIBPQ_FIND
  return loaded;
}

const Loaded& library() {
  static const Loaded loaded = load();
  return loaded;
}

}  // namespace

Result<> load_libpq() {
  if (library().error.empty()) return {};
  return Error(Errc::kUnsupported, fmt::format("load {}: {}", kLibrary, library().error))
      .with_hint("install PostgreSQL's client library (Debian: libpq5, Red Hat: libpq)");
}

const LibPq& pq() {
  CHECK(library().error.empty());
  return library().functions;
}

}  // namespace pgark
