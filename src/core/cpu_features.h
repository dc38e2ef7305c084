// What the processor can do, as the C library found out when the process was started. GCC's __builtin_cpu_supports()
// asks the processor itself, in every process, needed or not; in a virtual machine each of its dozen questions is a
// trap.
#pragma once

// The header is no C++ to clang.
#if defined(__x86_64__) && !defined(__clang__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#define PGARK_CPU_HAS(feature, name) CPU_FEATURE_ACTIVE(feature)
#elif defined(__x86_64__)
#define PGARK_CPU_HAS(feature, name) __builtin_cpu_supports(name)
#endif
