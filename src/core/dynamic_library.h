// A shared library that is loaded when it is first needed, and never unloaded: threads may still be in it when the
// process ends, and what it registers with others stays.
#pragma once

#include <string>
#include <type_traits>

namespace pgark {

class DynamicLibrary {
 public:
  /// `flags`: RTLD_NOW or RTLD_LAZY of dlopen(3).
  DynamicLibrary(const char* name, int flags);

  /// Set a pointer to the function of this name.
  template <typename Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<Function>>(symbol(name));
  }
  /// Why it cannot be used; empty if it was loaded and everything looked for was there.
  const std::string& error() const { return error_; }

 private:
  void* symbol(const char* name);

  void* handle_ = nullptr;
  std::string error_;
};

}  // namespace pgark
