// Result<T> and Error: how everything that touches disk, network, clock or foreign bytes reports failure.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace pgark {

/// What the caller may do next. Closed: docs/reference/errors.md maps each to exit code, retry rule and operator's
/// action.
enum class Errc : unsigned char {
  kNotFound,        // The named thing is proven absent.
  kAlreadyExists,   // A write-once name is taken.
  kCorrupt,         // Bytes read back are not what was written.
  kTransient,       // May pass; retry.
  kOutcomeUnknown,  // May have happened; look, then retry.
  kPermission,      // Refused by the system or the store.
  kNoSpace,         // Disk full or quota reached.
  kInvalid,         // The request, configuration or state of the cluster does not allow it.
  kUnsupported,     // Understood and not provided.
  kCancelled,       // Stopped by a signal or by another task's error.
  kInternal,        // A defect of pgark.
};

/// Name of a code as JSON output and logs show it: "not_found", "already_exists", ...
std::string_view errc_name(Errc code);

/// A failure: code, a chain of "verb object" contexts ending in the cause, and hints that name the next step.
class [[nodiscard]] Error {
 public:
  Error(Errc code, std::string message) : code_(code), message_(std::move(message)) {}
  Error(const Error&) = default;
  Error(Error&&) noexcept = default;
  Error& operator=(const Error&) = default;
  /// Safe to itself, so that `error = std::move(error).with_hint(...)` keeps the text.
  Error& operator=(Error&& other) noexcept {
    if (this == &other) return *this;
    code_ = other.code_;
    message_ = std::move(other.message_);
    hints_ = std::move(other.hints_);
    return *this;
  }

  Errc code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::vector<std::string>& hints() const { return hints_; }

  /// Prepend "context: " to the message.
  Error&& with_context(std::string_view context) && {
    message_.insert(0, std::string(context) + ": ");
    return std::move(*this);
  }
  /// Add a line that names the next step.
  Error&& with_hint(std::string hint) && {
    hints_.push_back(std::move(hint));
    return std::move(*this);
  }
  /// Change what the caller may do next, keeping the text.
  Error&& with_code(Errc code) && {
    code_ = code;
    return std::move(*this);
  }

  /// Message, then one "HINT: ..." line for each hint.
  std::string to_string() const;

 private:
  Errc code_;
  std::string message_;
  std::vector<std::string> hints_;
};

/// Error of a failed system call: code chosen from `errno_value`, message "context: strerror".
Error errno_error(int errno_value, std::string_view context);

/// A value or an Error, with the interface of std::expected<T, Error>.
template <typename T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}
};

template <>
class [[nodiscard]] Result<void> : public tl::expected<void, Error> {
 public:
  using Base = tl::expected<void, Error>;
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}
};

}  // namespace pgark

#define PGARK_CONCAT_(a, b) a##b
#define PGARK_CONCAT(a, b) PGARK_CONCAT_(a, b)

/// Return the error of `expr` from the enclosing function, if it is one.
#define TRY(expr)                                                                                                   \
  do {                                                                                                              \
    if (auto try_result_ = (expr); !try_result_.has_value()) return ::pgark::Error(std::move(try_result_).error()); \
  } while (false)

/// Like TRY, with `context` ("verb object") put before the message.
#define TRY_CTX(expr, context)                                                     \
  do {                                                                             \
    if (auto try_result_ = (expr); !try_result_.has_value())                       \
      return ::pgark::Error(std::move(try_result_).error()).with_context(context); \
  } while (false)

/// Declare or assign `lhs` from the value of `expr`, or return its error: TRY_ASSIGN(auto footer, read_footer(...)).
#define TRY_ASSIGN(lhs, expr) TRY_ASSIGN_IMPL_(PGARK_CONCAT(try_value_, __LINE__), lhs, expr)
#define TRY_ASSIGN_IMPL_(var, lhs, expr)                               \
  auto var = (expr);                                                   \
  if (!var.has_value()) return ::pgark::Error(std::move(var).error()); \
  lhs = std::move(*var)

/// Like TRY_ASSIGN, with `context` put before the message.
#define TRY_ASSIGN_CTX(lhs, expr, context) TRY_ASSIGN_CTX_IMPL_(PGARK_CONCAT(try_value_, __LINE__), lhs, expr, context)
#define TRY_ASSIGN_CTX_IMPL_(var, lhs, expr, context)                                        \
  auto var = (expr);                                                                         \
  if (!var.has_value()) return ::pgark::Error(std::move(var).error()).with_context(context); \
  lhs = std::move(*var)
