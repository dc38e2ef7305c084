// Files of live servers are in golden_samples_test.cc; here are the forms those servers did not write.
#include "pg/backup_label.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgark::pg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kLabel =
    "START WAL LOCATION: 0/12000028 (file 000000020000000000000012)\n"
    "CHECKPOINT LOCATION: 0/12000060\n"
    "BACKUP METHOD: streamed\n"
    "BACKUP FROM: standby\n"
    "START TIME: 2026-11-22 11:23:17 UTC\n"
    "LABEL: pg_basebackup base backup\n"
    "START TIMELINE: 2\n";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(BackupLabel, ParsesEveryField) {
  const BackupLabel label = parse_backup_label(kLabel).value();
  EXPECT_EQ(to_string(label.start), "0/12000028");
  EXPECT_EQ(label.start_segment, "000000020000000000000012");
  EXPECT_EQ(to_string(label.checkpoint), "0/12000060");
  EXPECT_TRUE(label.from_standby);
  EXPECT_EQ(label.start_time, "2026-11-22 11:23:17 UTC");
  EXPECT_EQ(label.label, "pg_basebackup base backup");
  EXPECT_EQ(label.start_timeline, TimelineId{2});
  EXPECT_FALSE(label.incremental_from.has_value());
}

TEST(BackupLabel, ParsesIncrementalsAndRewinds) {
  const BackupLabel incremental =
      parse_backup_label(kLabel + "INCREMENTAL FROM LSN: 0/07000028\nINCREMENTAL FROM TLI: 1\n").value();
  EXPECT_EQ(to_string(incremental.incremental_from.value()), "0/7000028");
  EXPECT_EQ(incremental.incremental_from_timeline, TimelineId{1});
  const BackupLabel rewind = parse_backup_label(
                                 "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
                                 "CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: pg_rewind\nBACKUP FROM: standby\n"
                                 "START TIME: 2026-11-22 11:23:17 UTC\n")
                                 .value();
  EXPECT_EQ(rewind.method, "pg_rewind");
  EXPECT_EQ(rewind.label, "");
}

TEST(BackupLabel, KeepsLineFeedsOfALabelAndIsNotFooledByThem) {
  const BackupLabel label =
      parse_backup_label(replaced(kLabel, "pg_basebackup base backup", "one\ntwo\nCHECKPOINT LOCATION: 0/0")).value();
  EXPECT_EQ(label.label, "one\ntwo\nCHECKPOINT LOCATION: 0/0");
  EXPECT_EQ(to_string(label.checkpoint), "0/12000060");
}

TEST(BackupLabel, NamesWhatIsWrong) {
  const auto message = [](const std::string& content) {
    const auto parsed = parse_backup_label(content);
    EXPECT_FALSE(parsed.has_value()) << content;
    if (parsed) return std::string();
    EXPECT_EQ(parsed.error().code(), Errc::kCorrupt) << parsed.error().message();
    return parsed.error().message();
  };
  EXPECT_EQ(message(""), "parse backup_label: START WAL LOCATION is missing");
  EXPECT_EQ(message(replaced(kLabel, "CHECKPOINT LOCATION", "CHECKPOINT PLACE")),
            "parse backup_label: CHECKPOINT LOCATION is missing");
  EXPECT_EQ(message(replaced(kLabel, "BACKUP METHOD: streamed\n", "")), "parse backup_label: BACKUP METHOD is missing");
  EXPECT_EQ(message(replaced(kLabel, "FROM: standby", "FROM: moon")),
            "parse backup_label: line 4: backup is from 'moon'");
  EXPECT_EQ(message(replaced(kLabel, "TIMELINE: 2", "TIMELINE: 3")),
            "parse backup_label: START TIMELINE 3 contradicts segment 000000020000000000000012");
  EXPECT_EQ(message(replaced(kLabel, "TIMELINE: 2", "TIMELINE: two")),
            "parse backup_label: line 7: 'two' is not a timeline");
  EXPECT_EQ(message(replaced(kLabel, "0/12000060", "0/11000060")),
            "parse backup_label: checkpoint 0/11000060 is before the start 0/12000028");
  EXPECT_THAT(message(replaced(kLabel, "0/12000028", "0-12000028")), HasSubstr("line 1: '0-12000028' is not an LSN"));
  EXPECT_THAT(message(replaced(kLabel, "(file 000000020000000000000012)", "(file 000000020000000000000012")),
              HasSubstr("line 1: "));
  EXPECT_THAT(message(replaced(kLabel, "000000020000000000000012", "00000002.history")),
              HasSubstr("is not a WAL segment"));
}

TEST(TablespaceMap, EscapesLineEndsAndFromFourteenBackslashes) {
  const std::vector<TablespaceLink> links = {{16385, "/data/with space"}, {16386, "/data/a\nb\rc"}, {16387, "/d\\e"}};
  for (const PgVersionFacts& facts : pg_versions()) {
    const std::string map = format_tablespace_map(links, facts.major);
    EXPECT_EQ(parse_tablespace_map(map, facts.major).value(), links) << facts.major.value;
    EXPECT_EQ(map, facts.major.value >= 14 ? "16385 /data/with space\n16386 /data/a\\\nb\\\rc\n16387 /d\\\\e\n"
                                           : "16385 /data/with space\n16386 /data/a\\\nb\\\rc\n16387 /d\\e\n");
  }
}

TEST(TablespaceMap, MayBeEmptyOrLackTheLastLineEnd) {
  EXPECT_TRUE(parse_tablespace_map("", PgMajor{15}).value().empty());
  EXPECT_THAT(parse_tablespace_map("1234 /x", PgMajor{15}).value(), ElementsAre(TablespaceLink{1234, "/x"}));
  EXPECT_THAT(parse_tablespace_map("1234 /x\\", PgMajor{15}).value(), ElementsAre(TablespaceLink{1234, "/x\\"}));
}

TEST(TablespaceMap, NamesTheBadEntry) {
  for (const char* bad : {"x /x\n", "1234\n", "1234 \n", " /x\n", "0 /x\n", "99999999999 /x\n", "12a /x\n"}) {
    const Error error = parse_tablespace_map(std::string("1 /a\n") + bad, PgMajor{15}).error();
    EXPECT_EQ(error.code(), Errc::kCorrupt) << bad;
    EXPECT_THAT(error.message(), HasSubstr("entry 2: ")) << bad;
  }
}

}  // namespace
}  // namespace pgark::pg
