// Files of live servers are in golden_samples_test.cc; here is what no server of ours writes.
#include "pg/control.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "core/crc32c.h"

namespace pgark::pg {
namespace {

/// A file of 1300's layout with believable values and a right CRC.
class ControlFile {
 public:
  explicit ControlFile(uint32_t control_version = 1300, size_t crc_at = 288) : bytes_(512), crc_at_(crc_at) {
    set<uint64_t>(0, 7000000000000000001ull).set<uint32_t>(8, control_version).set<uint32_t>(12, 202209061);
    set<uint32_t>(16, 6).set<int32_t>(172, 1).set<uint32_t>(216, 8192).set<uint32_t>(220, 131072);
    set<uint32_t>(224, 8192).set<uint32_t>(228, 16u << 20).set<uint32_t>(252, 1);
  }
  template <typename T>
  ControlFile& set(size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  Result<ControlData> decode() {
    set<uint32_t>(crc_at_, crc32c(Bytes(bytes_).first(crc_at_)));
    return decode_control(bytes_);
  }

 private:
  std::vector<std::byte> bytes_;
  size_t crc_at_;
};

TEST(ControlData, DecodesRecoveryFieldsAndLargeXids) {
  const ControlData c = ControlFile()
                            .set<uint64_t>(64, 0x0000000500000007ull)
                            .set<uint64_t>(136, 0x1122334455667788ull)
                            .set<uint32_t>(144, 9)
                            .set<uint64_t>(152, 0x100)
                            .set<uint64_t>(160, 0x200)
                            .set<uint8_t>(168, 1)
                            .decode()
                            .value();
  EXPECT_EQ(c.next_xid, 0x0000000500000007ull);
  EXPECT_EQ(c.min_recovery_point.bytes, 0x1122334455667788ull);
  EXPECT_EQ(c.min_recovery_timeline.value, 9u);
  EXPECT_EQ(c.backup_start_point.bytes, 0x100u);
  EXPECT_EQ(c.backup_end_point.bytes, 0x200u);
  EXPECT_TRUE(c.backup_end_required);
  EXPECT_TRUE(c.checksums_enabled());
}

TEST(ControlData, ReadsTheEpochOfElevenFromItsOwnWord) {
  ControlFile file(1100, 280);
  file.set<uint32_t>(60, 5).set<uint32_t>(64, 7);
  file.set<int32_t>(164, 1).set<uint32_t>(208, 8192).set<uint32_t>(212, 131072).set<uint32_t>(216, 8192);
  const ControlData c = file.set<uint32_t>(220, 16u << 20).set<uint32_t>(244, 0).decode().value();
  EXPECT_EQ(c.next_xid, 0x0000000500000007ull);
  EXPECT_FALSE(c.checksums_enabled());
}

TEST(ControlData, NamesAnUnknownControlVersion) {
  const Error error = ControlFile(2000).decode().error();
  EXPECT_EQ(error.code(), Errc::kUnsupported);
  EXPECT_EQ(error.message(), "decode pg_control: control version 2000 is not known");
  EXPECT_EQ(ControlFile(960).decode().error().code(), Errc::kUnsupported);  // 9.6
}

TEST(ControlData, TellsDamageFromUnknownVersions) {
  EXPECT_EQ(ControlFile(0).decode().error().code(), Errc::kCorrupt);
  EXPECT_EQ(ControlFile(5).decode().error().code(), Errc::kCorrupt);
  EXPECT_EQ(ControlFile(1300u << 16).decode().error().message(),
            "decode pg_control: byte order is that of another machine");
  EXPECT_EQ(decode_control({}).error().code(), Errc::kCorrupt);
}

TEST(ControlData, RefusesImpossibleValuesEvenWithRightCrc) {
  EXPECT_EQ(ControlFile().set<uint32_t>(16, 7).decode().error().message(),
            "decode pg_control: cluster state 7 is impossible");
  EXPECT_EQ(ControlFile().set<int32_t>(172, 3).decode().error().message(),
            "decode pg_control: wal_level 3 is impossible");
  EXPECT_EQ(ControlFile().set<int32_t>(172, -1).decode().error().code(), Errc::kCorrupt);
  EXPECT_EQ(ControlFile().set<uint32_t>(252, 2).decode().error().message(),
            "decode pg_control: data checksum state 2 is impossible");
  EXPECT_EQ(ControlFile().set<uint32_t>(216, 8191).decode().error().message(),
            "decode pg_control: block size 8191 is impossible");
  EXPECT_EQ(ControlFile().set<uint32_t>(220, 0).decode().error().message(),
            "decode pg_control: relation segment size is 0");
  EXPECT_EQ(ControlFile().set<uint32_t>(224, 0).decode().error().message(),
            "decode pg_control: WAL block size 0 is impossible");
  EXPECT_EQ(ControlFile().set<uint32_t>(228, 3u << 20).decode().error().message(),
            "decode pg_control: WAL segment size 3145728 is impossible");
}

TEST(ControlData, VersionCheckNamesBothSides) {
  ControlData c;
  c.control_version = 1300;
  c.catalog_version = 202209061;
  EXPECT_TRUE(check_control_version(c, PgMajor{15}).has_value());
  EXPECT_EQ(check_control_version(c, PgMajor{14}).error().message(),
            "PG_VERSION says 14, but pg_control has control version 1300 and catalog version 202209061");
  EXPECT_EQ(check_control_version(c, PgMajor{9}).error().code(), Errc::kUnsupported);
}

}  // namespace
}  // namespace pgark::pg
