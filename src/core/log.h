// Logging with pgBackRest's levels to console, stderr and a file, each with a level of its own.
#pragma once

#include <fmt/format.h>

#include <functional>
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
  bool console_to_stderr = false;  // Standard output holds a result: console lines go to standard error.
};

/// Set the sinks. Before the first call, warnings and errors go to stderr. Call from one thread, before others log.
/// Errors: of opening the file; the other sinks are set all the same.
Result<> configure_log(const LogConfig& config);

bool log_enabled(LogLevel level);
/// Write "2026-11-22 10:15:00.123 P00   INFO: line" to every sink whose level lets it through; further lines of a text
/// with line breaks are indented. P00 is the thread that logged first, P01 the second, ... Safe from every thread.
void log_line(LogLevel level, std::string_view line);
/// Like log_line(), to the log file only: for what the user is told in another form.
void log_line_to_file(LogLevel level, std::string_view line);
/// Call `hook` before each line that goes to a console, so that a progress bar can get out of the way; empty: none.
/// The hook must not log.
void set_log_console_hook(std::function<void()> hook);
/// "warn" and the like, as options write a level; kInvalid for other texts.
Result<LogLevel> parse_log_level(std::string_view text);

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
