// What commands print: JSON documents and tables with aligned columns, to standard output or to a string in tests.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// Where the result of a command goes. Log lines never go here.
class Output {
 public:
  virtual ~Output() = default;
  virtual Result<> write(Bytes data) = 0;
  Result<> print(std::string_view text) { return write(as_bytes(text)); }
  /// One document, indented by two spaces, with a newline at the end. Text that is not UTF-8 is printed with U+FFFD.
  Result<> print_json(const nlohmann::json& document);
  virtual bool is_terminal() const { return false; }
};

/// Unbuffered standard output (or another descriptor, not closed).
class FdOutput final : public Output {
 public:
  explicit FdOutput(int fd) : fd_(fd) {}
  Result<> write(Bytes data) override;
  bool is_terminal() const override;

 private:
  int fd_;
};

/// Keeps what was printed.
class StringOutput final : public Output {
 public:
  Result<> write(Bytes data) override;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// Rows of cells; columns as wide as their widest cell, two spaces apart, no trailing spaces.
class TextTable {
 public:
  enum class Align : unsigned char { kLeft, kRight };

  explicit TextTable(std::string indent = "") : indent_(std::move(indent)) {}
  void column(std::string title, Align align = Align::kLeft);
  /// Missing cells are empty.
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  /// With the line of titles if any column has one.
  std::string to_string() const;

 private:
  struct Column {
    std::string title;
    Align align;
  };
  std::string indent_;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// An error as every command prints it in JSON: {"code", "message", "hints"}.
nlohmann::ordered_json error_json(const Error& error);

/// "23.5MB" in pgBackRest's style: one decimal where it says something, powers of 1024.
std::string format_size(uint64_t bytes);
/// "850ms", "12.3s", "4m05s", "2h13m", "3d04h".
std::string format_duration(std::chrono::microseconds duration);
/// "2026-11-22 10:15:00 UTC", whole seconds.
std::string format_utc(Timestamp time);
/// Width in terminal cells of UTF-8 text, one for each code point.
size_t display_width(std::string_view text);

}  // namespace pgark
