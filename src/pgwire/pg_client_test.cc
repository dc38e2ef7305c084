// Tests of finding client programs and of what leads them to a server, with scripts in place of the programs.
#include "pgwire/pg_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "core/file.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// A variable of the environment, as it was again at the end.
class WithVariable {
 public:
  WithVariable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str()); before != nullptr) before_ = before;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  WithVariable(const WithVariable&) = delete;
  WithVariable& operator=(const WithVariable&) = delete;
  ~WithVariable() {
    if (before_) {
      ::setenv(name_.c_str(), before_->c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }

 private:
  std::string name_;
  std::optional<std::string> before_;
};

class PgClients : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = testing::ScratchDir::create("clients");
    ASSERT_TRUE(scratch.has_value());
    scratch_ = std::move(*scratch);
  }

  void put(const std::string& path, const std::string& content) {
    ASSERT_TRUE(make_directories(parent_path(scratch_ / path)).has_value());
    ASSERT_TRUE(write_file_durable(scratch_ / path, content, 0755).has_value());
    ASSERT_EQ(::chmod((scratch_ / path).c_str(), 0755), 0);
  }
  void put_dump(const std::string& directory, const std::string& version) {
    put(directory + "/pg_dump", "#!/bin/sh\necho 'pg_dump (PostgreSQL) " + version + "'\n");
  }
  /// Those found inside the scratch directory, as "major.minor directory".
  std::vector<std::string> found(const std::vector<std::string>& paths) {
    const auto sets = find_client_sets(paths, cancel_);
    EXPECT_TRUE(sets.has_value()) << sets.error().to_string();
    std::vector<std::string> names;
    if (!sets) return names;
    const std::string base = std::filesystem::canonical(scratch_.path());
    for (const PgClientSet& set : *sets) {
      if (set.directory.starts_with(base))
        names.push_back(fmt::format("{}.{} {}", set.major, set.minor, set.directory.substr(base.size() + 1)));
    }
    return names;
  }

  testing::ScratchDir scratch_;
  CancelToken cancel_;
};

TEST_F(PgClients, AreFoundInNamedPlacesNewestFirstAndOnce) {
  put_dump("14/bin", "14.2");
  put_dump("17/bin", "17.11 (Debian 17.11-0+deb13u1)");
  put_dump("19/bin", "19beta1");
  std::filesystem::create_directory_symlink(scratch_ / "17", scratch_ / "again");
  EXPECT_THAT(found({scratch_.path(), scratch_ / "17/bin"}), ElementsAre("19.0 19/bin", "17.11 17/bin", "14.2 14/bin"));
  EXPECT_THAT(found({scratch_ / "14"}), ElementsAre("14.2 14/bin"));
}

TEST_F(PgClients, AreFoundInPathAndKeepTheirWholeVersion) {
  put_dump("tools", "15.20 (Debian 15.20-0+deb12u1)");
  const WithVariable path("PATH", scratch_ / "tools" + ":relative::" + std::getenv("PATH"));
  EXPECT_THAT(found({}), ElementsAre("15.20 tools"));
  const auto sets = find_client_sets({}, cancel_);
  ASSERT_TRUE(sets.has_value());
  const auto it = std::find_if(sets->begin(), sets->end(),
                               [](const PgClientSet& set) { return set.directory.ends_with("/tools"); });
  ASSERT_NE(it, sets->end());
  EXPECT_EQ(it->version, "15.20 (Debian 15.20-0+deb12u1)");
  EXPECT_TRUE(it->has("pg_dump"));
  EXPECT_FALSE(it->has("initdb"));
}

TEST_F(PgClients, WrapperThatChoosesAVersionIsNoneOfThem) {
  put("share/pg_wrapper", "#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.20'\n");
  std::filesystem::create_directories(scratch_ / "bin");
  std::filesystem::create_symlink("../share/pg_wrapper", scratch_ / "bin/pg_dump");
  put_dump("real/16/bin", "16.1");
  std::filesystem::create_directories(scratch_ / "alternatives");
  std::filesystem::create_symlink("../real/16/bin/pg_dump", scratch_ / "alternatives/pg_dump");
  const WithVariable path("PATH", scratch_ / "bin" + ":" + (scratch_ / "alternatives") + ":" + std::getenv("PATH"));
  EXPECT_THAT(found({}), ElementsAre("16.1 real/16/bin"));
}

TEST_F(PgClients, BrokenProgramsArePassedOver) {
  put("broken/bin/pg_dump", "#!/bin/sh\necho cannot start >&2\nexit 127\n");
  put("odd/bin/pg_dump", "#!/bin/sh\necho hello\n");
  put_dump("good/bin", "13.16");
  EXPECT_THAT(found({scratch_.path()}), ElementsAre("13.16 good/bin"));
}

TEST_F(PgClients, NamedPlaceWithoutThemIsAnError) {
  std::filesystem::create_directories(scratch_ / "empty");
  const auto sets = find_client_sets({scratch_ / "empty"}, cancel_);
  ASSERT_FALSE(sets.has_value());
  EXPECT_EQ(sets.error().code(), Errc::kInvalid);
  EXPECT_THAT(sets.error().to_string(), AllOf(HasSubstr("/empty"), HasSubstr("client-path")));
}

std::vector<PgClientSet> sets_of(const std::vector<std::pair<unsigned, unsigned>>& versions) {
  std::vector<PgClientSet> sets;
  for (const auto& [major, minor] : versions) {
    PgClientSet set;
    set.major = major;
    set.minor = minor;
    set.version = fmt::format("{}.{} (Debian)", major, minor);
    set.directory = fmt::format("/pg/{}.{}", major, minor);
    sets.push_back(set);
  }
  return sets;
}
std::string chosen(const Result<PgClientSet>& set) {
  return set ? fmt::format("{}.{}", set->major, set->minor) : std::string(errc_name(set.error().code()));
}

TEST(PgClientChoice, DumpsWithTheServersMajorElseTheNextNewer) {
  const auto sets = sets_of({{18, 0}, {17, 11}, {15, 20}, {15, 3}, {13, 16}});
  EXPECT_EQ(chosen(choose_dump_client(sets, 15)), "15.20");
  EXPECT_EQ(chosen(choose_dump_client(sets, 10)), "13.16");
  EXPECT_EQ(chosen(choose_dump_client(sets, 14)), "15.20");
  EXPECT_EQ(chosen(choose_dump_client(sets, 16)), "17.11");
  const auto none = choose_dump_client(sets, 19);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), Errc::kUnsupported);
  EXPECT_THAT(none.error().to_string(),
              AllOf(HasSubstr("18.0 in /pg/18.0, 17.11 in /pg/17.11"), HasSubstr("postgresql-client-19")));
  EXPECT_THAT(choose_dump_client({}, 15).error().message(), HasSubstr("none was found"));
}

TEST(PgClientChoice, LoadsWithTheServersMajorIfItReadsTheArchive) {
  const auto sets = sets_of({{18, 0}, {17, 11}, {15, 20}, {13, 16}});
  EXPECT_EQ(chosen(choose_load_client(sets, 13, 15)), "15.20");
  EXPECT_EQ(chosen(choose_load_client(sets, 13, 16)), "15.20") << "nearest that says nothing the server does not know";
  EXPECT_EQ(chosen(choose_load_client(sets, 16, 13)), "17.11") << "lowest that can read it";
  EXPECT_EQ(chosen(choose_load_client(sets, 0, 10)), "13.16") << "whose origin is not known";
  const auto none = choose_load_client(sets, 19, 19);
  ASSERT_FALSE(none.has_value());
  EXPECT_THAT(none.error().to_string(), AllOf(HasSubstr("pg_dump 19 wrote"), HasSubstr("postgresql-client-19")));
}

std::map<std::string, std::string> environment_of(const SubprocessOptions& options) {
  std::map<std::string, std::string> all;
  for (const auto& [name, value] : options.environment) EXPECT_TRUE(all.emplace(name, value).second) << name;
  return all;
}

TEST(PgClientEnvironment, LeadsToTheEndpointAndNowhereElse) {
  const WithVariable options_variable("PGOPTIONS", "-c search_path=evil");
  const WithVariable encoding("PGCLIENTENCODING", "LATIN1");
  const WithVariable own("PGARK_REPO1_CIPHER_PASS", "secret");
  const WithVariable database("PGDATABASE", "other");
  const WithVariable password("PGPASSWORD", "known to libpq");
  PgEndpoint endpoint;
  endpoint.host = "db1";
  endpoint.port = 6432;
  endpoint.user = "backup";
  endpoint.database = "app";
  endpoint.application_name = "pgark [dump]";
  endpoint.tls = {{"sslmode", "verify-full"}, {"ssl_min_protocol_version", "TLSv1.3"}};
  endpoint.connect_timeout = std::chrono::milliseconds(2500);
  SubprocessOptions options;
  point_to(endpoint, options);
  const auto all = environment_of(options);
  EXPECT_EQ(all.at("PGHOST"), "db1");
  EXPECT_EQ(all.at("PGPORT"), "6432");
  EXPECT_EQ(all.at("PGUSER"), "backup");
  EXPECT_EQ(all.at("PGDATABASE"), "app");
  EXPECT_EQ(all.at("PGAPPNAME"), "pgark [dump]");
  EXPECT_EQ(all.at("PGSSLMODE"), "verify-full");
  EXPECT_EQ(all.at("PGSSLMINPROTOCOLVERSION"), "TLSv1.3");
  EXPECT_EQ(all.at("PGCONNECT_TIMEOUT"), "3");
  EXPECT_FALSE(all.contains("PGPASSWORD")) << "inherited, and never spelled out";
  const std::set<std::string> unset(options.unset.begin(), options.unset.end());
  for (const char* name : {"PGOPTIONS", "PGCLIENTENCODING", "PGARK_REPO1_CIPHER_PASS"})
    EXPECT_TRUE(unset.contains(name));
  for (const char* name : {"PGDATABASE", "PGPASSWORD", "PGHOST"}) EXPECT_FALSE(unset.contains(name)) << name;
}

TEST(PgClientEnvironment, TakesTheSocketAndLeavesDefaultsToLibpq) {
  PgEndpoint endpoint;
  endpoint.socket_path = "/run/postgresql";
  SubprocessOptions options;
  point_to(endpoint, options);
  const auto all = environment_of(options);
  EXPECT_EQ(all.at("PGHOST"), "/run/postgresql");
  EXPECT_FALSE(all.contains("PGUSER"));
}

TEST(PgClientEnvironment, ServiceIsSpelledOutAndYieldsToTheEndpoint) {
  auto scratch = testing::ScratchDir::create("service");
  ASSERT_TRUE(scratch.has_value());
  ASSERT_TRUE(
      write_file_durable(*scratch / "services", "[managed]\nhost=elsewhere\nport=1\nsslmode=require\nuser=robot\n")
          .has_value());
  const WithVariable file("PGSERVICEFILE", *scratch / "services");
  const WithVariable service("PGSERVICE", "managed");
  PgEndpoint endpoint;
  endpoint.host = "db1";
  SubprocessOptions options;
  point_to(endpoint, options);
  const auto all = environment_of(options);
  EXPECT_EQ(all.at("PGHOST"), "db1");
  EXPECT_EQ(all.at("PGPORT"), "5432");
  EXPECT_EQ(all.at("PGUSER"), "robot");
  EXPECT_EQ(all.at("PGSSLMODE"), "require");
  EXPECT_THAT(options.unset, ::testing::IsSupersetOf({"PGSERVICE", "PGSERVICEFILE"}));
}

}  // namespace
}  // namespace pgark
