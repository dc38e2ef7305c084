// Looking up libssh's functions.
#include "store/libssh.h"

#include <dlfcn.h>

#include "core/dynamic_library.h"

namespace pgark {
namespace {

const FunctionTable<LibSsh>& library() {
  // Of all releases since 0.4.
  static const FunctionTable<LibSsh> table("libssh.so.4", RTLD_NOW, [](DynamicLibrary& library, LibSsh& functions) {
#define PGARK_LIBSSH_FIND(name) library.find(functions.name, #name);
    PGARK_LIBSSH_FUNCTIONS(PGARK_LIBSSH_FIND)
#undef PGARK_LIBSSH_FIND
  });
  return table;
}

}  // namespace

Result<> load_libssh() { return library().usable("install libssh 0.9 or later (Debian: libssh-4, Red Hat: libssh)"); }

const LibSsh& ssh() { return library().functions(); }

}  // namespace pgark
