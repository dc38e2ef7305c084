// Kills a process in the middle of writing objects: what it acknowledged is there, and nothing is half there.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>

#include "store/posix_store.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

/// The content of object `number`: its length and its bytes follow from the number.
std::string content_of(uint64_t number) {
  Rng rng(number);
  std::string content(static_cast<size_t>(rng.below(200'000)), '\0');
  for (char& c : content) c = static_cast<char>('a' + (number + static_cast<uint64_t>(&c - content.data())) % 26);
  return content;
}

ObjectKey key_of(uint64_t number) { return {fmt::format("dir-{}/sub-{}/object-{}", number % 3, number % 7, number)}; }

/// Write objects `first`, `first` + 1, ... until killed: 'a' into the pipe after each piece, 'c' after each commit, so
/// that the parent can choose its moment and knows what was acknowledged.
[[noreturn]] void write_for_ever(const std::string& root, uint64_t first, int out) {
  auto store = PosixStore::open(root);
  if (!store.has_value()) ::_exit(2);
  const auto say = [&](char c) {
    if (::write(out, &c, 1) != 1) ::_exit(3);
  };
  for (uint64_t number = first;; ++number) {
    const std::string content = content_of(number);
    auto writer = (*store)->create(key_of(number));
    if (!writer.has_value()) ::_exit(4);
    say('a');
    for (size_t at = 0; at < content.size(); at += 40'000) {
      if (!(*writer)->append(as_bytes(std::string_view(content).substr(at, 40'000))).has_value()) ::_exit(5);
      say('a');
    }
    if (!std::move(**writer).commit().has_value()) ::_exit(6);
    say('c');
  }
}

size_t temporaries_in(const std::string& root) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    count += entry.path().filename().string().starts_with(".tmp-");
  return count;
}

TEST(PosixStoreCrash, KilledWriterLeavesWholeObjectsAndSweepableTemporaries) {
  const uint64_t seed = test_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  const ScratchDirectory root;
  std::set<std::string> acknowledged;
  uint64_t next = 0;
  size_t temporaries_seen = 0;
  for (int round = 0; round < 15; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(ends[0]);
      write_for_ever(root.path(), next, ends[1]);
    }
    ::close(ends[1]);
    const uint64_t events = 1 + rng.below(25);
    uint64_t committed = 0;
    char c = 0;
    for (uint64_t i = 0; i < events && ::read(ends[0], &c, 1) == 1; ++i) committed += c == 'c';
    // A little further, to hit the inside of a call: spinning, since how long does not matter.
    std::atomic<uint64_t> spin = rng.below(200'000);
    while (spin > 0) --spin;
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself, with exit code " << WEXITSTATUS(status);
    while (::read(ends[0], &c, 1) == 1) committed += c == 'c';
    ::close(ends[0]);
    for (uint64_t i = 0; i < committed; ++i) acknowledged.insert(key_of(next + i).value);
    const uint64_t in_flight = next + committed;
    temporaries_seen += temporaries_in(root.path());

    auto store = PosixStore::open(root.path()).value();
    const auto listed = store->list_all("");
    ASSERT_TRUE(listed.has_value()) << listed.error().to_string();
    std::set<std::string> seen;
    for (const ObjectInfo& object : *listed) {
      seen.insert(object.key.value);
      const uint64_t number = std::stoull(object.key.value.substr(object.key.value.rfind('-') + 1));
      const auto content = store->get(object.key);
      ASSERT_TRUE(content.has_value()) << content.error().to_string();
      ASSERT_EQ(as_text(content->bytes()), content_of(number)) << object.key.value;
    }
    for (const std::string& key : acknowledged)
      ASSERT_TRUE(seen.contains(key)) << key << " was acknowledged and is lost";
    seen.erase(key_of(in_flight).value);  // Committed, and killed before it could say so: both are right.
    ASSERT_EQ(seen.size(), acknowledged.size());

    const auto swept = store->remove_stale_temporaries(std::chrono::seconds(0));
    ASSERT_TRUE(swept.has_value()) << swept.error().to_string();
    ASSERT_EQ(temporaries_in(root.path()), 0u);
    // The next process meets what this one left: the object in flight is there whole, or free to be written.
    const auto again = store->put(key_of(in_flight), as_bytes(content_of(in_flight)));
    ASSERT_TRUE(again.has_value() || again.error().code() == Errc::kAlreadyExists) << again.error().to_string();
    acknowledged.insert(key_of(in_flight).value);
    next = in_flight + 1;
  }
  EXPECT_GT(temporaries_seen, 0u) << "no kill ever hit a writer at work";
}

}  // namespace
}  // namespace pgark
