#include "cli/settings.h"

#include <gmock/gmock.h>

#include "cli/test_support.h"

namespace pgark {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

class SettingsTest : public ScratchTest {};

TEST_F(SettingsTest, TakesLettersAsPgDumpDoes) {
  const auto settings =
      resolve({"--stanza=main", "dump", "-n", "tenant_1", "-ntenant_2", "-sO", "-Fc", "-j", "4", "--no-acl"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(settings->list("schema"), (std::vector<std::string>{"tenant_1", "tenant_2"}));
  EXPECT_TRUE(settings->boolean("schema-only"));
  EXPECT_TRUE(settings->boolean("no-owner"));
  EXPECT_TRUE(settings->boolean("no-acl"));
  EXPECT_FALSE(settings->boolean("data-only"));
  EXPECT_EQ(settings->text("format"), "c");
  EXPECT_EQ(settings->integer("jobs"), 4);
  EXPECT_EQ(resolve({"--stanza=main", "backup", "-s"}).error().message(),
            "option --schema-only is not valid for backup");
  EXPECT_EQ(resolve({"--stanza=main", "dump", "-n"}).error().message(), "--schema needs a value");
}

TEST_F(SettingsTest, TakesTheMostSpecificSource) {
  write("pgark.conf",
        "[global]\nprocess-max=1\ndb-timeout=1m\n"
        "[global:backup]\nprocess-max=2\nio-timeout=2\n"
        "[main]\npg1-path=/pg\nprocess-max=3\nio-timeout=3\narchive-timeout=3\n"
        "[main:backup]\nprocess-max=4\n"
        "[other]\nprocess-max=9\n[main:restore]\nprocess-max=8\n");
  const auto from_file = resolve({"--stanza=main", "backup"});
  ASSERT_TRUE(from_file.has_value()) << from_file.error().to_string();
  EXPECT_EQ(from_file->integer("process-max"), 4);
  EXPECT_EQ(from_file->duration("io-timeout"), std::chrono::seconds(3));
  EXPECT_EQ(from_file->duration("archive-timeout"), std::chrono::seconds(3));
  EXPECT_EQ(from_file->duration("db-timeout"), std::chrono::seconds(60));
  EXPECT_EQ(from_file->origin("process-max"), "process-max in " + directory_ + "/pgark.conf [main:backup]");
  EXPECT_EQ(from_file->origin("repo1-path"), "default of repo1-path");
  EXPECT_EQ(from_file->config_file(), directory_ + "/pgark.conf");

  input_.environment = {{"PGARK_PROCESS_MAX", "5"}, {"PGARK_STANZA", "main"}, {"PGARK_REPO1_PATH", "/env/"}};
  const auto from_environment = resolve({"backup"});
  ASSERT_TRUE(from_environment.has_value()) << from_environment.error().to_string();
  EXPECT_EQ(from_environment->integer("process-max"), 5);
  EXPECT_EQ(from_environment->text("repo1-path"), "/env");
  EXPECT_EQ(from_environment->origin("repo1-path"), "PGARK_REPO1_PATH");
  EXPECT_EQ(from_environment->stanza(), "main");

  const auto from_line = resolve({"backup", "--process-max=6", "--repo-path", "/line"});
  ASSERT_TRUE(from_line.has_value()) << from_line.error().to_string();
  EXPECT_EQ(from_line->integer("process-max"), 6);
  EXPECT_EQ(from_line->text("repo1-path"), "/line");
  EXPECT_EQ(from_line->origin("repo1-path"), "--repo1-path");

  const auto reset = resolve({"backup", "--reset-repo1-path", "--reset-db-timeout"});
  ASSERT_TRUE(reset.has_value());
  EXPECT_EQ(reset->text("repo1-path"), "/var/lib/pgark");
  EXPECT_EQ(reset->duration("db-timeout"), std::chrono::seconds(1800));
}

// Whoever asks later than the settings were read must not take a change in between for what was read.
TEST_F(SettingsTest, TellWhetherTheirFilesChangedSinceTheyWereRead) {
  write("pgark.conf", "[global]\nprocess-max=1\n");
  write("conf.d/more.conf", "[main]\npg1-path=/pg\n");
  const auto settings = resolve({"--stanza=main", "backup"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  const Settings copy = *settings;
  EXPECT_FALSE(copy.config_files().changed());
  write("conf.d/more.conf", "[main]\npg1-path=/PG\n");
  EXPECT_TRUE(copy.config_files().changed());
  EXPECT_FALSE(resolve({"--stanza=main", "backup"})->config_files().changed());
}

TEST_F(SettingsTest, HasGoodDefaults) {
  const auto settings = resolve({"--stanza=main", "--pg1-path=/pg", "backup"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(settings->text("compress-type"), "zst");
  EXPECT_EQ(settings->integer("compress-level"), 1);
  EXPECT_GE(settings->integer("process-max"), 1);
  EXPECT_LE(settings->integer("process-max"), 8);
  EXPECT_EQ(settings->text("type"), "incr");
  EXPECT_EQ(settings->text("lock-path"), "/tmp/pgark");
  EXPECT_EQ(settings->integer("pg1-port"), 5432);
  EXPECT_FALSE(settings->has("pg1-socket-path"));
  EXPECT_FALSE(settings->has("progress"));
  EXPECT_FALSE(settings->given("process-max"));
  EXPECT_THAT(settings->warnings(), IsEmpty());
}

TEST_F(SettingsTest, TakesOptionsBeforeAndAfterTheCommand) {
  const auto settings = resolve({"--stanza", "main", "archive-get", "--repo1-path=/r", "000000010000000000000001", "--",
                                 "--pg_wal/RECOVERYXLOG"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_THAT(settings->arguments(), ElementsAre("000000010000000000000001", "--pg_wal/RECOVERYXLOG"));
}

TEST_F(SettingsTest, ReadsBooleansInEveryForm) {
  const auto start_fast = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"--stanza=main", "--pg1-path=/pg", "backup"});
    const auto settings = resolve(std::move(words));
    return settings.has_value() ? (settings->boolean("start-fast") ? "y" : "n") : settings.error().message();
  };
  write("pgark.conf", "[global]\nstart-fast=y\n");
  EXPECT_EQ(start_fast({}), "y");
  EXPECT_EQ(start_fast({"--no-start-fast"}), "n");
  EXPECT_EQ(start_fast({"--start-fast=n"}), "n");
  EXPECT_EQ(start_fast({"--reset-start-fast"}), "n");
  write("pgark.conf", "");
  EXPECT_EQ(start_fast({"--start-fast"}), "y");
  EXPECT_EQ(start_fast({"--start-fast=y"}), "y");
  EXPECT_EQ(start_fast({"--start-fast=true"}), "--start-fast: 'true' is not allowed: use y or n");
  EXPECT_EQ(start_fast({"--start-fast", "--no-start-fast"}), "--start-fast is given twice");
  EXPECT_EQ(start_fast({"--no-start-fast=y"}), "--no-start-fast takes no value");
  EXPECT_THAT(start_fast({"--no-process-max"}), HasSubstr("process-max is not a y/n option"));
}

TEST_F(SettingsTest, CollectsListsAndMaps) {
  write("pgark.conf", "[global]\nexclude=a\n[main]\npg1-path=/pg\nexclude=b/\nexclude=c d\n");
  const auto backup =
      resolve({"--stanza=main", "backup", "--annotation=k=v=w", "--annotation", "k2=", "--annotation=k=x"});
  ASSERT_TRUE(backup.has_value()) << backup.error().to_string();
  EXPECT_THAT(backup->list("exclude"), ElementsAre("b/", "c d"));
  EXPECT_THAT(backup->map("annotation"), ElementsAre(Pair("k", "x"), Pair("k2", "")));
  input_.environment = {{"PGARK_TABLESPACE_MAP", "16385=/a:ts=/b"}};
  const auto restore = resolve({"--stanza=main", "restore"});
  ASSERT_TRUE(restore.has_value()) << restore.error().to_string();
  EXPECT_THAT(restore->map("tablespace-map"), ElementsAre(Pair("16385", "/a"), Pair("ts", "/b")));
}

TEST_F(SettingsTest, NamesTheNearestOptionOrCommand) {
  EXPECT_EQ(failure({"bakcup"}), "unknown command 'bakcup'\nHINT: did you mean backup?");
  EXPECT_EQ(failure({"backup", "--procesmax=2"}), "unknown option --procesmax\nHINT: did you mean --process-max?");
  EXPECT_EQ(failure({"backup", "--no-strat-fast"}),
            "unknown option --no-strat-fast\n"
            "HINT: did you mean --start-fast?");
  EXPECT_EQ(failure({"backup", "-Z"}), "unknown option -Z\nHINT: most options begin with two dashes");
  EXPECT_EQ(failure({"--stanza=main"}), "no command is given\nHINT: run 'pgark help' for the commands");
  EXPECT_EQ(failure({"backup", "--stanza"}), "--stanza needs a value");
  EXPECT_EQ(failure({"info", "--start-fast"}),
            "option --start-fast is not valid for info\nHINT: run 'pgark help info' for its options");
  EXPECT_EQ(failure({"backup", "--stanza=a", "--stanza=b"}), "--stanza is given twice");
  write("pgark.conf", "[global]\n\nrepo1-pth=/r\n");
  EXPECT_EQ(failure({"info"}), directory_ +
                                   "/pgark.conf:3: unknown option 'repo1-pth' in [global]\n"
                                   "HINT: did you mean repo1-path?");
  write("pgark.conf", "[global:bakup]\nstart-fast=y\n");
  EXPECT_EQ(failure({"info"}), directory_ +
                                   "/pgark.conf:2: section [global:bakup] names no command\n"
                                   "HINT: did you mean backup?");
}

TEST_F(SettingsTest, ChecksNamesInSectionsOfOtherStanzas) {
  write("pgark.conf", "[other]\nrepo1-pth=/r\n");
  EXPECT_THAT(failure({"info"}), HasSubstr(":2: unknown option 'repo1-pth' in [other]"));
}

TEST_F(SettingsTest, NamesWhereABadValueStands) {
  write("pgark.conf", "[main]\npg1-path=/pg\nprocess-max=many\n");
  EXPECT_EQ(failure({"--stanza=main", "backup"}),
            "process-max in " + directory_ + "/pgark.conf [main]: 'many' is not a whole number");
  write("pgark.conf", "[main]\npg1-path=\n");
  EXPECT_EQ(failure({"--stanza=main", "backup"}),
            "pg1-path in " + directory_ + "/pgark.conf [main]: has an empty value");
  write("pgark.conf", "[main]\npg1-path=/a\npg1-path=/b\n");
  EXPECT_EQ(failure({"--stanza=main", "backup"}),
            directory_ + "/pgark.conf:3: option 'pg1-path' is set a second time in [main]");
  write("pgark.conf", "");
  input_.environment = {{"PGARK_PG1_PORT", "0"}};
  EXPECT_EQ(failure({"--stanza=main", "--pg1-path=/pg", "backup"}),
            "PGARK_PG1_PORT: '0' is out of range: allowed are 1 to 65535");
}

TEST_F(SettingsTest, RequiresStanzaAndClusterWithAHint) {
  EXPECT_EQ(failure({"backup"}), "stanza is required for backup\nHINT: give --stanza=NAME or set PGARK_STANZA");
  EXPECT_EQ(failure({"--stanza=main", "backup"}),
            "pg1-path is required for backup\nHINT: give --pg1-path or set pg1-path in [main] of " + directory_ +
                "/pgark.conf");
  write("pgark.conf", "[demo]\npg1-path=/pg\n");
  EXPECT_EQ(failure({"backup"}),
            "stanza is required for backup\nHINT: give --stanza=NAME; " + directory_ + "/pgark.conf has demo");
  EXPECT_THAT(failure({"--stanza=main", "backup"}), HasSubstr("which has stanzas demo"));
  EXPECT_EQ(failure({"--stanza=main", "annotate", "--annotation=a=b"}),
            "set is required for annotate\nHINT: give --set=TEXT");
  EXPECT_EQ(failure({"info"}), "resolved");
  EXPECT_EQ(failure({"stop"}), "resolved");
}

TEST_F(SettingsTest, PointsAtThePgBackRestFileThatIsThere) {
  write("pgbackrest.conf", "[main]\npg1-path=/pg\n");
  EXPECT_THAT(failure({"--stanza=main", "backup"}),
              AllOf(StartsWith("pg1-path is required for backup\nHINT: "),
                    HasSubstr("use it with --config=" + directory_ + "/pgbackrest.conf")));
  EXPECT_EQ(failure({"--stanza=main", "backup", "--config=" + directory_ + "/pgbackrest.conf"}), "resolved");
}

TEST_F(SettingsTest, ValidatesStanzaNames) {
  for (const char* good : {"main", "a.b-c_9", "-x", "9"})
    EXPECT_EQ(failure({"info", std::string("--stanza=") + good}), "resolved");
  for (const char* bad : {"", ".x", "a/b", "a b", "ä", "global", "all", "..", "a:b"}) {
    EXPECT_NE(failure({"info", std::string("--stanza=") + bad}), "resolved") << bad;
  }
}

TEST_F(SettingsTest, ReadsTheIncludePathInOrder) {
  write("pgark.conf", "[main]\npg1-path=/pg\n");
  write("conf.d/20.conf", "[global]\nprocess-max=2\n");
  write("conf.d/10.conf", "[global]\ndb-timeout=10\n");
  write("conf.d/note.txt", "not read");
  const auto both = resolve({"--stanza=main", "backup"});
  ASSERT_TRUE(both.has_value()) << both.error().to_string();
  EXPECT_EQ(both->integer("process-max"), 2);
  EXPECT_EQ(both->duration("db-timeout"), std::chrono::seconds(10));
  const auto alone = resolve({"--stanza=main", "backup", "--config=" + directory_ + "/pgark.conf"});
  ASSERT_TRUE(alone.has_value());
  EXPECT_FALSE(alone->given("process-max"));
  const auto named = resolve({"--stanza=main", "backup", "--config=" + directory_ + "/pgark.conf",
                              "--config-include-path=" + directory_ + "/conf.d"});
  ASSERT_TRUE(named.has_value());
  EXPECT_EQ(named->integer("process-max"), 2);
  const auto based = resolve({"--stanza=main", "backup", "--config-path=" + directory_});
  ASSERT_TRUE(based.has_value());
  EXPECT_EQ(based->integer("process-max"), 2);
  EXPECT_THAT(failure({"--stanza=main", "backup", "--no-config"}), HasSubstr("pg1-path is required"));
}

TEST_F(SettingsTest, MissesOnlyFilesThatWereNamed) {
  EXPECT_EQ(failure({"info"}), "resolved");
  EXPECT_THAT(failure({"info", "--config=/nonexistent/x.conf"}),
              StartsWith("read configuration: open '/nonexistent/x.conf'"));
  EXPECT_THAT(failure({"info", "--config-include-path=/nonexistent"}),
              StartsWith("read configuration: open directory"));
}

TEST_F(SettingsTest, IgnoresHarmlessOptionsOfPgBackRestWithOneWarning) {
  write("pgark.conf",
        "[global]\nrepo1-bundle=y\nrepo1-block=y\nrepo1-retention-full=2\nrepo1-retention-history=7\narchive-async=n\n"
        "repo1-cipher-type=none\ncompress-level-network=3\n[main]\npg1-path=/pg\n");
  const auto settings = resolve({"--stanza=main", "backup", "--stop-auto"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  const std::string all = testing::PrintToString(settings->warnings());
  EXPECT_THAT(all, AllOf(HasSubstr("repo1-bundle in "), HasSubstr("repo1-block in "),
                         HasSubstr("repo1-retention-history in "), HasSubstr("no history of removed backups is kept"),
                         HasSubstr("compress-level-network"), HasSubstr("--stop-auto")));
  EXPECT_THAT(all, Not(HasSubstr("archive-async")));
  EXPECT_THAT(all, Not(HasSubstr("retention-full"))) << "it is not ignored";
  EXPECT_THAT(all, Not(HasSubstr("cipher"))) << "a value that changes nothing is accepted silently";
  EXPECT_EQ(settings->warnings().size(), 4u) << "one line for each reason: " << all;
}

TEST_F(SettingsTest, KnowsEveryRepositoryAndCluster) {
  write("pgark.conf",
        "[global]\nrepo1-path=/r1\nrepo3-path=/r3/\nrepo3-retention-full=2\n[main]\npg1-path=/pg\npg2-path=/pg2\n");
  const auto settings = resolve({"--stanza=main", "backup"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_EQ(settings->repositories(), (std::vector<unsigned>{1, 3}));
  EXPECT_EQ(settings->chosen_repositories(), (std::vector<unsigned>{1, 3}));
  EXPECT_EQ(settings->clusters(), (std::vector<unsigned>{1, 2}));
  EXPECT_EQ(settings->text("repo3-path"), "/r3");
  EXPECT_EQ(settings->text("repo3-type"), "posix");
  EXPECT_EQ(settings->integer("repo"), 1);
  EXPECT_EQ(settings->text("pg2-path"), "/pg2");
  EXPECT_EQ(settings->integer("pg2-port"), 5432);

  const auto chosen = resolve({"--stanza=main", "backup", "--repo=3"});
  ASSERT_TRUE(chosen.has_value()) << chosen.error().to_string();
  EXPECT_EQ(chosen->chosen_repositories(), std::vector<unsigned>{3});
  EXPECT_THAT(failure({"--stanza=main", "backup", "--repo=2"}),
              AllOf(HasSubstr("repository 2 is not configured"), HasSubstr("1, 3")));
}

TEST_F(SettingsTest, RepositoriesAreNeverTakenForOneAnother) {
  EXPECT_THAT(failure({"info", "--repo1-path=/r", "--repo2-path=/r"}),
              HasSubstr("'/r' is the repository of --repo1-path"));
  EXPECT_THAT(failure({"info", "--repo1-path=/r", "--repo2-type=posix"}), HasSubstr("repo2-path is required"));
  const auto only_second = resolve({"info", "--repo2-path=/r2"});
  ASSERT_TRUE(only_second.has_value()) << only_second.error().to_string();
  EXPECT_EQ(only_second->repositories(), std::vector<unsigned>{2});
  EXPECT_EQ(only_second->integer("repo"), 2) << "not the default directory of repo1, which nobody named";
  const auto none = resolve({"info"});
  ASSERT_TRUE(none.has_value());
  EXPECT_EQ(none->repositories(), std::vector<unsigned>{1});
  EXPECT_EQ(none->clusters(), std::vector<unsigned>{1});
}

TEST_F(SettingsTest, RepositoriesInBucketsAreToldApartByTheirBuckets) {
  write("pgark.conf",
        "[global]\nrepo1-type=s3\nrepo1-s3-bucket=a\nrepo1-s3-endpoint=e\n"
        "repo2-type=s3\nrepo2-s3-bucket=b\nrepo2-s3-endpoint=e\n"
        "repo3-type=azure\nrepo3-azure-container=a\n");
  const auto settings = resolve({"info"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  for (const char* name : {"repo1-path", "repo2-path", "repo3-path"})
    EXPECT_EQ(settings->text(name), "/var/lib/pgark") << name;
  write("pgark.conf",
        "[global]\nrepo1-type=s3\nrepo1-s3-bucket=a\nrepo1-s3-endpoint=e\nrepo1-path=/x\n"
        "repo2-type=s3\nrepo2-s3-bucket=a\nrepo2-s3-endpoint=e\nrepo2-path=/x\n");
  EXPECT_THAT(failure({"info"}), HasSubstr("'s3:e/a/x' is the repository of repo1-path"));
  write("pgark.conf", "[global]\nrepo1-type=sftp\nrepo1-sftp-host=a\nrepo2-type=sftp\nrepo2-sftp-host=b\n");
  EXPECT_THAT(failure({"info"}), HasSubstr("repo2-path is required"))
      << "a directory of a server has no second default";
}

TEST_F(SettingsTest, RefusesWhatWouldChangeSafetyOrWhereDataGoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"repo1-cipher-type=aes-256-cbc", "write repo1-cipher-type=aes-256-gcm"},
      {"repo1-host=backup1", "where the repository is mounted"},
      {"repo1-type=cifs", "'cifs' is not provided in this version"},
      {"archive-copy=y", "not provided"},
      {"compress-type=gz", "use compress-type=zst"},
      {"compress-type=bz2", "use compress-type=zst"},
      {"online=n", "not provided"}};
  for (const auto& [line, text] : cases) {
    write("pgark.conf", std::string("[global]\n") + line + "\n[main]\npg1-path=/pg\n");
    const auto settings = resolve({"--stanza=main", "backup"});
    ASSERT_FALSE(settings.has_value()) << line;
    EXPECT_EQ(settings.error().code(), Errc::kUnsupported) << line;
    EXPECT_THAT(settings.error().to_string(),
                AllOf(HasSubstr(text), HasSubstr("pgark.conf [global]"), HasSubstr("HINT: ")));
    EXPECT_THAT(settings.error().to_string(), Not(HasSubstr("hunter2")));
  }
  EXPECT_THAT(failure({"info", "--repo=2"}), HasSubstr("--repo: repository 2 is not configured"));
  EXPECT_THAT(failure({"manifest"}), HasSubstr("command manifest is not provided in this version"));
}

TEST_F(SettingsTest, WarnsOfOptionsInThePlacesWhereTheyDoNotCount) {
  write("pgark.conf", "[global]\nset=x\nset=y\n[global:info]\nstart-fast=y\n");
  const auto settings = resolve({"info"});
  ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
  EXPECT_THAT(settings->warnings(),
              ElementsAre(HasSubstr(":2: option 'set' is only valid on the command line"),
                          HasSubstr(":3: option 'set'"), HasSubstr(":5: info does not take the option 'start-fast'")));
}

TEST_F(SettingsTest, WarnsOfUnknownVariables) {
  input_.environment = {{"PGARK_PROCES_MAX", "2"}, {"PGARK_BINARY", "/x"}, {"PGARK_TEST_Y", "1"}};
  const auto settings = resolve({"info"});
  ASSERT_TRUE(settings.has_value());
  EXPECT_THAT(settings->warnings(),
              ElementsAre("environment variable PGARK_PROCES_MAX names no option: ignored, did you "
                          "mean PGARK_PROCESS_MAX?"));
}

TEST_F(SettingsTest, ChecksTheTargetOfARestore) {
  const auto restore = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"--stanza=main", "--pg1-path=/pg", "restore"});
    return failure(std::move(words));
  };
  EXPECT_EQ(restore({}), "resolved");
  EXPECT_EQ(restore({"--type=time", "--target=2026-11-22 10:15:00+00", "--target-action=promote"}), "resolved");
  EXPECT_THAT(restore({"--type=time"}), StartsWith("target is required for --type=time"));
  EXPECT_THAT(restore({"--target=x"}), StartsWith("--target is not valid with --type=default"));
  EXPECT_THAT(restore({"--target-action=promote"}), StartsWith("--target-action is not valid with --type=default"));
  EXPECT_EQ(restore({"--type=immediate", "--target-action=promote"}), "resolved");
  EXPECT_THAT(restore({"--type=name", "--target=x", "--target-exclusive"}),
              StartsWith("--target-exclusive is not valid"));
  EXPECT_THAT(restore({"--tablespace-map=ts=rel"}), HasSubstr("'rel' is not an absolute path"));
}

TEST_F(SettingsTest, ChecksRulesBetweenOptions) {
  const auto backup = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"--stanza=main", "--pg1-path=/pg", "backup"});
    return failure(std::move(words));
  };
  EXPECT_EQ(backup({"--compress-level=19"}), "resolved");
  EXPECT_EQ(backup({"--compress-type=lz4", "--compress-level=12"}), "resolved");
  EXPECT_THAT(backup({"--compress-type=lz4", "--compress-level=13"}), HasSubstr("allowed for lz4 are 1 to 12"));
  EXPECT_THAT(backup({"--exclude=/abs"}), HasSubstr("must be relative to the data directory"));
}

TEST_F(SettingsTest, ChecksTheNumberOfArguments) {
  EXPECT_EQ(failure({"--stanza=main", "archive-get", "x"}),
            "archive-get needs 2 arguments, 1 given\nHINT: usage: pgark [options] archive-get WAL-FILE DESTINATION");
  EXPECT_THAT(failure({"--stanza=main", "archive-push", "x", "y"}),
              StartsWith("archive-push does not take the argument 'y'"));
  EXPECT_THAT(failure({"info", "main"}), StartsWith("info does not take the argument 'main'"));
}

TEST_F(SettingsTest, TurnsHelpAndVersionFlagsIntoCommands) {
  const auto help = resolve({"backup", "--help", "--process-max=nonsense"});
  ASSERT_TRUE(help.has_value()) << help.error().to_string();
  EXPECT_EQ(help->command(), Command::kHelp);
  EXPECT_THAT(help->arguments(), ElementsAre("backup"));
  EXPECT_EQ(resolve({"--version"})->command(), Command::kVersion);
  EXPECT_EQ(resolve({})->command(), Command::kHelp);
  write("pgark.conf", "broken");
  EXPECT_EQ(failure({"help"}), "resolved") << "help must not need a good configuration";
}

TEST_F(SettingsTest, NeverTakesOrShowsASecret) {
  EXPECT_THAT(failure({"info", "--repo1-s3-key-secret=hunter2"}),
              AllOf(HasSubstr("is a secret"), Not(HasSubstr("hunter2"))));
  write("pgark.conf", "[global]\nrepo1-s3-key-secret=hunter2\nprocess-max=2\n");
  const auto settings = resolve({"--stanza=main", "--pg1-path=/p g", "backup"});
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(settings->dump(), "--pg1-path=\"/p g\" --process-max=2 --repo1-s3-key-secret=<redacted> --stanza=main");
  EXPECT_THAT(testing::PrintToString(settings->warnings()), Not(HasSubstr("hunter2")));
}

TEST_F(SettingsTest, GuessesHowToReportAWrongCommandLine) {
  const auto guess = [&](std::vector<std::string> words) {
    input_.arguments = std::move(words);
    return guess_command_line(input_);
  };
  EXPECT_EQ(guess({"--nonsense", "archive-get", "--output=json"}).command, "archive-get");
  EXPECT_TRUE(guess({"info", "--output", "json"}).json);
  EXPECT_FALSE(guess({"info", "--output=text"}).json);
  EXPECT_TRUE(guess({"check", "--output=nagios"}).nagios);
  EXPECT_FALSE(guess({"check", "--output=nagios", "--output=json"}).nagios);
  input_.environment = {{"PGARK_OUTPUT", "json"}};
  EXPECT_TRUE(guess({"info"}).json);
  EXPECT_FALSE(guess({"info", "--output=text"}).json);
}

}  // namespace
}  // namespace pgark
