#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <thread>

#include "core/file.h"
#include "ops/dump.h"
#include "ops/dump_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kScript =
    "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 14.9 (Debian)\n"
    "-- Dumped by pg_dump version 15.20\n\nCREATE TABLE public.t (id int);\n"
    "COPY public.t (id) FROM stdin;\n1\n2\n3\n\\.\n\n\n";
constexpr std::string_view kScriptEnd = "--\n-- PostgreSQL database dump complete\n--\n\n";

class DumpFromStdin : public ::testing::Test {
 protected:
  DumpFromStdin() : repository_(new_repository(store_)) {
    request_.stanza = "main";
    request_.name = "elsewhere";
    request_.level = 1;
  }

  Result<DumpReport> take(std::string content) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const File reading = File::adopt(ends[0], "pipe");
    std::thread writer([end = ends[1], content = std::move(content)] {
      File writing = File::adopt(end, "pipe");
      (void)writing.write(as_bytes(content)).has_value();
    });
    auto report =
        run_dump_from_stdin(request_, reading.fd(), RepositorySet(*repository_), system_clock(), cancel_, progress_);
    writer.join();
    return report;
  }
  std::string failure(std::string content) {
    const auto report = take(std::move(content));
    return report.has_value() ? "taken" : report.error().to_string();
  }
  size_t object_count() {
    const auto objects = store_.list_all("main/");
    return objects.has_value() ? objects->size() : 999;
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_;
  DumpRequest request_;
  CancelToken cancel_;
  DumpProgress progress_;
};

TEST_F(DumpFromStdin, TakesAScriptWithItsVersionsAndRows) {
  const std::string script = std::string(kScript) + std::string(kScriptEnd);
  const auto report = take(script);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  const auto labels = list_dump_labels(*repository_, "main");
  ASSERT_TRUE(labels.has_value());
  ASSERT_THAT(*labels, ElementsAre(report->dump.meta.label));
  const auto dump = read_dump(*repository_, "main", labels->front());
  ASSERT_TRUE(dump.has_value()) << dump.error().to_string();
  EXPECT_EQ(dump->meta.name, "elsewhere");
  EXPECT_EQ(dump->meta.server, "standard input");
  EXPECT_EQ(dump->meta.pg_version_num, 140009u);
  ASSERT_EQ(dump->meta.units.size(), 1u);
  EXPECT_EQ(dump->meta.units[0].kind, DumpUnit::Kind::kGiven);
  EXPECT_EQ(dump->meta.units[0].format, DumpFormat::kPlain);
  EXPECT_EQ(dump->meta.units[0].client_major, 15u);
  ASSERT_EQ(dump->tables.size(), 1u);
  EXPECT_EQ(dump->tables[0].schema + "." + dump->tables[0].name, "public.t");
  EXPECT_EQ(dump->tables[0].rows, 3u);
  const DumpReader reader({repository_.get()}, "main", dump->meta.label);
  EXPECT_EQ(reader.read_whole(dump->meta.units[0].streams.at(0), cancel_, 1u << 20).value(), script);
}

TEST_F(DumpFromStdin, TakesSqlOfAnybody) {
  EXPECT_EQ(failure("create table t (id int);\ninsert into t values (1);\n"), "taken");
}

TEST_F(DumpFromStdin, WhatEndsTooEarlyIsRefusedAndLeavesNothing) {
  EXPECT_THAT(failure(std::string(kScript)), HasSubstr("ended too early"));
  EXPECT_THAT(failure("PGDMP\x01\x0e"), HasSubstr("ended too early"));
  std::string tar(2048, '\0');
  tar.replace(0, 7, "toc.dat");
  tar.replace(257, 5, "ustar");
  EXPECT_THAT(failure(tar.substr(0, 600) + "x"), HasSubstr("the tar archive has no end"));
  EXPECT_THAT(failure(""), HasSubstr("standard input is empty"));
  EXPECT_EQ(object_count(), 0u);
}

TEST_F(DumpFromStdin, WhatIsNoDumpIsToldWithTheNextStep) {
  EXPECT_THAT(failure("\x1f\x8b\x08 compressed"), HasSubstr("zcat FILE | pgark dump --stdin"));
  EXPECT_THAT(failure(std::string("\x7f"
                                  "ELF\0\0\0",
                                  8)),
              HasSubstr("is no dump"));
  EXPECT_EQ(object_count(), 0u);
}

TEST_F(DumpFromStdin, LostLeaseKeepsTheManifestBack) {
  request_.before_manifest = [](const RepositorySet&) { return Result<>(Error(Errc::kTransient, "lease was lost")); };
  EXPECT_THAT(failure("select 1;\n"), HasSubstr("lease was lost"));
  EXPECT_EQ(object_count(), 0u);
}

}  // namespace
}  // namespace pgark
