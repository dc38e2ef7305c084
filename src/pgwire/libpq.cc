#include "pgwire/libpq.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "core/check.h"
#include "core/dynamic_library.h"

namespace pgark {
namespace {

constexpr const char* kLibrary = "libpq.so.5";  // The only one there has been since PostgreSQL 8.2.

struct Loaded {
  LibPq functions;
  std::string error;  // Empty: all functions are there.
};

Loaded load() {
  Loaded loaded;
  DynamicLibrary library(kLibrary, RTLD_NOW);
#define PGARK_LIBPQ_FIND(name) library.find(loaded.functions.name, #name);
  PGARK_LIBPQ_FUNCTIONS(PGARK_LIBPQ_FIND)
#undef PGARK_LIBPQ_FIND
  loaded.error = library.error();
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
