#include "repo/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "testing/memory_repository.h"

namespace pgark {
namespace {

bool same_file(const FileEntry& a, const FileEntry& b) {
  return a.path == b.path && a.kind == b.kind && a.bytes == b.bytes && a.modified_us == b.modified_us &&
         a.mode == b.mode && a.user == b.user && a.group == b.group && a.link_target == b.link_target &&
         a.bad_blocks == b.bad_blocks;
}

TEST(Packs, ListWhoseBytesTheyHoldAndRollOverWhenFull) {
  MemoryStore store;
  const auto repository = new_repository(store);
  PackSet set(*repository, "main", "20261122-101500F");
  PackWriter writer(set, Codec::kZstd, 1, /*pack_bytes=*/200000);
  std::vector<ExtentRef> refs;
  std::vector<Buffer> contents;
  for (uint32_t i = 0; i < 20; ++i) {
    contents.push_back(random_bytes(8192 * (i % 16 + 1), i));
    const auto size = static_cast<uint32_t>(contents.back().size());
    auto ref = writer.append(contents.back(), {{"base/1/" + std::to_string(i / 3), i * 131072ull, 0, size}});
    ASSERT_TRUE(ref.has_value()) << ref.error().to_string();
    refs.push_back(*ref);
  }
  ASSERT_TRUE(writer.close().has_value());
  ASSERT_TRUE(set.finish().has_value());
  EXPECT_GT(set.count(), 2u);
  EXPECT_EQ(store.list_all("main/pack/20261122-101500F/")->size(), set.count());
  size_t at = 0;
  for (uint32_t number = 1; number <= set.count(); ++number) {
    const ObjectKey key = pack_key("main", "20261122-101500F", number);
    const auto listing = read_pack_listing(*repository, key);
    ASSERT_TRUE(listing.has_value()) << listing.error().to_string();
    for (const PackedExtent& extent : *listing) {
      ASSERT_EQ(refs[at].pack, number - 1);
      EXPECT_EQ(extent.ref.offset, refs[at].offset);
      ASSERT_EQ(extent.pieces.size(), 1u);
      EXPECT_EQ(extent.pieces[0].path, "base/1/" + std::to_string(at / 3));
      EXPECT_EQ(extent.pieces[0].file_offset, at * 131072);
      std::vector<uint64_t> hashes;
      content_hash(contents[at], hashes);
      EXPECT_EQ(extent.block_hashes, hashes);
      // I4: the extent is one ranged read away.
      Buffer stored(refs[at].stored_bytes);
      ASSERT_TRUE(store.read_exact(key, refs[at].offset, stored.bytes()).has_value());
      Buffer raw(refs[at].raw_bytes);
      Decompressor decompressor;
      ASSERT_TRUE(decode_frame(*repository, key, refs[at].frame(), stored, decompressor, raw.bytes()).has_value());
      EXPECT_EQ(as_text(raw), as_text(contents[at]));
      ++at;
    }
  }
  EXPECT_EQ(at, refs.size());
}

TEST(Packs, AWriterThatIsNotClosedLeavesNothing) {
  MemoryStore store;
  const auto repository = new_repository(store);
  {
    PackSet set(*repository, "main", "20261122-101500F");
    PackWriter writer(set, Codec::kZstd, 1);
    ASSERT_TRUE(writer.append(random_bytes(8192, 1), {}).has_value());
  }
  EXPECT_TRUE(store.list_all("main/")->empty());
}

FileEntry random_file(Rng& rng, const std::vector<ExtentRef>& extents, size_t number) {
  FileEntry file;
  file.path = "base/" + std::to_string(number % 7) + "/" + std::to_string(number);
  file.modified_us = static_cast<int64_t>(rng.next() % (1ull << 52));
  file.mode = rng.below(2) == 0 ? 0600 : 0640;
  file.user = rng.below(5) == 0 ? "" : "postgres";
  file.group = "postgres";
  if (number % 50 == 1) {
    file.kind = EntryKind::kSymlink;
    file.link_target = "/somewhere/else";
    return file;
  }
  const size_t run_count = rng.below(20);
  uint64_t end = 0;
  for (size_t i = 0; i < run_count; ++i) {
    pgark::Run run;
    run.extent = static_cast<uint32_t>(rng.below(extents.size()));
    const uint32_t blocks = extents[run.extent].raw_bytes / 8192;
    const auto first = static_cast<uint32_t>(rng.below(blocks));
    run.extent_offset = first * 8192;
    run.bytes = 8192 * (1 + rng.below(blocks - first));
    run.file_offset = end + 8192 * rng.below(3);
    end = run.file_offset + run.bytes;
    file.runs.push_back(run);
  }
  file.bytes = end + rng.below(10000);
  if (number % 90 == 3) file.bad_blocks = {1, 7, 4000000000u};
  return file;
}

std::vector<ExtentRef> random_extents(Rng& rng, size_t count) {
  std::vector<ExtentRef> extents;
  uint64_t offset = kContainerHeaderBytes;
  for (size_t i = 0; i < count; ++i) {
    const auto stored = static_cast<uint32_t>(100 + rng.below(100000));
    extents.push_back({static_cast<uint32_t>(i / 50), offset, stored, static_cast<uint32_t>(8192 * (1 + rng.below(16))),
                       static_cast<Codec>(rng.below(3))});
    offset = i % 50 == 49 ? kContainerHeaderBytes : offset + stored;
  }
  return extents;
}

TEST(Manifest, GivesBackRandomFilesPacksAndDocument) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  MemoryStore store;
  const auto repository = new_repository(store);
  const auto extents = random_extents(rng, 300);
  const std::vector<PackName> packs = {{"A", 1}, {"A", 2}, {"B", 9}, {"A", 3}, {"A", 4}, {"A", 70000}};
  std::vector<FileEntry> files;
  auto writer = ManifestWriter::create(*repository, "main", "A");
  for (size_t i = 0; i < 10000; ++i) {
    files.push_back(random_file(rng, extents, i));
    ASSERT_TRUE(writer->add(files.back(), extents).has_value());
  }
  EXPECT_TRUE(store.list_all("main/")->empty()) << "nothing may be seen before the commit (I2)";
  ASSERT_TRUE(std::move(*writer).commit(packs, "{\"label\":\"A\"}").has_value());

  const auto reader = ManifestReader::open(*repository, "main", "A");
  ASSERT_TRUE(reader.has_value()) << reader.error().to_string();
  EXPECT_EQ(reader->document().value(), "{\"label\":\"A\"}");
  EXPECT_EQ(reader->packs().value(), packs);
  EXPECT_GT(reader->chunk_count(), 2u);
  size_t at = 0;
  for (size_t i = 0; i < reader->chunk_count(); ++i) {
    const auto chunk = reader->chunk(i);
    ASSERT_TRUE(chunk.has_value()) << chunk.error().to_string();
    for (const FileEntry& file : chunk->files) {
      if (!file.continued) {
        ASSERT_LT(at, files.size());
        ASSERT_TRUE(same_file(file, files[at])) << file.path;
        ASSERT_EQ(file.runs.size(), files[at].runs.size());
        for (size_t r = 0; r < file.runs.size(); ++r) {
          EXPECT_EQ(file.runs[r].file_offset, files[at].runs[r].file_offset);
          EXPECT_EQ(file.runs[r].bytes, files[at].runs[r].bytes);
          EXPECT_EQ(chunk->extents[file.runs[r].extent], extents[files[at].runs[r].extent]);
        }
        ++at;
      }
    }
  }
  EXPECT_EQ(at, files.size());
}

TEST(Manifest, AFileOfManyRunsGoesOnInTheNextChunk) {
  MemoryStore store;
  const auto repository = new_repository(store);
  std::vector<ExtentRef> extents;
  FileEntry file;
  file.path = "base/1/1";
  for (uint32_t i = 0; i < 150000; ++i) {
    extents.push_back({0, 64 + i * 5000ull, 5000, 131072, Codec::kZstd});
    file.runs.push_back({i * 131072ull, 131072, i, 0});
  }
  file.bytes = 150000 * 131072ull;
  auto writer = ManifestWriter::create(*repository, "main", "A");
  ASSERT_TRUE(writer->add(file, extents).has_value());
  ASSERT_TRUE(std::move(*writer).commit({{"A", 1}}, "{}").has_value());
  const auto reader = ManifestReader::open(*repository, "main", "A");
  uint64_t end = 0;
  for (size_t i = 0; i < reader->chunk_count(); ++i) {
    const auto chunk = reader->chunk(i).value();
    ASSERT_EQ(chunk.files.size(), 1u);
    EXPECT_EQ(chunk.files[0].continued, i > 0);
    EXPECT_EQ(chunk.files[0].bytes, file.bytes);
    for (const pgark::Run& run : chunk.files[0].runs) {
      EXPECT_EQ(run.file_offset, end);
      EXPECT_EQ(chunk.extents[run.extent].offset, 64 + (run.file_offset / 131072) * 5000);
      end += run.bytes;
    }
  }
  EXPECT_EQ(end, file.bytes);
  // An extent in order costs a few bytes: a manifest of 1 TiB stays in the tens of MiB.
  EXPECT_LT(reader->object_bytes(), 150000u * 6);
}

TEST(Manifest, OfTwoWritersOfOneLabelExactlyOneWins) {
  MemoryStore store;
  const auto repository = new_repository(store);
  auto first = ManifestWriter::create(*repository, "main", "A");
  auto second = ManifestWriter::create(*repository, "main", "A");
  ASSERT_TRUE(std::move(*first).commit({}, "{\"n\":1}").has_value());
  EXPECT_EQ(std::move(*second).commit({}, "{\"n\":2}").error().code(), Errc::kAlreadyExists);
  EXPECT_EQ(ManifestReader::open(*repository, "main", "A")->document().value(), "{\"n\":1}");
}

}  // namespace
}  // namespace pgark
