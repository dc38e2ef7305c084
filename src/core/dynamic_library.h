// A shared library that is loaded when it is first needed, and never unloaded: threads may still be in it when the
// process ends, and what it registers with others stays.
#pragma once

#include <string>
#include <type_traits>

#include "core/check.h"
#include "core/result.h"

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

/// The functions of a library that is loaded: `Functions` is a struct of pointers to them.
template <typename Functions>
class FunctionTable {
 public:
  /// `find` looks each of them up.
  FunctionTable(const char* name, int flags, void (*find)(DynamicLibrary&, Functions&)) : name_(name) {
    DynamicLibrary library(name, flags);
    find(library, functions_);
    error_ = library.error();
  }

  /// Errors: kUnsupported "load NAME: ..." unless all of them are there, with the hint.
  Result<> usable(const char* hint) const {
    if (error_.empty()) return {};
    return Error(Errc::kUnsupported, std::string("load ") + name_ + ": " + error_).with_hint(hint);
  }
  /// Only what is usable().
  const Functions& functions() const {
    CHECK(error_.empty());
    return functions_;
  }

 private:
  const char* name_;
  Functions functions_;
  std::string error_;
};

}  // namespace pgark
