// Names and choice of the parts of a dump; that PostgreSQL's programs read what is written is tested with them.
#include "ops/dump_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/file.h"
#include "ops/dump_sinks.h"
#include "ops/scratch_cluster.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DumpUnit unit(DumpUnit::Kind kind, const std::string& database, const std::string& name = "",
              const std::string& schema = "") {
  DumpUnit made;
  made.kind = kind;
  made.database = database;
  made.name = name;
  made.schema = schema;
  return made;
}

Dump sample() {
  Dump dump;
  dump.meta.label = "20261122-101500L";
  dump.meta.units = {unit(DumpUnit::Kind::kGlobals, ""), unit(DumpUnit::Kind::kCommon, "app"),
                     unit(DumpUnit::Kind::kSchema, "app", "tenant_1"), unit(DumpUnit::Kind::kSchema, "crm", "tenant_1"),
                     unit(DumpUnit::Kind::kPartition, "crm", "jan", "public")};
  return dump;
}

TEST(DumpParts, AreChosenByDatabaseAndName) {
  const Dump dump = sample();
  EXPECT_THAT(choose_dump_parts(dump, {}, "", false).value(), ElementsAre(0u, 1u, 2u, 3u, 4u));
  EXPECT_THAT(choose_dump_parts(dump, {"crm"}, "", false).value(), ElementsAre(0u, 3u, 4u));
  EXPECT_THAT(choose_dump_parts(dump, {}, "tenant_1", false).value(), ElementsAre(2u, 3u));
  EXPECT_THAT(choose_dump_parts(dump, {"crm"}, "tenant_1", true).value(), ElementsAre(3u));
  EXPECT_THAT(choose_dump_parts(dump, {}, "jan", true).value(), ElementsAre(4u));
  EXPECT_THAT(choose_dump_parts(dump, {}, "public.jan", true).value(), ElementsAre(4u));
  EXPECT_THAT(choose_dump_parts(dump, {}, "globals", true).value(), ElementsAre(0u));
}

TEST(DumpParts, AreNamedWhereTheChoiceIsWrong) {
  const Dump dump = sample();
  const Error several = choose_dump_parts(dump, {}, "tenant_1", true).error();
  EXPECT_EQ(several.code(), Errc::kInvalid);
  EXPECT_THAT(several.message(), HasSubstr("tenant_1 (of app), tenant_1 (of crm)"));
  const Error none = choose_dump_parts(dump, {}, "tenant_2", false).error();
  EXPECT_EQ(none.code(), Errc::kNotFound);
  EXPECT_THAT(none.hints().at(0), HasSubstr("public.jan (of crm)"));
  EXPECT_EQ(choose_dump_parts(dump, {"nix"}, "", false).error().code(), Errc::kNotFound);
}

TEST(DumpParts, StepBackForADatabaseIfTheyAreGlobals) {
  Dump dump;
  dump.meta.units = {unit(DumpUnit::Kind::kGlobals, ""), unit(DumpUnit::Kind::kWhole, "app")};
  EXPECT_THAT(choose_dump_parts(dump, {}, "", true).value(), ElementsAre(1u));
}

TEST(DumpParts, GetNamesThatStayInTheirDirectory) {
  EXPECT_EQ(dump_part_file_name(unit(DumpUnit::Kind::kGlobals, "")), "globals.sql");
  EXPECT_EQ(dump_part_file_name(unit(DumpUnit::Kind::kWhole, "app")), "app");
  EXPECT_EQ(dump_part_file_name(unit(DumpUnit::Kind::kWhole, "../etc")), "%2E.%2Fetc");
  EXPECT_EQ(dump_part_file_name(unit(DumpUnit::Kind::kSchema, "app", "a/b\n")), "app.a%2Fb%0A");
  DumpUnit plain = unit(DumpUnit::Kind::kPartition, "app", "jan", "public");
  plain.format = DumpFormat::kPlain;
  EXPECT_EQ(dump_part_file_name(plain), "app.public.jan.sql");
}

TEST(PendingPath, AppearsWholeOrNotAtAll) {
  const auto scratch = testing::ScratchDir::create("pending").value();
  const std::string path = scratch / "file";
  std::string temporary;
  {
    PendingPath dropped(path);
    temporary = dropped.temporary();
    ASSERT_TRUE(write_file_durable(temporary, "half").has_value());
  }
  struct stat info {};
  EXPECT_NE(::stat(temporary.c_str(), &info), 0);
  EXPECT_NE(::stat(path.c_str(), &info), 0);
  PendingPath first(path);
  ASSERT_TRUE(write_file_durable(first.temporary(), "one").has_value());
  ASSERT_TRUE(std::move(first).commit(false).has_value());
  PendingPath second(path);
  ASSERT_TRUE(write_file_durable(second.temporary(), "two").has_value());
  EXPECT_EQ(std::move(second).commit(false).error().code(), Errc::kAlreadyExists);
  EXPECT_EQ(read_file(path).value(), "one");
  PendingPath third(path);
  ASSERT_TRUE(write_file_durable(third.temporary(), "three").has_value());
  ASSERT_TRUE(std::move(third).commit(true).has_value());
  EXPECT_EQ(read_file(path).value(), "three");
}

TEST(ScratchServer, IsOfTheDumpsVersionOrTheNextNewer) {
  const auto scratch = testing::ScratchDir::create("sets").value();
  std::vector<PgClientSet> sets;
  for (const unsigned major : {19u, 17u, 16u, 13u}) {
    PgClientSet& set = sets.emplace_back();
    set.directory = scratch / std::to_string(major);
    set.major = major;
    set.version = std::to_string(major) + ".1";
    ASSERT_TRUE(make_directories(set.directory).has_value());
    // 16 has only clients.
    for (const std::string program : {"pg_dump", "initdb", "postgres"})
      if (major != 16 || program == "pg_dump") {
        ASSERT_TRUE(write_file_durable(set.path(program), "#!/bin/sh\n", 0755).has_value());
      }
  }
  EXPECT_EQ(choose_scratch_server(sets, 13)->major, 13u);
  EXPECT_EQ(choose_scratch_server(sets, 14)->major, 17u);
  EXPECT_EQ(choose_scratch_server(sets, 16)->major, 17u);
  EXPECT_EQ(choose_scratch_server(sets, 0)->major, 19u);
  const Error none = choose_scratch_server(sets, 20).error();
  EXPECT_EQ(none.code(), Errc::kUnsupported);
  EXPECT_THAT(none.message(), HasSubstr("13.1 in "));
}

}  // namespace
}  // namespace pgark
