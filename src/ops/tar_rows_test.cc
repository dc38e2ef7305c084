#include "ops/tar_rows.h"

#include <gmock/gmock.h>

#include "core/clock.h"

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;

std::string member(const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  char size[13];
  std::snprintf(size, sizeof size, "%011o", static_cast<unsigned>(content.size()));
  header.replace(124, 11, size);
  header.replace(257, 5, "ustar");
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512, '\0');
  return header + padded;
}

/// A table of contents with the data of two tables and a sequence.
std::string toc_text() {
  pg::DumpToc toc;
  toc.format = pg::DumpToc::Format::kTar;
  toc.database = "app";
  toc.server_version = "15.20";
  toc.dump_version = "15.20";
  int32_t id = 10;
  for (const char* name : {"orders", "Odd"}) {
    pg::DumpTocEntry entry;
    entry.dump_id = ++id;
    entry.oid = static_cast<uint32_t>(1000 + id);
    entry.has_data = true;
    entry.desc = "TABLE DATA";
    entry.tag = name;
    entry.schema = "public";
    entry.section = pg::DumpSection::kData;
    entry.file_name = std::to_string(entry.dump_id) + ".dat";
    entry.definition = entry.drop_statement = entry.owner = "";
    entry.copy_statement = "COPY ...";
    toc.entries.push_back(std::move(entry));
  }
  const auto bytes = pg::write_dump_toc(toc);
  return std::string(as_text(bytes));
}

TEST(TarRows, CountsEveryMemberHoweverItIsCut) {
  std::string big;
  for (int i = 0; i < 5000; ++i) big += "row " + std::to_string(i) + "\n";
  const std::string archive = member("toc.dat", toc_text()) + member("11.dat", "a\nb\n\\.\n\n\n") +
                              member("blob_7.dat", "x\ny\n") + member("12.dat", big + "\\.\n\n\n") +
                              member("restore.sql", "-- SQL\n") + std::string(1024, '\0');
  const uint64_t seed = std::getenv("SEED") != nullptr ? std::stoull(std::getenv("SEED")) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 20; ++round) {
    const auto rows = count_tar_rows();
    for (size_t at = 0; at < archive.size();) {
      const size_t count = std::min<size_t>(1 + rng.below(round == 0 ? 1 : 3000), archive.size() - at);
      rows->add(as_bytes(std::string_view(archive).substr(at, count)));
      at += count;
    }
    ASSERT_NE(rows->toc(), nullptr);
    EXPECT_EQ(rows->toc()->database, "app");
    EXPECT_THAT(rows->counts(), ElementsAre(Field(&pg::DumpRowCounter::Count::rows, 2u),
                                            Field(&pg::DumpRowCounter::Count::rows, 5000u)));
  }
}

TEST(TarRows, OfSomethingElseCountsNothing) {
  const auto rows = count_tar_rows();
  rows->add(as_bytes(std::string(10000, 'x')));
  EXPECT_EQ(rows->toc(), nullptr);
  EXPECT_THAT(rows->counts(), IsEmpty());
}

}  // namespace
}  // namespace pgark
