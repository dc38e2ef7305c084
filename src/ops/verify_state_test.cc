#include "ops/verify_state.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "core/file.h"
#include "testing/pg_server.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using pgark::testing::ScratchDir;

uint64_t seed_of_run() {
  const char* given = std::getenv("SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

TEST(NumberRanges, AreASet) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  for (int round = 0; round < 50; ++round) {
    NumberRanges ranges;
    std::set<uint64_t> expected;
    for (int i = 0; i < 200; ++i) {
      const uint64_t number = rng.below(60);
      if (rng.below(3) > 0) {
        ranges.add(number);
        expected.insert(number);
      } else {
        ranges.remove(number);
        expected.erase(number);
      }
    }
    std::vector<uint64_t> listed;
    ranges.each([&](uint64_t number) { listed.push_back(number); });
    EXPECT_EQ(listed, std::vector<uint64_t>(expected.begin(), expected.end()));
    EXPECT_EQ(ranges.count(), expected.size());
    for (uint64_t number = 0; number < 61; ++number) EXPECT_EQ(ranges.has(number), expected.contains(number));
    const auto parsed = NumberRanges::parse(ranges.text());
    ASSERT_TRUE(parsed.has_value()) << ranges.text();
    EXPECT_EQ(*parsed, ranges) << "written in one way only";
  }
  NumberRanges few;
  for (const uint64_t number : {3u, 1u, 2u, 9u, 7u}) few.add(number);
  EXPECT_EQ(few.text(), "1-3,7,9");
  for (const char* wrong : {"a", "1-", "-1", "3-1", "1,1", "1-3,4", "5,2", "1,,3", "18446744073709551615", " 1"}) {
    EXPECT_FALSE(NumberRanges::parse(wrong).has_value()) << wrong;
  }
}

VerifyState sample_state() {
  VerifyState state;
  state.repository_id = "00112233";
  state.stanza = "main";
  state.sets = {"20261122-101500F"};
  state.share = 0.05;
  state.seed = UINT64_MAX;
  state.started = Timestamp(std::chrono::seconds(1795342000));
  state.saved = Timestamp(std::chrono::seconds(1795342500));
  state.packs["20261122-101500F"].add(3);
  state.segments["1/00000001"].add(32);
  VerifyDamage damage;
  damage.kind = DamageKind::kPack;
  damage.object = "main/pack/20261122-101500F/000003";
  damage.name = "20261122-101500F/000003";
  damage.index_unreadable = true;
  damage.places = {{64, 100}, {300, 7}};
  damage.cause = "frame at 64: \xff\xfe of no charset";
  state.damages = {damage};
  state.damage_count = 12'000;
  ManifestResult manifest;
  manifest.packs = {{"20261122-101500F", 3}};
  manifest.files = {{"base/5/\xe4", {{0, 3}, {7, 7}}, 5, {{"20261122-101500F", 3}}}};
  manifest.file_count = 1;
  manifest.bad_pages = {{"20261122-101500F", "base/5/1", {4, 5}, 2}};
  manifest.bad_page_count = 2;
  state.manifests["20261122-101500F"] = manifest;
  state.extent_count = 77;
  state.read_bytes = 12345678901;
  return state;
}

TEST(VerifyStateFile, IsReadAsItWasWritten) {
  const VerifyState state = sample_state();
  const auto decoded = decode_verify_state(encode_verify_state(state));
  ASSERT_OK(decoded);
  EXPECT_EQ(*decoded, state);
}

TEST(VerifyStateFile, RubbishIsAnErrorAndNoCrash) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  const std::string text = encode_verify_state(sample_state());
  for (int i = 0; i < 2000; ++i) {
    std::string changed = text;
    for (uint64_t n = 0; n <= rng.below(3); ++n) changed[rng.below(changed.size())] = static_cast<char>(rng.below(128));
    if (rng.below(4) == 0) changed.resize(rng.below(changed.size()));
    (void)decode_verify_state(changed);  // It may still make sense.
  }
  for (const char* wrong : {"", "[]", "{}", "null", "{\"version\":2}"})
    EXPECT_FALSE(decode_verify_state(wrong).has_value());
}

TEST(VerifyStateFile, OldOneIsOfNoUse) {
  auto scratch = ScratchDir::create("state");
  ASSERT_OK(scratch);
  const std::string path = *scratch / "spool/deep/state.json";
  const VerifyState state = sample_state();
  const auto missing = load_verify_state(path, state.saved);
  ASSERT_OK(missing);
  EXPECT_FALSE(missing->has_value());
  ASSERT_OK(save_verify_state(path, state));
  const auto fresh = load_verify_state(path, state.saved + std::chrono::days(29));
  ASSERT_OK(fresh);
  EXPECT_EQ(*fresh, state);
  const auto old = load_verify_state(path, state.saved + std::chrono::days(31));
  ASSERT_OK(old);
  EXPECT_FALSE(old->has_value());
}

}  // namespace
}  // namespace pgark
