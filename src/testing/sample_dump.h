// A dump in a repository without a server: streams of given bytes in packs, and the manifest.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "ops/dump_store.h"

namespace pgark::testing {

class SampleDump {
 public:
  SampleDump(const RepositorySet& repositories, const std::string& label, uint64_t pack_bytes = 64u << 20)
      : repositories_(repositories),
        packs_(repositories, {.stanza = "main", .label = label, .level = 1, .pack_bytes = pack_bytes}) {
    meta().label = label;
    meta().series = "database app";
    meta().started = Timestamp(std::chrono::seconds(1795342500));
    meta().stopped = meta().started + std::chrono::seconds(60);
    meta().pg_version_num = 150020;
    meta().databases.emplace_back().name = "app";
    DumpUnit& unit = meta().units.emplace_back();
    unit.database = "app";
  }

  /// A stream, and a table whose data it holds.
  void table(const std::string& name, Bytes content) {
    DumpTable& table = dump.tables.emplace_back();
    table.database = "app";
    table.oid = static_cast<uint32_t>(16384 + dump.tables.size());
    table.schema = "public";
    table.name = name;
    table.rows = 1;
    table.unit = 0;
    table.stream = std::to_string(table.oid) + ".dat";
    stream(table.stream, content);
  }
  void stream(const std::string& name, Bytes content) {
    auto writer = packs_.begin(name);
    ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
    ASSERT_TRUE(writer->append(content).has_value());
    auto stored = std::move(*writer).finish();
    ASSERT_TRUE(stored.has_value()) << stored.error().to_string();
    meta().units.front().streams.push_back(std::move(*stored));
    contents.emplace_back(as_text(content));
  }
  /// Make it exist.
  void commit() {
    const auto finished = packs_.finish();
    ASSERT_TRUE(finished.has_value()) << finished.error().to_string();
    meta().pack_count = packs_.pack_count();
    meta().stored_bytes = packs_.stored_bytes();
    const auto written = write_dump(repositories_, "main", dump);
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
  }
  DumpMeta& meta() { return dump.meta; }

  Dump dump;
  std::vector<std::string> contents;  // Of the streams.

 private:
  RepositorySet repositories_;
  DumpPacks packs_;
};

/// Whether a repository holds a dump whose streams have these contents.
inline void expect_dump(const Repository& repository, const std::string& label,
                        const std::vector<std::string>& contents) {
  const auto dump = read_dump(repository, "main", label);
  ASSERT_TRUE(dump.has_value()) << dump.error().to_string();
  const DumpReader reader({&repository}, "main", label);
  const CancelToken cancel;
  const auto& streams = dump->meta.units.front().streams;
  ASSERT_EQ(streams.size(), contents.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    const auto text = reader.read_whole(streams[i], cancel, uint64_t{1} << 30);
    ASSERT_TRUE(text.has_value()) << text.error().to_string();
    EXPECT_TRUE(*text == contents[i]) << streams[i].name;
  }
}

}  // namespace pgark::testing
