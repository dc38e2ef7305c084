#include "core/ini.h"

#include <gmock/gmock.h>

namespace pgark {
namespace {

std::string failure(std::string_view text) {
  const auto parsed = parse_ini(text, "f.conf");
  return parsed.has_value() ? "parsed" : parsed.error().message();
}

TEST(Ini, KeepsSectionsRepeatedKeysAndWholeValues) {
  const auto parsed = parse_ini(
      "\xEF\xBB\xBF# comment\r\n"
      "[global]\r\n"
      "repo1-path = /var/lib/p g\t \r\n"
      "\n"
      "  # another\n"
      "[main:backup]\n"
      "exclude=a#b=c\n"
      "exclude=[x]\n"
      "empty=",
      "f.conf");
  ASSERT_TRUE(parsed.has_value());
  ASSERT_EQ(parsed->size(), 4u);
  EXPECT_EQ((*parsed)[0].section, "global");
  EXPECT_EQ((*parsed)[0].key, "repo1-path");
  EXPECT_EQ((*parsed)[0].value, "/var/lib/p g");
  EXPECT_EQ((*parsed)[0].line, 3);
  EXPECT_EQ((*parsed)[1].section, "main:backup");
  EXPECT_EQ((*parsed)[1].value, "a#b=c");
  EXPECT_EQ((*parsed)[2].value, "[x]");
  EXPECT_EQ((*parsed)[3].value, "");
  EXPECT_EQ((*parsed)[3].line, 9);
}

TEST(Ini, NamesFileAndLineOfWhatIsWrong) {
  EXPECT_EQ(failure("a=b\n"), "f.conf:1: 'a' comes before the first [SECTION]");
  EXPECT_EQ(failure("[s]\n\n[t\n"), "f.conf:3: section '[t' has no closing bracket");
  EXPECT_EQ(failure("[ ]\n"), "f.conf:1: the section has no name");
  EXPECT_EQ(failure("[s]\n=v\n"), "f.conf:2: there is no key before '='");
  EXPECT_EQ(failure(std::string_view("[s]\na=\0b\n", 9)), "f.conf:2: the line holds a zero byte");
}

TEST(Ini, NeverQuotesALineThatMayHoldASecret) {
  EXPECT_THAT(failure("[s]\nrepo1-cipher-pass: hunter2\n"), testing::Not(testing::HasSubstr("hunter2")));
}

}  // namespace
}  // namespace pgark
