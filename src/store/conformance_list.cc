// Conformance checks of listing.
#include <algorithm>
#include <atomic>
#include <set>

#include "pipe/task_group.h"
#include "store/conformance_util.h"

namespace pgark::conformance {
namespace {

/// Names whose order differs between "directories first", "by component" and "by bytes of the whole key".
const std::vector<std::string>& tricky_names() {
  static const std::vector<std::string> names{"a-b",     "a-b.c", "a.b",    "a/b",  "a/b-c", "a/c/d", "a/c-d",
                                              "a/c.d/e", "a0",    "a_b",    "aa/b", "B",     "b/a",   "b-a/a",
                                              "b.a/a",   "b0/a",  "b_a/a",  "c/-",  "c/.x",  "c/0",   "c/_0",
                                              "c/z/z/z", "0/1/2", "00/1/2", "Z/y"};
  return names;
}

Result<std::vector<std::string>> make_tricky(ObjectStore& store, const std::string& prefix) {
  std::vector<std::string> keys;
  for (const std::string& name : tricky_names()) {
    keys.push_back(key_below(prefix, name).value);
    TRY(put_text(store, ObjectKey{keys.back()}, name));
  }
  std::ranges::sort(keys);
  return keys;
}

/// What a page must hold, from all keys in order.
std::vector<std::string> expected_page(const std::vector<std::string>& keys, const ListRequest& request, bool& more) {
  std::vector<std::string> page;
  more = false;
  for (const std::string& key : keys) {
    if (!key.starts_with(request.prefix) || key <= request.after) continue;
    if (page.size() == request.limit) {
      more = true;
      break;
    }
    page.push_back(key);
  }
  return page;
}

Result<> expect_page(ObjectStore& store, const std::vector<std::string>& keys, const ListRequest& request) {
  TRY_ASSIGN(const ListPage page, store.list(request));
  bool more = false;
  const auto expected = expected_page(keys, request, more);
  std::vector<std::string> listed;
  for (const ObjectInfo& object : page.objects) listed.push_back(object.key.value);
  PROMISE(listed == expected, "listing '{}' after '{}', at most {}, gave [{}] and not [{}]", request.prefix,
          request.after, request.limit, fmt::join(listed, " "), fmt::join(expected, " "));
  PROMISE(page.more == more, "listing '{}' after '{}', at most {}, says more={}", request.prefix, request.after,
          request.limit, page.more);
  return {};
}

Result<> prefix_need_not_end_at_a_slash(ObjectStore& store, const std::string& prefix, unsigned) {
  TRY_ASSIGN(const auto keys, make_tricky(store, prefix));
  std::set<std::string> prefixes{prefix + "/",    prefix + "/none", prefix + "/a/none/", prefix + "//",
                                 prefix + "/a//", prefix + "/../",  prefix + "/.tmp-"};
  for (const std::string& key : keys)
    for (size_t length = prefix.size() + 1; length <= key.size(); ++length) prefixes.insert(key.substr(0, length));
  for (const std::string& wanted : prefixes)
    TRY(expect_page(store, keys, {.prefix = wanted, .after = "", .limit = 1000}));
  for (const ObjectInfo& object : store.list_all(prefix + "/").value_or(std::vector<ObjectInfo>{}))
    PROMISE(object.bytes == object.key.value.size() - prefix.size() - 1, "'{}' is listed with {} bytes",
            object.key.value, object.bytes);
  return {};
}

Result<> pages_of_every_size_join(ObjectStore& store, const std::string& prefix, unsigned) {
  TRY_ASSIGN(const auto keys, make_tricky(store, prefix));
  for (const std::string& below : {prefix + "/", prefix + "/a", prefix + "/c/"})
    for (size_t limit = 1; limit <= keys.size() + 1; ++limit) {
      ListRequest request{.prefix = below, .after = "", .limit = limit};
      for (size_t pages = 0;; ++pages) {
        PROMISE(pages <= keys.size(), "listing '{}' by pages of {} never ends", below, limit);
        TRY(expect_page(store, keys, request));
        bool more = false;
        const auto page = expected_page(keys, request, more);
        if (!more) break;
        request.after = page.back();
      }
    }
  return {};
}

Result<> after_need_not_exist(ObjectStore& store, const std::string& prefix, unsigned) {
  TRY_ASSIGN(const auto keys, make_tricky(store, prefix));
  std::set<std::string> afters{"",
                               "!",
                               "~",
                               prefix,
                               prefix + "/",
                               prefix + "0",
                               prefix + "/a/",
                               prefix + "/a/c",
                               prefix + "/a/c/",
                               prefix + "/a/c0",
                               prefix + "/b/~"};
  for (const std::string& key : keys) {
    afters.insert({key, key + "!", key + "/", key + "0", key.substr(0, key.size() - 1)});
    afters.insert(key.substr(0, key.size() - 1) + static_cast<char>(key.back() - 1));
  }
  for (const std::string& after : afters)
    for (const std::string& below : {prefix + "/", prefix + "/a"})
      for (const size_t limit : {size_t{1}, size_t{3}, size_t{1000}})
        TRY(expect_page(store, keys, {.prefix = below, .after = after, .limit = limit}));
  const auto none = store.list({.prefix = prefix, .after = "", .limit = 0});
  PROMISE(failed_with(none, Errc::kInvalid), "listing with a limit of 0 gave {}", outcome(none));
  return {};
}

Result<> long_listings_are_complete(ObjectStore& store, const std::string& prefix, unsigned threads) {
  // More than a page of any store.
  constexpr unsigned kObjects = 1203;
  std::atomic<unsigned> next = 0;
  TaskGroup group;
  for (unsigned i = 0; i < threads; ++i)
    group.spawn([&]() -> Result<> {
      for (unsigned at = next++; at < kObjects && !group.cancel().cancelled(); at = next++)
        TRY(put_text(store, key_below(prefix, fmt::format("{}/{:08}", at % 7, at)), "x"));
      return {};
    });
  TRY(group.wait());
  TRY_ASSIGN(const auto listed, store.list_all(prefix + "/"));
  PROMISE(listed.size() == kObjects, "{} objects are listed as {}", kObjects, listed.size());
  for (size_t i = 1; i < listed.size(); ++i)
    PROMISE(listed[i - 1].key < listed[i].key, "the listing is out of order at '{}'", listed[i].key.value);
  return {};
}

Result<> listing_while_others_write(ObjectStore& store, const std::string& prefix, unsigned threads) {
  std::set<std::string> stable;
  for (int i = 0; i < 40; ++i) {
    const ObjectKey key = key_below(prefix, fmt::format("{}/stable-{}", i % 4, i));
    TRY(put_text(store, key, "stable"));
    stable.insert(key.value);
  }
  std::atomic<unsigned> writing = threads;
  TaskGroup group;
  for (unsigned i = 0; i < threads; ++i)
    group.spawn([&, i]() -> Result<> {
      const auto write = [&]() -> Result<> {
        for (unsigned round = 0; round < 20; ++round) {
          const ObjectKey key = key_below(prefix, fmt::format("{}/moving-{}-{}", round % 5, i, round));
          TRY(put_text(store, key, "moving"));
          TRY_ASSIGN(const auto listed, store.list_all(key.value));
          PROMISE(std::ranges::count(listed, key, &ObjectInfo::key) == 1, "'{}' was committed and is not listed",
                  key.value);
          if (round % 2 == 0) TRY(store.remove(key));
        }
        return {};
      };
      auto written = write();
      --writing;
      return written;
    });
  do {
    TRY_ASSIGN(const auto listed, store.list_all(prefix + "/"));
    size_t found = 0;
    for (size_t i = 0; i < listed.size(); ++i) {
      PROMISE(i == 0 || listed[i - 1].key < listed[i].key, "the listing is out of order at '{}'", listed[i].key.value);
      PROMISE(listed[i].bytes == 6, "'{}' is listed with {} bytes, before it is whole", listed[i].key.value,
              listed[i].bytes);
      found += stable.count(listed[i].key.value);
    }
    PROMISE(found == stable.size(), "{} of {} objects that nobody touched are listed", found, stable.size());
  } while (writing > 0);
  return group.wait();
}

}  // namespace

std::vector<ConformanceCheck> list_checks() {
  return {
      {"PrefixNeedNotEndAtASlash", "a listing has exactly the keys that begin with the prefix, in the order of bytes",
       prefix_need_not_end_at_a_slash},
      {"PagesOfEverySizeJoin", "page after page gives every key once", pages_of_every_size_join},
      {"AfterNeedNotExist", "a listing goes on behind any string", after_need_not_exist},
      {"LongListingsAreComplete", "a listing has no end but the last key", long_listings_are_complete},
      {"ListingWhileOthersWrite", "what is committed is listed, whatever others write and remove meanwhile",
       listing_while_others_write},
  };
}

}  // namespace pgark::conformance
