#include "core/dynamic_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace pgark {

DynamicLibrary::DynamicLibrary(const char* name, int flags) : handle_(::dlopen(name, flags | RTLD_LOCAL)) {
  if (handle_ != nullptr) return;
  const char* reason = ::dlerror();
  error_ = reason != nullptr ? reason : "unknown reason";
}

void* DynamicLibrary::symbol(const char* name) {
  if (handle_ == nullptr) return nullptr;
  void* found = ::dlsym(handle_, name);
  if (found == nullptr && error_.empty()) error_ = fmt::format("it has no {}", name);
  return found;
}

}  // namespace pgark
