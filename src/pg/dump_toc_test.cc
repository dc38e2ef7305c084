// Archives of testdata/dump are what pg_dump <first number> wrote of a server <second number>, with what pg_restore
// --list says of them; those below made by hand are what no pg_dump would write.
#include "pg/dump_toc.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "core/file.h"

namespace pgark::pg {
namespace {

std::string sample(const std::string& name) {
  auto content = read_file(fmt::format("{}/src/pg/testdata/dump/{}", PGARK_SOURCE_DIR, name));
  EXPECT_TRUE(content.has_value()) << (content ? "" : content.error().to_string());
  return content.value_or(std::string());
}

DumpToc read(const std::string& bytes) {
  auto toc = read_dump_toc(as_bytes(bytes));
  EXPECT_TRUE(toc.has_value()) << (toc ? "" : toc.error().to_string());
  return toc.value_or(DumpToc());
}

std::string written(const DumpToc& toc) {
  const std::vector<std::byte> bytes = write_dump_toc(toc);
  return std::string(as_text(bytes));
}

// As pg_restore --list prints it.
std::string listed(const DumpTocEntry& entry) {
  return fmt::format("{}; {} {} {} {} {} {}", entry.dump_id, entry.table_oid, entry.oid, entry.desc,
                     entry.schema.value_or("").empty() ? "-" : *entry.schema, entry.tag, entry.owner.value_or(""));
}

class DumpTocSample : public ::testing::TestWithParam<const char*> {
 protected:
  std::string bytes() const { return sample(file()); }
  std::string file() const {
    const std::string name = GetParam();
    return name.ends_with("directory") ? name + ".toc" : name;
  }
};

TEST_P(DumpTocSample, IsWrittenBackByteForByte) {
  const std::string bytes = this->bytes();
  const DumpToc toc = read(bytes);
  EXPECT_EQ(written(toc), bytes.substr(0, toc.toc_bytes));
  if (toc.format != DumpToc::Format::kCustom) {
    EXPECT_EQ(toc.toc_bytes, bytes.size());
  }
}

TEST_P(DumpTocSample, HoldsWhatPgRestoreLists) {
  const DumpToc toc = read(bytes());
  std::map<int32_t, std::string> ours;
  for (const DumpTocEntry& entry : toc.entries) ours[entry.dump_id] = listed(entry);
  std::istringstream list(sample(std::string(GetParam()) + ".list"));
  std::map<std::string, std::string> head;
  size_t count = 0;
  for (std::string line; std::getline(list, line);) {
    if (line.starts_with(";     ")) {
      head[line.substr(6, line.find(": ") - 6)] = line.substr(line.find(": ") + 2);
    } else if (!line.empty() && line[0] != ';') {
      EXPECT_EQ(ours[std::stoi(line)], line);
      ++count;
    }
  }
  EXPECT_GT(count, 30u);
  EXPECT_EQ(head["TOC Entries"], fmt::to_string(toc.entries.size()));
  EXPECT_EQ(head["dbname"], toc.database);
  EXPECT_EQ(head["Dumped from database version"], toc.server_version);
  EXPECT_EQ(head["Dumped by pg_dump version"], toc.dump_version);
  EXPECT_EQ(head["Dump Version"], fmt::format("{}.{}-{}", toc.version_major, toc.version_minor, toc.version_revision));
  EXPECT_EQ(toc.dump_major(), static_cast<unsigned>(std::stoi(GetParam())));
  EXPECT_EQ(toc.created[5], 126);  // 2026
}

TEST_P(DumpTocSample, AsksForMoreAsLongAsItIsNotWhole) {
  const std::string bytes = this->bytes();
  const size_t whole = read(bytes).toc_bytes;
  for (size_t size = 0; size < whole; size += size < 200 ? 1 : 53) {
    const auto toc = read_dump_toc(as_bytes(bytes).first(size));
    ASSERT_FALSE(toc.has_value()) << size;
    ASSERT_EQ(toc.error().code(), Errc::kNotFound) << size << ": " << toc.error().to_string();
  }
  EXPECT_TRUE(read_dump_toc(as_bytes(bytes).first(whole)).has_value());
}

TEST_P(DumpTocSample, SurvivesDamagedBytes) {
  const std::string bytes = this->bytes();
  const size_t whole = read(bytes).toc_bytes;
  for (size_t at = 0; at < whole; at += at < 400 ? 1 : 53) {
    std::string damaged = bytes.substr(0, whole);
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    const auto toc = read_dump_toc(as_bytes(damaged));
    if (!toc) continue;
    ASSERT_EQ(written(*toc), damaged.substr(0, toc->toc_bytes)) << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Archives, DumpTocSample,
                         ::testing::Values("13.10.directory", "15.12.directory", "17.17.directory", "18.18.directory",
                                           "19.19.directory", "15.15.custom", "19.19.custom"),
                         [](const auto& sample) {
                           std::string name = sample.param;
                           for (char& c : name)
                             if (c == '.') c = '_';
                           return "Dump" + name;
                         });

const DumpTocEntry& entry(const DumpToc& toc, const std::string& desc, const std::string& tag) {
  for (const DumpTocEntry& one : toc.entries)
    if (one.desc == desc && one.tag == tag) return one;
  ADD_FAILURE() << "no " << desc << " " << tag;
  static const DumpTocEntry kNone;
  return kNone;
}

TEST(DumpToc, ReadsEveryFieldOfAnEntry) {
  const DumpToc toc = read(sample("19.19.directory.toc"));
  EXPECT_EQ(toc.version_minor, 16u);
  EXPECT_EQ(toc.format, DumpToc::Format::kTar);  // So says toc.dat of a directory.
  const DumpTocEntry& table = entry(toc, "TABLE", "Odd \"name");
  EXPECT_EQ(table.schema, "shop");
  EXPECT_EQ(table.section, DumpSection::kPreData);
  EXPECT_EQ(table.definition, "CREATE TABLE shop.\"Odd \"\"name\" (\n    \"Col\" integer\n);\n");
  EXPECT_EQ(table.drop_statement, "DROP TABLE shop.\"Odd \"\"name\";\n");
  EXPECT_EQ(table.table_access_method, "heap");
  EXPECT_EQ(table.relkind, 'r');
  EXPECT_EQ(table.owner, "postgres");
  EXPECT_EQ(table.with_oids, "false");
  EXPECT_FALSE(table.has_data);
  const DumpTocEntry& data = entry(toc, "TABLE DATA", "orders");
  EXPECT_TRUE(data.has_data);
  EXPECT_EQ(data.section, DumpSection::kData);
  EXPECT_EQ(data.copy_statement, "COPY shop.orders (id, note, day) FROM stdin;\n");
  EXPECT_EQ(data.file_name, fmt::format("{}.dat", data.dump_id));
  EXPECT_EQ(data.dependencies, std::vector<std::string>{fmt::to_string(entry(toc, "TABLE", "orders").dump_id)});
  EXPECT_EQ(entry(toc, "INDEX", "orders_day_idx").section, DumpSection::kPostData);
}

TEST(DumpToc, KeepsPositionsOfACustomArchive) {
  const std::string bytes = sample("15.15.custom");
  const DumpToc toc = read(bytes);
  const DumpTocEntry& data = entry(toc, "TABLE DATA", "orders");
  EXPECT_EQ(data.offset_state, 2);  // Set.
  ASSERT_LT(data.offset, bytes.size());
  EXPECT_EQ(bytes[data.offset], '\1');
  EXPECT_GE(data.offset, toc.toc_bytes);
}

TEST(DumpToc, WritesChangedOwnersThatAreReadAgain) {
  DumpToc toc = read(sample("15.12.directory.toc"));
  for (DumpTocEntry& one : toc.entries)
    if (one.owner == "toc_owner") one.owner = "a much longer name";
  const DumpToc again = read(written(toc));
  ASSERT_EQ(again.entries.size(), toc.entries.size());
  EXPECT_EQ(entry(again, "TABLE", "orders").owner, "a much longer name");
}

TEST(DumpToc, RejectsWhatIsNoArchive) {
  EXPECT_EQ(read_dump_toc(as_bytes("--\n-- PostgreSQL database dump\n")).error().code(), Errc::kInvalid);
  EXPECT_FALSE(looks_like_archive(as_bytes("PGDM")));
  EXPECT_TRUE(looks_like_archive(as_bytes("PGDMP\1")));
  EXPECT_EQ(read_dump_toc(as_bytes("PGD")).error().code(), Errc::kNotFound);
}

TEST(DumpToc, NamesVersionsItDoesNotKnow) {
  std::string bytes = sample("19.19.directory.toc");
  bytes[6] = 17;
  const Error error = read_dump_toc(as_bytes(bytes)).error();
  EXPECT_EQ(error.code(), Errc::kUnsupported);
  EXPECT_NE(error.message().find("version 1.17"), std::string::npos) << error.message();
  bytes[6] = 16;
  bytes[10] = 4;  // Format "files", never released.
  EXPECT_EQ(read_dump_toc(as_bytes(bytes)).error().code(), Errc::kUnsupported);
}

// Head of an archive whose database name has this length, then `count` entries and nothing more.
std::string crafted(int32_t name_length, int32_t count) {
  DumpToc toc;
  std::string bytes = written(toc);
  const auto put = [&](size_t at, int32_t value) {
    for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
  };
  put(11 + 5 + 7 * 5 + 1, name_length);
  put(bytes.size() - 4, count);
  return bytes;
}

TEST(DumpToc, BelievesNoLengthWithoutBytesForIt) {
  EXPECT_TRUE(read_dump_toc(as_bytes(crafted(0, 0))).has_value());
  EXPECT_EQ(read_dump_toc(as_bytes(crafted(0x7fffffff, 0))).error().code(), Errc::kCorrupt);
  EXPECT_EQ(read_dump_toc(as_bytes(crafted(0x3fffffff, 0))).error().code(), Errc::kNotFound);
  EXPECT_EQ(read_dump_toc(as_bytes(crafted(0, 0x7fffffff))).error().code(), Errc::kNotFound);
}

}  // namespace
}  // namespace pgark::pg
