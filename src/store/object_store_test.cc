#include "store/object_store.h"

#include <gtest/gtest.h>

#include "store/memory_store.h"

namespace pgark {
namespace {

TEST(ObjectKey, AcceptsWhatTheRulesAllow) {
  for (const std::string& good :
       {std::string("a"), std::string("main/backup/20261122-101500F/manifest"), std::string("pgark.json"),
        std::string("..."), std::string("a/.tmp/b"), std::string("x.tmp-1"), std::string(255, 'n')})
    EXPECT_EQ(make_object_key(good).value().value, good);
}

TEST(ObjectKey, RefusalNamesKeyAndRule) {
  const auto refused = make_object_key("main/../x");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_EQ(refused.error().message(), "'main/../x' is not an object key: a component is '.' or '..'");
  EXPECT_FALSE(make_object_key("").has_value());
  EXPECT_FALSE(make_object_key("a/").has_value());
  EXPECT_FALSE(make_object_key("/a").has_value());
  EXPECT_FALSE(make_object_key("a/.tmp-1").has_value());
  EXPECT_FALSE(make_object_key(std::string(256, 'n')).has_value());
}

TEST(ObjectStore, GetRefusesMoreThanItsBoundBeforeReading) {
  MemoryStore store;
  ASSERT_TRUE(store.put({"a"}, as_bytes("12345")).has_value());
  EXPECT_EQ(as_text(store.get({"a"}, 5).value().bytes()), "12345");
  EXPECT_EQ(store.get({"a"}, 4).error().code(), Errc::kInvalid);
  EXPECT_EQ(store.get({"b"}).error().code(), Errc::kNotFound);
}

TEST(ObjectStore, ReadExactSaysWhereTheObjectEnds) {
  MemoryStore store;
  ASSERT_TRUE(store.put({"a"}, as_bytes("12345")).has_value());
  Buffer into(4);
  EXPECT_TRUE(store.read_exact({"a"}, 1, into.bytes()).has_value());
  const auto short_read = store.read_exact({"a"}, 3, into.bytes());
  ASSERT_FALSE(short_read.has_value());
  EXPECT_EQ(short_read.error().message(),
            "read object 'a' in repo1 in memory: it ends after byte 5, bytes 3 to 7 were wanted");
}

}  // namespace
}  // namespace pgark
