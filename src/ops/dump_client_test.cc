#include "ops/dump_client.h"

#include <gmock/gmock.h>

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DumpMessages, TellsErrorsFromWarningsAndProgress) {
  std::vector<std::string> tables;
  DumpMessages messages(
      [&](const std::string& table, bool ended) { tables.push_back((ended ? "end " : "begin ") + table); });
  for (const char* line :
       {"pg_dump: last built-in OID is 16383", "pg_dump: reading extensions",
        "pg_dump: dumping contents of table \"public.Odd \"name\"\"", "pg_dump: dumping contents of table public.t",
        "pg_dump: finished item 3330 TABLE DATA t", "pg_dump: finished item 3331 SEQUENCE SET s",
        "pg_dump: warning: there are circular foreign-key constraints on this table:", "pg_dump: detail: employees",
        "pg_dump: hint: You might not be able to restore the dump.",
        "pg_dump: error: query failed: ERROR:  permission denied for table secret",
        "pg_dump: detail: Query was: LOCK TABLE public.secret IN ACCESS SHARE MODE"})
    messages.add(line);
  EXPECT_THAT(tables, ElementsAre("begin public.Odd \"name\"", "begin public.t", "end t"));
  EXPECT_THAT(messages.warnings(),
              ElementsAre("there are circular foreign-key constraints on this table:: employees: You might not be "
                          "able to restore the dump."));
  EXPECT_EQ(messages.error(),
            "query failed: ERROR:  permission denied for table secret; Query was: LOCK TABLE public.secret IN ACCESS "
            "SHARE MODE");
}

TEST(DumpMessages, ReadsWhatVersionsBefore12Say) {
  DumpMessages messages;
  for (const char* line :
       {"pg_dump: reading schemas", "pg_dump: [archiver (db)] query failed: ERROR:  permission denied",
        "LINE 1: something", "pg_dump: [archiver (db)] query was: LOCK TABLE public.t"})
    messages.add(line);
  EXPECT_EQ(messages.error(),
            "[archiver (db)] query failed: ERROR:  permission denied; LINE 1: something; [archiver (db)] query was: "
            "LOCK TABLE public.t");
  EXPECT_TRUE(messages.warnings().empty());
}

TEST(DumpErrors, KnownOnesHaveACodeAndTheNextStep) {
  const auto of = [](const char* text) { return explain_dump_error("pg_dump 15", text); };
  EXPECT_EQ(of("ERROR:  permission denied for table secret").code(), Errc::kPermission);
  EXPECT_THAT(of("ERROR:  permission denied for table secret").to_string(), HasSubstr("pg_read_all_data"));
  EXPECT_THAT(of("permission denied for large object 7").to_string(), HasSubstr("--no-large-objects"));
  EXPECT_THAT(of("ERROR:  query would be affected by row-level security policy for table \"t\"").to_string(),
              HasSubstr("BYPASSRLS"));
  EXPECT_EQ(of("aborting because of server version mismatch").code(), Errc::kUnsupported);
  EXPECT_EQ(of("ERROR:  canceling statement due to conflict with recovery").code(), Errc::kTransient);
  EXPECT_THAT(of("ERROR:  canceling statement due to conflict with recovery").to_string(),
              HasSubstr("hot_standby_feedback"));
  EXPECT_EQ(of("could not write to file: No space left on device").code(), Errc::kNoSpace);
  EXPECT_EQ(of("unrecognized option '--filter=x'").code(), Errc::kUnsupported);
  const Error other = of("something new");
  EXPECT_EQ(other.code(), Errc::kInvalid);
  EXPECT_EQ(other.to_string(), "run pg_dump 15: something new");
}

TEST(DumpErrors, ProgramThatSaysNothingIsToldByItsEnd) {
  PgClientSet client;
  client.major = 15;
  const DumpMessages silent;
  EXPECT_EQ(dump_program_error("pg_dump", client, {139, 11, ""}, silent).message(),
            "run pg_dump 15: ended by signal 11");
  EXPECT_EQ(dump_program_error("pg_dump", client, {1, 0, "a\nlast line\n"}, silent).message(),
            "run pg_dump 15: ended with exit status 1: last line");
}

}  // namespace
}  // namespace pgark
