// Logging with pgBackRest's levels to console, stderr and a file, each with a level of its own.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "core/result.h"

namespace pgark {

enum class LogLevel : unsigned char { kOff, kError, kWarn, kInfo, kDetail, kDebug, kTrace };

struct LogConfig {
  LogLevel console = LogLevel::kWarn;  // Standard output.
  LogLevel standard_error = LogLevel::kOff;
  LogLevel file = LogLevel::kInfo;
  std::string file_path;  // Empty: no file.
  bool timestamps = true;
};

/// Set the sinks. Before the first call, warnings and errors go to stderr. Call from one thread, before others log.
/// Errors: of opening the file; the other sinks are set all the same.
Result<> configure_log(const LogConfig& config);

bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kError, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kWarn, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kInfo, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_detail(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kDetail, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kDebug, format, std::forward<Args>(args)...);
}

}  // namespace pgark
