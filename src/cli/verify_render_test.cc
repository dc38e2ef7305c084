#include "cli/verify_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

VerifyReport damaged_report() {
  VerifyReport report;
  report.finished = true;
  report.started = report.ended = Timestamp(std::chrono::seconds(1795342000));
  report.labels = {"20261122-101500F"};
  report.pack_count = report.pack_total = 2;
  VerifyDamage pack;
  pack.kind = DamageKind::kPack;
  pack.object = "main/pack/20261122-101500F/000001";
  pack.name = "20261122-101500F/000001";
  pack.places = {{64, 100}, {300, 1948}};
  pack.cause = "checksum does not match";
  pack.backups = report.labels;
  VerifyDamage gap;
  gap.kind = DamageKind::kSegment;
  gap.name = "000000010000000000000007";
  gap.count = 3;
  gap.missing = true;
  gap.cause = "7 to 9 (3 segments) are missing";
  gap.good_copies = {2};
  report.damages = {pack, gap};
  report.damage_count = 4;
  DamagedBackup backup;
  backup.label = report.labels[0];
  backup.file_count = 25;
  for (int i = 0; i < 25; ++i) backup.files.push_back({"base/5/\xff" + std::to_string(i), {{0, 0}, {3, 9}}, 8, {}});
  backup.copies = {{2, std::nullopt}};
  report.backups = {backup};
  report.lost = {{TimelineId{1}, report.started, Lsn{0x2000000}, std::nullopt, Lsn{0x3000000}, true}};
  report.next_steps = {"run this"};
  report.bad_pages = {{"20261122-101500F", "base/5/1", {4}, 1}};
  report.bad_page_count = 1;
  return report;
}

TEST(VerifyRender, TextTellsWhatWhereAndWhatNext) {
  VerifyDocument document{.stanza = "main", .repositories = {{1, "repo1 at /r", damaged_report()}}};
  const std::string text = render_verify_text(document);
  EXPECT_THAT(text, HasSubstr("repo1 at /r: 4 objects are damaged or missing\n"));
  EXPECT_THAT(text, HasSubstr("DAMAGED pack: 20261122-101500F/000001\n        checksum does not match\n"
                              "        2 places, 2KB in all, the first at 64\n        hits backup 20261122-101500F\n"));
  EXPECT_THAT(text, HasSubstr("MISSING WAL segment: 000000010000000000000007\n        7 to 9 (3 segments) are missing\n"
                              "        repo2 has a good copy\n"));
  EXPECT_THAT(text, HasSubstr(": blocks 0, 3-9\n"));
  EXPECT_THAT(text, HasSubstr("        and 5 more\n")) << "of 25 files 20 are shown";
  EXPECT_THAT(text, HasSubstr("CANNOT BE RECOVERED: timeline 1 from 2026-11-22 10:06:40 UTC"));
  EXPECT_THAT(text, AllOf(HasSubstr("(LSN 0/2000000) on\n"), HasSubstr("next: run this\n"),
                          HasSubstr("backup 20261122-101500F: base/5/1: blocks 4\n")));
  EXPECT_FALSE(document.ok());

  VerifyReport good;
  good.finished = true;
  good.share = 0.05;
  document.repositories[0].report = good;
  EXPECT_TRUE(document.ok());
  EXPECT_THAT(render_verify_text(document), AllOf(HasSubstr("nothing is damaged in the sample\n"),
                                                  HasSubstr("a random sample: 5% of"), Not(HasSubstr("next:"))));
}

TEST(VerifyRender, JsonIsOneDocumentWithWhatIsDocumented) {
  const VerifyDocument document{.stanza = "main", .repositories = {{1, "repo1 at /r", damaged_report()}}};
  const auto json = nlohmann::json::parse(render_verify_json(document), nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << "also with paths that are no text";
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["finished"], true);
  const auto& one = json["repositories"][0];
  for (const char* member : {"repo",         "location",       "ok",
                             "finished",     "resumed",        "started_us",
                             "ended_us",     "sample",         "backups_verified",
                             "packs",        "segments",       "records",
                             "read_bytes",   "run_read_bytes", "unreferenced_packs",
                             "damage_count", "damages",        "backups",
                             "lost",         "bad_page_count", "bad_pages",
                             "next_steps",   "warnings",       "record"}) {
    EXPECT_TRUE(one.contains(member)) << member;
  }
  EXPECT_EQ(one["damages"][0]["kind"], "pack");
  EXPECT_EQ(one["damages"][0]["places"][1]["offset"], 300);
  EXPECT_EQ(one["damages"][1]["good_copies"], nlohmann::json::array({2}));
  EXPECT_EQ(one["backups"][0]["files"].size(), 25u);
  EXPECT_EQ(one["lost"][0]["max_us"], nullptr);
  EXPECT_EQ(one["lost"][0]["min_lsn"], "0/2000000");
  EXPECT_EQ(one["sample"], nullptr);
}

TEST(VerifyRender, DumpsAreToldWithTheirTablesAndGoodCopies) {
  VerifyReport report;
  report.finished = true;
  report.dump_labels = {"20261122-101500L"};
  report.dump_pack_count = 1;
  report.dump_pack_total = 2;
  report.dump_frame_count = 7;
  VerifyDamage pack;
  pack.kind = DamageKind::kDumpPack;
  pack.object = "main/dump/20261122-101500L/000002";
  pack.name = "20261122-101500L/000002";
  pack.cause = "checksum does not match";
  pack.backups = report.dump_labels;
  pack.good_copies = {2};
  report.damages = {pack};
  report.damage_count = 1;
  DamagedDump dump;
  dump.label = "20261122-101500L";
  dump.stream_count = 22;
  for (int i = 0; i < 22; ++i) dump.streams.push_back("app: public.t\xff" + std::to_string(i) + " (1.dat)");
  dump.good_copies = {2};
  report.dumps = {dump};
  const VerifyDocument document{.stanza = "main", .repositories = {{1, "repo1 at /r", report}}};
  const std::string text = render_verify_text(document);
  EXPECT_THAT(text, HasSubstr("    1 dumps, 1 of 2 packs, 7 frames\n"));
  EXPECT_THAT(text, HasSubstr("DAMAGED pack of dump: 20261122-101500L/000002\n        checksum does not match\n"
                              "        hits dump 20261122-101500L\n        repo2 has a good copy\n"));
  EXPECT_THAT(text, HasSubstr("DUMP 20261122-101500L CANNOT BE LOADED WHOLE\n        app: public.t\xff"
                              "0 (1.dat)\n"));
  EXPECT_THAT(text, HasSubstr("        and 2 more\n        repo2 has a good copy\n"));
  const auto json = nlohmann::json::parse(render_verify_json(document));
  const auto& one = json["repositories"][0];
  EXPECT_EQ(one["dumps_verified"][0], "20261122-101500L");
  EXPECT_EQ(one["dump_packs"]["total"], 2);
  EXPECT_EQ(one["damages"][0]["kind"], "dump_pack");
  EXPECT_EQ(one["dumps"][0]["stream_count"], 22);
  EXPECT_EQ(one["dumps"][0]["good_copies"][0], 2);
}

}  // namespace
}  // namespace pgark
