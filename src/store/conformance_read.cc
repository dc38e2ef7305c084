// Conformance checks of looking at objects and reading them.
#include <algorithm>

#include "core/clock.h"
#include "pipe/task_group.h"
#include "store/conformance_util.h"

namespace pgark::conformance {
namespace {

Result<> ranged_reads_end_with_the_object(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  constexpr size_t kBytes = 100'000;
  const Buffer content = pattern(4, kBytes);
  TRY(store.put(key, content));
  struct Range {
    uint64_t offset;
    size_t bytes;
    size_t expected;
  };
  for (const Range range :
       {Range{0, 1, 1}, Range{0, kBytes, kBytes}, Range{1, 4096, 4096}, Range{50'000, 7, 7}, Range{kBytes - 1, 1, 1},
        Range{kBytes - 10, 100, 10}, Range{0, kBytes * 2, kBytes}, Range{kBytes, 10, 0}, Range{kBytes + 1, 10, 0},
        Range{uint64_t{1} << 40, 10, 0}, Range{uint64_t{1} << 62, 10, 0}, Range{~uint64_t{0}, 10, 0}, Range{10, 0, 0},
        Range{kBytes, 0, 0}}) {
    Buffer into(range.bytes);
    TRY_ASSIGN(const size_t count, store.read(key, range.offset, into.bytes()));
    PROMISE(count == range.expected, "reading {} bytes from {} of {} gave {}", range.bytes, range.offset, kBytes,
            count);
    if (count > 0)
      PROMISE(same_bytes(into.bytes().first(count), content.bytes().subspan(static_cast<size_t>(range.offset), count)),
              "reading {} bytes from {} gave other bytes", range.bytes, range.offset);
  }
  Buffer too_long(20);
  const auto exact = store.read_exact(key, kBytes - 10, too_long.bytes());
  PROMISE(failed_with(exact, Errc::kCorrupt), "read_exact past the end gave {}", outcome(exact));
  return {};
}

Result<> absence_is_proven(ObjectStore& store, const std::string& prefix, unsigned) {
  TRY(expect_absent(store, key_below(prefix, "nothing/here")));  // Before anything is near it, and after.
  TRY(put_text(store, key_below(prefix, "dir/object"), "content"));
  for (const char* name : {"dir", "dir/other", "dir/objec", "dir/object2", "dir/object/below", "other/object", "di"})
    TRY(expect_absent(store, key_below(prefix, name)));
  for (const char* name : {"dir", "dir/object/below", "other/object"}) {
    TRY_ASSIGN(const bool removed, store.remove(key_below(prefix, name)));
    PROMISE(!removed, "removing '{}', which is no object, gave true", name);
  }
  const auto got = store.get(key_below(prefix, "other"));
  PROMISE(failed_with(got, Errc::kNotFound), "getting what does not exist gave {}", outcome(got));
  return expect_content(store, key_below(prefix, "dir/object"), as_bytes("content"));
}

Result<> errors_name_operation_key_and_place(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  Buffer byte(1);
  const auto absent = store.read(key, 0, byte.bytes());
  PROMISE(!absent.has_value(), "reading what does not exist gave ok");
  TRY(put_text(store, key, "content"));
  const auto taken = put_text(store, key, "other");
  PROMISE(!taken.has_value(), "writing a taken name gave ok");
  for (const Error& error : {absent.error(), taken.error()}) {
    PROMISE(error.message().find(key.value) != std::string::npos, "an error does not name the key: {}",
            error.message());
    PROMISE(error.message().find(store.describe()) != std::string::npos, "an error does not name the store: {}",
            error.message());
  }
  return {};
}

Result<> stat_tells_size_and_time(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  const Buffer content = pattern(5, 4321);
  TRY_ASSIGN(const ObjectInfo committed, store.put(key, content));
  TRY_ASSIGN(const auto found, store.stat(key));
  PROMISE(found.has_value() && found->key == key, "stat does not find the object");
  PROMISE(found->bytes == content.size() && committed.bytes == content.size(), "stat says {} bytes, commit {}, of {}",
          found->bytes, committed.bytes, content.size());
  // Clocks of store and client may differ, but a day is too much for any grace period.
  const auto distance = system_clock().now() - found->modified;
  PROMISE(std::chrono::abs(distance) < std::chrono::days(1), "the object's time is {} s from now",
          std::chrono::duration_cast<std::chrono::seconds>(distance).count());
  TRY_ASSIGN(const auto listed, store.list_all(key.value));
  PROMISE(listed.size() == 1, "the object is listed {} times", listed.size());
  const auto gap = std::chrono::abs(listed.front().modified - found->modified);
  PROMISE(listed.front().key == key && listed.front().bytes == found->bytes && gap < std::chrono::seconds(1),
          "the listing says '{}', {} bytes, and another time than stat", listed.front().key.value,
          listed.front().bytes);
  return {};
}

Result<> concurrent_reads_agree(ObjectStore& store, const std::string& prefix, unsigned threads) {
  constexpr size_t kBytes = 512u << 10;
  constexpr unsigned kObjects = 3;
  std::vector<Buffer> contents;
  for (unsigned i = 0; i < kObjects; ++i) {
    contents.push_back(pattern(i, kBytes));
    TRY(store.put(key_below(prefix, fmt::format("object-{}", i)), contents.back()));
  }
  TaskGroup group;
  for (unsigned i = 0; i < threads; ++i)
    group.spawn([&, i]() -> Result<> {
      Rng rng(i);
      for (int round = 0; round < 20; ++round) {
        const size_t object = rng.below(kObjects);
        const size_t offset = rng.below(kBytes);
        Buffer into(1 + rng.below(50'000));
        TRY_ASSIGN(const size_t count,
                   store.read(key_below(prefix, fmt::format("object-{}", object)), offset, into.bytes()));
        PROMISE(count == std::min(into.size(), kBytes - offset), "reading {} bytes from {} of {} gave {}", into.size(),
                offset, kBytes, count);
        PROMISE(same_bytes(into.bytes().first(count), contents[object].bytes().subspan(offset, count)),
                "reading {} bytes from {} gave other bytes", into.size(), offset);
      }
      return {};
    });
  return group.wait();
}

Result<> many_objects_are_read_at_once(ObjectStore& store, const std::string& prefix, unsigned) {
  // More than any cache of open files or connections holds; read in turn, twice, from odd offsets.
  constexpr unsigned kObjects = 150;
  for (unsigned i = 0; i < kObjects; ++i)
    TRY(store.put(key_below(prefix, fmt::format("{}/object", i)), pattern(i, 100)));
  for (int round = 0; round < 2; ++round)
    for (unsigned i = 0; i < kObjects; ++i) {
      Buffer into(50);
      TRY(store.read_exact(key_below(prefix, fmt::format("{}/object", i)), 50, into.bytes()));
      PROMISE(same_bytes(into.bytes(), pattern(i, 100).bytes().subspan(50)), "object {} holds other bytes", i);
    }
  return {};
}

}  // namespace

std::vector<ConformanceCheck> read_checks() {
  return {
      {"RangedReadsEndWithTheObject", "any range is read alone, and is short only at the object's end",
       ranged_reads_end_with_the_object},
      {"AbsenceIsProven", "what does not exist is not found by any call", absence_is_proven},
      {"ErrorsNameOperationKeyAndPlace", "every error names the key and where the store is",
       errors_name_operation_key_and_place},
      {"StatTellsSizeAndTime", "size and time are those of the object", stat_tells_size_and_time},
      {"ConcurrentReadsAgree", "readers do not disturb each other", concurrent_reads_agree},
      {"ManyObjectsAreReadAtOnce", "reading has no limit in the number of objects", many_objects_are_read_at_once},
  };
}

}  // namespace pgark::conformance
