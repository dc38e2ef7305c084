// Repositories of every format version stay readable, and a damaged twin of one is refused with an error that names the
// backup, the object and, where one is hit, the file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "ops/restore.h"
#include "repo/keyring.h"
#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "store/posix_store.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kLabel = "20261122-101500F";

/// A golden repository in memory, where a test may damage it.
class GoldenRepository : public ::testing::Test {
 protected:
  explicit GoldenRepository(const std::string& name) : directory_(PGARK_SOURCE_DIR "/tests/golden/" + name) {}

  void SetUp() override {
    auto golden = PosixStore::open(directory_ + "/repo");
    ASSERT_TRUE(golden.has_value()) << golden.error().to_string();
    const auto objects = (*golden)->list_all("");
    ASSERT_TRUE(objects.has_value());
    for (const ObjectInfo& info : *objects) {
      const auto content = (*golden)->get(info.key);
      ASSERT_TRUE(content.has_value() && store_.put(info.key, *content).has_value()) << info.key.value;
    }
  }

  /// With the keys that are beside it.
  virtual Result<std::unique_ptr<Repository>> open() { return Repository::open(store_); }

  Result<RestoreReport> restore(const std::string& directory) {
    TRY_ASSIGN(const auto repository, open());
    return restore(*repository, directory);
  }
  static Result<RestoreReport> restore(const Repository& repository, const std::string& directory) {
    RestoreRequest request;
    request.data_directory = directory;
    request.restore_command = "false";
    request.target.kind = TargetKind::kNone;
    request.link_all = true;
    request.process_max = 2;
    const CancelToken cancel;
    Progress progress;
    return run_restore(repository, "main", request, system_clock(), cancel, progress);
  }

  static ObjectKey pack(uint32_t number) { return pack_key("main", kLabel, number); }

  void replace(const ObjectKey& key, Bytes content) {
    ASSERT_TRUE(store_.remove(key).value());
    ASSERT_TRUE(store_.put(key, content).has_value());
  }

  void flip_bit(const ObjectKey& key, size_t byte) {
    auto content = store_.get(key);
    ASSERT_TRUE(content.has_value());
    content->data()[byte] ^= std::byte{4};
    replace(key, *content);
  }

  /// Restore must fail with the code, naming all of `parts`, and leave nothing that would start.
  void expect_refused(Errc code, const std::vector<std::string>& parts) {
    const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
    const auto restored = restore(scratch / "data");
    ASSERT_FALSE(restored.has_value());
    EXPECT_EQ(restored.error().code(), code) << restored.error().to_string();
    for (const std::string& part : parts) EXPECT_THAT(restored.error().message(), HasSubstr(part));
    EXPECT_NE(::access((scratch / "data/global/pg_control").c_str(), F_OK), 0);
  }

  /// Every entry comes back as expected.txt says it is.
  void expect_every_entry() {
    const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
    const std::string data = scratch / "data";
    const auto report = restore(data);
    ASSERT_TRUE(report.has_value()) << report.error().to_string();
    std::ifstream expected(directory_ + "/expected.txt");
    ASSERT_TRUE(expected.good());
    size_t count = 0;
    unsigned kind = 0;
    uint64_t bytes = 0;
    std::string mode;
    std::string hash;
    std::string path;
    while (expected >> kind >> bytes >> mode >> hash >> path) {
      SCOPED_TRACE(path);
      ++count;
      struct stat status {};
      ASSERT_EQ(::lstat((data + "/" + path).c_str(), &status), 0);
      if (kind == 2) {
        EXPECT_TRUE(S_ISLNK(status.st_mode));
        EXPECT_EQ(std::filesystem::read_symlink(data + "/" + path), "postgresql.auto.conf");
        continue;
      }
      EXPECT_EQ(S_ISDIR(status.st_mode), kind == 1);
      EXPECT_EQ(fmt::format("{:o}", status.st_mode & 07777u), mode);
      if (kind != 0) continue;
      EXPECT_EQ(static_cast<uint64_t>(status.st_size), bytes);
      const auto content = read_file(data + "/" + path);
      Hasher64 hasher;
      hasher.update(as_bytes(*content));
      EXPECT_EQ(fmt::format("{:016x}", hasher.digest()), hash);
    }
    EXPECT_EQ(count, 16u);
    const auto meta = *read_backup(*open().value(), "main", kLabel);
    EXPECT_EQ(read_file(data + "/backup_label").value(), meta.backup_label);
  }

  void expect_documents_and_wal() {
    const auto repository = open().value();
    const auto cluster = current_cluster(*repository, "main");
    ASSERT_TRUE(cluster.has_value()) << cluster.error().to_string();
    EXPECT_EQ(cluster->system_identifier, 7512345678901234567u);
    EXPECT_EQ(cluster->wal_segment_bytes, 1u << 20);
    const auto meta = read_backup(*repository, "main", kLabel);
    ASSERT_TRUE(meta.has_value()) << meta.error().to_string();
    EXPECT_EQ(meta->stop_lsn.bytes, 0x200150u);
    EXPECT_EQ(meta->databases.size(), 2u);
    EXPECT_EQ(meta->annotations.at("why"), "golden");
    EXPECT_EQ(meta->annotations.at("added"), "later");
    const auto copies = find_wal_copies(*repository, "main", 1, "000000010000000000000002");
    ASSERT_TRUE(copies.has_value());
    ASSERT_EQ(copies->size(), 1u);
    const auto segment = read_stored_file(*repository, copies->front());
    ASSERT_TRUE(segment.has_value()) << segment.error().to_string();
    EXPECT_EQ(segment->raw.size(), 1u << 20);
    EXPECT_EQ(fmt::format("{:016x}", content_hash(segment->raw)), "2cecdc503e58aa29");
  }

  const std::string directory_;
  MemoryStore store_;
};

class Golden : public GoldenRepository {
 protected:
  Golden() : GoldenRepository("format-1") {}
};

/// Sealed repositories: with a passphrase, and with a passphrase and a recipient.
class SealedGolden : public GoldenRepository {
 protected:
  explicit SealedGolden(const std::string& name) : GoldenRepository(name) {}

  /// Deriving a key from a passphrase takes its time: once is enough for the tests that damage other objects.
  Result<std::unique_ptr<Repository>> open() override { return Repository::open(store_, keys()); }
  virtual KeyConfig keys() const = 0;

  std::string beside(const std::string& name) const { return read_file(directory_ + "/" + name).value_or("<absent>"); }
  KeyConfig passphrase() const {
    KeyConfig config;
    config.sealed = true;
    config.passphrase = NamedSecret{"repo1-cipher-pass-file", Secret::from_text(beside("passphrase"))};
    return config;
  }
  KeyConfig identity() const {
    KeyConfig config;
    config.sealed = true;
    config.identities.push_back({"identity of repo1-identity-file", Secret::from_text(beside("identity"))});
    return config;
  }
};

class GoldenPassphrase : public SealedGolden {
 protected:
  GoldenPassphrase() : SealedGolden("format-2-passphrase") {}
  KeyConfig keys() const override { return passphrase(); }
};

class GoldenRecipient : public SealedGolden {
 protected:
  GoldenRecipient() : SealedGolden("format-2-recipient") {}
  KeyConfig keys() const override {
    KeyConfig both = passphrase();
    both.identities = identity().identities;
    return both;
  }
};

TEST_F(Golden, GivesBackEveryEntry) { expect_every_entry(); }

TEST_F(Golden, GivesBackItsDocumentsAndWal) { expect_documents_and_wal(); }

TEST_F(Golden, ABitFlippedInAPackNamesBackupPackAndFile) {
  flip_bit(pack(4), 5000);
  expect_refused(Errc::kCorrupt, {kLabel, pack(4).value, "base/5/16385"});
}

TEST_F(Golden, EveryByteOfAnExtentIsGuarded) {
  const auto repository = std::move(*Repository::open(store_));
  const auto listing = read_pack_listing(*repository, pack(6));
  ASSERT_TRUE(listing.has_value());
  const ExtentRef extent = listing->front().ref;
  const Buffer whole = *store_.get(pack(6));
  for (uint32_t at = 0; at < extent.stored_bytes; at += 997) {
    SCOPED_TRACE(at);
    replace(pack(6), whole);
    flip_bit(pack(6), extent.offset + at);
    expect_refused(Errc::kCorrupt, {kLabel, pack(6).value});
  }
}

TEST_F(Golden, AMissingPackIsNamed) {
  ASSERT_TRUE(store_.remove(pack(2)).value());
  expect_refused(Errc::kCorrupt, {kLabel, pack(2).value, "base/5/16384"});
}

TEST_F(Golden, SwappedPacksAreNoticed) {
  const Buffer first = *store_.get(pack(1));
  const Buffer second = *store_.get(pack(2));
  replace(pack(1), second);
  replace(pack(2), first);
  expect_refused(Errc::kCorrupt, {kLabel, "main/pack/" + kLabel, "base/5/16384"});
}

TEST_F(Golden, ATruncatedPackIsNamed) {
  const Buffer whole = *store_.get(pack(3));
  replace(pack(3), Bytes(whole).first(60000));
  expect_refused(Errc::kCorrupt, {kLabel, pack(3).value, "base/5/16385"});
}

TEST_F(Golden, ABitFlippedAnywhereInTheManifestNamesTheBackup) {
  const ObjectKey key = manifest_key("main", kLabel);
  const Buffer whole = *store_.get(key);
  for (size_t at = 0; at < whole.size(); at += 37) {
    SCOPED_TRACE(at);
    replace(key, whole);
    flip_bit(key, at);
    const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
    const auto restored = restore(scratch / "data");
    ASSERT_FALSE(restored.has_value());
    EXPECT_TRUE(restored.error().code() == Errc::kCorrupt || restored.error().code() == Errc::kUnsupported);
    EXPECT_THAT(restored.error().message(), HasSubstr(kLabel));
  }
}

TEST_F(Golden, DeletingTheManifestMakesTheBackupNotExist) {
  ASSERT_TRUE(store_.remove(manifest_key("main", kLabel)).value());
  const auto repository = std::move(*Repository::open(store_));
  EXPECT_TRUE(list_backup_labels(*repository, "main").value().empty());
  expect_refused(Errc::kNotFound, {"main"});
}

TEST_F(GoldenPassphrase, GivesBackEveryEntry) { expect_every_entry(); }

TEST_F(GoldenPassphrase, GivesBackItsDocumentsAndWal) { expect_documents_and_wal(); }

TEST_F(GoldenPassphrase, OpensWithNothingElse) {
  const auto plain = Repository::open(store_);
  ASSERT_FALSE(plain.has_value());
  EXPECT_EQ(plain.error().code(), Errc::kInvalid);
  KeyConfig wrong;
  wrong.sealed = true;
  wrong.passphrase = NamedSecret{"repo1-cipher-pass-file", Secret::copy_of(as_bytes("a guess"))};
  const auto guessed = Repository::open(store_, wrong);
  ASSERT_FALSE(guessed.has_value());
  EXPECT_EQ(guessed.error().code(), Errc::kPermission);
  EXPECT_THAT(guessed.error().message(), HasSubstr("the passphrase of repo1-cipher-pass-file is wrong"));
}

TEST_F(GoldenPassphrase, ABitFlippedInAPackNamesBackupPackAndFile) {
  flip_bit(pack(4), 5000);
  expect_refused(Errc::kCorrupt, {kLabel, pack(4).value, "base/5/16385"});
}

TEST_F(GoldenPassphrase, AMissingPackIsNamed) {
  ASSERT_TRUE(store_.remove(pack(2)).value());
  expect_refused(Errc::kCorrupt, {kLabel, pack(2).value, "base/5/16384"});
}

TEST_F(GoldenPassphrase, SwappedPacksAreNoticed) {
  const Buffer first = *store_.get(pack(1));
  const Buffer second = *store_.get(pack(2));
  replace(pack(1), second);
  replace(pack(2), first);
  expect_refused(Errc::kCorrupt, {kLabel, "main/pack/" + kLabel, "base/5/16384"});
}

TEST_F(GoldenPassphrase, ATruncatedPackIsNamed) {
  const Buffer whole = *store_.get(pack(3));
  replace(pack(3), Bytes(whole).first(60000));
  expect_refused(Errc::kCorrupt, {kLabel, pack(3).value, "base/5/16385"});
}

TEST_F(GoldenPassphrase, ABitFlippedAnywhereInTheManifestNamesTheBackup) {
  const auto repository = open().value();
  const ObjectKey key = manifest_key("main", kLabel);
  const Buffer whole = *store_.get(key);
  for (size_t at = 0; at < whole.size(); at += 37) {
    SCOPED_TRACE(at);
    replace(key, whole);
    flip_bit(key, at);
    const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
    const auto restored = restore(*repository, scratch / "data");
    ASSERT_FALSE(restored.has_value());
    EXPECT_TRUE(restored.error().code() == Errc::kCorrupt || restored.error().code() == Errc::kUnsupported);
    EXPECT_THAT(restored.error().message(), HasSubstr(kLabel));
  }
}

TEST_F(GoldenRecipient, GivesBackEveryEntry) { expect_every_entry(); }

TEST_F(GoldenRecipient, GivesBackItsDocumentsAndWal) { expect_documents_and_wal(); }

TEST_F(GoldenRecipient, TheIdentityAloneRestores) {
  const auto repository = Repository::open(store_, identity());
  ASSERT_TRUE(repository.has_value()) << repository.error().to_string();
  const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
  const auto restored = restore(**repository, scratch / "data");
  EXPECT_TRUE(restored.has_value()) << restored.error().to_string();
}

TEST_F(GoldenRecipient, ThePassphraseAloneTellsWhatIsThereAndRestoresNothing) {
  const auto repository = Repository::open(store_, passphrase());
  ASSERT_TRUE(repository.has_value()) << repository.error().to_string();
  EXPECT_EQ(read_backup(**repository, "main", kLabel).value().annotations.at("why"), "golden");
  const testing::ScratchDir scratch = *testing::ScratchDir::create("golden");
  const auto restored = restore(**repository, scratch / "data");
  ASSERT_FALSE(restored.has_value());
  EXPECT_EQ(restored.error().code(), Errc::kPermission) << restored.error().to_string();
  EXPECT_THAT(restored.error().to_string(), AllOf(HasSubstr("sealed to recipients"), HasSubstr("repo1-identity-file")));
  EXPECT_FALSE(std::filesystem::exists(scratch / "data/global/pg_control"));
}

}  // namespace
}  // namespace pgark
