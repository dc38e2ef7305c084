// The reader and writer of archives against what pg_dump writes of one of everything, for every client and server.
#include "pg/dump_toc.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "core/file.h"
#include "logical_scene.h"
#include "pg/sql_text.h"

namespace pgark::testing {
namespace {

std::string written(const pg::DumpToc& toc) { return std::string(as_text(pg::write_dump_toc(toc))); }

/// As pg_restore --list prints it: line ends in names become spaces, and before some version nothing else does.
std::string listed(const pg::DumpTocEntry& entry) {
  std::string line =
      fmt::format("{}; {} {} {} {} {} {}", entry.dump_id, entry.table_oid, entry.oid, entry.desc,
                  entry.schema.value_or("").empty() ? "-" : *entry.schema, entry.tag, entry.owner.value_or(""));
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';
  return line;
}

class DumpTocOfMajor : public ::testing::TestWithParam<int> {
 protected:
  void compare_with_list(const std::string& pg_restore, const std::string& archive, const pg::DumpToc& toc) {
    ASSERT_OK_AND_ASSIGN(const std::string list, run_ok({pg_restore, "--list", archive}));
    std::map<int32_t, std::string> ours;
    for (const pg::DumpTocEntry& entry : toc.entries) ours[entry.dump_id] = listed(entry);
    std::istringstream lines(list);
    size_t count = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.empty() || line[0] == ';') continue;
      ++count;
      EXPECT_EQ(ours[std::stoi(line)], line);
    }
    // All but the database itself and what sets up a session.
    EXPECT_GT(count, 100u);
    EXPECT_GE(count + 15, toc.entries.size());
    EXPECT_NE(list.find(fmt::format("TOC Entries: {}\n", toc.entries.size())), std::string::npos);
    EXPECT_NE(
        list.find(fmt::format("Dump Version: {}.{}-{}\n", toc.version_major, toc.version_minor, toc.version_revision)),
        std::string::npos);
  }

  /// Every table of a custom archive has as many rows as the server counts.
  void compare_rows(PgServer& server, const std::string& archive) {
    const auto counter = pg::count_custom_rows();
    counter->add(as_bytes(archive));
    const auto counts = counter->counts();
    EXPECT_GT(counts.size(), 10u);
    ASSERT_OK_AND_ASSIGN(PgConnection shop, server.connect(kShopDatabase));
    for (const auto& count : counts) {
      ASSERT_OK_AND_ASSIGN(const PgRows rows, shop.query("SELECT count(*) FROM ONLY " + count.of));
      EXPECT_EQ(fmt::to_string(count.rows), rows.text()) << count.of;
    }
  }
};

TEST_P(DumpTocOfMajor, AgreesWithPgRestoreOfEveryClient) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(auto server, start_logical_server(install));
  ASSERT_OK(create_shop(*server));
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("toc"));
  const std::string shop = conninfo_of(*server, kShopDatabase);
  size_t clients = 0;
  for (const int client : client_majors()) {
    if (client < GetParam()) continue;
    ++clients;
    SCOPED_TRACE(fmt::format("pg_dump {}", client));
    ASSERT_OK_AND_ASSIGN(const std::string bin, client_bin_dir(client));
    const std::string directory = scratch / fmt::format("{}.dir", client);
    const std::string custom = scratch / fmt::format("{}.dump", client);
    ASSERT_OK(run_ok({bin + "/pg_dump", "-Fd", "-Z0", "-f", directory, shop}));
    ASSERT_OK(run_ok({bin + "/pg_dump", "-Fc", "-Z0", "-f", custom, shop}));
    for (const std::string& archive : {directory, custom}) {
      const bool is_custom = archive == custom;
      ASSERT_OK_AND_ASSIGN(const std::string bytes, read_file(is_custom ? custom : directory + "/toc.dat"));
      const auto toc = pg::read_dump_toc(as_bytes(bytes));
      ASSERT_OK(toc);
      EXPECT_EQ(toc->dump_major(), static_cast<unsigned>(client));
      EXPECT_EQ(written(*toc), bytes.substr(0, toc->toc_bytes));
      compare_with_list(bin + "/pg_restore", archive, *toc);
      if (is_custom) compare_rows(*server, bytes);
    }
  }
  if (clients == 0) GTEST_SKIP() << "no client for this server";
}

INSTANTIATE_TEST_SUITE_P(Majors, DumpTocOfMajor, ::testing::ValuesIn(supported_majors()),
                         [](const auto& param) { return major_name(param.param); });

// Clients of the versions between are not at hand everywhere; what we write in their formats, newer ones read.
TEST(DumpToc, WritesEveryVersionSoThatPgRestoreReadsIt) {
  PGARK_REQUIRE_PG(install, 15);
  PGARK_REQUIRE_CLIENT(bin, 19);
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install));
  ASSERT_OK(server->start());
  ASSERT_OK(server->exec("CREATE TABLE t (a int); INSERT INTO t VALUES (1)"));
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("toc"));
  ASSERT_OK(run_ok({bin + "/pg_dump", "-Fd", "-Z0", "-f", scratch / "d", server->conninfo()}));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, read_file(scratch / "d/toc.dat"));
  ASSERT_OK_AND_ASSIGN(pg::DumpToc toc, pg::read_dump_toc(as_bytes(bytes)));
  for (pg::DumpTocEntry& entry : toc.entries)
    if (entry.owner) entry.owner = "another owner";
  for (const unsigned minor : {12u, 13u, 14u, 15u, 16u}) {
    toc.version_minor = minor;
    ASSERT_OK(write_file_durable(scratch / "d/toc.dat", written(toc)));
    ASSERT_OK_AND_ASSIGN(const std::string list, run_ok({bin + "/pg_restore", "--list", scratch / "d"}));
    EXPECT_NE(list.find(fmt::format("Dump Version: 1.{}-0", minor)), std::string::npos) << list;
    ASSERT_OK_AND_ASSIGN(const std::string script, run_ok({bin + "/pg_restore", "-f", "-", scratch / "d"}));
    EXPECT_NE(script.find("ALTER TABLE public.t OWNER TO \"another owner\""), std::string::npos);
    EXPECT_NE(script.find("COPY public.t (a) FROM stdin;\n1\n\\."), std::string::npos);
  }
}

// Roles of a whole cluster under other names: what pg_dumpall writes loads after the names were changed.
TEST(DumpRoles, AreRenamedInWhatPgDumpallWrites) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto server, start_logical_server(install));
  ASSERT_OK(create_shop(*server));
  ASSERT_OK_AND_ASSIGN(const std::string script,
                       run_ok({install.program("pg_dumpall"), "--globals-only", "-d", server->conninfo()}));
  ASSERT_OK_AND_ASSIGN(const auto names, pg::named_roles(script));
  pg::RoleMap map;
  for (const std::string& name : names)
    if (name != "postgres" && !name.starts_with("pg_")) map[name] = "renamed " + name;
  ASSERT_GT(map.size(), 2u);
  ASSERT_OK_AND_ASSIGN(const std::string renamed, pg::map_roles(script, map));
  ASSERT_OK_AND_ASSIGN(const auto statements, pg::split_sql_statements(renamed));
  ASSERT_OK_AND_ASSIGN(auto target, PgServer::create(install));
  ASSERT_OK(target->start());
  for (const std::string& statement : statements) {
    const bool is_known = statement.starts_with("\\") || statement.find("ROLE postgres") != std::string::npos ||
                          statement.find("TABLESPACE") != std::string::npos;
    if (is_known) continue;
    const auto done = target->exec(statement);
    EXPECT_TRUE(done.has_value()) << statement << ": " << done.error().to_string();
  }
  ASSERT_OK_AND_ASSIGN(const PgRows rows, target->query("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'"));
  EXPECT_EQ(rows.size(), map.size() + 1);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_TRUE(rows.text(i) == "postgres" || rows.text(i).starts_with("renamed ")) << rows.text(i);
}

}  // namespace
}  // namespace pgark::testing
