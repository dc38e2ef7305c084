#include "ops/load_select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgark {
namespace {

using pg::DumpSection;
using pg::DumpToc;
using pg::DumpTocEntry;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A table of contents, entry by entry.
class TocMaker {
 public:
  int32_t add(const char* desc, const char* schema, const char* tag, DumpSection section,
              const std::vector<int32_t>& needs = {}, const char* definition = "") {
    DumpTocEntry entry;
    entry.dump_id = static_cast<int32_t>(toc.entries.size()) + 1;
    entry.desc = desc;
    if (*schema != '\0') entry.schema = schema;
    entry.tag = tag;
    entry.section = section;
    entry.definition = definition;
    entry.has_data = entry.desc == "TABLE DATA" || entry.desc == "BLOBS";
    for (const int32_t id : needs) entry.dependencies.push_back(std::to_string(id));
    toc.entries.push_back(std::move(entry));
    return toc.entries.back().dump_id;
  }
  DumpToc toc;
};

constexpr auto kPre = DumpSection::kPreData;
constexpr auto kData = DumpSection::kData;
constexpr auto kPost = DumpSection::kPostData;
constexpr auto kNone = DumpSection::kNone;

/// As pg_dump 15 writes it: a schema with two tables that refer to each other, a partitioned table, large objects.
DumpToc shop() {
  TocMaker made;
  made.add("ENCODING", "", "ENCODING", kPre);
  const auto database = made.add("DATABASE", "", "shop", kPre);
  made.add("ACL", "", "DATABASE shop", kNone, {database});
  const auto schema = made.add("SCHEMA", "", "a", kPre);
  made.add("ACL", "", "SCHEMA a", kNone, {schema});
  const auto mood = made.add("TYPE", "a", "mood", kPre, {schema});
  const auto events = made.add("TABLE", "public", "events", kPre);
  const auto january = made.add("TABLE", "public", "events_01", kPre, {events});
  const auto customers = made.add("TABLE", "a", "customers", kPre, {schema, mood});
  const auto sequence = made.add("SEQUENCE", "a", "customers_id_seq", kPre, {customers, schema});
  made.add("SEQUENCE OWNED BY", "a", "customers_id_seq", kNone, {sequence});
  const auto orders = made.add("TABLE", "a", "orders", kPre, {schema});
  made.add("COMMENT", "a", "TABLE orders", kNone, {orders});
  made.add("ACL", "a", "TABLE orders", kNone, {orders});
  made.add("TABLE ATTACH", "public", "events_01", kPre, {january, events});
  made.add("DEFAULT", "a", "customers id", kPre, {customers, sequence});
  made.add("BLOB", "", "16465", kPre);
  made.add("TABLE DATA", "public", "events_01", kData, {january});
  made.add("TABLE DATA", "a", "orders", kData, {orders});
  made.add("TABLE DATA", "a", "customers", kData, {customers});
  made.add("SEQUENCE SET", "a", "customers_id_seq", kData, {sequence});
  made.add("BLOBS", "", "BLOBS", kData);
  const auto events_key = made.add("CONSTRAINT", "public", "events events_pkey", kPost, {events});
  const auto january_key = made.add("CONSTRAINT", "public", "events_01 events_01_pkey", kPost, {events_key, january});
  const auto customers_key = made.add("CONSTRAINT", "a", "customers customers_pkey", kPost, {customers});
  const auto index = made.add("INDEX", "a", "orders_customer", kPost, {orders});
  made.add("COMMENT", "a", "INDEX orders_customer", kNone, {index});
  made.add("INDEX ATTACH", "public", "events_01_pkey", kPost, {january, january_key, events_key, events});
  made.add("FK CONSTRAINT", "a", "orders orders_customer_fkey", kPost, {orders, customers_key, customers},
           "ALTER TABLE ONLY a.orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (c) REFERENCES a.customers(id);");
  const auto publication = made.add("PUBLICATION", "", "pub", kPost);
  made.add("PUBLICATION TABLE", "a", "pub orders", kPost, {orders, publication});
  return made.toc;
}

std::vector<std::string> labels(const DumpToc& toc, const std::vector<size_t>& entries) {
  std::vector<std::string> texts;
  for (const size_t at : entries) texts.push_back(entry_label(toc.entries[at]));
  return texts;
}

ChosenEntries choose(const DumpToc& toc, const LoadChoice& choice) {
  return choose_entries(toc, choice, choose_relations({&toc}, choice));
}

TEST(LoadSelect, TakesEverythingButTheDatabaseItself) {
  const DumpToc toc = shop();
  const ChosenEntries chosen = choose(toc, {});
  EXPECT_EQ(chosen.count(), toc.entries.size() - 3);
  EXPECT_THAT(labels(toc, chosen.data), ElementsAre("TABLE DATA public.events_01", "TABLE DATA a.orders",
                                                    "TABLE DATA a.customers", "BLOBS BLOBS"));
  // Privileges come last, large objects are made before their data.
  EXPECT_EQ(entry_label(toc.entries[chosen.pre.back()]), "BLOB 16465");
  EXPECT_EQ(entry_label(toc.entries[chosen.post.front()]), "ACL SCHEMA a");
}

TEST(LoadSelect, SchemaComesWithItselfAndJoinsNoPublication) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.schemas = {"a"};
  const ChosenEntries chosen = choose(toc, choice);
  EXPECT_THAT(labels(toc, chosen.pre),
              ElementsAre("SCHEMA a", "TYPE a.mood", "TABLE a.customers", "SEQUENCE a.customers_id_seq",
                          "SEQUENCE OWNED BY a.customers_id_seq", "TABLE a.orders", "COMMENT a.TABLE orders",
                          "DEFAULT a.customers id"));
  EXPECT_THAT(labels(toc, chosen.post),
              ElementsAre("ACL SCHEMA a", "ACL a.TABLE orders", "SEQUENCE SET a.customers_id_seq",
                          "CONSTRAINT a.customers customers_pkey", "INDEX a.orders_customer",
                          "COMMENT a.INDEX orders_customer", "FK CONSTRAINT a.orders orders_customer_fkey"));
}

TEST(LoadSelect, TableComesWithWhatBelongsToItAndNoOthers) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"a.customers"};
  const ChosenEntries chosen = choose(toc, choice);
  EXPECT_THAT(labels(toc, chosen.pre), ElementsAre("TABLE a.customers", "SEQUENCE a.customers_id_seq",
                                                   "SEQUENCE OWNED BY a.customers_id_seq", "DEFAULT a.customers id"));
  EXPECT_THAT(labels(toc, chosen.data), ElementsAre("TABLE DATA a.customers"));
  // The foreign key of another table depends on it, and is not its own.
  EXPECT_THAT(labels(toc, chosen.post),
              ElementsAre("SEQUENCE SET a.customers_id_seq", "CONSTRAINT a.customers customers_pkey"));
}

TEST(LoadSelect, TableNeedsItsSchemaTypesAndReferences) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"orders"};
  const ChosenEntries chosen = choose(toc, choice);
  std::vector<std::string> needed;
  for (const NeededEntry& one : needed_entries(toc, chosen))
    needed.push_back(entry_label(toc.entries[one.entry]) + " for " + entry_label(toc.entries[one.of]));
  EXPECT_THAT(needed, ElementsAre("SCHEMA a for TABLE a.orders",
                                  "TABLE a.customers for FK CONSTRAINT a.orders orders_customer_fkey",
                                  "CONSTRAINT a.customers customers_pkey for FK CONSTRAINT a.orders "
                                  "orders_customer_fkey"));
}

TEST(LoadSelect, PartitionedTableComesWithItsPartitions) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"events"};
  const ChosenEntries chosen = choose(toc, choice);
  EXPECT_THAT(labels(toc, chosen.pre),
              ElementsAre("TABLE public.events", "TABLE public.events_01", "TABLE ATTACH public.events_01"));
  EXPECT_THAT(labels(toc, chosen.data), ElementsAre("TABLE DATA public.events_01"));
}

TEST(LoadSelect, PartitionAloneIsAttachedBehindItsIndexes) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"events_01"};
  const ChosenEntries chosen = choose(toc, choice);
  EXPECT_THAT(labels(toc, chosen.pre), ElementsAre("TABLE public.events_01"));
  EXPECT_THAT(labels(toc, chosen.post),
              ElementsAre("CONSTRAINT public.events_01 events_01_pkey", "TABLE ATTACH public.events_01",
                          "INDEX ATTACH public.events_01_pkey"));
  // The table itself can do without its parent; what attaches it cannot.
  for (const NeededEntry& one : needed_entries(toc, chosen))
    EXPECT_THAT(toc.entries[one.of].desc, ::testing::EndsWith("ATTACH"));
}

TEST(LoadSelect, ExcludedTablesTakeTheirPartsAlong) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.schemas = {"a"};
  choice.exclude_tables = {"a.orders"};
  const ChosenEntries chosen = choose(toc, choice);
  for (const std::string& label : labels(toc, chosen.all()))
    EXPECT_EQ(label.find("orders"), std::string::npos) << label;
  EXPECT_THAT(labels(toc, chosen.data), ElementsAre("TABLE DATA a.customers"));
}

TEST(LoadSelect, DataAloneComesInAnOrderThatReferencesAllow) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.data_only = true;
  const ChosenEntries chosen = choose(toc, choice);
  EXPECT_THAT(labels(toc, chosen.pre), ElementsAre("BLOB 16465"));
  EXPECT_THAT(labels(toc, chosen.data), ElementsAre("TABLE DATA public.events_01", "TABLE DATA a.customers",
                                                    "TABLE DATA a.orders", "BLOBS BLOBS"));
  EXPECT_THAT(labels(toc, chosen.post), ElementsAre("SEQUENCE SET a.customers_id_seq"));
  choice = {};
  choice.schema_only = true;
  EXPECT_THAT(choose(toc, choice).data, IsEmpty());
}

TEST(LoadSelect, PatternsThatNameNothingAreTold) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"a.ord*", "no_such"};
  choice.schemas = {"b"};
  EXPECT_THAT(choose_relations({&toc}, choice).unmatched, ElementsAre("no_such", "b"));
}

TEST(LoadSelect, NeededEntriesStandBeforeWhatNeedsThem) {
  const DumpToc toc = shop();
  LoadChoice choice;
  choice.tables = {"orders"};
  ChosenEntries chosen = choose(toc, choice);
  add_entries(toc, choice, {needed_entries(toc, chosen).front().entry}, chosen);
  EXPECT_EQ(labels(toc, chosen.pre).front(), "SCHEMA a");
  EXPECT_EQ(labels(toc, chosen.post).front(), "ACL SCHEMA a");
  std::set<size_t> schema{chosen.pre.front()};
  remove_entries(toc, schema, chosen);
  EXPECT_EQ(labels(toc, chosen.pre).front(), "TABLE a.orders");
  EXPECT_EQ(labels(toc, chosen.post).front(), "ACL a.TABLE orders");
}

TEST(LoadSelect, ForeignKeysTellTheirTableEvenIfQuoted) {
  DumpTocEntry key;
  key.desc = "FK CONSTRAINT";
  key.definition =
      "ALTER TABLE ONLY a.b\n    ADD CONSTRAINT \"REFERENCES\" FOREIGN KEY (c) REFERENCES \"Odd.S\".\"T\"(d);";
  EXPECT_EQ(referenced_table(key), (RelationKey{"Odd.S", "T"}));
}

}  // namespace
}  // namespace pgark
