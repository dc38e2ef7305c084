// CREATE DATABASE as older servers understand it.
#include <gtest/gtest.h>

#include "ops/load_steps.h"

namespace pgark {
namespace {

std::string for_server(std::string_view statement, uint32_t version_num) {
  const auto changed = create_database_for_server(statement, version_num);
  return changed ? *changed : changed.error().to_string();
}

TEST(LoadCreate, WritesOptionsThatTheServerKnows) {
  const std::string statement =
      "CREATE DATABASE \"LOCALE\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C' "
      "TABLESPACE = fast";
  EXPECT_EQ(for_server(statement, 150020), statement);
  EXPECT_EQ(for_server(statement, 140023),
            "CREATE DATABASE \"LOCALE\" WITH TEMPLATE = template0 ENCODING = 'UTF8'  LOCALE = 'C' TABLESPACE = fast");
  EXPECT_EQ(for_server(statement, 120022),
            "CREATE DATABASE \"LOCALE\" WITH TEMPLATE = template0 ENCODING = 'UTF8'  LC_COLLATE = 'C' LC_CTYPE = 'C' "
            "TABLESPACE = fast");
}

TEST(LoadCreate, LeavesOtherLocalesAsTheyAre) {
  const std::string statement =
      "CREATE DATABASE app WITH TEMPLATE = template0 ENCODING = 'UTF8' LC_COLLATE = 'de_DE.utf8' LC_CTYPE = 'C'";
  EXPECT_EQ(for_server(statement, 100023), statement);
}

}  // namespace
}  // namespace pgark
