// Somebody who can write to the store and has no key: whatever he does to an object of a sealed repository, of each
// kind, is an error that names it or changes nothing that is read.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/hold.h"
#include "catalog/tombstone.h"
#include "catalog/verify_record.h"
#include "catalog/wal.h"
#include "repo/keyring_store.h"
#include "repo/manifest.h"
#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_backup.h"

namespace pgark {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* kStanza = "main";
const std::string kFirst = "20261122-101500F";
const std::string kSecond = "20261123-101500F";
const std::string kGone = "20261120-101500F";
const std::string kGoneToo = "20261121-101500F";

KeyConfig config_of(std::string_view passphrase) {
  KeyConfig config;
  config.sealed = true;
  config.passphrase = NamedSecret{"repo1-cipher-pass", Secret::copy_of(as_bytes(passphrase))};
  return config;
}

Buffer copy_of(Bytes bytes) {
  Buffer copy;
  copy.append(bytes);
  return copy;
}

std::string hash_of(Bytes bytes) { return fmt::format("{:016x} of {}", content_hash(bytes), bytes.size()); }

/// All that a reader believes of an object, in a text; or why not.
using Read = std::function<Result<std::string>(const Repository&)>;

Result<std::string> read_cluster_record(const Repository& repository, unsigned number) {
  TRY_ASSIGN(const auto clusters, list_clusters(repository, kStanza));
  for (const ClusterRecord& one : clusters)
    if (one.number == number) return fmt::format("{} {}", one.system_identifier, one.pg_major);
  return std::string("absent");
}

/// The document, the list of packs and every file of a manifest.
Result<std::string> read_whole_manifest(const Repository& repository, const std::string& label) {
  TRY_ASSIGN(const BackupMeta meta, read_backup(repository, kStanza, label));
  TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository, kStanza, label));
  std::string text = encode_backup_meta(meta);
  TRY_ASSIGN(const auto packs, manifest.packs());
  for (const PackName& pack : packs) text += fmt::format("\n{}/{}", pack.label, pack.number);
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY_ASSIGN(const FileChunk chunk, manifest.chunk(i));
    for (const ExtentRef& extent : chunk.extents) text += fmt::format("\n{} {}", extent.offset, extent.stored_bytes);
    for (const FileEntry& file : chunk.files)
      text += fmt::format("\n{} {} {}", file.path, file.bytes, file.runs.size());
  }
  return text;
}

/// Every extent the way a restore reads it, at places the manifest knows; and the pack's own list.
Result<std::string> read_whole_pack(const Repository& repository, const ObjectKey& key,
                                    const std::vector<ExtentRef>& extents) {
  std::string text;
  Decompressor decompressor;
  for (const ExtentRef& extent : extents) {
    Buffer stored(extent.stored_bytes);
    TRY(repository.store().read_exact(key, extent.offset, stored.bytes()));
    Buffer raw(extent.raw_bytes);
    TRY(decode_frame(repository, key, extent.frame(), stored, decompressor, raw.bytes()));
    text += hash_of(raw) + "\n";
  }
  TRY_ASSIGN(const auto listing, read_pack_listing(repository, key));
  for (const PackedExtent& extent : listing)
    for (const ExtentPiece& piece : extent.pieces) text += fmt::format("{} {}\n", piece.path, piece.file_offset);
  return text;
}

Result<std::string> read_whole_file(const Repository& repository, const ObjectKey& key) {
  TRY_ASSIGN(const StoredFile file, read_stored_file(repository, key));
  TRY_ASSIGN(const auto index, read_stored_index(repository, key));
  return fmt::format("{} {} {}", hash_of(file.raw), file.document, index ? hash_of(*index) : "no index");
}

Result<std::string> read_tombstone(const Repository& repository, const std::string& label) {
  TRY_ASSIGN(const auto listed, list_tombstones(repository, kStanza));
  for (const ListedTombstone& one : listed) {
    if (one.tombstone.label != label) continue;
    if (one.error) return Error(*one.error);
    return fmt::format("{} {}", one.tombstone.rule, one.tombstone.wal_start);
  }
  return std::string("absent");
}

Result<std::string> read_hold(const Repository& repository, const std::string& label) {
  TRY_ASSIGN(const auto holds, read_holds(repository, kStanza));
  const auto found = holds.find(label);
  return found == holds.end() ? "absent" : found->second.reason;
}

Result<std::string> read_record_of_verify(const Repository& repository, const std::string& name) {
  TRY_ASSIGN(const auto records, list_verify_records(repository, kStanza));
  for (const VerifyRecord& one : records)
    if (one.name == name) return one.host;
  return std::string("absent");
}

/// Two objects of a kind, and how each is read.
struct Kind {
  std::string name;
  std::vector<ObjectKey> keys;
  std::vector<std::string> said;  // What an error about each must contain.
  std::vector<Read> reads;
  bool may_be_absent = false;  // What cannot be read is told in the log and is then as if it were not there.
};

/// A repository with two of everything.
class Site {
 public:
  explicit Site(std::string_view passphrase, uint64_t seed = 0) : seed_(seed) {
    KeyConfig config = config_of(passphrase);
    auto made = Repository::open_or_create(store, system_clock(), config);
    EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().to_string());
    if (!made) return;
    id_ = (*made)->id();
    keys_ = find_keyring(store).value()->unlock(config).value();
    write_all(**made);
  }

  /// Opened anew, so that nothing is remembered of the objects as they were.
  std::unique_ptr<Repository> open() {
    RepositoryKeys keys{keys_.metadata_key.clone(), keys_.data_public, keys_.data_private->clone()};
    return Repository::unlocked(store, id_, std::move(keys));
  }

  Buffer get(const ObjectKey& key) { return store.get(key).value(); }
  void replace(const ObjectKey& key, Bytes content) {
    ASSERT_TRUE(store.remove(key).has_value());
    ASSERT_TRUE(store.put(key, content).has_value());
  }

  MemoryStore store;
  std::vector<Kind> kinds;

 private:
  void write_all(const Repository& repository) {
    for (const unsigned number : {1u, 2u}) {
      ASSERT_TRUE(write_cluster(repository, kStanza,
                                {.number = number,
                                 .system_identifier = 100 + seed_ + number,
                                 .pg_major = 14 + number,
                                 .control_version = 1300,
                                 .catalog_version = 202209061,
                                 .wal_segment_bytes = 1 << 20,
                                 .created = {}})
                      .has_value());
    }
    add("cluster record", {cluster_key(kStanza, 1), cluster_key(kStanza, 2)}, {"cluster", "cluster"},
        {[](const Repository& r) { return read_cluster_record(r, 1); },
         [](const Repository& r) { return read_cluster_record(r, 2); }});
    write_backups(repository);
    write_wal(repository);
    write_records(repository);
  }

  void write_backups(const Repository& repository) {
    std::vector<ObjectKey> manifests;
    std::vector<ObjectKey> packs;
    std::vector<Read> manifest_reads;
    std::vector<Read> pack_reads;
    for (const std::string& label : {kFirst, kSecond}) {
      testing::SampleBackup backup(repository, label);
      backup.minimal_cluster();
      const uint64_t seed = seed_ + (label == kFirst ? 1 : 2);
      backup.file("base/1/16384", std::string(as_text(random_bytes(3 * kExtentBytes, seed))));
      backup.commit();
      manifests.push_back(manifest_key(kStanza, label));
      packs.push_back(pack_key(kStanza, label, 1));
      manifest_reads.emplace_back([label](const Repository& r) { return read_whole_manifest(r, label); });
      std::vector<ExtentRef> extents;
      const auto listing = read_pack_listing(repository, packs.back());
      ASSERT_TRUE(listing.has_value());
      for (const PackedExtent& extent : *listing) extents.push_back(extent.ref);
      pack_reads.emplace_back(
          [key = packs.back(), extents](const Repository& r) { return read_whole_pack(r, key, extents); });
    }
    add("manifest", manifests, {kFirst, kSecond}, manifest_reads);
    add("pack", packs, {packs[0].value, packs[1].value}, pack_reads);
  }

  void write_wal(const Repository& repository) {
    const auto store_file = [&](const std::string& name, Bytes content, std::string_view index) {
      const ObjectKey key = wal_key(kStanza, 1, name).value();
      EXPECT_TRUE(write_stored_file(repository, key, content, R"({"pg_major":15})", Codec::kZstd, 1, 1, as_bytes(index))
                      .has_value());
      return key;
    };
    const ObjectKey two = store_file("000000010000000000000002", random_bytes(1 << 20, seed_ + 5), "index of two");
    const ObjectKey three = store_file("000000010000000000000003", random_bytes(1 << 20, seed_ + 6), "index of three");
    const ObjectKey history = store_file("00000002.history", as_bytes("1\t0/200150\tno reason\n"), "");
    const ObjectKey later = store_file("00000003.history", as_bytes("1\t0/200150\tno\n2\t0/300150\treason\n"), "");
    const auto read = [](const ObjectKey& key) {
      return [key](const Repository& r) { return read_whole_file(r, key); };
    };
    add("WAL segment", {two, three}, {two.value, three.value}, {read(two), read(three)});
    add("history", {history, later}, {history.value, later.value}, {read(history), read(later)});
  }

  void write_records(const Repository& repository) {
    for (const std::string& label : {kGone, kGoneToo}) {
      Tombstone tombstone;
      tombstone.label = label;
      tombstone.rule = "retention of " + label;
      tombstone.wal_start = tombstone.wal_stop = "000000010000000000000002";
      ASSERT_TRUE(write_tombstone(repository, kStanza, tombstone).has_value());
    }
    add("tombstone", {tombstone_key(kStanza, kGone, 0), tombstone_key(kStanza, kGoneToo, 0)}, {kGone, kGoneToo},
        {[](const Repository& r) { return read_tombstone(r, kGone); },
         [](const Repository& r) { return read_tombstone(r, kGoneToo); }});

    for (const std::string& label : {kFirst, kSecond}) {
      ASSERT_TRUE(write_hold(repository, kStanza, label, {Timestamp::max(), "held: " + label, {}}).has_value());
      ASSERT_TRUE(annotate_backup(repository, kStanza, label, {{"of", label}}).has_value());
    }
    const auto beside = [](const std::string& label, const char* what) {
      return ObjectKey{fmt::format("{}/backup/{}/{}.1", kStanza, label, what)};
    };
    add("hold", {beside(kFirst, "hold"), beside(kSecond, "hold")}, {kFirst, kSecond},
        {[](const Repository& r) { return read_hold(r, kFirst); },
         [](const Repository& r) { return read_hold(r, kSecond); }});
    add("annotation", {beside(kFirst, "annotation"), beside(kSecond, "annotation")}, {kFirst, kSecond},
        {[](const Repository& r) { return read_whole_manifest(r, kFirst); },
         [](const Repository& r) { return read_whole_manifest(r, kSecond); }});

    std::vector<std::string> names;
    for (const char* host : {"one", "two"}) {
      VerifyRecord record;
      record.finished = Timestamp(std::chrono::seconds(1795342500));
      record.host = host;
      const auto name = write_verify_record(repository, kStanza, record);
      ASSERT_TRUE(name.has_value()) << name.error().to_string();
      names.push_back(*name);
    }
    const std::string prefix = std::string(kStanza) + "/verify/";
    add("verify record", {{prefix + names[0]}, {prefix + names[1]}}, names,
        {[name = names[0]](const Repository& r) { return read_record_of_verify(r, name); },
         [name = names[1]](const Repository& r) { return read_record_of_verify(r, name); }},
        true);
  }

  void add(std::string name, std::vector<ObjectKey> keys, std::vector<std::string> said, std::vector<Read> reads,
           bool may_be_absent = false) {
    kinds.push_back({std::move(name), std::move(keys), std::move(said), std::move(reads), may_be_absent});
  }

  const uint64_t seed_;
  RepositoryId id_{};
  RepositoryKeys keys_;
};

class SealTampering : public ::testing::Test {
 protected:
  SealTampering() : site_("correct horse") {
    const auto repository = site_.open();
    for (const Kind& kind : site_.kinds)
      for (const Read& read : kind.reads) {
        const auto text = read(*repository);
        EXPECT_TRUE(text.has_value()) << kind.name << ": " << (text ? "" : text.error().to_string());
        wholesome_.push_back(text.value_or("<unreadable>"));
      }
  }

  const std::string& wholesome(size_t kind, size_t which) const { return wholesome_[kind * 2 + which]; }

  /// What was done to an object of the kind is an error that names it, or, with `harmless`, changes nothing.
  void expect_noticed(size_t kind_number, size_t which, bool harmless = false) {
    const Kind& kind = site_.kinds[kind_number];
    const auto read = kind.reads[which](*site_.open());
    if (!read) {
      EXPECT_THAT(read.error().code(), AnyOf(Errc::kCorrupt, Errc::kUnsupported)) << read.error().to_string();
      EXPECT_THAT(read.error().message(), HasSubstr(kind.said[which]));
      return;
    }
    if (kind.may_be_absent && *read == "absent") return;
    EXPECT_TRUE(harmless) << kind.name << " was read without an error";
    EXPECT_EQ(*read, wholesome(kind_number, which)) << kind.name << " was believed";
  }

  /// Do this for every kind and both of it.
  void for_each(const std::function<void(size_t kind, size_t which, const ObjectKey& key)>& action) {
    for (size_t kind = 0; kind < site_.kinds.size(); ++kind)
      for (size_t which = 0; which < 2; ++which) {
        SCOPED_TRACE(site_.kinds[kind].keys[which].value);
        action(kind, which, site_.kinds[kind].keys[which]);
      }
  }

  Site site_;
  std::vector<std::string> wholesome_;
};

TEST_F(SealTampering, TheSceneHasEveryKind) { EXPECT_THAT(site_.kinds, SizeIs(9)); }

TEST_F(SealTampering, ABitFlippedAnywhereIsNoticed) {
  for_each([&](size_t kind, size_t which, const ObjectKey& key) {
    const Buffer whole = site_.get(key);
    // Densely through header, key frame and trailer, in strides through the rest.
    const size_t stride = std::max<size_t>(1, whole.size() / 40);
    size_t passed_over = 0;
    for (size_t at = 0; at < whole.size(); at += at < 130 || at + 130 > whole.size() ? 1 : stride) {
      SCOPED_TRACE(at);
      Buffer changed = copy_of(whole);
      changed.data()[at] ^= std::byte{16};
      site_.replace(key, changed);
      // Not every byte of an object is read by everybody: whoever reads a listing needs no header.
      expect_noticed(kind, which, true);
      passed_over += site_.kinds[kind].reads[which](*site_.open()).has_value();
      if (at + stride > whole.size() - 130 && at < whole.size() - 130) at = whole.size() - 131;
    }
    EXPECT_LT(passed_over, site_.kinds[kind].may_be_absent ? 1000u : 66u) << "more than a header is not looked at";
    site_.replace(key, whole);
  });
}

TEST_F(SealTampering, AChangedLengthIsNoticed) {
  for_each([&](size_t kind, size_t which, const ObjectKey& key) {
    const Buffer whole = site_.get(key);
    for (const size_t bytes : {size_t{0}, size_t{10}, size_t{64}, whole.size() / 2, whole.size() - 1}) {
      SCOPED_TRACE(bytes);
      site_.replace(key, Bytes(whole).first(bytes));
      expect_noticed(kind, which);
    }
    Buffer longer = copy_of(whole);
    longer.append(as_bytes("x"));
    site_.replace(key, longer);
    expect_noticed(kind, which);
    site_.replace(key, whole);
  });
}

TEST_F(SealTampering, ObjectsThatChangedPlacesAreNoticed) {
  for (size_t kind = 0; kind < site_.kinds.size(); ++kind) {
    SCOPED_TRACE(site_.kinds[kind].name);
    const auto& keys = site_.kinds[kind].keys;
    const Buffer first = site_.get(keys[0]);
    const Buffer second = site_.get(keys[1]);
    // One after the other: some readers end at the first of them.
    site_.replace(keys[0], second);
    expect_noticed(kind, 0);
    site_.replace(keys[0], first);
    site_.replace(keys[1], first);
    expect_noticed(kind, 1);
    site_.replace(keys[1], second);
  }
}

TEST_F(SealTampering, ObjectsOfTheSameNamesAndPassphraseFromAnotherRepositoryAreNoticed) {
  Site other("correct horse", 1000);
  for_each([&](size_t kind, size_t which, const ObjectKey& key) {
    const Buffer whole = site_.get(key);
    site_.replace(key, other.get(other.kinds[kind].keys[which]));
    expect_noticed(kind, which);
    site_.replace(key, whole);
  });
}

// The key frame of another pack gives other keys, and its data with it does not belong here.
TEST_F(SealTampering, PartsOfTwoObjectsDoNotFitTogether) {
  const size_t kPack = 2;
  ASSERT_EQ(site_.kinds[kPack].name, "pack");
  const auto& keys = site_.kinds[kPack].keys;
  const Buffer first = site_.get(keys[0]);
  const Buffer second = site_.get(keys[1]);
  for (const auto& [from, to] : {std::pair<size_t, size_t>{64, 120}, {120, 4000}, {64, 4000}}) {
    Buffer mixed = copy_of(first);
    std::copy_n(second.data() + from, to - from, mixed.data() + from);
    site_.replace(keys[0], mixed);
    expect_noticed(kPack, 0);
  }
}

// What makes that an older object of the same name cannot be played back: there is none.
TEST_F(SealTampering, NoNameIsWrittenTwice) {
  const auto repository = site_.open();
  for (size_t kind = 0; kind < site_.kinds.size(); ++kind)
    for (const ObjectKey& key : site_.kinds[kind].keys) {
      const auto written = write_record(*repository, key, "{}");
      ASSERT_FALSE(written.has_value()) << key.value;
      EXPECT_EQ(written.error().code(), Errc::kAlreadyExists);
    }
  // Names of backups that are gone stay taken while anything tells of them.
  const auto used = list_used_labels(*repository, kStanza).value();
  EXPECT_THAT(used, ::testing::IsSupersetOf({kFirst, kSecond, kGone, kGoneToo}));
}

TEST_F(SealTampering, ABackupThatIsBroughtBackIsWholeOrAnError) {
  const ObjectKey manifest = manifest_key(kStanza, kFirst);
  const ObjectKey pack = pack_key(kStanza, kFirst, 1);
  const Buffer kept_manifest = site_.get(manifest);
  const Buffer kept_pack = site_.get(pack);
  ASSERT_TRUE(site_.store.remove(manifest).has_value());
  ASSERT_TRUE(site_.store.remove(pack).has_value());
  ASSERT_TRUE(site_.store.put(manifest, kept_manifest).has_value());
  EXPECT_EQ(site_.kinds[2].reads[0](*site_.open()).error().code(), Errc::kNotFound);
  ASSERT_TRUE(site_.store.put(pack, kept_pack).has_value());
  EXPECT_EQ(site_.kinds[1].reads[0](*site_.open()).value(), wholesome(1, 0));
  EXPECT_EQ(site_.kinds[2].reads[0](*site_.open()).value(), wholesome(2, 0));
}

class SealTamperingRoot : public SealTampering {
 protected:
  Result<std::unique_ptr<Repository>> open_as_configured() {
    return Repository::open(site_.store, config_of("correct horse"));
  }
  /// An error, of these kinds.
  void expect_refused(const std::string& what) {
    const auto opened = open_as_configured();
    ASSERT_FALSE(opened.has_value()) << what << " was believed";
    EXPECT_THAT(opened.error().code(), AnyOf(Errc::kCorrupt, Errc::kUnsupported, Errc::kInvalid, Errc::kPermission))
        << opened.error().to_string();
    EXPECT_THAT(opened.error().message(), Not(HasSubstr("correct horse")));
  }
  /// The document with one member changed, and its checksum made right.
  Buffer root_with(const std::function<void(json&)>& change) {
    json document = json::parse(as_text(site_.get(kRoot)));
    change(document);
    document.erase("checksum");
    document["checksum"] = fmt::format("{:016x}", seeded_hash(as_bytes(document.dump()), 0));
    Buffer out;
    out.append(as_bytes(document.dump(2) + "\n"));
    return out;
  }

  const ObjectKey kRoot{"pgark.json"};
  const ObjectKey kKeyring{"keyring.1"};
};

TEST_F(SealTamperingRoot, ABitFlippedInTheRootOrTheKeyringIsRefused) {
  for (const ObjectKey& key : {kRoot, kKeyring}) {
    const Buffer whole = site_.get(key);
    for (size_t at = 0; at < whole.size(); at += key == kRoot ? size_t{1} : size_t{7}) {
      SCOPED_TRACE(fmt::format("{} at {}", key.value, at));
      Buffer changed = copy_of(whole);
      changed.data()[at] ^= std::byte{1};
      site_.replace(key, changed);
      // White space may have become other white space.
      const json parsed = json::parse(as_text(changed), nullptr, false);
      if (!parsed.is_discarded() && parsed == json::parse(as_text(whole))) continue;
      expect_refused(key.value);
    }
    site_.replace(key, Bytes(whole).first(whole.size() / 2));
    expect_refused(key.value + ", cut");
    site_.replace(key, whole);
  }
  EXPECT_TRUE(open_as_configured().has_value());
}

TEST_F(SealTamperingRoot, ARootThatSaysAnythingElseIsRefused) {
  const Buffer whole = site_.get(kRoot);
  const std::vector<std::pair<std::string, std::function<void(json&)>>> changes = {
      {"no longer sealed", [](json& d) { d.erase("seal"); }},
      {"format 1, no longer sealed",
       [](json& d) {
         d.erase("seal");
         d["format"] = 1;
       }},
      {"sealed in another way", [](json& d) { d["seal"] = "rot13"; }},
      {"format 3", [](json& d) { d["format"] = 3; }},
      {"another id", [](json& d) { d["id"] = "00112233445566778899aabbccddeeff"; }},
  };
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    site_.replace(kRoot, root_with(change));
    expect_refused(what);
  }
  site_.replace(kRoot, whole);
  ASSERT_TRUE(site_.store.remove(kKeyring).has_value());
  expect_refused("a keyring that is gone");
}

TEST_F(SealTamperingRoot, ARepositoryOfSomebodyElsesIsRefused) {
  Site other("another passphrase");
  const Buffer keyring = site_.get(kKeyring);
  site_.replace(kKeyring, other.get(kKeyring));
  expect_refused("the keyring of another repository");
  site_.replace(kRoot, other.get(kRoot));
  expect_refused("root and keyring of another repository");
  site_.replace(kKeyring, keyring);
  expect_refused("the root of another repository");
}

// As the threat model says: who wrote down the repository before a rotation can play that back. It opens with the old
// passphrase only, and what opens is the same repository.
TEST_F(SealTamperingRoot, AnOlderKeyringOpensForTheOlderPassphraseOnly) {
  const Buffer old = site_.get(kKeyring);
  const KeyConfig config = config_of("correct horse");
  const Keyring keyring = std::move(**find_keyring(site_.store));
  const RepositoryKeys keys = keyring.unlock(config).value();
  const NamedSecret next{"new-cipher-pass", Secret::copy_of(as_bytes("another horse"))};
  ASSERT_TRUE(replace_keyring(site_.store, keyring.with_passphrase(keys, next).value()).has_value());
  EXPECT_FALSE(site_.store.stat(kKeyring).value().has_value());
  expect_refused("the old passphrase");
  EXPECT_TRUE(Repository::open(site_.store, config_of("another horse")).has_value());

  // Beside the newer one it counts for nothing; alone it is what it was, and refuses the new passphrase.
  ASSERT_TRUE(site_.store.put(kKeyring, old).has_value());
  expect_refused("the old passphrase, its keyring brought back");
  ASSERT_TRUE(site_.store.remove({"keyring.2"}).has_value());
  const auto refused = Repository::open(site_.store, config_of("another horse"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kPermission);
  // Under the number of a newer one it is noticed.
  ASSERT_TRUE(site_.store.put({"keyring.7"}, old).has_value());
  expect_refused("an old keyring under a new number");
}

}  // namespace
}  // namespace pgark
