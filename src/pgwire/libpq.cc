// Looking up libpq's functions.
#include "pgwire/libpq.h"

#include <dlfcn.h>

#include "core/dynamic_library.h"

namespace pgark {
namespace {

const FunctionTable<LibPq>& library() {
  // The only one there has been since PostgreSQL 8.2.
  static const FunctionTable<LibPq> table("libpq.so.5", RTLD_NOW, [](DynamicLibrary& library, LibPq& functions) {
#define PGARK_LIBPQ_FIND(name) library.find(functions.name, #name);
    PGARK_LIBPQ_FUNCTIONS(PGARK_LIBPQ_FIND)
#undef PGARK_LIBPQ_FIND
  });
  return table;
}

}  // namespace

Result<> load_libpq() {
  return library().usable("install PostgreSQL's client library (Debian: libpq5, Red Hat: libpq)");
}

const LibPq& pq() { return library().functions(); }

}  // namespace pgark
