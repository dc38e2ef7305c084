// The environment as an argument, so that tests can give one of their own.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>

namespace pgark {

/// Value of a variable; empty if it is not set.
using Environment = std::function<std::string(const char* name)>;

inline Environment process_environment() {
  return [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
  };
}

}  // namespace pgark
