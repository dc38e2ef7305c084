#include "cli/output.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

namespace pgark {

Result<> Output::print_json(const nlohmann::json& document) {
  return print(document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

Result<> FdOutput::write(Bytes data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write to standard output");
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

bool FdOutput::is_terminal() const { return ::isatty(fd_) == 1; }

Result<> StringOutput::write(Bytes data) {
  text_ += as_text(data);
  return {};
}

void TextTable::column(std::string title, Align align) { columns_.push_back({std::move(title), align}); }

void TextTable::row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::to_string() const {
  std::vector<size_t> widths;
  std::vector<std::string> titles;
  for (const Column& column : columns_) {
    widths.push_back(display_width(column.title));
    titles.push_back(column.title);
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string text;
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line = indent_;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - display_width(row[i]), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kRight ? fill + row[i] : row[i] + fill;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  if (std::ranges::any_of(titles, [](const std::string& title) { return !title.empty(); })) print_row(titles);
  for (const auto& row : rows_) print_row(row);
  return text;
}

nlohmann::ordered_json error_json(const Error& error) {
  return {{"code", errc_name(error.code())}, {"message", error.message()}, {"hints", error.hints()}};
}

std::string format_size(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.95 would round to 1024.0.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  std::string number = fmt::format("{:.1f}", value);
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return fmt::format("{}{}", number, kUnits[unit]);
}

std::string format_duration(std::chrono::microseconds duration) {
  const int64_t ms = std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
  if (ms < 1000) return fmt::format("{}ms", ms);
  if (ms < 59'950) return fmt::format("{:.1f}s", static_cast<double>(ms) / 1000);
  const int64_t seconds = (ms + 500) / 1000;
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d{:02}h", seconds / 86'400, seconds / 3600 % 24);
}

std::string format_utc(Timestamp time) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

size_t display_width(std::string_view text) {
  // Bytes 10xxxxxx continue a code point.
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace pgark
