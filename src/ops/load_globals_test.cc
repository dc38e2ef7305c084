#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/load_steps.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// As pg_dumpall 16 writes it.
constexpr const char* kGlobals = R"(--
-- PostgreSQL database cluster dump
--

\restrict key

SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';
SET transaction_timeout = 0;

CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'SCRAM-SHA-256$4096:secret';
CREATE ROLE "Old; Role";
ALTER ROLE "Old; Role" WITH SUPERUSER;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER PASSWORD 'SCRAM-SHA-256$4096:other';
COMMENT ON ROLE app IS 'of the application';
ALTER ROLE app SET work_mem TO '8MB';
ALTER ROLE "Old; Role" SET work_mem TO '9MB';
ALTER ROLE app IN DATABASE shop SET work_mem TO '7MB';
GRANT "Old; Role" TO app GRANTED BY postgres;
GRANT "Old; Role" TO postgres GRANTED BY postgres;
GRANT SET ON PARAMETER log_min_duration_statement TO app;
GRANT SET ON PARAMETER log_min_duration_statement TO postgres;
CREATE TABLESPACE fast OWNER app LOCATION '/fast';
CREATE TABLESPACE slow OWNER app LOCATION '/slow';
GRANT ALL ON TABLESPACE fast TO app;
GRANT ALL ON TABLESPACE slow TO app;

\unrestrict key
)";

TEST(ChooseGlobals, MakesWhatIsMissingAndLeavesTheRest) {
  const auto script = choose_globals(kGlobals, {"postgres", "Old; Role"}, {"slow"});
  ASSERT_TRUE(script) << script.error().to_string();
  EXPECT_THAT(script->settings, ElementsAre("SET default_transaction_read_only = off", "SET client_encoding = 'UTF8'"));
  EXPECT_THAT(script->roles,
              ElementsAre("CREATE ROLE app", HasSubstr("ALTER ROLE app WITH"), HasSubstr("COMMENT ON ROLE app"),
                          "ALTER ROLE app SET work_mem TO '8MB'", "GRANT \"Old; Role\" TO app GRANTED BY postgres",
                          "GRANT SET ON PARAMETER log_min_duration_statement TO app"));
  EXPECT_THAT(script->tablespaces,
              ElementsAre("CREATE TABLESPACE fast OWNER app LOCATION '/fast'", "GRANT ALL ON TABLESPACE fast TO app"));
  EXPECT_THAT(script->made, ElementsAre("role app", "tablespace fast"));
  EXPECT_THAT(script->kept, ElementsAre("role Old; Role", "role postgres", "tablespace slow"));
}

TEST(DatabaseGrants, FollowTheRecordedPrivileges) {
  EXPECT_THAT(database_grants("shop", "", {}), IsEmpty());
  EXPECT_THAT(database_grants("My Shop", R"({=Tc/app,app=C*Tc/app,"\"odd,role\"=c/app"})", {{"app", "owner"}}),
              ElementsAre("REVOKE ALL ON DATABASE \"My Shop\" FROM PUBLIC",
                          "GRANT TEMPORARY, CONNECT ON DATABASE \"My Shop\" TO PUBLIC",
                          "GRANT TEMPORARY, CONNECT ON DATABASE \"My Shop\" TO owner",
                          "GRANT CREATE ON DATABASE \"My Shop\" TO owner WITH GRANT OPTION",
                          "GRANT CONNECT ON DATABASE \"My Shop\" TO \"odd,role\""));
}

TEST(RenameDatabase, ChangesTheNameAndNothingElse) {
  const auto renamed = rename_database_in(
      "ALTER ROLE app IN DATABASE \"a b\" SET search_path TO 'DATABASE \"a b\"', \"a b\"", "a b", "new");
  ASSERT_TRUE(renamed);
  EXPECT_EQ(*renamed, "ALTER ROLE app IN DATABASE new SET search_path TO 'DATABASE \"a b\"', \"a b\"");
  EXPECT_EQ(*rename_database_in("CREATE DATABASE app WITH TEMPLATE = template0", "app", "A"),
            "CREATE DATABASE \"A\" WITH TEMPLATE = template0");
}

}  // namespace
}  // namespace pgark
