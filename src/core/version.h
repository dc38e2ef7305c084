// The version of this program.
#pragma once

#include <string_view>

namespace pgark {

/// As project(VERSION) in CMakeLists.txt; a test holds them together.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace pgark
