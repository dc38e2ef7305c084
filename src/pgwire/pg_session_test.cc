// Tests of sessions that need no server: classification of errors, and connections to nothing.
#include "pgwire/pg_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pgwire/pg_error.h"

namespace pgark {
namespace {

using testing::HasSubstr;

TEST(PgError, SqlstatesTellWhatTheCallerMayDo) {
  EXPECT_EQ(errc_of_sqlstate("42501"), Errc::kPermission);
  EXPECT_EQ(errc_of_sqlstate("28P01"), Errc::kPermission);
  EXPECT_EQ(errc_of_sqlstate("57P01"), Errc::kTransient);
  EXPECT_EQ(errc_of_sqlstate("57P03"), Errc::kTransient);
  EXPECT_EQ(errc_of_sqlstate("53300"), Errc::kTransient);
  EXPECT_EQ(errc_of_sqlstate("53100"), Errc::kNoSpace);
  EXPECT_EQ(errc_of_sqlstate("55000"), Errc::kInvalid);
  EXPECT_EQ(errc_of_sqlstate("XX001"), Errc::kCorrupt);
  EXPECT_EQ(errc_of_sqlstate("0A000"), Errc::kUnsupported);
  EXPECT_EQ(errc_of_sqlstate(""), Errc::kTransient);
}

TEST(PgError, MessagesBecomeOneLineWithoutSeverityAndFullStop) {
  EXPECT_EQ(tidy_server_message("FATAL:  role \"x\" does not exist\n"), "role \"x\" does not exist");
  EXPECT_EQ(tidy_server_message("a b.\n\tIs the server running?\n"), "a b. Is the server running?");
  EXPECT_EQ(tidy_server_message(""), "");
}

TEST(PgError, FailedConnectionsNameTheNextStep) {
  PgEndpoint endpoint;
  endpoint.socket_path = "/run/postgresql";
  endpoint.user = "backup";
  const Error hba = connect_error(endpoint,
                                  "connection to server on socket \"/run/postgresql/.s.PGSQL.5432\" failed: FATAL:  "
                                  "no pg_hba.conf entry for host \"[local]\", user \"backup\"");
  EXPECT_EQ(hba.code(), Errc::kPermission);
  EXPECT_THAT(hba.to_string(), HasSubstr("pg_hba.conf, for example: local postgres backup"));
  EXPECT_THAT(connect_error(endpoint, "SSL error: certificate verify failed").to_string(),
              HasSubstr("HINT: the server's certificate is signed by none of those in pg1-sslrootcert"));
  EXPECT_EQ(connect_error(endpoint, "server does not support SSL, but SSL was required").code(), Errc::kPermission);
  PgEndpoint far = endpoint;
  far.host = "db1";
  EXPECT_THAT(connect_error(far, "FATAL:  no pg_hba.conf entry for host \"10.0.0.1\", no encryption").to_string(),
              HasSubstr("hostssl postgres backup"));
  EXPECT_EQ(connect_error(endpoint, "FATAL:  role \"backup\" does not exist").code(), Errc::kPermission);
  EXPECT_EQ(connect_error(endpoint, "FATAL:  the database system is starting up").code(), Errc::kTransient);
  EXPECT_EQ(connect_error(endpoint, "FATAL:  database \"x\" does not exist").code(), Errc::kInvalid);
}

TEST(PgSession, ServerThatIsNotThereIsTransientAndNamesSocketAndPort) {
  PgEndpoint endpoint;
  endpoint.socket_path = "/nonexistent";
  endpoint.port = 6543;
  const CancelToken cancel;
  const auto session = open_pg_session(endpoint, cancel);
  ASSERT_FALSE(session.has_value());
  EXPECT_EQ(session.error().code(), Errc::kTransient);
  EXPECT_THAT(session.error().to_string(), HasSubstr("socket /nonexistent port 6543"));
  EXPECT_THAT(session.error().to_string(), HasSubstr("HINT: check that the server runs"));
}

TEST(PgSession, GrantsNameTheFunctionsOfTheVersion) {
  EXPECT_THAT(grant_hint(pg::PgMajor{15}, "b"), HasSubstr("pg_backup_start(text, boolean)"));
  EXPECT_THAT(grant_hint(pg::PgMajor{14}, "b"), HasSubstr("pg_start_backup(text, boolean, boolean)"));
}

}  // namespace
}  // namespace pgark
