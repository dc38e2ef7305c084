// What the binary costs before it does anything: PostgreSQL starts it once for every segment, so it loads no library
// that only some commands need.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/command_output.h"
#include "testing/pgark_cli.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Start, LoadsNoLibraryThatOnlySomeCommandsNeed) {
  const auto loaded = command_output("LD_TRACE_LOADED_OBJECTS=1 '" + testing::pgark_binary() + "' version");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  ASSERT_THAT(*loaded, HasSubstr("libc.so"));
  for (const char* library : {"libcrypto", "libcurl", "libpq", "libssh", "libssl", "libldap", "libkrb5"})
    EXPECT_THAT(*loaded, Not(HasSubstr(library)));
}

}  // namespace
}  // namespace pgark
