// What tests must know of the sanitizer that they are built with.
#pragma once

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>

#include <thread>
#endif

namespace pgark::testing {

#if defined(__SANITIZE_THREAD__)
// The sanitizer learns how to end its thread when a program begins one. A fork before that would be too early.
inline const bool kSanitizerThreadBegun = [] {
  std::thread([] {}).join();
  return true;
}();
#endif

/// End the thread that the thread sanitizer runs beside a program's own ones: the kernel lets only a process of one
/// thread enter a user namespace. It does housekeeping of long runs and is not missed.
inline void end_sanitizer_thread() {
#if defined(__SANITIZE_THREAD__)
  __sanitizer_sandbox_arguments arguments = {};
  __sanitizer_sandbox_on_notify(&arguments);
#endif
}

}  // namespace pgark::testing
