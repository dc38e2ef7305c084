// Repositories of every format version stay readable, and a damaged twin of one is refused with an error that names the
// backup, the object and, where one is hit, the file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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
  Result<std::unique_ptr<Repository>> open() {
    KeyConfig keys = passphrase();
    keys.identities = identity().identities;
    return Repository::open(store_, keys);
  }
  /// None where there is none.
  KeyConfig passphrase() const {
    KeyConfig config;
    auto text = read_file(directory_ + "/passphrase");
    if (!text.has_value()) return config;
    config.sealed = true;
    config.passphrase = NamedSecret{"repo1-cipher-pass-file", Secret::from_text(std::move(*text))};
    return config;
  }
  KeyConfig identity() const {
    KeyConfig config;
    auto text = read_file(directory_ + "/identity");
    if (!text.has_value()) return config;
    config.sealed = true;
    config.identities.push_back({"identity of repo1-identity-file", Secret::from_text(std::move(*text))});
    return config;
  }

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

/// Every format, unless it is told which.
class Golden : public GoldenRepository, public ::testing::WithParamInterface<const char*> {
 protected:
  Golden() : GoldenRepository(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Formats, Golden, ::testing::Values("format-1", "format-2-passphrase", "format-2-recipient"),
                         [](const auto& format) {
                           std::string name = format.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class GoldenPlain : public GoldenRepository {
 protected:
  GoldenPlain() : GoldenRepository("format-1") {}
};

class GoldenPassphrase : public GoldenRepository {
 protected:
  GoldenPassphrase() : GoldenRepository("format-2-passphrase") {}
};

class GoldenRecipient : public GoldenRepository {
 protected:
  GoldenRecipient() : GoldenRepository("format-2-recipient") {}
};

TEST_P(Golden, GivesBackEveryEntry) { expect_every_entry(); }

TEST_P(Golden, GivesBackItsDocumentsAndWal) { expect_documents_and_wal(); }

TEST_P(Golden, ABitFlippedInAPackNamesBackupPackAndFile) {
  flip_bit(pack(4), 5000);
  expect_refused(Errc::kCorrupt, {kLabel, pack(4).value, "base/5/16385"});
}

TEST_F(GoldenPlain, EveryByteOfAnExtentIsGuarded) {
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

TEST_P(Golden, AMissingPackIsNamed) {
  ASSERT_TRUE(store_.remove(pack(2)).value());
  expect_refused(Errc::kCorrupt, {kLabel, pack(2).value, "base/5/16384"});
}

TEST_P(Golden, SwappedPacksAreNoticed) {
  const Buffer first = *store_.get(pack(1));
  const Buffer second = *store_.get(pack(2));
  replace(pack(1), second);
  replace(pack(2), first);
  expect_refused(Errc::kCorrupt, {kLabel, "main/pack/" + kLabel, "base/5/16384"});
}

TEST_P(Golden, ATruncatedPackIsNamed) {
  const Buffer whole = *store_.get(pack(3));
  replace(pack(3), Bytes(whole).first(60000));
  expect_refused(Errc::kCorrupt, {kLabel, pack(3).value, "base/5/16385"});
}

TEST_P(Golden, ABitFlippedAnywhereInTheManifestNamesTheBackup) {
  const auto repository = open().value();  // Deriving a key from a passphrase takes its time: once is enough.
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

TEST_P(Golden, DeletingTheManifestMakesTheBackupNotExist) {
  ASSERT_TRUE(store_.remove(manifest_key("main", kLabel)).value());
  const auto repository = open().value();
  EXPECT_TRUE(list_backup_labels(*repository, "main").value().empty());
  expect_refused(Errc::kNotFound, {"main"});
}

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
