// Files of live servers of every version, decoded and compared with what the server said when they were taken
// (tools/make_pg_samples.sh); and damaged twins, which must give named errors.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/crc32c.h"
#include "core/file.h"
#include "pg/backup_label.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/timeline_history.h"
#include "pg/version.h"
#include "pg/wal.h"

namespace pgark::pg {
namespace {

using ::testing::AnyOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GoldenSamples : public ::testing::TestWithParam<uint32_t> {
 protected:
  PgMajor major() const { return PgMajor{GetParam()}; }
  std::string directory() const { return fmt::format("{}/src/pg/testdata/{}", PGARK_SOURCE_DIR, GetParam()); }
  std::string read(const std::string& name) const {
    auto content = read_file(directory() + "/" + name);
    EXPECT_TRUE(content.has_value()) << (content ? "" : content.error().to_string());
    return content.value_or(std::string());
  }
  /// "key=value" lines.
  std::map<std::string, std::string> read_expected(const std::string& name) const {
    std::map<std::string, std::string> out;
    const std::string text = read(name);
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at);
      const size_t equals = line.find('=');
      if (equals != std::string::npos) out[line.substr(0, equals)] = line.substr(equals + 1);
      at = end + 1;
    }
    EXPECT_GT(out.size(), 20u);
    return out;
  }
  std::vector<std::string> names_matching(const std::string& prefix, const std::string& suffix) const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      const std::string name = entry.path().filename();
      if (name.starts_with(prefix) && name.ends_with(suffix)) out.push_back(name);
    }
    std::ranges::sort(out);
    return out;
  }
  ControlData control(const std::string& name = "pg_control") const {
    return decode_control(as_bytes(read(name))).value();
  }
};

std::string on_off(bool value) { return value ? "on" : "off"; }
std::string true_false(bool value) { return value ? "t" : "f"; }
std::string lsn_text(const std::string& text) { return to_string(parse_lsn(text).value()); }

void expect_control(const ControlData& c, const std::map<std::string, std::string>& said, PgMajor major) {
  EXPECT_EQ(to_string(c.state), said.at("state"));
  EXPECT_EQ(std::to_string(c.control_version), said.at("pg_control_version"));
  EXPECT_EQ(std::to_string(c.catalog_version), said.at("catalog_version_no"));
  // SQL shows the identifier as a signed number.
  EXPECT_EQ(std::to_string(static_cast<int64_t>(c.system_id)), said.at("system_identifier"));
  EXPECT_EQ(std::to_string(c.time_unix_s), said.at("time_unix_s"));
  EXPECT_EQ(to_string(c.checkpoint), lsn_text(said.at("checkpoint_lsn")));
  EXPECT_EQ(to_string(c.redo), lsn_text(said.at("redo_lsn")));
  EXPECT_EQ(std::to_string(c.timeline.value), said.at("timeline_id"));
  EXPECT_EQ(std::to_string(c.prev_timeline.value), said.at("prev_timeline_id"));
  EXPECT_EQ(true_false(c.full_page_writes), said.at("full_page_writes"));
  EXPECT_EQ(fmt::format("{}:{}", c.next_xid >> 32, c.next_xid & 0xffffffffu), said.at("next_xid"));
  EXPECT_EQ(std::to_string(c.next_oid), said.at("next_oid"));
  EXPECT_EQ(std::to_string(c.oldest_xid), said.at("oldest_xid"));
  EXPECT_EQ(std::to_string(c.checkpoint_time_unix_s), said.at("checkpoint_time_unix_s"));
  EXPECT_EQ(to_string(c.min_recovery_point), lsn_text(said.at("min_recovery_end_lsn")));
  EXPECT_EQ(std::to_string(c.min_recovery_timeline.value), said.at("min_recovery_end_timeline"));
  EXPECT_EQ(to_string(c.backup_start_point), lsn_text(said.at("backup_start_lsn")));
  EXPECT_EQ(to_string(c.backup_end_point), lsn_text(said.at("backup_end_lsn")));
  EXPECT_EQ(true_false(c.backup_end_required), said.at("end_of_backup_record_required"));
  EXPECT_EQ(std::to_string(c.block_bytes), said.at("database_block_size"));
  EXPECT_EQ(std::to_string(c.relation_segment_blocks), said.at("blocks_per_segment"));
  EXPECT_EQ(std::to_string(c.wal_block_bytes), said.at("wal_block_size"));
  EXPECT_EQ(std::to_string(c.wal_segment_bytes), said.at("bytes_per_wal_segment"));
  EXPECT_TRUE(c.checksums_enabled());
  EXPECT_EQ(to_string(c.wal_level), said.at("wal_level"));
  EXPECT_EQ(on_off(c.wal_log_hints), said.at("wal_log_hints"));
  EXPECT_EQ(std::to_string(c.max_connections), said.at("max_connections"));
  EXPECT_EQ(std::to_string(c.max_worker_processes), said.at("max_worker_processes"));
  EXPECT_EQ(std::to_string(c.max_wal_senders), major.value < 12 ? "0" : said.at("max_wal_senders"));
  EXPECT_EQ(std::to_string(c.max_prepared_xacts), said.at("max_prepared_xacts"));
  EXPECT_EQ(std::to_string(c.max_locks_per_xact), said.at("max_locks_per_xact"));
  EXPECT_EQ(on_off(c.track_commit_timestamp), said.at("track_commit_timestamp"));
}

TEST_P(GoldenSamples, ControlFileOfRunningPrimarySaysWhatSqlSaid) {
  expect_control(control(), read_expected("pg_control.expected.txt"), major());
}

TEST_P(GoldenSamples, ControlFileOfStandbySaysWhatSqlSaid) {
  const ControlData standby = control("pg_control.standby");
  expect_control(standby, read_expected("pg_control.standby.expected.txt"), major());
  EXPECT_GT(standby.min_recovery_point, standby.redo);
}

TEST_P(GoldenSamples, ControlFileOfStoppedClusterIsShutDownAtItsCheckpoint) {
  const ControlData stopped = control("pg_control.stopped");
  EXPECT_EQ(stopped.state, ClusterState::kShutDown);
  EXPECT_EQ(stopped.redo, stopped.checkpoint);
  EXPECT_GT(stopped.checkpoint, control().checkpoint);
  EXPECT_EQ(stopped.system_id, control().system_id);
}

TEST_P(GoldenSamples, ControlFileIsOfItsVersionAndNoOther) {
  const ControlData c = control();
  EXPECT_TRUE(check_control_version(c, parse_pg_version(read("PG_VERSION")).value()).has_value());
  for (const PgVersionFacts& other : pg_versions())
    if (other.major != major()) {
      EXPECT_EQ(check_control_version(c, other.major).error().code(), Errc::kCorrupt) << other.major.value;
    }
}

// A damaged twin for every bit the CRC covers, and of the CRC.
TEST_P(GoldenSamples, EveryFlippedBitOfTheControlFileIsFound) {
  const std::string good = read("pg_control");
  const uint32_t version = control().control_version;
  const size_t crc_end = (version >= 1903   ? 308u
                          : version >= 1902 ? 304u
                          : version >= 1800 ? 292u
                          : version == 1100 ? 280u
                                            : 288u) +
                         4;
  for (size_t bit = 0; bit < crc_end * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    const auto decoded = decode_control(as_bytes(bad));
    ASSERT_FALSE(decoded.has_value()) << "bit " << bit;
    EXPECT_THAT(decoded.error().message(), StartsWith("decode pg_control: "));
    const bool in_version = bit / 32 == 2;
    if (!in_version) {
      EXPECT_THAT(decoded.error().message(), HasSubstr("CRC is "));
    }
    EXPECT_THAT(decoded.error().code(), AnyOf(Errc::kCorrupt, in_version ? Errc::kUnsupported : Errc::kCorrupt));
  }
}

TEST_P(GoldenSamples, CutControlFileIsCorrupt) {
  const std::string good = read("pg_control");
  for (size_t size = 0; size < 280; ++size)
    ASSERT_EQ(decode_control(as_bytes(good).first(size)).error().code(), Errc::kCorrupt) << size;
}

TEST_P(GoldenSamples, PageCarriesTheChecksumComputed) {
  const std::string page = read("page_block_3");
  const PageHeader header = decode_page_header(as_bytes(page));
  EXPECT_EQ(header.page_bytes, 8192);
  EXPECT_EQ(header.layout_version, 4);
  EXPECT_EQ(header.checksum, page_checksum(as_bytes(page), 3));
  EXPECT_EQ(header.checksum, page_checksum_portable(as_bytes(page), 3));
  EXPECT_EQ(check_page(as_bytes(page), 3, Lsn{}, Lsn{}), PageState::kOk);
  EXPECT_EQ(check_page(as_bytes(page), 2, header.lsn, Lsn{~0ull}), PageState::kNewerThanStart);
  EXPECT_EQ(check_page(as_bytes(page), 2, Lsn{header.lsn.bytes + 1}, Lsn{~0ull}), PageState::kBad);
  EXPECT_EQ(check_page_shape(as_bytes(page)), PageState::kOk);
}

TEST_P(GoldenSamples, SegmentsAreWhatTheirNamesSay) {
  const ControlData c = control();
  const auto names = names_matching("wal_", "");
  ASSERT_EQ(names.size(), 2u);
  for (const std::string& name : names) {
    const WalSegmentExpectation expected{.segment = parse_segment_name(name.substr(4), c.wal_segment_bytes).value(),
                                         .segment_bytes = c.wal_segment_bytes,
                                         .system_id = c.system_id,
                                         .major = major()};
    const std::string head = read(name);
    const auto checked = check_segment(as_bytes(head), expected);
    EXPECT_TRUE(checked.has_value()) << checked.error().to_string();
    // The segment in which timeline 3 left timeline 2 begins with a copy of 2.
    const WalPageHeader header = decode_wal_page_header(as_bytes(head)).value();
    EXPECT_EQ(header.timeline.value, name == names[0] ? 2u : 3u);
    EXPECT_EQ(header.wal_block_bytes, c.wal_block_bytes);

    const auto error_with = [&](auto change) {
      WalSegmentExpectation other = expected;
      change(other);
      return check_segment(as_bytes(head), other).error();
    };
    Error error = error_with([](auto& e) { ++e.system_id; });
    EXPECT_EQ(error.code(), Errc::kInvalid);
    EXPECT_THAT(error.message(),
                EndsWith(fmt::format("system identifier is {}, expected {}", c.system_id, c.system_id + 1)));
    error = error_with([](auto& e) { e.segment.number += 1; });
    EXPECT_EQ(error.code(), Errc::kCorrupt);
    EXPECT_THAT(error.message(), HasSubstr("first page is of position " + to_string(header.address)));
    error = error_with([](auto& e) { e.major.value = e.major.value == 15 ? 16 : 15; });
    EXPECT_EQ(error.code(), Errc::kInvalid);
    EXPECT_THAT(error.message(), HasSubstr(fmt::format("WAL is of PostgreSQL {} ", GetParam())));
    error = error_with([](auto& e) { e.segment.timeline.value = 1; });
    EXPECT_EQ(error.code(), Errc::kInvalid);
    EXPECT_THAT(error.message(), EndsWith("expected at most 1"));
    error = error_with([](auto& e) {
      e.segment.number /= 2;
      e.segment_bytes *= 2;
    });
    EXPECT_EQ(error.code(), Errc::kInvalid);
    EXPECT_THAT(error.message(), HasSubstr("segment size is "));
  }
}

// What check_segment does not look at is left for the index, which reads every record.
TEST_P(GoldenSamples, FlippedBitsOfSegmentHeadersAreFound) {
  const ControlData c = control();
  const std::string name = names_matching("wal_", "").back();
  const WalSegmentExpectation expected{.segment = parse_segment_name(name.substr(4), c.wal_segment_bytes).value(),
                                       .segment_bytes = c.wal_segment_bytes,
                                       .system_id = c.system_id,
                                       .major = major()};
  const std::string good = read(name);
  for (size_t bit = 0; bit < 36 * 8; ++bit) {
    const size_t byte = bit / 8;
    const bool is_flag_of_first_record = byte == 2 && bit % 8 != 1;
    const bool is_timeline = byte >= 4 && byte < 8;  // A lower one is legal.
    const bool is_rem_len_or_pad = byte >= 16 && byte < 24;
    if (is_flag_of_first_record || is_timeline || is_rem_len_or_pad) continue;
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ (1 << (bit % 8)));
    // Magics of a beta and of its release may differ in one bit.
    const PgVersionFacts* version = pg_version_of_wal_magic(load_le<uint16_t>(as_bytes(bad).data()));
    if (byte < 2 && version != nullptr && version->major == major()) continue;
    EXPECT_FALSE(check_segment(as_bytes(bad), expected).has_value()) << "bit " << bit;
  }
  EXPECT_EQ(check_segment(as_bytes(good).first(39), expected).error().code(), Errc::kCorrupt);
  const std::string zeros(8192, '\0');
  EXPECT_EQ(check_segment(as_bytes(zeros), expected).error().code(), Errc::kCorrupt);
}

TEST_P(GoldenSamples, BackupLabelSaysWhatTheStartFunctionReturned) {
  const BackupLabel label = parse_backup_label(read("backup_label")).value();
  EXPECT_EQ(to_string(label.start),
            lsn_text(read("backup_label.expected.txt").substr(0, read("backup_label.expected.txt").find('\n'))));
  EXPECT_EQ(label.method, "streamed");
  EXPECT_EQ(label.label, "golden sample, é");
  EXPECT_FALSE(label.from_standby);
  EXPECT_EQ(label.timeline().value, 1u);
  EXPECT_EQ(label.start_timeline.has_value(), GetParam() >= 11);
  EXPECT_GE(label.checkpoint, label.start);
  EXPECT_THAT(label.start_time, StartsWith("2026-"));
  EXPECT_FALSE(label.stop.has_value());
  EXPECT_EQ(parse_segment_name(label.start_segment, control().wal_segment_bytes).value(),
            segment_at(label.timeline(), label.start, control().wal_segment_bytes));
}

TEST_P(GoldenSamples, BackupHistoryFileContinuesItsLabel) {
  const std::string name = names_matching("0", ".backup").at(0);
  const BackupLabel label = parse_backup_label(read("backup_label")).value();
  const BackupLabel history = parse_backup_history(read(name)).value();
  EXPECT_EQ(history.start, label.start);
  EXPECT_EQ(history.label, label.label);
  EXPECT_GT(history.stop.value(), history.start);
  EXPECT_EQ(history.stop_timeline.has_value(), GetParam() >= 11);
  EXPECT_THAT(history.stop_time, StartsWith("2026-"));
  const uint32_t segment_bytes = control().wal_segment_bytes;
  const WalFileName parsed = parse_wal_file_name(name).value();
  EXPECT_TRUE(std::holds_alternative<WalBackupName>(parsed));
  EXPECT_EQ(backup_history_name(segment_at(label.timeline(), label.start, segment_bytes), label.start, segment_bytes),
            name);
  EXPECT_EQ(parse_backup_history(read("backup_label")).error().message(),
            "parse backup history file: STOP WAL LOCATION is missing");
}

TEST_P(GoldenSamples, TablespaceMapIsReadAndWrittenAsTheServerDoes) {
  const std::string map = read("tablespace_map");
  const std::string expected = read("tablespace_map.expected.txt");
  const auto links = parse_tablespace_map(map, major()).value();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_EQ(fmt::format("{}\n{}\n", links[0].oid, links[0].path), expected);
  EXPECT_EQ(format_tablespace_map(links, major()), map);
}

TEST_P(GoldenSamples, TimelineHistoryLeadsToTimelineThree) {
  const std::string text = read("00000003.history");
  const TimelineHistory history = parse_timeline_history(TimelineId{3}, text).value();
  ASSERT_EQ(history.ancestors().size(), 2u);
  EXPECT_EQ(history.ancestors()[0].timeline.value, 1u);
  EXPECT_EQ(history.ancestors()[1].timeline.value, 2u);
  EXPECT_EQ(history.ancestors()[1].reason, "no recovery target specified");
  EXPECT_EQ(history.owner_of(control().redo).value, 3u);
  EXPECT_EQ(parse_timeline_history(TimelineId{3}, format_timeline_history(history)).value(), history);
  if (GetParam() < 19) {
    EXPECT_EQ(format_timeline_history(history), text);  // 19 pads positions.
  }
}

INSTANTIATE_TEST_SUITE_P(Major, GoldenSamples, ::testing::Values(10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
                         [](const auto& instance) { return fmt::format("Pg{}", instance.param); });

}  // namespace
}  // namespace pgark::pg
