// Sealed containers: what a key opens, what it does not, and that no nonce comes twice. And writing into several
// repositories at once.
#include "repo/seal.h"

#include <gtest/gtest.h>

#include <set>

#include "repo/pack.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

/// The inner secrets of one repository, handed out with or without the key that reads data.
struct Secrets {
  Secret metadata_key{kAeadKeyBytes};
  X25519KeyPair data = std::move(*x25519_generate());
  RepositoryId id{};

  explicit Secrets(uint8_t number) {
    EXPECT_TRUE(random_bytes(metadata_key.bytes()).has_value());
    id.fill(static_cast<std::byte>(number));
  }
  std::unique_ptr<Repository> open(ObjectStore& store, bool with_data = true) const {
    RepositoryKeys keys{metadata_key.clone(), data.public_key, std::nullopt};
    if (with_data) keys.data_private = data.private_key.clone();
    return Repository::unlocked(store, id, std::move(keys));
  }
};

const ObjectKey kSegment{"main/wal/1/00000001/00000000/000000010000000000000007"};
const ObjectKey kHistory{"main/wal/1/00000002.history"};

/// `extents` extents in one pack.
std::vector<ExtentRef> write_pack(RepositorySet repositories, size_t extents) {
  PackSet set(std::move(repositories), "main", "20260102-030405F");
  PackWriter writer(set, Codec::kZstd, 1);
  std::vector<ExtentRef> refs;
  for (size_t i = 0; i < extents; ++i) {
    const Buffer raw = random_bytes(kExtentBytes, i);
    auto ref = writer.append(raw, {{"base/1/2", i * kExtentBytes, 0, kExtentBytes}});
    EXPECT_TRUE(ref.has_value()) << ref.error().to_string();
    if (ref) refs.push_back(*ref);
  }
  EXPECT_TRUE(writer.close().has_value());
  EXPECT_TRUE(set.finish().has_value());
  return refs;
}

const ObjectKey kPack = pack_key("main", "20260102-030405F", 1);

Result<Buffer> read_extent(const Repository& repository, const ExtentRef& ref) {
  Buffer stored(ref.stored_bytes);
  TRY(repository.store().read_exact(kPack, ref.offset, stored.bytes()));
  Buffer raw(ref.raw_bytes);
  Decompressor decompressor;
  TRY(decode_frame(repository, kPack, ref.frame(), stored, decompressor, raw.bytes()));
  return raw;
}

TEST(Seal, ReadsBackWhatWasSealed) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto writer = secrets.open(store);
  const auto refs = write_pack(*writer, 3);
  const auto reader = secrets.open(store);
  for (size_t i = 0; i < refs.size(); ++i) {
    const auto raw = read_extent(*reader, refs[i]);
    ASSERT_TRUE(raw.has_value()) << raw.error().to_string();
    EXPECT_EQ(as_text(*raw), as_text(random_bytes(kExtentBytes, i)));
  }
  EXPECT_EQ(read_pack_listing(*reader, kPack).value().size(), 3u);
}

TEST(Seal, StoresNothingInTheClear) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto repository = secrets.open(store);
  const std::string words = "a word that must not be found in the repository";
  Buffer raw(kHashBlockBytes);
  std::memset(raw.data(), 0, raw.size());
  std::memcpy(raw.data() + 100, words.data(), words.size());
  ASSERT_TRUE(write_stored_file(*repository, kSegment, raw, words, Codec::kNone).has_value());
  const auto objects = store.list_all("").value();
  for (const ObjectInfo& object : objects) {
    const Buffer content = store.get(object.key).value();
    EXPECT_EQ(as_text(content).find("must not be found"), std::string_view::npos) << object.key.value;
  }
}

TEST(Seal, WithoutTheDataKeyOnlyMetadataIsRead) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto host = secrets.open(store, false);
  const auto refs = write_pack(*host, 2);
  const Buffer raw = random_bytes(3 << 20, 5);
  ASSERT_TRUE(write_stored_file(*host, kSegment, raw, R"({"a":1})", Codec::kZstd, 1, 1, as_bytes("index")).has_value());
  ASSERT_TRUE(write_stored_file(*host, kHistory, as_bytes("1\t0/3000000\tno recovery target\n"), "{}").has_value());

  EXPECT_EQ(read_pack_listing(*host, kPack).value().size(), 2u);
  EXPECT_EQ(read_stored_document(*host, kSegment).value(), R"({"a":1})");
  EXPECT_EQ(as_text(*read_stored_index(*host, kSegment).value()), "index");
  EXPECT_TRUE(read_stored_file(*host, kHistory).has_value());
  const auto extent = read_extent(*host, refs[0]);
  ASSERT_FALSE(extent.has_value());
  EXPECT_EQ(extent.error().code(), Errc::kPermission);
  EXPECT_EQ(read_stored_file(*host, kSegment).error().code(), Errc::kPermission);

  const auto restorer = secrets.open(store);
  EXPECT_TRUE(read_extent(*restorer, refs[1]).has_value());
  EXPECT_EQ(as_text(read_stored_file(*restorer, kSegment).value().raw), as_text(raw));
}

TEST(Seal, DataAndWhatDescribesItHaveDifferentKeys) {
  const Secrets secrets(1);
  ObjectKeyring keyring(secrets.id, {secrets.metadata_key.clone(), secrets.data.public_key, std::nullopt});
  const auto keys = keyring.make(kPack, /*with_data=*/true);
  ASSERT_TRUE(keys.has_value()) << keys.error().to_string();
  for (const FrameType type : {FrameType::kExtent, FrameType::kDumpData})
    EXPECT_EQ(&(*keys)->of_frame(type, kPack), &*(*keys)->data);
  EXPECT_EQ(&(*keys)->of_frame(FrameType::kWalData, kSegment), &*(*keys)->data);
  EXPECT_EQ(&(*keys)->of_frame(FrameType::kWalData, kHistory), &(*keys)->metadata);
  for (const FrameType type : {FrameType::kIndex, FrameType::kPieces, FrameType::kMeta, FrameType::kPacks,
                               FrameType::kFiles, FrameType::kWalIndex, FrameType::kKey})
    EXPECT_EQ(&(*keys)->of_frame(type, kPack), &(*keys)->metadata) << static_cast<int>(type);
  EXPECT_NE(as_text((*keys)->data->bytes()), as_text((*keys)->metadata.bytes()));
}

TEST(Seal, OtherKeysOpenNothing) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto refs = write_pack(*secrets.open(store), 1);
  const Secrets other(1);  // The same id, so that nothing but the keys differs.
  const auto stranger = other.open(store);
  EXPECT_EQ(read_extent(*stranger, refs[0]).error().code(), Errc::kCorrupt);
  EXPECT_EQ(read_pack_listing(*stranger, kPack).error().code(), Errc::kCorrupt);
}

TEST(Seal, EveryFlippedBitOfAFrameIsNoticed) {
  MemoryStore store;
  const Secrets secrets(1);
  ASSERT_TRUE(write_stored_file(*secrets.open(store), kSegment, random_bytes(900, 1), "{}").has_value());
  const Buffer good = store.get(kSegment).value();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    MemoryStore damaged;
    copy_with_flipped_bit(store, damaged, kSegment, bit);
    const auto repository = secrets.open(damaged);
    const auto read = read_stored_file(*repository, kSegment);
    ASSERT_FALSE(read.has_value()) << "bit " << bit;
  }
}

TEST(Seal, FramesDoNotMove) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto repository = secrets.open(store);
  const auto refs = write_pack(*repository, 2);
  // The first extent's bytes under the second's place, and the whole pack under another name.
  Buffer first(refs[0].stored_bytes);
  ASSERT_TRUE(store.read_exact(kPack, refs[0].offset, first.bytes()).has_value());
  Buffer raw(refs[0].raw_bytes);
  Decompressor decompressor;
  FrameRef moved = refs[0].frame();
  moved.offset = refs[1].offset;
  EXPECT_EQ(decode_frame(*repository, kPack, moved, first, decompressor, raw.bytes()).error().code(), Errc::kCorrupt);
  const ObjectKey renamed = pack_key("main", "20260102-030405F", 2);
  ASSERT_TRUE(store.put(renamed, store.get(kPack).value()).has_value());
  EXPECT_EQ(decode_frame(*repository, renamed, refs[0].frame(), first, decompressor, raw.bytes()).error().code(),
            Errc::kCorrupt);
}

TEST(Seal, NoNonceComesTwiceInAnObject) {
  MemoryStore store;
  const Secrets secrets(1);
  const auto refs = write_pack(*secrets.open(store), 200);
  const Buffer object = store.get(kPack).value();
  std::set<std::pair<uint64_t, uint64_t>> nonces;
  std::set<uint64_t> random_parts;
  for (const ExtentRef& ref : refs) {
    const auto random = load_le<uint64_t>(object.data() + ref.offset);
    random_parts.insert(random);
    EXPECT_TRUE(nonces.insert({random, ref.offset / 16}).second);
  }
  // The offset alone would make them unique within one writing of the object; the random part does across several.
  EXPECT_EQ(random_parts.size(), refs.size());
}

// Nonces need be unique within one object only, because no key serves two of them.
TEST(Seal, NoKeyServesTwoObjects) {
  std::set<std::string> keys;
  size_t made = 0;
  const Secrets first(1);
  Secrets second(2);  // The same secrets, as after a copy of the keyring into another repository.
  second.metadata_key = first.metadata_key.clone();
  second.data.public_key = first.data.public_key;
  for (const Secrets* secrets : {&first, static_cast<const Secrets*>(&second)}) {
    const ObjectKeyring keyring(secrets->id, {secrets->metadata_key.clone(), secrets->data.public_key, std::nullopt});
    for (uint32_t pack = 1; pack <= 300; ++pack) {
      for (const char* label : {"20260102-030405F", "20260102-030405F_20260103-030405I"}) {
        const auto of_pack = keyring.make(pack_key("main", label, pack), /*with_data=*/true);
        ASSERT_TRUE(of_pack.has_value()) << of_pack.error().to_string();
        keys.emplace(as_text((*of_pack)->metadata.bytes()));
        keys.emplace(as_text((*of_pack)->data->bytes()));
        made += 2;
      }
    }
  }
  EXPECT_EQ(keys.size(), made);
}

TEST(Seal, TwoWritingsOfOneNameShareNoKeyStream) {
  const Secrets secrets(1);
  const Buffer raw = random_bytes(kExtentBytes, 1);
  std::vector<Buffer> writings;
  for (int i = 0; i < 2; ++i) {
    MemoryStore store;
    const auto refs = write_pack(*secrets.open(store), 1);
    writings.emplace_back(refs[0].stored_bytes);
    ASSERT_TRUE(store.read_exact(kPack, refs[0].offset, writings.back().bytes()).has_value());
  }
  EXPECT_NE(as_text(writings[0]), as_text(writings[1]));
}

TEST(RepositorySet, SameOffsetsInPlainAndSealedRepositories) {
  MemoryStore plain_store;
  MemoryStore sealed_store;
  const auto plain = new_repository(plain_store);
  const Secrets secrets(2);
  const auto sealed = secrets.open(sealed_store);
  const auto refs = write_pack(RepositorySet({plain.get(), sealed.get()}), 5);
  for (size_t i = 0; i < refs.size(); ++i) {
    for (const Repository* repository : {plain.get(), sealed.get()}) {
      const auto raw = read_extent(*repository, refs[i]);
      ASSERT_TRUE(raw.has_value()) << raw.error().to_string();
      EXPECT_EQ(as_text(*raw), as_text(random_bytes(kExtentBytes, i)));
    }
  }
}

TEST(RepositorySet, LeavesAFailedRepositoryBehind) {
  MemoryStore good_store;
  auto faulty_owner = std::make_unique<FaultStore>(std::make_unique<MemoryStore>("repo2"));
  FaultStore& faulty = *faulty_owner;
  const auto good = new_repository(good_store);
  const auto bad = new_repository(faulty);
  faulty.set_rules({{.call = StoreCall::kAppend, .nth = 4, .every = 1, .code = Errc::kNoSpace}});
  const RepositorySet set({good.get(), bad.get()});
  const auto refs = write_pack(set, 3);
  ASSERT_EQ(refs.size(), 3u);
  EXPECT_TRUE(read_extent(*good, refs[2]).has_value());
  EXPECT_FALSE(set.has_failed(0));
  ASSERT_TRUE(set.has_failed(1));
  EXPECT_EQ(set.failures()[1]->code(), Errc::kNoSpace);
  EXPECT_FALSE(faulty.inner().stat(kPack).value().has_value());
  EXPECT_TRUE(faulty.unfired().empty());
}

TEST(RepositorySet, FailsWhenNoneIsLeft) {
  FaultStore faulty(std::make_unique<MemoryStore>());
  const auto repository = new_repository(faulty);
  faulty.set_rules({{.call = StoreCall::kAppend, .nth = 2, .every = 1, .code = Errc::kNoSpace}});
  const auto written = write_record(*repository, {"main/x"}, "{}");
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code(), Errc::kNoSpace);
}

}  // namespace
}  // namespace pgark
