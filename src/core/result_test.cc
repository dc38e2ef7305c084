#include "core/result.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace pgark {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return Error(Errc::kInvalid, "odd").with_hint("use an even number");
  return value / 2;
}

Result<int> quarter(int value) {
  TRY_ASSIGN_CTX(const int once, half(value), "halve once");
  TRY_ASSIGN(const int twice, half(once));
  return twice;
}

TEST(Result, TryAssignPassesValuesAndErrorsWithTheirContext) {
  EXPECT_EQ(quarter(12).value(), 3);
  const auto failed = quarter(5);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Errc::kInvalid);
  EXPECT_EQ(failed.error().to_string(), "halve once: odd\nHINT: use an even number");
}

TEST(Result, ErrnoErrorsChooseTheCodeTheCallerActsOn) {
  EXPECT_EQ(errno_error(ENOENT, "open 'x'").code(), Errc::kNotFound);
  EXPECT_EQ(errno_error(ENOSPC, "write 'x'").code(), Errc::kNoSpace);
  EXPECT_EQ(errno_error(EACCES, "open 'x'").message(), "open 'x': Permission denied");
}

TEST(Error, KeepsItsTextWhenAssignedFromItself) {
  Error error(Errc::kInvalid, "open file: refused");
  error = std::move(error).with_context("read main").with_hint("look");
  EXPECT_EQ(error.to_string(), "read main: open file: refused\nHINT: look");
}

}  // namespace
}  // namespace pgark
