#include "ops/dump_units.h"

#include <gmock/gmock.h>

namespace pgark {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

DumpTable table(uint32_t oid, std::string schema, std::string name, uint64_t bytes) {
  DumpTable made;
  made.oid = oid;
  made.schema = std::move(schema);
  made.name = std::move(name);
  made.bytes = bytes;
  return made;
}

/// A database with two tenants, a table in public, and a partitioned table.
class DumpUnits : public testing::Test {
 protected:
  DumpUnits() {
    client_.major = 15;
    client_.version = "15.20";
    facts_.database.name = "app";
    facts_.schemas = {"public", "tenant_1", "Ten\"ant*"};
    facts_.tables = {table(1, "public", "orders", 100), table(2, "tenant_1", "t", 20),
                     table(3, "Ten\"ant*", "t", 30),    table(4, "public", "ev", 0),
                     table(5, "public", "ev_01", 1000), table(6, "public", "ev_02", 2000)};
    facts_.tables[3].kind = 'p';
    for (const size_t leaf : {4u, 5u}) {
      facts_.tables[leaf].parent = "public.ev";
      facts_.tables[leaf].bound = "FOR VALUES ...";
      choice_.partitions.push_back(&facts_.tables[leaf]);
    }
    facts_.large_object_bytes = 7;
    choice_.schemas = facts_.schemas;
  }
  std::vector<PlannedUnit> plan() { return plan_dump_units(request_, client_, facts_, choice_); }

  DumpRequest request_;
  PgClientSet client_;
  DumpDatabaseFacts facts_;
  DumpChoice choice_;
};

TEST_F(DumpUnits, OneRunOfADatabaseByDefault) {
  request_.arguments = {"--no-owner", "--schema=tenant_*"};
  const auto units = plan();
  ASSERT_EQ(units.size(), 1u);
  EXPECT_EQ(units[0].unit.kind, DumpUnit::Kind::kWhole);
  EXPECT_EQ(units[0].unit.database, "app");
  EXPECT_EQ(units[0].unit.client_major, 15u);
  EXPECT_THAT(units[0].unit.arguments, ElementsAre("--format=directory", "--no-owner", "--schema=tenant_*"));
  EXPECT_EQ(units[0].bytes, 3157u) << "with large objects";
}

TEST_F(DumpUnits, SchemasApartAndTheRestWithoutThem) {
  request_.split = DumpSplit::kSchema;
  request_.format = DumpFormat::kCustom;
  request_.arguments = {"--exclude-schema=old_*", "--exclude-table=public.junk", "--large-objects", "--no-acl"};
  const auto units = plan();
  ASSERT_EQ(units.size(), 4u);
  EXPECT_EQ(units[0].unit.kind, DumpUnit::Kind::kCommon);
  EXPECT_THAT(
      units[0].unit.arguments,
      ElementsAre("--format=custom", "--exclude-schema=old_*", "--exclude-table=public.junk", "--blobs", "--no-acl",
                  "--exclude-schema=\"public\"", "--exclude-schema=\"tenant_1\"", "--exclude-schema=\"Ten\"\"ant*\""));
  EXPECT_EQ(units[3].unit.kind, DumpUnit::Kind::kSchema);
  EXPECT_EQ(units[3].unit.name, "Ten\"ant*");
  // No pattern that adds other schemas, no data of the database; what leaves tables out still counts.
  EXPECT_THAT(units[3].unit.arguments,
              ElementsAre("--format=custom", "--no-acl", "--exclude-table=public.junk", "--schema=\"Ten\"\"ant*\""));
  EXPECT_EQ(units[1].bytes, 3100u);
  EXPECT_EQ(units[3].bytes, 30u);
}

TEST_F(DumpUnits, SchemasThatWereAskedForComeWithoutTheRest) {
  request_.split = DumpSplit::kSchema;
  request_.arguments = {"--schema=tenant_*"};
  choice_.everything = false;
  choice_.schemas = {"tenant_1"};
  const auto units = plan();
  ASSERT_EQ(units.size(), 1u);
  EXPECT_THAT(units[0].unit.arguments, ElementsAre("--format=directory", "--schema=\"tenant_1\""));
}

TEST_F(DumpUnits, PartitionsApartFromTheirDefinition) {
  request_.split = DumpSplit::kPartition;
  request_.arguments = {"--schema=public", "--inserts"};
  const auto units = plan();
  ASSERT_EQ(units.size(), 3u);
  EXPECT_EQ(units[0].unit.kind, DumpUnit::Kind::kDefinition);
  EXPECT_THAT(units[0].unit.arguments,
              ElementsAre("--format=directory", "--schema=public", "--inserts",
                          "--exclude-table-data=\"public\".\"ev_01\"", "--exclude-table-data=\"public\".\"ev_02\""));
  EXPECT_EQ(units[1].unit.kind, DumpUnit::Kind::kPartition);
  EXPECT_EQ(units[1].unit.schema, "public");
  EXPECT_EQ(units[1].unit.name, "ev_01");
  EXPECT_THAT(units[1].unit.arguments,
              ElementsAre("--format=directory", "--inserts", "--data-only", "--table=\"public\".\"ev_01\""));
  EXPECT_EQ(units[2].bytes, 2000u);
}

TEST_F(DumpUnits, DefinitionsAloneHaveNoDataOfPartitions) {
  request_.split = DumpSplit::kPartition;
  for (const char* option : {"--schema-only", "--section=pre-data"}) {
    request_.arguments = {option};
    const auto units = plan();
    ASSERT_EQ(units.size(), 1u) << option;
    EXPECT_THAT(units[0].unit.arguments, Not(Contains(HasSubstr("exclude-table-data"))));
  }
  request_.arguments = {"--section=data"};
  EXPECT_EQ(plan().size(), 3u);
}

TEST_F(DumpUnits, OptionsHaveTheNamesOfTheClient) {
  EXPECT_THAT(translate_dump_arguments({"--no-large-objects", "--schema=large-objects"}, 15),
              ElementsAre("--no-blobs", "--schema=large-objects"));
  EXPECT_THAT(translate_dump_arguments({"--no-large-objects"}, 16), ElementsAre("--no-large-objects"));
}

TEST(DumpPatterns, MatchOneNameWhateverIsInIt) {
  EXPECT_EQ(exact_dump_pattern("orders"), "\"orders\"");
  EXPECT_EQ(exact_dump_pattern("Odd.Name*$|(?"), "\"Odd.Name*$|(?\"");
  EXPECT_EQ(exact_dump_pattern("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(exact_dump_pattern("a.b", "c\nd"), "\"a.b\".\"c\nd\"");
}

TEST(DumpRequests, WhatPgarkGivesItselfAndWhatCannotBeSplitIsRefused) {
  DumpRequest request;
  const auto failure = [&](DumpSplit split, std::vector<std::string> arguments) {
    request.split = split;
    request.arguments = std::move(arguments);
    const auto checked = check_dump_request(request);
    return checked.has_value() ? "ok" : checked.error().message();
  };
  EXPECT_EQ(failure(DumpSplit::kNone, {"--table=a", "--filter=/f", "--jobs-like"}), "ok");
  EXPECT_EQ(failure(DumpSplit::kNone, {"--jobs=3"}), "option --jobs of pg_dump is given by pgark itself");
  EXPECT_EQ(failure(DumpSplit::kNone, {"--file=/etc/passwd"}), "option --file of pg_dump is given by pgark itself");
  EXPECT_EQ(failure(DumpSplit::kSchema, {"--table=a"}), "split=schema cannot be combined with --table");
  EXPECT_EQ(failure(DumpSplit::kPartition, {"--table=a"}), "ok");
  EXPECT_EQ(failure(DumpSplit::kPartition, {"--filter=/f"}), "split=partition cannot be combined with --filter");
}

}  // namespace
}  // namespace pgark
