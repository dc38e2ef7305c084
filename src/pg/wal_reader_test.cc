// Made-up WAL, whole and damaged; WAL of live servers is in tests/e2e/wal_reader_test.cc.
#include "pg/wal_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "core/clock.h"
#include "core/file.h"
#include "testing/wal_builder.h"

namespace pgark::pg {
namespace {

using pgark::testing::encode_record;
using pgark::testing::sample_bytes;
using pgark::testing::SampleRecord;
using pgark::testing::seal_record;
using pgark::testing::WalBuilder;
using pgark::testing::WalBuilderOptions;
using ::testing::HasSubstr;

constexpr uint32_t kBlock = 8192;
constexpr size_t kRoomOfFirstPage = kBlock - 40;

uint64_t seed_of_run() {
  const char* env = std::getenv("SEED");
  return env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
}

/// What a record was, kept beyond the reader's step.
struct Seen {
  Lsn lsn;
  Lsn end;
  std::vector<std::byte> main_data;
  bool operator==(const Seen&) const = default;
};

struct Outcome {
  std::vector<Seen> records;
  std::optional<WalEnd> end;
  std::string error;

  std::vector<Lsn> lsns() const {
    std::vector<Lsn> out;
    for (const Seen& seen : records) out.push_back(seen.lsn);
    return out;
  }
};

WalReaderOptions options_of(const WalBuilder& wal, WalSource source = WalSource::kArchived) {
  return {.major = wal.options().major,
          .start = wal.options().start,
          .timeline = wal.options().timeline,
          .system_id = wal.options().system_id,
          .segment_bytes = wal.options().segment_bytes,
          .wal_block_bytes = wal.options().block_bytes,
          .source = source};
}

/// Feed `bytes` in parts of `part_bytes` each and collect what comes out.
Outcome read_all(WalReader& reader, Bytes bytes, size_t part_bytes = SIZE_MAX) {
  Outcome out;
  while (!bytes.empty()) {
    const Bytes part = bytes.first(std::min(bytes.size(), part_bytes));
    bytes = bytes.subspan(part.size());
    EXPECT_TRUE(reader.feed(part).has_value());
    for (;;) {
      const auto step = reader.next();
      out.end = reader.end();
      if (!step.has_value()) {
        EXPECT_EQ(step.error().code(), Errc::kCorrupt);
        out.error = step.error().message();
        return out;
      }
      if (*step == WalStep::kEnd) return out;
      if (*step == WalStep::kMore) break;
      const WalRecord& record = reader.record();
      EXPECT_TRUE(record.main_data_is_whole());
      out.records.push_back({record.lsn, record.end, {record.main_data.begin(), record.main_data.end()}});
    }
  }
  return out;
}

Outcome read_all(WalBuilder& wal, WalSource source = WalSource::kArchived, size_t part_bytes = SIZE_MAX) {
  wal.pad_page();
  WalReader reader = WalReader::create(options_of(wal, source)).value();
  return read_all(reader, wal.bytes(), part_bytes);
}

class WalReaderOf : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Each, WalReaderOf, ::testing::Values(10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
                         [](const auto& major) { return "Pg" + std::to_string(major.param); });

TEST_P(WalReaderOf, YieldsEveryRecordOfRandomWal) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  WalBuilder wal({.major = PgMajor{GetParam()}, .block_bytes = 1024u << rng.below(6)});
  std::vector<Lsn> written;
  while (wal.bytes().size() < (size_t{4} << 20)) {
    const uint64_t kind = rng.below(300);
    if (kind == 0) {
      written.push_back(wal.add_switch());
    } else if (kind == 1) {
      wal.add_given_up({.main_data = sample_bytes(400000)}, 1 + rng.below(3));
      written.push_back(wal.add_notice());
    } else if (kind == 2) {
      written.push_back(wal.add_bytes(1'500'000 + rng.below(2'000'000)));
    } else if (kind < 30) {
      written.push_back(wal.add_bytes(300 + rng.below(30000)));
    } else {
      written.push_back(wal.add_bytes(26 + rng.below(256)));
    }
  }
  written.push_back(wal.add_switch());
  const Outcome whole = read_all(wal);
  EXPECT_EQ(whole.error, "");
  EXPECT_EQ(whole.lsns(), written);
  EXPECT_EQ(whole.records.back().end, wal.position());
  EXPECT_EQ(read_all(wal, WalSource::kArchived, wal.options().block_bytes).records, whole.records);
  EXPECT_EQ(read_all(wal, WalSource::kLive, size_t{1} << 20).records, whole.records);

  // From any page on the same records come, except the one open there.
  for (int round = 0; round < 50; ++round) {
    const size_t page = rng.below(wal.bytes().size() / wal.options().block_bytes);
    WalReaderOptions options = options_of(wal);
    options.start.bytes += page * wal.options().block_bytes;
    const Bytes rest = Bytes(wal.bytes()).subspan(page * wal.options().block_bytes);
    if (load_le<uint16_t>(rest.data()) == 0) continue;  // Padding behind a switch.
    WalReader reader = WalReader::create(options).value();
    const Outcome tail = read_all(reader, rest);
    EXPECT_EQ(tail.error, "");
    const auto first = std::ranges::find_if(whole.records, [&](const Seen& s) { return s.lsn >= options.start; });
    EXPECT_EQ(tail.records, std::vector<Seen>(first, whole.records.end())) << to_string(options.start);
  }
}

TEST(WalReader, FollowsRecordsThatEndExactlyWithTheirPage) {
  for (const size_t less : {0u, 1u, 7u, 8u, 9u, 16u, 20u, 24u, 31u}) {
    WalBuilder wal;
    std::vector<Lsn> written{wal.add_bytes(kRoomOfFirstPage - less), wal.add_bytes(100)};
    // 16 bytes of room hold half of the next header.
    written.push_back(wal.add_bytes(wal.room() - 16));
    written.push_back(wal.add_bytes(9000));
    written.push_back(wal.add_switch());
    const Outcome got = read_all(wal);
    EXPECT_EQ(got.error, "") << less;
    EXPECT_EQ(got.lsns(), written) << less;
    // A record that ends at a page's start leaves the position there, before the header.
    if (less == 0) {
      EXPECT_EQ(got.records[0].end.bytes % kBlock, 0u);
    }
  }
}

TEST(WalReader, HandsARecordOverToTheReaderOfTheNextSegment) {
  WalBuilder wal;
  wal.add_bytes((1u << 20) - kBlock);
  while (wal.room() > 40) wal.add_bytes(40);
  const Lsn crossing = wal.add_bytes(300000);
  const Lsn last = wal.add_bytes(50);
  wal.pad_page();
  const Bytes all = wal.bytes();
  WalReaderOptions options = options_of(wal);
  WalReader first = WalReader::create(options).value();
  const Outcome before = read_all(first, all.first(1u << 20));
  EXPECT_EQ(before.error, "");
  ASSERT_NE(first.fragment(), nullptr);
  EXPECT_EQ(first.fragment()->lsn(), crossing);
  EXPECT_EQ(first.position(), crossing);
  EXPECT_EQ(first.fragment()->total_bytes(), 300000u);
  EXPECT_EQ(first.fragment()->seen_bytes(), first.fragment()->head().size());
  EXPECT_EQ(load_le<uint32_t>(first.fragment()->head().data()), 300000u);

  options.start.bytes += 1u << 20;
  options.source = WalSource::kLive;  // The second segment is not complete.
  WalReader alone = WalReader::create(options).value();
  EXPECT_EQ(read_all(alone, all.subspan(1u << 20)).lsns(), std::vector<Lsn>{last});
  EXPECT_EQ(alone.continuation().rem_len_bytes, first.fragment()->missing_bytes());
  EXPECT_EQ(alone.continuation().bytes.size(), first.fragment()->missing_bytes());
  EXPECT_FALSE(alone.continuation().overwritten);

  WalReader joined = WalReader::create(options, *first.fragment()).value();
  EXPECT_EQ(joined.position(), crossing);
  EXPECT_EQ(read_all(joined, all.subspan(1u << 20)).lsns(), (std::vector<Lsn>{crossing, last}));
  EXPECT_EQ(joined.continuation().rem_len_bytes, 0u);

  // Both parts together are what the CRC covers.
  WalFragment by_hand = *first.fragment();
  by_hand.append(alone.continuation().bytes, {PgMajor{15}, 8192, 1u << 20});
  EXPECT_TRUE(by_hand.crc_matches());
}

TEST(WalReader, PassesSegmentsThatHoldNothingButAPartOfOneRecord) {
  WalBuilder wal;
  wal.add_bytes(100);
  const Lsn long_one = wal.add_bytes(size_t{3} << 20);
  const Lsn last = wal.add_switch();
  EXPECT_EQ(read_all(wal).lsns().at(1), long_one);
  WalReaderOptions options = options_of(wal);
  options.start.bytes += 1u << 20;
  options.main_data_kept_bytes_max = 1000;
  WalReader reader = WalReader::create(options).value();
  EXPECT_EQ(read_all(reader, Bytes(wal.bytes()).subspan(1u << 20, 1u << 20)).lsns().size(), 0u);
  EXPECT_EQ(reader.fragment(), nullptr);
  EXPECT_EQ(reader.continuation().bytes.size(), 1000u);
  EXPECT_EQ(reader.position(), Lsn{options.start.bytes + (1u << 20)});
  EXPECT_EQ(read_all(reader, Bytes(wal.bytes()).subspan(2u << 20)).lsns(), std::vector<Lsn>{last});
}

TEST(WalReader, DropsARecordThatTheServerGaveUp) {
  for (const uint32_t major : {10u, 15u, 18u, 19u}) {
    WalBuilder wal({.major = PgMajor{major}});
    const Lsn before = wal.add_bytes(100);
    const Lsn dropped = wal.add_given_up({.main_data = sample_bytes(60000)}, 3);
    const Lsn notice = wal.add_notice();
    const Lsn after = wal.add_switch();
    const Outcome got = read_all(wal);
    EXPECT_EQ(got.error, "") << major;
    EXPECT_EQ(got.lsns(), (std::vector<Lsn>{before, notice, after}));
    EXPECT_EQ(load_le<uint64_t>(got.records[1].main_data.data()), dropped.bytes);

    // The same where reading begins within the dropped record, and where it would have gone on.
    for (const size_t page : {1u, 2u, 3u}) {
      WalReaderOptions options = options_of(wal);
      options.start.bytes += page * kBlock;
      WalReader reader = WalReader::create(options).value();
      const Outcome tail = read_all(reader, Bytes(wal.bytes()).subspan(page * kBlock));
      EXPECT_EQ(tail.error, "") << major << " page " << page;
      EXPECT_EQ(tail.lsns(), (std::vector<Lsn>{notice, after})) << major << " page " << page;
      EXPECT_TRUE(reader.continuation().overwritten);
    }
  }
}

TEST(WalReader, FollowsASegmentOverTheSwitchOfTimeline) {
  WalBuilder wal;
  std::vector<Lsn> written{wal.add_bytes(5000), wal.add_bytes(9000)};
  wal.set_timeline(TimelineId{2});
  written.push_back(wal.add_bytes(9000));
  written.push_back(wal.add_switch());
  WalReaderOptions options = options_of(wal);
  options.timeline = TimelineId{2};
  WalReader reader = WalReader::create(options).value();
  EXPECT_EQ(read_all(reader, wal.bytes()).lsns(), written);
  EXPECT_THAT(read_all(wal).error, HasSubstr("is of timeline 2, expected 1 to 1"));
  wal.bytes()[kBlock + 4] = std::byte{3};
  options.timeline = TimelineId{3};
  reader = WalReader::create(options).value();
  const Outcome back = read_all(reader, wal.bytes());
  EXPECT_EQ(back.end->reason, WalEndReason::kPageTimeline);
}

TEST(WalReader, SaysWhyAndWhereWalEnds) {
  struct Damage {
    WalEndReason reason;
    std::function<void(WalBuilder&)> make;
    size_t found_page = 0;  // 0: the record itself.
  };
  const auto poke = [](size_t at, uint8_t value) {
    return [=](WalBuilder& wal) { wal.bytes().at(at) = std::byte{value}; };
  };
  // Every case: a record of 1000 bytes, then at 1040 one of 9000 bytes that reaches into the second page, then damage.
  constexpr size_t kRecord = 1040;
  const std::vector<Damage> cases{
      {WalEndReason::kCrc, poke(kRecord + 500, 0xee)},
      {WalEndReason::kCrc, poke(kBlock + 24 + 500, 0xee)},
      {WalEndReason::kCrc, poke(kRecord + 4, 0xee)},
      {WalEndReason::kResourceManager, poke(kRecord + 17, 22)},
      {WalEndReason::kPrevLink, poke(kRecord + 8, 0x30)},
      {WalEndReason::kRecordLength, poke(kRecord + 3, 0x40)},
      {WalEndReason::kRecordLength,
       [](WalBuilder& wal) {
         std::fill_n(wal.bytes().begin() + kRecord, 4, std::byte{0});
         wal.bytes()[kRecord] = std::byte{23};
       }},
      {WalEndReason::kZeroLength,
       [](WalBuilder& wal) { std::fill(wal.bytes().begin() + kRecord, wal.bytes().end(), std::byte{0}); }},
      {WalEndReason::kPageMagic,
       [](WalBuilder& wal) { std::fill(wal.bytes().begin() + kBlock, wal.bytes().end(), std::byte{0}); }, 1},
      {WalEndReason::kPageMagic, poke(kBlock, 0x0d), 1},
      {WalEndReason::kPageFlags, poke(kBlock + 2, 0x11), 1},
      {WalEndReason::kPageAddress, poke(kBlock + 11, 0x02), 1},
      {WalEndReason::kMissingContinuation, poke(kBlock + 2, 0), 1},
      {WalEndReason::kContinuationLength, poke(kBlock + 16, 0x01), 1},
  };
  for (const Damage& damage : cases) {
    SCOPED_TRACE(to_string(damage.reason));
    WalBuilder wal;
    const Lsn first = wal.add_bytes(1000);
    const Lsn second = wal.add_bytes(9000);
    ASSERT_EQ(second.bytes, wal.options().start.bytes + kRecord);
    wal.add_switch();
    damage.make(wal);
    const Outcome archived = read_all(wal);
    EXPECT_EQ(archived.lsns(), std::vector<Lsn>{first});
    ASSERT_TRUE(archived.end.has_value());
    EXPECT_EQ(archived.end->reason, damage.reason) << archived.end->message;
    EXPECT_EQ(archived.end->lsn, second);
    EXPECT_EQ(archived.end->found_at, damage.found_page == 0 ? second : Lsn{wal.options().start.bytes + kBlock});
    EXPECT_THAT(archived.error, HasSubstr("WAL ends early at 0/1000410: "));
    EXPECT_THAT(archived.error, HasSubstr(archived.end->message));
    const Outcome live = read_all(wal, WalSource::kLive, kBlock);
    EXPECT_EQ(live.error, "");
    EXPECT_EQ(live.records, archived.records);
    EXPECT_EQ(live.end->reason, damage.reason);
    EXPECT_EQ(live.end->lsn, second);
  }
}

TEST(WalReader, SaysWhyASegmentCannotBegin) {
  const auto end_of = [](WalBuilder& wal) { return read_all(wal).end.value(); };
  WalBuilder foreign({.system_id = 1});
  foreign.add_bytes(100);
  WalReaderOptions options = options_of(foreign);
  options.system_id = 2;
  WalReader reader = WalReader::create(options).value();
  foreign.pad_page();
  EXPECT_THAT(read_all(reader, foreign.bytes()).error, HasSubstr("is of system 1"));
  EXPECT_EQ(reader.end()->reason, WalEndReason::kPageHeader);

  WalBuilder short_header;
  short_header.add_bytes(100);
  short_header.bytes()[2] = std::byte{0};
  EXPECT_EQ(end_of(short_header).reason, WalEndReason::kPageHeader);

  WalBuilder unexpected;  // A continuation where the record before was complete.
  unexpected.add_bytes(kRoomOfFirstPage);
  unexpected.add_bytes(100);
  unexpected.bytes()[kBlock + 2] = std::byte{1};
  EXPECT_EQ(end_of(unexpected).reason, WalEndReason::kUnexpectedContinuation);
  EXPECT_EQ(end_of(unexpected).lsn, Lsn{unexpected.options().start.bytes + kBlock});

  WalBuilder malformed;
  auto raw = encode_record({.main_data = sample_bytes(50)}, malformed.prev(), PgMajor{15});
  raw[25] = std::byte{49};
  seal_record(raw);
  malformed.add_raw(raw);
  EXPECT_EQ(end_of(malformed).reason, WalEndReason::kRecordHeaders);

  WalBuilder malformed_long;
  raw = encode_record({.main_data = sample_bytes(50000)}, malformed_long.prev(), PgMajor{15});
  raw[25] = std::byte{49};
  seal_record(raw);
  malformed_long.add_raw(raw);
  EXPECT_EQ(end_of(malformed_long).reason, WalEndReason::kRecordHeaders);

  WalBuilder future({.prev = Lsn{0x100'0028}});  // Points to itself.
  future.add_bytes(100);
  EXPECT_EQ(end_of(future).reason, WalEndReason::kPrevLink);

  WalBuilder of_18({.major = PgMajor{18}});
  of_18.add_bytes(100);
  options = options_of(of_18);
  options.major = PgMajor{17};
  reader = WalReader::create(options).value();
  of_18.pad_page();
  EXPECT_THAT(read_all(reader, of_18.bytes()).error, HasSubstr("expected that of PostgreSQL 17"));

  WalBuilder flag_of_18({.major = PgMajor{19}});  // 0x0008 is no flag of 19.
  flag_of_18.add_bytes(100);
  flag_of_18.bytes()[2] = std::byte{0x0a};
  EXPECT_EQ(end_of(flag_of_18).reason, WalEndReason::kPageFlags);
}

TEST(WalReader, StaysAtTheEndItFound) {
  WalBuilder wal;
  wal.add_bytes(100);
  wal.pad_segment();
  WalReader reader = WalReader::create(options_of(wal, WalSource::kLive)).value();
  EXPECT_EQ(read_all(reader, wal.bytes()).end->reason, WalEndReason::kZeroLength);
  EXPECT_EQ(reader.next().value(), WalStep::kEnd);
  EXPECT_TRUE(reader.feed(wal.bytes()).has_value());
  EXPECT_EQ(reader.next().value(), WalStep::kEnd);
}

TEST(WalReader, RefusesWhatItCannotRead) {
  WalBuilder wal;
  wal.add_bytes(9000);
  wal.pad_page();
  const auto refuse = [&](auto change) {
    WalReaderOptions options = options_of(wal);
    change(options);
    const auto reader = WalReader::create(options);
    return !reader.has_value() && reader.error().code() == Errc::kInvalid;
  };
  EXPECT_TRUE(refuse([](WalReaderOptions& o) { o.start.bytes += 8; }));
  EXPECT_TRUE(refuse([](WalReaderOptions& o) { o.segment_bytes = 3u << 20; }));
  EXPECT_TRUE(refuse([](WalReaderOptions& o) { o.wal_block_bytes = 512; }));
  EXPECT_TRUE(refuse([](WalReaderOptions& o) { o.page_bytes = 65536; }));
  WalReader reader = WalReader::create(options_of(wal)).value();
  EXPECT_EQ(reader.feed(Bytes(wal.bytes()).first(100)).error().code(), Errc::kInvalid);
  ASSERT_TRUE(reader.feed(wal.bytes()).has_value());
  EXPECT_EQ(reader.feed(wal.bytes()).error().code(), Errc::kInvalid);
}

TEST(WalReader, NeverTakesAFlippedBitForWal) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  WalBuilder wal;
  while (wal.bytes().size() < 200000) wal.add_bytes(26 + rng.below(rng.below(10) == 0 ? 20000 : 255));
  wal.add_switch();
  const Outcome whole = read_all(wal);
  const size_t used = whole.records.back().lsn.bytes + 26 - wal.options().start.bytes;
  int caught = 0;
  for (int round = 0; round < 400; ++round) {
    const size_t at = rng.below(used);
    const auto bit = static_cast<std::byte>(1u << rng.below(8));
    wal.bytes()[at] ^= bit;
    const Outcome got = read_all(wal);
    wal.bytes()[at] ^= bit;
    // What stands before the damage is read as ever; then either an error or, in bytes that mean nothing (padding
    // between records and of headers), the rest.
    if (!got.error.empty()) ++caught;
    ASSERT_TRUE(got.records.size() <= whole.records.size() &&
                std::equal(got.records.begin(), got.records.end(), whole.records.begin()))
        << at;
    ASSERT_TRUE(!got.error.empty() || got.records.size() == whole.records.size()) << at;
  }
  EXPECT_GT(caught, 300);
}

TEST(WalReaderOptions, ComeFromTheFirstPage) {
  WalBuilder wal({.major = PgMajor{17}, .segment_bytes = 4u << 20, .block_bytes = 16384, .system_id = 42});
  wal.add_bytes(100);
  const auto got = wal_reader_options(wal.bytes());
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->major, PgMajor{17});
  EXPECT_EQ(got->start, wal.options().start);
  EXPECT_EQ(got->segment_bytes, 4u << 20);
  EXPECT_EQ(got->wal_block_bytes, 16384u);
  EXPECT_EQ(got->system_id, 42u);
  wal.bytes()[32] = std::byte{1};
  EXPECT_EQ(wal_reader_options(wal.bytes()).error().code(), Errc::kCorrupt);
}

// First page of the segment in which timeline 3 left timeline 2, from servers of each version.
TEST_P(WalReaderOf, ReadsTheFirstPageOfARealSegment) {
  const std::string folder = std::string(PGARK_SOURCE_DIR) + "/src/pg/testdata/" + std::to_string(GetParam());
  std::string sample;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("wal_") && entry.file_size() == kBlock)
      sample = read_file(entry.path()).value();
  ASSERT_EQ(sample.size(), kBlock);
  WalReaderOptions options = wal_reader_options(as_bytes(sample)).value();
  EXPECT_EQ(options.major, PgMajor{GetParam()});
  options.source = WalSource::kLive;  // It was taken while the server had written little of it.
  WalReader reader = WalReader::create(options).value();
  const Outcome got = read_all(reader, as_bytes(sample));
  EXPECT_GE(got.records.size(), 8u);
  ASSERT_TRUE(got.end.has_value());
  EXPECT_EQ(got.end->reason, WalEndReason::kZeroLength) << got.end->message;
}

}  // namespace
}  // namespace pgark::pg
