#include "pg/recovery_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace pgark::pg {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

RecoverySettings settings(RecoveryType type, std::string target = "") {
  RecoverySettings s;
  s.type = type;
  s.target = std::move(target);
  s.restore_command = "pgark archive-get %f \"%p\"";
  return s;
}

std::string content(const RecoverySettings& s, uint32_t major) {
  const auto files = render_recovery_settings(s, PgMajor{major});
  EXPECT_TRUE(files.has_value()) << files.error().to_string();
  return files && !files->texts.empty() ? files->texts[0].content : "";
}

std::string failure(const RecoverySettings& s, uint32_t major = 15) {
  const auto files = render_recovery_settings(s, PgMajor{major});
  EXPECT_FALSE(files.has_value());
  if (files) return "";
  EXPECT_EQ(files.error().code(), Errc::kInvalid);
  return files.error().message();
}

TEST(RecoverySettings, ElevenGetsARecoveryConf) {
  const auto files =
      render_recovery_settings(settings(RecoveryType::kTime, "2026-11-22 10:00:00+00"), PgMajor{11}).value();
  ASSERT_EQ(files.texts.size(), 1u);
  EXPECT_EQ(files.texts[0].file, "recovery.conf");
  EXPECT_FALSE(files.texts[0].append);
  EXPECT_EQ(files.texts[0].content,
            "restore_command = 'pgark archive-get %f \"%p\"'\n"
            "recovery_target_timeline = 'latest'\n"
            "recovery_target_time = '2026-11-22 10:00:00+00'\n"
            "recovery_target_inclusive = 'true'\n");
  EXPECT_EQ(files.signal_file, "");
  EXPECT_THAT(files.remove_files, UnorderedElementsAre("recovery.signal", "standby.signal"));
}

TEST(RecoverySettings, TwelveGetsSettingsAndASignal) {
  auto s = settings(RecoveryType::kLsn, "0/00C00028");
  s.inclusive = false;
  s.target_action = "promote";
  const auto files = render_recovery_settings(s, PgMajor{12}).value();
  ASSERT_EQ(files.texts.size(), 1u);
  EXPECT_EQ(files.texts[0].file, "postgresql.auto.conf");
  EXPECT_TRUE(files.texts[0].append);
  EXPECT_EQ(files.texts[0].content,
            "restore_command = 'pgark archive-get %f \"%p\"'\n"
            "recovery_target_timeline = 'latest'\n"
            "recovery_target = ''\n"
            "recovery_target_time = ''\n"
            "recovery_target_xid = ''\n"
            "recovery_target_name = ''\n"
            "recovery_target_lsn = '0/C00028'\n"
            "recovery_target_inclusive = 'false'\n"
            "recovery_target_action = 'promote'\n");
  EXPECT_EQ(files.signal_file, "recovery.signal");
  EXPECT_THAT(files.remove_files, UnorderedElementsAre("standby.signal", "recovery.conf"));
}

TEST(RecoverySettings, StandbyFollowsInItsVersionsWay) {
  const auto twelve = render_recovery_settings(settings(RecoveryType::kStandby), PgMajor{12}).value();
  EXPECT_EQ(twelve.signal_file, "standby.signal");
  EXPECT_THAT(twelve.texts[0].content, Not(HasSubstr("standby_mode")));
  EXPECT_THAT(content(settings(RecoveryType::kStandby), 10), HasSubstr("standby_mode = 'on'\n"));
  auto streaming = settings(RecoveryType::kStandby);
  streaming.restore_command.clear();
  streaming.options = {{"primary_conninfo", "host=db1 password='x'"}};
  EXPECT_THAT(content(streaming, 15), HasSubstr("primary_conninfo = 'host=db1 password=''x'''\n"));
}

TEST(RecoverySettings, ImmediateStaysOnTheBackupsTimeline) {
  EXPECT_THAT(content(settings(RecoveryType::kImmediate), 15), HasSubstr("recovery_target_timeline = 'current'\n"));
  EXPECT_THAT(content(settings(RecoveryType::kImmediate), 15), HasSubstr("recovery_target = 'immediate'\n"));
  EXPECT_THAT(content(settings(RecoveryType::kImmediate), 11), Not(HasSubstr("recovery_target_timeline")));
  auto s = settings(RecoveryType::kDefault);
  s.timeline = "3";
  EXPECT_THAT(content(s, 11), HasSubstr("recovery_target_timeline = '3'\n"));
}

TEST(RecoverySettings, NoneAndPreserveWriteNoTargets) {
  const auto none = render_recovery_settings(settings(RecoveryType::kNone), PgMajor{15}).value();
  EXPECT_THAT(none.texts, IsEmpty());
  EXPECT_EQ(none.signal_file, "");
  EXPECT_THAT(none.remove_files, UnorderedElementsAre("recovery.signal", "standby.signal", "recovery.conf"));
  const auto preserve = render_recovery_settings(settings(RecoveryType::kPreserve), PgMajor{15}).value();
  EXPECT_THAT(preserve.texts, IsEmpty());
  EXPECT_THAT(preserve.remove_files, IsEmpty());
}

TEST(RecoverySettings, ArchiveModeGoesToTheServersSettingsInEveryVersion) {
  auto s = settings(RecoveryType::kDefault);
  s.archive_mode_off = true;
  const auto eleven = render_recovery_settings(s, PgMajor{11}).value();
  ASSERT_EQ(eleven.texts.size(), 2u);
  EXPECT_EQ(eleven.texts[1].file, "postgresql.auto.conf");
  EXPECT_EQ(eleven.texts[1].content, "archive_mode = 'off'\n");
  EXPECT_THAT(content(s, 15), EndsWith("archive_mode = 'off'\n"));
}

TEST(RecoverySettings, OptionsReplaceWhatWouldBeWritten) {
  auto s = settings(RecoveryType::kDefault);
  s.options = {{"restore_command", "cp /x/%f %p"}, {"recovery_target_name", "n"}, {"hot_standby", "off"}};
  const std::string text = content(s, 15);
  EXPECT_THAT(text, Not(HasSubstr("archive-get")));
  EXPECT_THAT(text, Not(HasSubstr("recovery_target_name = ''")));
  EXPECT_THAT(text, EndsWith("restore_command = 'cp /x/%f %p'\nrecovery_target_name = 'n'\nhot_standby = 'off'\n"));
  s.options = {{"bad name", "x"}};
  EXPECT_EQ(failure(s), "'bad name' is not the name of a setting");
}

TEST(RecoverySettings, RefusesWhatWouldNotRecover) {
  EXPECT_EQ(failure(settings(RecoveryType::kTime, "2026-11-22 10:00:00")),
            "recovery target '2026-11-22 10:00:00' has no numeric time zone offset");
  EXPECT_THAT(failure(settings(RecoveryType::kTime, "")), HasSubstr("no numeric time zone offset"));
  EXPECT_THAT(failure(settings(RecoveryType::kTime, "2026-11-22 10:00:00 CET")), HasSubstr("offset"));
  EXPECT_THAT(failure(settings(RecoveryType::kTime, "2026-11-22")), HasSubstr("offset"));
  EXPECT_EQ(failure(settings(RecoveryType::kXid, "12x")), "recovery target '12x' is not a transaction id");
  EXPECT_EQ(failure(settings(RecoveryType::kLsn, "12")), "'12' is not an LSN");
  EXPECT_EQ(failure(settings(RecoveryType::kName, "")), "recovery target '' is no name");
  EXPECT_THAT(failure(settings(RecoveryType::kName, std::string(64, 'x'))), HasSubstr("longer than 63"));
  EXPECT_EQ(failure(settings(RecoveryType::kDefault, "x")), "type default takes no recovery target");
  auto s = settings(RecoveryType::kName, "x");
  s.inclusive = false;
  EXPECT_EQ(failure(s), "type name cannot exclude its target");
  s = settings(RecoveryType::kDefault);
  s.target_action = "promote";
  EXPECT_EQ(failure(s), "type default takes no target action");
  s = settings(RecoveryType::kImmediate);
  s.target_action = "explode";
  EXPECT_EQ(failure(s), "target action 'explode' is not known");
  s = settings(RecoveryType::kDefault);
  s.timeline = "0";
  EXPECT_EQ(failure(s), "target timeline '0' is no timeline");
  s = settings(RecoveryType::kDefault);
  s.restore_command.clear();
  EXPECT_EQ(failure(s), "recovery needs a restore_command");
}

TEST(RecoverySettings, AcceptsZoneOffsetsInEveryForm) {
  for (const char* time : {"2026-11-22 10:00:00+00", "2026-11-22 10:00:00.123456-05:30", "2026-11-22T10:00:00+0530",
                           "2026-11-22 10:00:00 +01", "2026-11-22 10:00:00+05:53:28"})
    EXPECT_THAT(content(settings(RecoveryType::kTime, time), 15), HasSubstr(time));
}

TEST(RecoverySettings, TypeNamesReadBack) {
  for (const char* name : {"default", "immediate", "time", "xid", "lsn", "name", "standby", "preserve", "none"})
    EXPECT_EQ(to_string(parse_recovery_type(name).value()), name);
  const Error error = parse_recovery_type("Time").error();
  EXPECT_EQ(error.message(), "recovery type 'Time' is not known");
  EXPECT_THAT(error.hints(), ElementsAre(HasSubstr("immediate, time, xid")));
}

TEST(QuoteConfigValue, DoublesApostrophesAndBackslashes) {
  EXPECT_EQ(quote_config_value("").value(), "''");
  EXPECT_EQ(quote_config_value("it's C:\\x").value(), "'it''s C:\\\\x'");
  EXPECT_EQ(quote_config_value("a\nb").error().code(), Errc::kInvalid);
  EXPECT_EQ(quote_config_value(std::string_view("a\0b", 3)).error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace pgark::pg
