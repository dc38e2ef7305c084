#include "cli/option_table.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "cli/command.h"
#include "cli/help.h"

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OptionTable, KnowsEachCommandByNameAndNumber) {
  EXPECT_EQ(all_commands().size(), kCommandCount);
  for (const CommandSpec& command : all_commands()) {
    EXPECT_EQ(find_command(command.name), &command);
    EXPECT_EQ(&command_spec(command.id), &command);
    EXPECT_NE(command_function(command.id), nullptr);
    EXPECT_FALSE(command.summary.empty()) << command.name;
    EXPECT_LE(command.arguments_min, command.arguments_max) << command.name;
    for (const RefusedCommand& refused : refused_commands()) EXPECT_NE(refused.name, command.name);
  }
}

TEST(OptionTable, GivesEachCommandAtMostOneMeaningOfAName) {
  for (const CommandSpec& command : all_commands()) {
    std::set<std::string_view> seen;
    for (const OptionSpec& spec : all_options()) {
      if (!spec.commands.has(command.id)) continue;
      EXPECT_TRUE(seen.insert(spec.name).second) << command.name << " " << spec.name;
    }
  }
}

TEST(OptionTable, WritesANameTheSameWayForEveryCommand) {
  // The parser decides from the name alone whether a value follows.
  for (const OptionSpec& spec : all_options()) {
    const OptionSpec& first = *find_option(spec.name);
    EXPECT_EQ(first.type == OptionType::kBoolean, spec.type == OptionType::kBoolean) << spec.name;
    EXPECT_EQ(first.family, spec.family) << spec.name;
  }
}

TEST(OptionTable, GivesALetterToOneNameOnly) {
  for (const OptionSpec& spec : all_options()) {
    if (spec.letter == 0) continue;
    EXPECT_EQ(find_option_letter(spec.letter)->name, spec.name) << spec.letter;
  }
  EXPECT_EQ(find_option_letter('n')->name, "schema");
  EXPECT_EQ(find_option_letter('h'), nullptr);  // Help.
}

TEST(OptionTable, HasCompleteAndConsistentEntries) {
  for (const OptionSpec& spec : all_options()) {
    SCOPED_TRACE(spec.name);
    EXPECT_FALSE(spec.commands.empty());
    EXPECT_EQ((spec.commands - spec.required).bits | spec.required.bits, spec.commands.bits)
        << "required but not taken";
    if (spec.state == OptionState::kActive) {
      EXPECT_FALSE(spec.summary.empty());
      EXPECT_FALSE(spec.summary.ends_with('.'));
      EXPECT_EQ(spec.type == OptionType::kEnum, !spec.allowed.empty());
    } else {
      EXPECT_FALSE(spec.state_note.empty());
    }
    EXPECT_TRUE(spec.family != OptionFamily::kRepo || spec.name.starts_with("repo-"));
    EXPECT_TRUE(spec.family != OptionFamily::kPg || spec.name.starts_with("pg-"));
    for (const CommandSpec& command : all_commands()) {
      if (spec.value_default.empty() || !spec.commands.has(command.id)) continue;
      EXPECT_TRUE(check_option_value(spec, command.id, spec.value_default).has_value());
    }
  }
  for (const RefusedValue& refused : refused_values()) {
    for (const CommandSpec& command : all_commands()) {
      if (!refused.commands.has(command.id)) continue;
      const OptionSpec* spec = find_option(refused.option, command.id);
      ASSERT_NE(spec, nullptr);
      const auto checked = check_option_value(*spec, command.id, refused.value);
      ASSERT_FALSE(checked.has_value()) << refused.option << "=" << refused.value;
      EXPECT_EQ(checked.error().code(), Errc::kUnsupported);
    }
  }
}

// Every option of pgBackRest 2.45, as its help lists them, without "repo" (no index is written there).
constexpr std::string_view kPgBackRestOptions[] = {"annotation",
                                                   "archive-async",
                                                   "archive-check",
                                                   "archive-copy",
                                                   "archive-get-queue-max",
                                                   "archive-header-check",
                                                   "archive-missing-retry",
                                                   "archive-mode",
                                                   "archive-mode-check",
                                                   "archive-push-queue-max",
                                                   "archive-timeout",
                                                   "backup-standby",
                                                   "buffer-size",
                                                   "checksum-page",
                                                   "cmd",
                                                   "cmd-ssh",
                                                   "compress",
                                                   "compress-level",
                                                   "compress-level-network",
                                                   "compress-type",
                                                   "config",
                                                   "config-include-path",
                                                   "config-path",
                                                   "db-exclude",
                                                   "db-include",
                                                   "db-timeout",
                                                   "delta",
                                                   "exclude",
                                                   "expire-auto",
                                                   "filter",
                                                   "force",
                                                   "ignore-missing",
                                                   "io-timeout",
                                                   "link-all",
                                                   "link-map",
                                                   "lock-path",
                                                   "log-level-console",
                                                   "log-level-file",
                                                   "log-level-stderr",
                                                   "log-path",
                                                   "log-subprocess",
                                                   "log-timestamp",
                                                   "manifest-save-threshold",
                                                   "neutral-umask",
                                                   "online",
                                                   "output",
                                                   "pg-database",
                                                   "pg-host",
                                                   "pg-host-ca-file",
                                                   "pg-host-ca-path",
                                                   "pg-host-cert-file",
                                                   "pg-host-cmd",
                                                   "pg-host-config",
                                                   "pg-host-config-include-path",
                                                   "pg-host-config-path",
                                                   "pg-host-key-file",
                                                   "pg-host-port",
                                                   "pg-host-type",
                                                   "pg-host-user",
                                                   "pg-path",
                                                   "pg-port",
                                                   "pg-socket-path",
                                                   "pg-user",
                                                   "process-max",
                                                   "protocol-timeout",
                                                   "raw",
                                                   "recovery-option",
                                                   "recurse",
                                                   "repo",
                                                   "repo-azure-account",
                                                   "repo-azure-container",
                                                   "repo-azure-endpoint",
                                                   "repo-azure-key",
                                                   "repo-azure-key-type",
                                                   "repo-azure-uri-style",
                                                   "repo-block",
                                                   "repo-block-age-map",
                                                   "repo-block-checksum-size-map",
                                                   "repo-block-size-map",
                                                   "repo-block-size-super",
                                                   "repo-block-size-super-full",
                                                   "repo-bundle",
                                                   "repo-bundle-limit",
                                                   "repo-bundle-size",
                                                   "repo-cipher-pass",
                                                   "repo-cipher-type",
                                                   "repo-gcs-bucket",
                                                   "repo-gcs-endpoint",
                                                   "repo-gcs-key",
                                                   "repo-gcs-key-type",
                                                   "repo-hardlink",
                                                   "repo-host",
                                                   "repo-host-ca-file",
                                                   "repo-host-ca-path",
                                                   "repo-host-cert-file",
                                                   "repo-host-cmd",
                                                   "repo-host-config",
                                                   "repo-host-config-include-path",
                                                   "repo-host-config-path",
                                                   "repo-host-key-file",
                                                   "repo-host-port",
                                                   "repo-host-type",
                                                   "repo-host-user",
                                                   "repo-path",
                                                   "repo-retention-archive",
                                                   "repo-retention-archive-type",
                                                   "repo-retention-diff",
                                                   "repo-retention-full",
                                                   "repo-retention-full-type",
                                                   "repo-retention-history",
                                                   "repo-s3-bucket",
                                                   "repo-s3-endpoint",
                                                   "repo-s3-key",
                                                   "repo-s3-key-secret",
                                                   "repo-s3-key-type",
                                                   "repo-s3-kms-key-id",
                                                   "repo-s3-region",
                                                   "repo-s3-role",
                                                   "repo-s3-token",
                                                   "repo-s3-uri-style",
                                                   "repo-storage-ca-file",
                                                   "repo-storage-ca-path",
                                                   "repo-storage-host",
                                                   "repo-storage-port",
                                                   "repo-storage-upload-chunk-size",
                                                   "repo-storage-verify-tls",
                                                   "repo-type",
                                                   "resume",
                                                   "sck-keep-alive",
                                                   "set",
                                                   "sort",
                                                   "spool-path",
                                                   "stanza",
                                                   "start-fast",
                                                   "stop-auto",
                                                   "tablespace-map",
                                                   "tablespace-map-all",
                                                   "target",
                                                   "target-action",
                                                   "target-exclusive",
                                                   "target-timeline",
                                                   "tcp-keep-alive-count",
                                                   "tcp-keep-alive-idle",
                                                   "tcp-keep-alive-interval",
                                                   "tls-server-address",
                                                   "tls-server-auth",
                                                   "tls-server-ca-file",
                                                   "tls-server-cert-file",
                                                   "tls-server-key-file",
                                                   "tls-server-port",
                                                   "type"};

TEST(OptionTable, KnowsEveryOptionOfPgBackRest) {
  for (const std::string_view name : kPgBackRestOptions) EXPECT_NE(find_option(name), nullptr) << name;
}

TEST(OptionTable, SplitsIndexedNames) {
  EXPECT_EQ(split_option_name("repo1-path")->base, "repo-path");
  EXPECT_EQ(split_option_name("repo12-path")->index, 12u);
  EXPECT_EQ(split_option_name("pg-path")->index, 1u);
  EXPECT_EQ(split_option_name("pg2-port")->index, 2u);
  EXPECT_EQ(split_option_name("repo")->base, "repo");
  EXPECT_EQ(split_option_name("stanza")->base, "stanza");
  for (const char* wrong : {"repo0-path", "repo01-path", "repo257-path", "repo1", "stanza1", "repo1-pth", "pg1", ""}) {
    EXPECT_FALSE(split_option_name(wrong).has_value()) << wrong;
  }
  EXPECT_EQ(option_full_name(*find_option("repo-path"), 3), "repo3-path");
  EXPECT_EQ(option_full_name(*find_option("start-fast")), "start-fast");
}

TEST(OptionTable, SuggestsTheNearestNames) {
  EXPECT_THAT(nearest_options("procesmax"), ElementsAre("process-max"));
  EXPECT_THAT(nearest_options("repo1-pth"), ElementsAre("repo1-path"));
  EXPECT_THAT(nearest_options("comprestype"), ElementsAre("compress-type"));
  EXPECT_THAT(nearest_options("xyzzy"), IsEmpty());
  EXPECT_THAT(nearest_options("markdwn"), IsEmpty()) << "internal options are not told";
  EXPECT_THAT(nearest_commands("bakcup"), ElementsAre("backup"));
  EXPECT_THAT(nearest_commands("archive"),
              testing::UnorderedElementsAre("archive-get", "archive-heal", "archive-push"));
}

TEST(OptionTable, ReadsSizesInPgBackRestsUnits) {
  EXPECT_EQ(parse_size("0").value(), 0u);
  EXPECT_EQ(parse_size("4096").value(), 4096u);
  EXPECT_EQ(parse_size("7b").value(), 7u);
  for (const char* text : {"16m", "16M", "16mb", "16MB", "16MiB", "16mib"})
    EXPECT_EQ(parse_size(text).value(), 16u << 20);
  EXPECT_EQ(parse_size("3KiB").value(), 3072u);
  EXPECT_EQ(parse_size("2g").value(), 2ull << 30);
  EXPECT_EQ(parse_size("1TiB").value(), 1ull << 40);
  EXPECT_EQ(parse_size("1pb").value(), 1ull << 50);
  for (const char* wrong : {"", "m", "-1", "1.5m", "1x", "1mi", "1mbb", "99999999999999999999", "9000p", " 1", "1 m"}) {
    EXPECT_FALSE(parse_size(wrong).has_value()) << wrong;
  }
}

TEST(OptionTable, ReadsTimesInSecondsOrWithUnits) {
  EXPECT_EQ(parse_time_ms("60").value(), 60'000);
  EXPECT_EQ(parse_time_ms("0.5").value(), 500);
  EXPECT_EQ(parse_time_ms("250ms").value(), 250);
  EXPECT_EQ(parse_time_ms("10s").value(), 10'000);
  EXPECT_EQ(parse_time_ms("1m").value(), 60'000);
  EXPECT_EQ(parse_time_ms("1h").value(), 3'600'000);
  EXPECT_EQ(parse_time_ms("1d").value(), 86'400'000);
  EXPECT_EQ(parse_time_ms("2w").value(), 14 * 86'400'000);
  for (const char* wrong : {"", "s", "-1", "1x", "1min", "nan", "inf", "1e300", "1..2"}) {
    EXPECT_FALSE(parse_time_ms(wrong).has_value()) << wrong;
  }
}

TEST(OptionTable, SaysWhatIsAllowed) {
  const auto message = [](std::string_view option, Command command, std::string_view value) {
    const auto checked = check_option_value(*find_option(option, command), command, value);
    return checked.has_value() ? "allowed" : checked.error().message();
  };
  EXPECT_EQ(message("process-max", Command::kBackup, "0"), "'0' is out of range: allowed are 1 to 999");
  EXPECT_EQ(message("process-max", Command::kBackup, "two"), "'two' is not a whole number");
  EXPECT_EQ(message("start-fast", Command::kBackup, "yes"), "'yes' is not allowed: use y or n");
  EXPECT_EQ(message("compress-type", Command::kBackup, "lz5"), "'lz5' is not allowed: use one of none, lz4, zst");
  EXPECT_EQ(message("archive-timeout", Command::kBackup, "2d"),
            "'2d' is out of range: allowed are 0.1 to 86400 seconds");
  EXPECT_EQ(message("repo-path", Command::kBackup, "repo"), "'repo' is not an absolute path");
  EXPECT_EQ(message("annotation", Command::kBackup, "x"), "'x' is not of the form KEY=VALUE");
  EXPECT_EQ(message("stanza", Command::kBackup, ""), "has an empty value");
}

}  // namespace
}  // namespace pgark
