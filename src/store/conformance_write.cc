// Conformance checks of creating, committing and removing objects.
#include <atomic>
#include <latch>

#include "pipe/task_group.h"
#include "store/conformance_util.h"

namespace pgark::conformance {
namespace {

Result<> create_only_keeps_first_writer(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  TRY_ASSIGN(auto second, store.create(key));  // Begun before the first is there, so that only commit can notice.
  TRY(second->append(as_bytes("second")));
  TRY(put_text(store, key, "first"));
  const auto late = std::move(*second).commit();
  PROMISE(failed_with(late, Errc::kAlreadyExists), "committing a taken name gave {}", outcome(late));
  const auto third = put_text(store, key, "third");
  PROMISE(failed_with(third, Errc::kAlreadyExists), "writing a taken name gave {}", outcome(third));
  const auto same = put_text(store, key, "first");
  PROMISE(failed_with(same, Errc::kAlreadyExists), "writing the same bytes again gave {}", outcome(same));
  return expect_content(store, key, as_bytes("first"));
}

Result<> one_of_racing_writers_wins(ObjectStore& store, const std::string& prefix, unsigned threads) {
  constexpr int kRounds = 8;
  for (int round = 0; round < kRounds; ++round) {
    const ObjectKey key = key_below(prefix, fmt::format("object-{}", round));
    std::vector<std::unique_ptr<ObjectWriter>> writers(threads);
    for (unsigned i = 0; i < threads; ++i) {
      TRY_ASSIGN(writers[i], store.create(key));
      TRY(writers[i]->append(pattern(i, 1000 + i)));
    }
    std::latch start(threads);
    std::atomic<unsigned> winners = 0;
    std::atomic<unsigned> winner = 0;
    TaskGroup group;
    for (unsigned i = 0; i < threads; ++i)
      group.spawn([&, i]() -> Result<> {
        start.arrive_and_wait();
        const auto committed = std::move(*writers[i]).commit();
        if (committed.has_value()) {
          winners.fetch_add(1);
          winner.store(i);
        } else {
          PROMISE(committed.error().code() == Errc::kAlreadyExists, "losing a race for a name gave {}",
                  outcome(committed));
        }
        return {};
      });
    TRY(group.wait());
    PROMISE(winners == 1, "{} of {} racing writers of one name were told they had won", winners.load(), threads);
    TRY(expect_content(store, key, pattern(winner, 1000 + winner)));
  }
  return {};
}

Result<> abort_leaves_nothing(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "below/object");
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{300'000}}) {
    TRY_ASSIGN(auto writer, store.create(key));
    TRY(writer->append(pattern(1, bytes)));
    writer.reset();
    TRY(expect_absent(store, key));
  }
  TRY_ASSIGN(const auto left, store.list_all(prefix + "/"));
  PROMISE(left.empty(), "an aborted writer left '{}'", left.front().key.value);
  TRY(put_text(store, key, "kept"));
  return expect_content(store, key, as_bytes("kept"));
}

Result<> uncommitted_is_invisible(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  const Buffer content = pattern(2, 1'000'000);
  TRY_ASSIGN(auto writer, store.create(key));
  TRY(expect_absent(store, key));
  TRY(writer->append(content));
  TRY(expect_absent(store, key));
  TRY_ASSIGN(const auto listed, store.list_all(prefix + "/"));
  PROMISE(listed.empty(), "the listing shows '{}' while an object is being written", listed.front().key.value);
  TRY_ASSIGN(const ObjectInfo info, std::move(*writer).commit());
  PROMISE(info.key == key && info.bytes == content.size(), "commit says '{}' of {} bytes", info.key.value, info.bytes);
  return expect_content(store, key, content);
}

Result<> empty_object_exists(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey without_append = key_below(prefix, "none");
  TRY_ASSIGN(auto writer, store.create(without_append));
  TRY(std::move(*writer).commit());
  TRY(expect_content(store, without_append, {}));
  const ObjectKey empty_append = key_below(prefix, "empty");
  TRY(store.put(empty_append, {}));
  TRY(expect_content(store, empty_append, {}));
  const auto again = put_text(store, empty_append, "more");
  PROMISE(failed_with(again, Errc::kAlreadyExists), "writing over an empty object gave {}", outcome(again));
  TRY_ASSIGN(const auto listed, store.list_all(prefix + "/"));
  PROMISE(listed.size() == 2, "two empty objects are listed as {}", listed.size());
  return {};
}

Result<> large_object_in_odd_pieces(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "object");
  const Buffer content = pattern(3, (11u << 20) + 12345);
  TRY_ASSIGN(auto writer, store.create(key));
  size_t piece = 1;
  for (Bytes rest = content.bytes(); !rest.empty(); piece = piece * 3 + 1) {
    const size_t count = std::min(piece, rest.size());
    TRY(writer->append(rest.first(count)));
    rest = rest.subspan(count);
  }
  TRY(std::move(*writer).commit());
  return expect_content(store, key, content);
}

Result<> remove_is_seen_at_once(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "below/object");
  TRY_ASSIGN(const bool absent, store.remove(key));
  PROMISE(!absent, "removing what does not exist gave true");
  TRY(put_text(store, key, "content"));
  TRY(expect_content(store, key, as_bytes("content")));
  TRY_ASSIGN(const bool first, store.remove(key));
  PROMISE(first, "removing an object gave false");
  TRY(expect_absent(store, key));
  TRY_ASSIGN(const bool second, store.remove(key));
  PROMISE(!second, "removing an object a second time gave true");
  return {};
}

Result<> name_is_free_after_remove(ObjectStore& store, const std::string& prefix, unsigned) {
  const ObjectKey key = key_below(prefix, "a/b/c/object");
  for (unsigned round = 0; round < 5; ++round) {
    const Buffer content = pattern(round, 100 + round);
    TRY(store.put(key, content));
    TRY(expect_content(store, key, content));
    TRY_ASSIGN(const bool removed, store.remove(key));
    PROMISE(removed, "removing an object gave false");
  }
  // What was a directory of objects is a free name once they are gone.
  const ObjectKey above = key_below(prefix, "a");
  TRY(put_text(store, above, "above"));
  return expect_content(store, above, as_bytes("above"));
}

Result<> writers_and_removers_do_not_disturb_each_other(ObjectStore& store, const std::string& prefix,
                                                        unsigned threads) {
  // Every thread fills and empties the same directories: where they are real ones, they come and go under the others.
  TaskGroup group;
  for (unsigned i = 0; i < threads; ++i)
    group.spawn([&, i]() -> Result<> {
      for (unsigned round = 0; round < 20; ++round) {
        const ObjectKey key = key_below(prefix, fmt::format("a/{}/object-{}", round % 2, i));
        const std::string text = fmt::format("{} {}", i, round);
        TRY(put_text(store, key, text));
        TRY_ASSIGN(const Buffer content, store.get(key));
        PROMISE(as_text(content) == text, "'{}' holds '{}' and not '{}'", key.value, as_text(content), text);
        TRY_ASSIGN(const bool removed, store.remove(key));
        PROMISE(removed, "removing '{}' gave false", key.value);
      }
      return {};
    });
  TRY(group.wait());
  TRY_ASSIGN(const auto left, store.list_all(prefix + "/"));
  PROMISE(left.empty(), "'{}' is left of objects that were all removed", left.front().key.value);
  return {};
}

Result<> odd_keys_are_kept_apart(ObjectStore& store, const std::string& prefix, unsigned) {
  const std::string longest(512 - prefix.size() - 1, 'x');
  std::string deep = longest;
  for (size_t at = 100; at < deep.size() - 1; at += 101) deep[at] = '/';
  std::vector<std::string> names{"-",
                                 "--",
                                 "_",
                                 "...",
                                 ".hidden",
                                 "a..b",
                                 "a.",
                                 ".a",
                                 "-rf",
                                 "Case",
                                 "case",
                                 "CASE",
                                 "0",
                                 "00",
                                 "000",
                                 "0.partial",
                                 "con.1",
                                 "a.b-c_d/e.f-g_h",
                                 std::string(255, 'n'),
                                 deep,
                                 "dir.d/.a/..a/a.."};
  for (const std::string& name : names) TRY(put_text(store, key_below(prefix, name), name));
  for (const std::string& name : names) TRY(expect_content(store, key_below(prefix, name), as_bytes(name)));
  TRY_ASSIGN(const auto listed, store.list_all(prefix + "/"));
  PROMISE(listed.size() == names.size(), "{} objects with odd names are listed as {}", names.size(), listed.size());
  return {};
}

Result<> invalid_keys_are_refused(ObjectStore& store, const std::string& prefix, unsigned) {
  using namespace std::string_literals;
  const std::string p = prefix + "/";
  const std::vector<std::string> bad{
      "",
      "/" + p + "a",
      p,
      p + "/a",
      p + "a//b",
      p + ".",
      p + "..",
      p + "../../x",
      p + "a/../b",
      p + "./a",
      p + "a b",
      p + "a\\b",
      p + "a\0b"s,
      p + "\xc3\xa4",
      p + "a:b",
      p + "a*",
      p + "a+b",
      p + "%41",
      p + "a\nb",
      p + ".tmp-1-2",
      p + ".tmp-d/a",
      p + "~",
      p + std::string(256, 'n'),
      p + std::string(250, 'n') + "/" + std::string(250, 'n') + "/" + std::string(13, 'n')};
  for (const std::string& value : bad) {
    const ObjectKey key{value};
    const auto created = store.create(key);
    PROMISE(failed_with(created, Errc::kInvalid), "create of the illegal key '{}' gave {}", value, outcome(created));
    const auto status = store.stat(key);
    PROMISE(failed_with(status, Errc::kInvalid), "stat of the illegal key '{}' gave {}", value, outcome(status));
    Buffer byte(1);
    const auto read = store.read(key, 0, byte.bytes());
    PROMISE(failed_with(read, Errc::kInvalid), "read of the illegal key '{}' gave {}", value, outcome(read));
    const auto removed = store.remove(key);
    PROMISE(failed_with(removed, Errc::kInvalid), "remove of the illegal key '{}' gave {}", value, outcome(removed));
  }
  return {};
}

}  // namespace

std::vector<ConformanceCheck> write_checks() {
  return {
      {"EmptyObjectExists", "an object of no bytes is an object", empty_object_exists},
      {"CreateOnlyKeepsFirstWriter", "no call changes or replaces an object", create_only_keeps_first_writer},
      {"OneOfRacingWritersWins", "of racing commits of one name exactly one returns ok", one_of_racing_writers_wins},
      {"AbortLeavesNothing", "a writer that is not committed leaves nothing", abort_leaves_nothing},
      {"UncommittedIsInvisible", "readers see an object whole or not at all", uncommitted_is_invisible},
      {"LargeObjectInOddPieces", "the pieces an object is appended in do not matter", large_object_in_odd_pieces},
      {"RemoveIsSeenAtOnce", "a removed object is gone for every call", remove_is_seen_at_once},
      {"NameIsFreeAfterRemove", "a removed object leaves its name free", name_is_free_after_remove},
      {"WritersAndRemoversDoNotDisturbEachOther", "all calls are safe from several threads",
       writers_and_removers_do_not_disturb_each_other},
      {"OddKeysAreKeptApart", "every legal key works, and no two are the same object", odd_keys_are_kept_apart},
      {"InvalidKeysAreRefused", "no key leads out of the repository", invalid_keys_are_refused},
  };
}

}  // namespace pgark::conformance
