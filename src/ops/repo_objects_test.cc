#include "ops/repo_objects.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "store/fault_store.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> names(ObjectStore& store) {
  std::vector<std::string> out;
  const auto listed = store.list_all("");
  for (const ObjectInfo& object : *listed) out.push_back(object.key.value);
  return out;
}

void put(ObjectStore& store, const std::string& name, std::string_view text = "text") {
  ASSERT_TRUE(store.put({name}, as_bytes(text)).has_value()) << name;
}

TEST(RepoObjects, KnowsWhatIsItsOwn) {
  MemoryStore store;
  put(store, "main/cluster/1");
  put(store, "notes/today");
  const auto own = [&](std::string_view path) { return belongs_to_pgark(store, path).value(); };
  for (const char* path : {"pgark.json", "keyring.1", "main", "main/anything", "main/wal/1/00000001/x", "main/cluster",
                           "other/cluster/1", "other/pack/x", "other/wal", "other/lease/backup"}) {
    EXPECT_TRUE(own(path)) << path;
  }
  for (const char* path : {"notes", "notes/today", "pgark.json/x", "other", "main-notes", "main-notes/x", "cluster",
                           "pgark-check-0011/lease/probe"}) {
    EXPECT_FALSE(own(path)) << path;
  }
}

TEST(RepoObjects, StoreThatCannotBeAskedIsNoPermission) {
  FaultStore store(std::make_unique<MemoryStore>(), {{.call = StoreCall::kList}});
  EXPECT_FALSE(belongs_to_pgark(store, "notes").has_value());
}

TEST(RepoObjects, PutsWhatIsReadAndNeverOverwrites) {
  MemoryStore store;
  const CancelToken cancel;
  std::string content(3'000'000, 'x');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i >> 5);
  const auto reader = [](std::string_view text) {
    return [text, at = size_t{0}](MutableBytes into) mutable -> Result<size_t> {
      const size_t count = std::min({into.size(), text.size() - at, size_t{70'001}});
      std::memcpy(into.data(), text.data() + at, count);
      at += count;
      return count;
    };
  };
  const auto made = put_object(store, {"notes/large"}, reader(content), cancel);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->bytes, content.size());
  const auto stored = store.get({"notes/large"});
  EXPECT_TRUE(as_text(*stored) == content);
  EXPECT_TRUE(put_object(store, {"notes/empty"}, reader(""), cancel).has_value());
  EXPECT_EQ(put_object(store, {"notes/large"}, reader("other"), cancel).error().code(), Errc::kAlreadyExists);
  const auto broken = [](MutableBytes) -> Result<size_t> { return Error(Errc::kTransient, "the pipe broke"); };
  EXPECT_FALSE(put_object(store, {"notes/half"}, broken, cancel).has_value());
  EXPECT_THAT(names(store), ElementsAre("notes/empty", "notes/large"));
}

TEST(RepoObjects, RemovesOneObjectAndNothingBelowIt) {
  MemoryStore store;
  put(store, "a/b", "12345");
  put(store, "a/c");
  EXPECT_EQ(remove_object(store, {"a"}).error().code(), Errc::kInvalid);
  EXPECT_THAT(remove_object(store, {"a"}).error().to_string(), HasSubstr("--recurse"));
  EXPECT_EQ(remove_object(store, {"x"}).error().code(), Errc::kNotFound);
  const auto removed = remove_object(store, {"a/b"});
  ASSERT_TRUE(removed.has_value());
  EXPECT_EQ(removed->count, 1u);
  EXPECT_EQ(removed->bytes, 5u);
  EXPECT_THAT(names(store), ElementsAre("a/c"));
}

TEST(RepoObjects, RemovesAllBelowAPathAndNothingBesideIt) {
  MemoryStore store;
  const CancelToken cancel;
  for (int i = 0; i < 2500; ++i) put(store, fmt::format("a/b/{}", i), "x");
  put(store, "a/bb");
  put(store, "a/b-c/d");
  const auto removed = remove_objects_below(store, {"a/b"}, cancel);
  ASSERT_TRUE(removed.has_value()) << removed.error().to_string();
  EXPECT_EQ(removed->count, 2500u);
  EXPECT_EQ(removed->bytes, 2500u);
  EXPECT_THAT(names(store), ElementsAre("a/b-c/d", "a/bb"));
  EXPECT_EQ(remove_objects_below(store, {"a/b"}, cancel).error().code(), Errc::kNotFound);
  EXPECT_TRUE(remove_objects_below(store, {"a"}, cancel).has_value());
  EXPECT_THAT(names(store), IsEmpty());
}

TEST(RepoObjects, FailureToRemoveIsTold) {
  FaultStore store(std::make_unique<MemoryStore>(),
                   {{.call = StoreCall::kRemove, .nth = 2, .code = Errc::kPermission}});
  for (const char* name : {"a/1", "a/2", "a/3"}) put(store, name);
  const CancelToken cancel;
  const auto removed = remove_objects_below(store, {"a"}, cancel);
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().code(), Errc::kPermission);
  EXPECT_THAT(names(store), ElementsAre("a/2"));
}

}  // namespace
}  // namespace pgark
