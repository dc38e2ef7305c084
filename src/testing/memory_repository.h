// A repository in memory, random content, and damage done to a copy of it: for tests of every folder above store.
#pragma once

#include <gtest/gtest.h>

#include "core/clock.h"
#include "repo/repository.h"
#include "store/memory_store.h"

namespace pgark {

inline std::unique_ptr<Repository> new_repository(ObjectStore& store) {
  auto opened = Repository::open_or_create(store, system_clock());
  EXPECT_TRUE(opened.has_value()) << (opened.has_value() ? "" : opened.error().to_string());
  return std::move(*opened);
}

/// Bytes that compress to about half.
inline Buffer random_bytes(size_t size, uint64_t seed) {
  Rng rng(seed);
  Buffer out(size);
  for (size_t i = 0; i < size; ++i) out.data()[i] = static_cast<std::byte>(rng.next() % 16);
  return out;
}

/// The object with one bit turned, under the same name, in a store of its own.
inline void copy_with_flipped_bit(ObjectStore& from, ObjectStore& to, const ObjectKey& victim, uint64_t bit) {
  const auto objects = from.list_all("");
  ASSERT_TRUE(objects.has_value());
  for (const ObjectInfo& info : *objects) {
    auto content = from.get(info.key);
    ASSERT_TRUE(content.has_value());
    if (info.key == victim) content->data()[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    ASSERT_TRUE(to.put(info.key, *content).has_value());
  }
}

}  // namespace pgark
