// CHECK: a broken invariant of pgark itself ends the process, in release builds too.
#pragma once

namespace pgark {

/// Print "file:line: check failed: expression" to stderr and abort.
[[noreturn]] void check_failed(const char* file, int line, const char* expression);

}  // namespace pgark

#define CHECK(condition) \
  (__builtin_expect(static_cast<bool>(condition), 1) ? (void)0 : ::pgark::check_failed(__FILE__, __LINE__, #condition))
