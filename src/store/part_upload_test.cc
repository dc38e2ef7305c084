// The writer of objects in parts, over an upload that fails where the test wants.
#include "store/part_upload.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "core/thread_annotations.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

constexpr size_t kChunk = 1000;

/// What a store would have seen.
struct Seen {
  Mutex mu;
  std::map<unsigned, std::string> parts GUARDED_BY(mu);
  std::string object GUARDED_BY(mu);
  bool exists GUARDED_BY(mu) = false;
  bool ours GUARDED_BY(mu) = true;
  int begun GUARDED_BY(mu) = 0;
  int aborted GUARDED_BY(mu) = 0;
  int put_calls GUARDED_BY(mu) = 0;
  int complete_calls GUARDED_BY(mu) = 0;
  int looks GUARDED_BY(mu) = 0;
  unsigned at_once GUARDED_BY(mu) = 0;
  unsigned at_once_max GUARDED_BY(mu) = 0;
};

/// Errors to answer calls with, in their order; then none. An error with "done" in its text comes after the deed.
struct Script {
  std::map<unsigned, std::vector<Error>> parts{};
  std::vector<Error> put{};
  std::vector<Error> complete{};
  std::vector<Error> look{};
};

class ScriptedUpload final : public PartUpload {
 public:
  ScriptedUpload(Seen& seen, Script script) : seen_(seen), script_(std::move(script)) {}

  Result<ObjectInfo> put_whole(Bytes content) override {
    MutexLock lock(seen_.mu);
    ++seen_.put_calls;
    return make(std::string(as_text(content)), script_.put);
  }
  Result<> begin() override {
    MutexLock lock(seen_.mu);
    ++seen_.begun;
    return {};
  }
  Result<std::string> put_part(unsigned number, Bytes content) override {
    {
      MutexLock lock(seen_.mu);
      seen_.at_once_max = std::max(seen_.at_once_max, ++seen_.at_once);
    }
    std::this_thread::yield();
    MutexLock lock(seen_.mu);
    --seen_.at_once;
    auto& errors = script_.parts[number];
    if (!errors.empty()) {
      const Error error = errors.front();
      errors.erase(errors.begin());
      return error;
    }
    seen_.parts[number] = as_text(content);
    return "tag" + std::to_string(number);
  }
  Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) override {
    MutexLock lock(seen_.mu);
    ++seen_.complete_calls;
    std::string all;
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i], "tag" + std::to_string(i + 1));
      all += seen_.parts[static_cast<unsigned>(i + 1)];
    }
    EXPECT_EQ(all.size(), bytes);
    return make(all, script_.complete);
  }
  Result<std::optional<ObjectInfo>> find_own() override {
    MutexLock lock(seen_.mu);
    ++seen_.looks;
    if (!script_.look.empty()) {
      const Error error = script_.look.front();
      script_.look.erase(script_.look.begin());
      return error;
    }
    if (!seen_.exists) return std::optional<ObjectInfo>();
    if (!seen_.ours) return Error(Errc::kAlreadyExists, "another's");
    return std::optional<ObjectInfo>(ObjectInfo{{"k"}, seen_.object.size(), {}});
  }
  void abort() override {
    MutexLock lock(seen_.mu);
    ++seen_.aborted;
  }

 private:
  Result<ObjectInfo> make(std::string content, std::vector<Error>& errors) REQUIRES(seen_.mu) {
    std::optional<Error> error;
    if (!errors.empty()) {
      error = errors.front();
      errors.erase(errors.begin());
    }
    if (error && error->message().find("done") == std::string::npos) return *error;
    if (seen_.exists) return Error(Errc::kAlreadyExists, "the name is taken");
    seen_.object = std::move(content);
    seen_.exists = true;
    if (error) return *error;
    return ObjectInfo{{"k"}, seen_.object.size(), {}};
  }

  Seen& seen_;
  Script script_;
};

class PartWriterTest : public testing::Test {
 protected:
  std::unique_ptr<ObjectWriter> writer(Script script = {}, unsigned parts_max = 10'000) {
    if (!sender_) sender_ = make_part_sender(settings_);
    return make_part_writer({"k"}, std::make_unique<ScriptedUpload>(seen_, std::move(script)), sender_, settings_,
                            parts_max);
  }
  static std::string content(size_t bytes) {
    std::string text(bytes, ' ');
    for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('!' + (i * 31 + i / 93) % 90);
    return text;
  }
  void expect_object(const std::string& text) {
    MutexLock lock(seen_.mu);
    EXPECT_TRUE(seen_.exists);
    EXPECT_EQ(seen_.object, text);
  }

  NoWaitClock clock_;
  Seen seen_;
  CloudSettings settings_{.chunk_bytes = kChunk, .upload_memory_max = 8 * kChunk, .clock = &clock_};
  std::shared_ptr<PartSender> sender_;
};

TEST_F(PartWriterTest, SendsWhatFitsIntoAChunkInOneRequest) {
  for (const size_t bytes : {size_t{0}, size_t{1}, kChunk}) {
    {
      MutexLock lock(seen_.mu);
      seen_.exists = false;
    }
    auto one = writer();
    ASSERT_TRUE(one->append(as_bytes(content(bytes))).has_value());
    const auto info = std::move(*one).commit();
    ASSERT_TRUE(info.has_value()) << info.error().to_string();
    EXPECT_EQ(info->bytes, bytes);
    expect_object(content(bytes));
  }
  MutexLock lock(seen_.mu);
  EXPECT_EQ(seen_.begun, 0);
  EXPECT_EQ(seen_.put_calls, 3);
}

TEST_F(PartWriterTest, SendsMoreInPartsWhateverThePiecesItComesIn) {
  const std::string text = content(17 * kChunk + 7);
  for (const size_t piece : {size_t{1}, size_t{999}, size_t{1000}, size_t{2500}, text.size()}) {
    {
      MutexLock lock(seen_.mu);
      seen_.exists = false;
      seen_.parts.clear();
    }
    auto one = writer();
    for (size_t at = 0; at < text.size(); at += piece)
      ASSERT_TRUE(one->append(as_bytes(std::string_view(text).substr(at, piece))).has_value());
    const auto info = std::move(*one).commit();
    ASSERT_TRUE(info.has_value()) << info.error().to_string();
    expect_object(text);
    MutexLock lock(seen_.mu);
    EXPECT_EQ(seen_.parts.size(), 18u);
    EXPECT_EQ(seen_.parts[18].size(), 7u);
    EXPECT_EQ(seen_.aborted, 0);
  }
}

TEST_F(PartWriterTest, GivenUpDropsItsParts) {
  auto one = writer();
  ASSERT_TRUE(one->append(as_bytes(content(5 * kChunk))).has_value());
  one.reset();
  auto small = writer();
  ASSERT_TRUE(small->append(as_bytes(content(5))).has_value());
  small.reset();
  MutexLock lock(seen_.mu);
  EXPECT_EQ(seen_.aborted, 1);
  EXPECT_FALSE(seen_.exists);
}

TEST_F(PartWriterTest, RepeatsPartsThatMayPass) {
  Script script;
  script.parts[2] = {Error(Errc::kTransient, "reset"), Error(Errc::kOutcomeUnknown, "lost")};
  auto one = writer(script);
  ASSERT_TRUE(one->append(as_bytes(content(4 * kChunk))).has_value());
  ASSERT_TRUE(std::move(*one).commit().has_value());
  expect_object(content(4 * kChunk));
  EXPECT_EQ(clock_.waits().size(), 2u);
}

TEST_F(PartWriterTest, ReportsAPartThatDoesNotPass) {
  Script script;
  script.parts[1] = {Error(Errc::kPermission, "refused")};
  auto one = writer(script);
  Result<> appended;
  for (int i = 0; i < 1000 && appended.has_value(); ++i) appended = one->append(as_bytes(content(kChunk)));
  const auto info = std::move(*one).commit();
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().code(), Errc::kPermission);
  one.reset();
  Script stubborn;
  stubborn.parts[1].assign(settings_.retry.attempts_max, Error(Errc::kTransient, "reset"));
  auto other = writer(stubborn);
  ASSERT_TRUE(other->append(as_bytes(content(kChunk + 1))).has_value());
  const auto given_up = std::move(*other).commit();
  ASSERT_FALSE(given_up.has_value());
  EXPECT_EQ(given_up.error().code(), Errc::kTransient);
  EXPECT_NE(given_up.error().message().find("given up after 5 attempts"), std::string::npos);
  other.reset();
  MutexLock lock(seen_.mu);
  EXPECT_EQ(seen_.aborted, 2);
  EXPECT_EQ(seen_.complete_calls, 0);
}

TEST_F(PartWriterTest, FindsOutWhetherALostCompletionWorked) {
  {  // It did.
    auto one = writer({.complete = {Error(Errc::kOutcomeUnknown, "done, answer lost")}});
    ASSERT_TRUE(one->append(as_bytes(content(3 * kChunk))).has_value());
    ASSERT_TRUE(std::move(*one).commit().has_value());
    expect_object(content(3 * kChunk));
  }
  {  // It did not, and is made again.
    MutexLock lock(seen_.mu);
    seen_.exists = false;
    seen_.complete_calls = 0;
  }
  auto again = writer({.complete = {Error(Errc::kOutcomeUnknown, "lost"), Error(Errc::kTransient, "busy")}});
  ASSERT_TRUE(again->append(as_bytes(content(3 * kChunk))).has_value());
  ASSERT_TRUE(std::move(*again).commit().has_value());
  {
    MutexLock lock(seen_.mu);
    EXPECT_EQ(seen_.complete_calls, 3);
    seen_.ours = false;
  }
  // It did not, because another was there.
  auto late = writer({.complete = {Error(Errc::kOutcomeUnknown, "lost")}});
  ASSERT_TRUE(late->append(as_bytes(content(3 * kChunk))).has_value());
  const auto refused = std::move(*late).commit();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kAlreadyExists);
}

TEST_F(PartWriterTest, LostSmallWriteIsOursOrUnknown) {
  auto one = writer({.put = {Error(Errc::kOutcomeUnknown, "done, answer lost")}});
  ASSERT_TRUE(one->append(as_bytes(content(3))).has_value());
  ASSERT_TRUE(std::move(*one).commit().has_value());
  {
    MutexLock lock(seen_.mu);
    seen_.exists = false;
  }
  // Absent: the retrying store above writes it again, which has kept it.
  auto absent = writer({.put = {Error(Errc::kOutcomeUnknown, "lost")}});
  ASSERT_TRUE(absent->append(as_bytes(content(3))).has_value());
  auto unknown = std::move(*absent).commit();
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code(), Errc::kOutcomeUnknown);
  auto blind = writer({.put = {Error(Errc::kOutcomeUnknown, "lost")}, .look = {Error(Errc::kTransient, "down")}});
  ASSERT_TRUE(blind->append(as_bytes(content(3))).has_value());
  unknown = std::move(*blind).commit();
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code(), Errc::kOutcomeUnknown);
}

// Somebody on the way repeats a request by itself: of a conditional creation the second answer is a refusal.
TEST_F(PartWriterTest, TakenByAnObjectOfItsOwnIsSuccess) {
  for (const size_t bytes : {size_t{3}, 3 * kChunk}) {
    const Error refusal(Errc::kAlreadyExists, "done, and done again");
    auto one = writer({.put = {refusal}, .complete = {refusal}});
    ASSERT_TRUE(one->append(as_bytes(content(bytes))).has_value());
    const auto made = std::move(*one).commit();
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    EXPECT_EQ(made->bytes, bytes);
    expect_object(content(bytes));
    one.reset();
    MutexLock lock(seen_.mu);
    EXPECT_EQ(seen_.aborted, 0);
    seen_.exists = false;
  }
}

TEST_F(PartWriterTest, TakenByAnotherStaysTaken) {
  {
    MutexLock lock(seen_.mu);
    seen_.exists = true;
    seen_.ours = false;
  }
  for (const auto& look : {std::vector<Error>{}, std::vector<Error>{Error(Errc::kPermission, "may not look")},
                           std::vector<Error>{Error(Errc::kUnsupported, "cannot tell")}}) {
    auto late = writer({.look = look});
    ASSERT_TRUE(late->append(as_bytes(content(3))).has_value());
    const auto refused = std::move(*late).commit();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Errc::kAlreadyExists) << refused.error().to_string();
  }
}

TEST_F(PartWriterTest, PartsGrowSoThatNoneAreTooMany) {
  auto one = writer({}, 16);
  std::string text = content(50 * kChunk);
  ASSERT_TRUE(one->append(as_bytes(text)).has_value());
  ASSERT_TRUE(std::move(*one).commit().has_value());
  expect_object(text);
  {
    MutexLock lock(seen_.mu);
    EXPECT_LE(seen_.parts.size(), 16u);
    for (const auto& [number, part] : seen_.parts) EXPECT_LE(part.size(), settings_.upload_memory_max / 2);
    seen_.exists = false;
  }
  auto huge = writer({}, 16);
  Result<> appended;
  for (int i = 0; i < 100 && appended.has_value(); ++i) appended = huge->append(as_bytes(content(kChunk)));
  ASSERT_FALSE(appended.has_value());
  EXPECT_EQ(appended.error().code(), Errc::kInvalid);
}

TEST_F(PartWriterTest, ManyWritersShareLittleMemory) {
  settings_.upload_memory_max = 2 * kChunk;
  std::vector<std::unique_ptr<ObjectWriter>> writers;
  std::vector<std::unique_ptr<Seen>> seen;
  sender_ = make_part_sender(settings_);
  for (int i = 0; i < 20; ++i) {
    seen.push_back(std::make_unique<Seen>());
    writers.push_back(
        make_part_writer({"k"}, std::make_unique<ScriptedUpload>(*seen.back(), Script{}), sender_, settings_));
  }
  const std::string text = content(5 * kChunk);
  for (size_t at = 0; at < text.size(); at += 500)
    for (auto& one : writers) ASSERT_TRUE(one->append(as_bytes(std::string_view(text).substr(at, 500))).has_value());
  for (auto& one : writers) ASSERT_TRUE(std::move(*one).commit().has_value());
  for (auto& one : seen) {
    MutexLock lock(one->mu);
    EXPECT_EQ(one->object, text);
  }
}

TEST_F(PartWriterTest, CancellationEndsWaiting) {
  CancelToken cancel;
  cancel.cancel();
  settings_.cancel = &cancel;
  Script script;
  script.parts[1] = {Error(Errc::kTransient, "reset")};
  auto one = writer(script);
  const auto appended = one->append(as_bytes(content(2 * kChunk)));
  const auto info = std::move(*one).commit();
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().code(), Errc::kCancelled);
}

}  // namespace
}  // namespace pgark
