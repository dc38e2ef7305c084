// spdlog behind pgBackRest's levels and line format.
#include "core/log.h"

#include <fcntl.h>
#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <memory>
#include <mutex>

#include "core/file.h"

namespace pgark {
namespace {

constexpr std::array<std::string_view, 7> kLevelNames = {"off", "error", "warn", "info", "detail", "debug", "trace"};
constexpr std::array<std::string_view, 7> kLevelLabels = {"OFF", "ERROR", "WARN", "INFO", "DETAIL", "DEBUG", "TRACE"};

// spdlog's six levels carry ours in order; its names for them are never shown.
spdlog::level::level_enum spdlog_level(LogLevel level) {
  return static_cast<spdlog::level::level_enum>(static_cast<int>(spdlog::level::off) - static_cast<int>(level));
}
LogLevel pgark_level(spdlog::level::level_enum level) {
  return static_cast<LogLevel>(static_cast<int>(spdlog::level::off) - static_cast<int>(level));
}
static_assert(static_cast<int>(spdlog::level::off) == static_cast<int>(LogLevel::kTrace));

unsigned thread_number() {
  static std::atomic<unsigned> next = 0;
  thread_local const unsigned number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(bool timestamps) : timestamps_(timestamps) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const auto out = fmt::appender(line);
    const size_t begin = line.size();
    if (timestamps_) {
      const std::time_t seconds = spdlog::log_clock::to_time_t(message.time);
      const auto since = message.time.time_since_epoch();
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count() % 1000;
      std::tm local{};
      ::localtime_r(&seconds, &local);
      fmt::format_to(out, "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03} ", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, ms);
    }
    const auto level = static_cast<size_t>(pgark_level(message.level));
    fmt::format_to(out, "P{:02} {:>6}: ", thread_number(), kLevelLabels[level]);
    const size_t indent = line.size() - begin;
    for (const char c : message.payload) {
      line.push_back(c);
      if (c == '\n') line.resize(line.size() + indent), std::fill_n(line.end() - indent, indent, ' ');
    }
    line.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<LineFormatter>(timestamps_); }

 private:
  bool timestamps_;
};

struct Sinks {
  spdlog::sink_ptr console;
  spdlog::sink_ptr standard_error;
  spdlog::sink_ptr file;
  LogLevel least = LogLevel::kOff;  // The least important level any sink lets through.

  void set(spdlog::sink_ptr& slot, spdlog::sink_ptr sink, LogLevel level, bool timestamps) {
    sink->set_level(spdlog_level(level));
    sink->set_formatter(std::make_unique<LineFormatter>(timestamps));
    slot = std::move(sink);
    least = std::max(least, level);
  }
};

Sinks default_sinks() {
  Sinks sinks;
  sinks.set(sinks.standard_error, std::make_shared<spdlog::sinks::stderr_sink_mt>(), LogLevel::kWarn, true);
  return sinks;
}

Sinks& sinks() {
  static Sinks instance = default_sinks();
  return instance;
}

std::mutex hook_mutex;
std::function<void()>& console_hook() {  // Guarded by hook_mutex.
  static std::function<void()> hook;
  return hook;
}

void send(const spdlog::sink_ptr& sink, const spdlog::details::log_msg& message, bool is_console) {
  if (sink == nullptr || !sink->should_log(message.level)) return;
  // What a sink throws (a full disk under the log file) must not stop a backup.
  try {
    const std::unique_lock lock = is_console ? std::unique_lock(hook_mutex) : std::unique_lock<std::mutex>();
    if (is_console && console_hook()) console_hook()();
    sink->log(message);
    sink->flush();
  } catch (const std::exception&) {
  }
}

Result<spdlog::sink_ptr> open_file_sink(const std::string& path) {
  {
    // Opened here first, for the mode and for an error that says why.
    TRY_ASSIGN(const File file, File::open(path, O_WRONLY | O_CREAT | O_APPEND, 0640));
    TRY_ASSIGN(const struct stat status, file.stat());
    constexpr std::string_view kBanner = "-------------------PROCESS START-------------------\n";
    if (status.st_size > 0) TRY(file.write(as_bytes("\n")));
    TRY(file.write(as_bytes(kBanner)));
  }
  try {
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const std::exception& failure) {
    return Error(Errc::kInvalid, fmt::format("open '{}': {}", path, failure.what()));
  }
}

}  // namespace

Result<> configure_log(const LogConfig& config) {
  Sinks fresh;
  LogLevel standard_error = config.standard_error;
  if (config.console_to_stderr) {
    standard_error = std::max(standard_error, config.console);
  } else if (config.console != LogLevel::kOff) {
    fresh.set(fresh.console, std::make_shared<spdlog::sinks::stdout_sink_mt>(), config.console, config.timestamps);
  }
  if (standard_error != LogLevel::kOff) {
    fresh.set(fresh.standard_error, std::make_shared<spdlog::sinks::stderr_sink_mt>(), standard_error,
              config.timestamps);
  }
  Result<> opened;
  if (!config.file_path.empty() && config.file != LogLevel::kOff) {
    Result<spdlog::sink_ptr> file = open_file_sink(config.file_path);
    if (file.has_value()) {
      fresh.set(fresh.file, *std::move(file), config.file, config.timestamps);
    } else {
      opened = Error(std::move(file).error()).with_context("open log file");
    }
  }
  sinks() = std::move(fresh);
  return opened;
}

bool log_enabled(LogLevel level) { return level != LogLevel::kOff && level <= sinks().least; }

void log_line(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  const spdlog::details::log_msg message("", spdlog_level(level), line);
  const Sinks& all = sinks();
  send(all.console, message, true);
  send(all.standard_error, message, true);
  send(all.file, message, false);
}

void log_line_to_file(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  send(sinks().file, spdlog::details::log_msg("", spdlog_level(level), line), false);
}

void set_log_console_hook(std::function<void()> hook) {
  const std::lock_guard lock(hook_mutex);
  console_hook() = std::move(hook);
}

Result<LogLevel> parse_log_level(std::string_view text) {
  const auto found = std::ranges::find(kLevelNames, text);
  if (found == kLevelNames.end()) return Error(Errc::kInvalid, fmt::format("'{}' is not a log level", text));
  return static_cast<LogLevel>(found - kLevelNames.begin());
}

}  // namespace pgark
