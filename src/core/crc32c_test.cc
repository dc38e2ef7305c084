#include "core/crc32c.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/clock.h"

namespace pgark {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, AgreesWithPublishedVectors) {
  std::vector<std::byte> data(32);
  EXPECT_EQ(crc32c(data), 0x8a9136aau);
  for (auto& b : data) b = std::byte{0xff};
  EXPECT_EQ(crc32c(data), 0x62a8ab43u);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(data), 0x46dd794eu);
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, IsTheSameWithAndWithoutInstructionsAndInPieces) {
  const char* env = std::getenv("SEED");
  const uint64_t seed = env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  std::vector<std::byte> data(4096);
  for (auto& b : data) b = static_cast<std::byte>(rng.next());
  for (int round = 0; round < 500; ++round) {
    const size_t begin = rng.below(data.size());
    const Bytes part = Bytes(data).subspan(begin, rng.below(data.size() - begin + 1));
    const size_t cut = rng.below(part.size() + 1);
    const uint32_t whole = crc32c(part);
    EXPECT_EQ(crc32c_portable(part), whole);
    EXPECT_EQ(crc32c(part.subspan(cut), crc32c(part.first(cut))), whole);
  }
}

}  // namespace
}  // namespace pgark
