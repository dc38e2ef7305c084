#include "store/posix_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "pipe/task_group.h"
#include "store/store_test_util.h"
#include "testing/sanitizer.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

/// However slow the machine is just now.
PosixOptions near_options() {
  PosixOptions options;
  options.far_open = std::chrono::hours(1);
  return options;
}
PosixOptions far_options() {
  PosixOptions options;
  options.far_open = std::chrono::microseconds(0);
  return options;
}

void write_file(const std::string& path, std::string_view content) { std::ofstream(path) << content; }

std::vector<std::string> keys_of(ObjectStore& store, const std::string& prefix = "") {
  std::vector<std::string> keys;
  const auto listed = store.list_all(prefix);
  EXPECT_TRUE(listed.has_value()) << listed.error().to_string();
  for (const auto& object : listed.value_or(std::vector<ObjectInfo>{})) keys.push_back(object.key.value);
  return keys;
}

/// Runs `body` in a child process, as another user if `uid` is not 0; the text it returns.
std::string in_child(const std::function<std::string()>& body) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = body();
    const ssize_t written = ::write(pipe_ends[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(pipe_ends[1]);
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = ::read(pipe_ends[0], buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<size_t>(n));
  ::close(pipe_ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << text;
  return text;
}

TEST(PosixStore, FilesAndDirectoriesHaveTheirModesWhateverTheUmask) {
  const ScratchDirectory root;
  for (const mode_t mask : {mode_t{0}, mode_t{0077}, mode_t{0022}}) {
    const mode_t before = ::umask(mask);
    auto store = PosixStore::open(root.path()).value();
    const std::string name = fmt::format("dir-{}/sub/object", mask);
    const auto put = store->put({name}, as_bytes("x"));
    ::umask(before);
    ASSERT_TRUE(put.has_value()) << put.error().to_string();
    EXPECT_EQ(mode_of(root.path() + "/" + name), 0640u);
    EXPECT_EQ(mode_of(root.path() + "/" + fmt::format("dir-{}", mask)), 0750u);
    EXPECT_EQ(mode_of(root.path() + "/" + fmt::format("dir-{}/sub", mask)), 0750u);
  }
}

TEST(PosixStore, PiecesOfAnySizeAreWrittenInTheirOrder) {
  const uint64_t seed = test_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path()).value();
  // Around the size that is gathered before it is written, and far from it.
  constexpr std::array<size_t, 9> kSizes{0, 1, 16, 40'000, 524'287, 524'288, 524'289, 1'048'576, 1'700'000};
  for (int object = 0; object < 8; ++object) {
    const ObjectKey key{fmt::format("object-{}", object)};
    std::string content;
    auto writer = store->create(key);
    ASSERT_TRUE(writer.has_value());
    for (uint64_t pieces = rng.below(8); pieces > 0; --pieces) {
      std::string piece(kSizes[static_cast<size_t>(rng.below(kSizes.size()))], '\0');
      for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>((content.size() + i) * 2654435761u >> 24);
      ASSERT_TRUE((*writer)->append(as_bytes(piece)).has_value());
      content += piece;
    }
    const auto committed = std::move(**writer).commit();
    ASSERT_TRUE(committed.has_value()) << committed.error().to_string();
    EXPECT_EQ(committed->bytes, content.size());
    ASSERT_TRUE(as_text(store->get(key).value().bytes()) == content) << object;
  }
}

TEST(PosixStore, MissingRootIsNeverAnEmptyRepository) {
  const ScratchDirectory scratch;
  const std::string root = scratch.path() + "/repo";
  const auto unopened = PosixStore::open(root);
  ASSERT_FALSE(unopened.has_value());
  EXPECT_EQ(unopened.error().code(), Errc::kPermission);
  EXPECT_THAT(unopened.error().to_string(), HasSubstr("mounted"));
  EXPECT_EQ(PosixStore::open("relative/path").error().code(), Errc::kInvalid);

  PosixOptions options = near_options();
  options.create_root = true;
  auto store = std::move(PosixStore::open(root, options)).value();
  ASSERT_TRUE(store->put({"dir/object"}, as_bytes("x")).has_value());
  Buffer byte(1);
  const auto expect_refused = [&](const std::string& how) {
    const std::array<Errc, 6> codes{
        store->stat({"dir/absent"}).has_value() ? Errc::kInternal : store->stat({"dir/absent"}).error().code(),
        store->read({"dir/absent"}, 0, byte.bytes()).error().code(),
        store->list({.prefix = "dir/"}).has_value() ? Errc::kInternal : store->list({}).error().code(),
        store->create({"dir/new"}).has_value() ? Errc::kInternal : store->create({"dir/new"}).error().code(),
        store->remove({"dir/absent"}).has_value() ? Errc::kInternal : store->remove({"dir/absent"}).error().code(),
        store->remove_stale_temporaries(std::chrono::days(1)).has_value()
            ? Errc::kInternal
            : store->remove_stale_temporaries(std::chrono::days(1)).error().code()};
    for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], Errc::kPermission) << how << ", call " << i;
    EXPECT_THAT(store->stat({"dir/absent"}).error().to_string(),
                HasSubstr("is the file system of " + root + " mounted?"));
  };
  std::filesystem::rename(root, root + ".moved");
  expect_refused("gone");
  std::filesystem::create_directory(root);  // As an empty mount point is, behind the file system that was there.
  expect_refused("replaced");
  std::filesystem::remove(root);
  std::filesystem::rename(root + ".moved", root);
  EXPECT_THAT(keys_of(*store), ElementsAre("dir/object")) << "and it is back";
}

TEST(PosixStore, RefusalsNameUserAndCause) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path()).value();
  ASSERT_TRUE(store->put({"dir/object"}, as_bytes("x")).has_value());
  std::filesystem::permissions(root.path(), std::filesystem::perms(0755));
  const std::string text = in_child([&]() -> std::string {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return "cannot become nobody";
    Buffer byte(1);
    std::string all;
    for (const Error& error :
         {store->stat({"dir/object"}).error(), store->read({"dir/object"}, 0, byte.bytes()).error(),
          store->list({.prefix = "dir/"}).error(), store->list({.prefix = ""}).error(),
          store->create({"dir/new"}).error(), store->create({"new"}).error(), store->remove({"dir/object"}).error()})
      all += fmt::format("[{}] {}\n", errc_name(error.code()), error.to_string());
    return all;
  });
  size_t permission = 0;
  for (size_t at = text.find("[permission]"); at != std::string::npos; at = text.find("[permission]", at + 1))
    ++permission;
  EXPECT_EQ(permission, 7u) << text;
  EXPECT_THAT(text, HasSubstr("uid 65534"));
  EXPECT_THAT(text, HasSubstr("stat object 'dir/object' in repo1 at " + root.path() + ": Permission denied"));
}

TEST(PosixStore, ForeignNamesAreNotObjectsAndLinksAreNotFollowed) {
  const ScratchDirectory root;
  const ScratchDirectory outside;
  auto store = PosixStore::open(root.path()).value();
  ASSERT_TRUE(store->put({"dir/object"}, as_bytes("x")).has_value());
  write_file(outside.path() + "/secret", "secret");
  std::filesystem::create_symlink(outside.path() + "/secret", root.path() + "/dir/link");
  std::filesystem::create_symlink("nowhere", root.path() + "/dir/dangling");
  std::filesystem::create_directory(root.path() + "/lost+found");
  write_file(root.path() + "/lost+found/x", "x");
  write_file(root.path() + "/dir/with space", "x");
  write_file(root.path() + "/dir/.tmp-1-2", "x");
  ASSERT_EQ(::mkfifo((root.path() + "/dir/fifo").c_str(), 0600), 0);
  EXPECT_THAT(keys_of(*store), ElementsAre("dir/object"));
  Buffer byte(1);
  EXPECT_EQ(store->read({"dir/link"}, 0, byte.bytes()).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->stat({"dir/link"}).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->read({"dir/fifo"}, 0, byte.bytes()).error().code(), Errc::kInvalid) << "and it does not hang";
  EXPECT_EQ(store->put({"dir/link"}, as_bytes("y")).error().code(), Errc::kAlreadyExists);
  // A directory may be on another disk.
  std::filesystem::create_directory(outside.path() + "/wal");
  std::filesystem::create_symlink(outside.path() + "/wal", root.path() + "/wal");
  ASSERT_TRUE(store->put({"wal/segment"}, as_bytes("x")).has_value());
  EXPECT_THAT(keys_of(*store), ElementsAre("dir/object", "wal/segment"));
}

TEST(PosixStore, NameOfADirectoryIsInvalidForAnObjectAndTheOtherWayRound) {
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path()).value();
  auto early = std::move(store->create({"a"})).value();
  ASSERT_TRUE(store->put({"a/b"}, as_bytes("x")).has_value());
  EXPECT_EQ(std::move(*early).commit().error().code(), Errc::kInvalid) << "also when only commit can notice";
  EXPECT_EQ(store->put({"a"}, as_bytes("x")).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->put({"a/b/c"}, as_bytes("x")).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->put({"a/b/c/d"}, as_bytes("x")).error().code(), Errc::kInvalid);
}

TEST(PosixStore, DescriptorCacheIsBoundedAndForgetsWhatAnotherProcessRemoved) {
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path()).value();
  auto other = PosixStore::open(root.path()).value();  // Shares nothing with the first, as another process does not.
  Buffer byte(1);
  for (int i = 0; i < 100; ++i) {
    const ObjectKey key{fmt::format("object-{}", i)};
    ASSERT_TRUE(store->put(key, as_bytes("a")).has_value());
    ASSERT_TRUE(store->read(key, 0, byte.bytes()).has_value());
  }
  EXPECT_EQ(store->open_descriptors(), 64u);
  const ObjectKey last{"object-99"};
  EXPECT_TRUE(other->remove(last).value());
  EXPECT_EQ(store->read(last, 0, byte.bytes()).error().code(), Errc::kNotFound);
  ASSERT_TRUE(other->put(last, as_bytes("b")).has_value());
  ASSERT_TRUE(store->read(last, 0, byte.bytes()).has_value());
  EXPECT_EQ(as_text(byte.bytes()), "b");
  EXPECT_TRUE(store->remove(last).value());
  EXPECT_EQ(store->open_descriptors(), 63u) << "an object removed here keeps no disk space through our descriptor";
}

/// Notes what the store does to the disk, in order.
struct Journal {
  PosixOptions options() {
    PosixOptions made = near_options();
    made.observer = [this](PosixEvent event, const std::string& path) {
      static constexpr const char* kNames[] = {"mkdir", "fsync", "publish", "fsyncdir", "remove"};
      MutexLock lock(mu);
      events.push_back(fmt::format("{} {}", kNames[static_cast<size_t>(event)], path));
    };
    return made;
  }
  std::vector<std::string> take() {
    MutexLock lock(mu);
    return std::exchange(events, {});
  }
  Mutex mu;
  std::vector<std::string> events GUARDED_BY(mu);
};

TEST(PosixStore, CommitSyncsContentAndNewParentsThenNamesItThenSyncsTheName) {
  const ScratchDirectory root;
  Journal journal;
  auto store = PosixStore::open(root.path(), journal.options()).value();
  ASSERT_TRUE(store->put({"a/b/object"}, as_bytes("x")).has_value());
  EXPECT_THAT(journal.take(), ElementsAre("mkdir a", "mkdir a/b", "fsync a/b/object", "fsyncdir a", "fsyncdir ",
                                          "publish a/b/object", "fsyncdir a/b"));
  ASSERT_TRUE(store->put({"a/b/second"}, as_bytes("x")).has_value());
  EXPECT_THAT(journal.take(), ElementsAre("fsync a/b/second", "publish a/b/second", "fsyncdir a/b"))
      << "parents known to be durable are not synced again";
  Journal elsewhere;
  auto other = PosixStore::open(root.path(), elsewhere.options()).value();
  ASSERT_TRUE(other->put({"a/b/third"}, as_bytes("x")).has_value());
  EXPECT_THAT(elsewhere.take(), ElementsAre("fsync a/b/third", "publish a/b/third", "fsyncdir a/b"))
      << "nor by another process, to which an object in the directory is proof";
  ASSERT_TRUE(store->remove({"a/b/second"}).value());
  EXPECT_THAT(journal.take(), ElementsAre("remove a/b/second", "fsyncdir a/b"));
}

TEST(PosixStore, DirectoriesMadeByAnotherProcessAreSyncedToo) {
  const ScratchDirectory root;
  std::filesystem::create_directories(root.path() + "/a/b");  // By one that died before its fsync, for all we know.
  Journal journal;
  auto store = PosixStore::open(root.path(), journal.options()).value();
  ASSERT_TRUE(store->put({"a/b/object"}, as_bytes("x")).has_value());
  EXPECT_THAT(journal.take(),
              ElementsAre("fsync a/b/object", "fsyncdir a", "fsyncdir ", "publish a/b/object", "fsyncdir a/b"));
  // Removed and made again, it is another directory, and not known.
  auto other = PosixStore::open(root.path()).value();
  ASSERT_TRUE(other->remove({"a/b/object"}).value());
  ASSERT_FALSE(std::filesystem::exists(root.path() + "/a"));
  std::filesystem::create_directories(root.path() + "/a/b");
  ASSERT_TRUE(store->put({"a/b/object"}, as_bytes("x")).has_value());
  EXPECT_THAT(journal.take(),
              ElementsAre("fsync a/b/object", "fsyncdir a", "fsyncdir ", "publish a/b/object", "fsyncdir a/b"));
}

TEST(PosixStore, ObjectThatAlreadyExistsIsMadeDurableBeforeThatIsSaid) {
  const ScratchDirectory root;
  Journal journal;
  auto store = PosixStore::open(root.path(), journal.options()).value();
  std::filesystem::create_directories(root.path() + "/a");
  write_file(root.path() + "/a/object", "x");  // Renamed by a writer that died before it could sync the directory.
  EXPECT_EQ(store->create({"a/object"}).error().code(), Errc::kAlreadyExists);
  EXPECT_THAT(journal.take(), ElementsAre("fsyncdir a"));
  auto late = std::move(store->create({"a/late"})).value();
  write_file(root.path() + "/a/late", "y");
  EXPECT_EQ(std::move(*late).commit().error().code(), Errc::kAlreadyExists);
  EXPECT_THAT(journal.take(), ElementsAre("fsync a/late", "fsyncdir a"));
}

TEST(PosixStore, FarFileSystemIsOneThatTakesLongToOpen) {
  const ScratchDirectory root;
  EXPECT_TRUE(PosixStore::open(root.path(), far_options()).value()->caps().far);
  EXPECT_FALSE(PosixStore::open(root.path(), near_options()).value()->caps().far);
}

TEST(PosixStore, OnAFarFileSystemTheRootIsBelievedForASecondButNotOnceRemoved) {
  const ScratchDirectory scratch;
  const std::string root = scratch.path() + "/repo";
  std::filesystem::create_directory(root);
  auto store = PosixStore::open(root, far_options()).value();
  std::filesystem::rename(root, root + ".moved");
  std::filesystem::create_directory(root);
  const auto refused = [&] {
    const auto absent = store->stat({"absent"});
    return !absent.has_value() && absent.error().code() == Errc::kPermission;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!refused()) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  auto moved = PosixStore::open(root + ".moved", far_options()).value();
  std::filesystem::remove(root + ".moved");
  EXPECT_EQ(moved->stat({"absent"}).error().code(), Errc::kPermission);
  EXPECT_EQ(moved->create({"main/object"}).error().code(), Errc::kPermission);
}

TEST(PosixStore, OnAFarFileSystemCommitsKeepTheirOrderAndRefuseTakenNames) {
  const ScratchDirectory root;
  Journal journal;
  PosixOptions options = journal.options();
  options.far_open = std::chrono::microseconds(0);
  auto store = PosixStore::open(root.path(), options).value();
  ASSERT_TRUE(store->put({"a/b/c/object"}, as_bytes("x")).has_value());
  EXPECT_THAT(journal.take(), ElementsAre("mkdir a", "mkdir a/b", "mkdir a/b/c", "fsync a/b/c/object", "fsyncdir a/b",
                                          "fsyncdir a", "fsyncdir ", "publish a/b/c/object", "fsyncdir a/b/c"));
  EXPECT_EQ(store->put({"a/b/c/object"}, as_bytes("x")).error().code(), Errc::kAlreadyExists);
  EXPECT_THAT(journal.take(), ElementsAre("fsync a/b/c/object", "fsyncdir a/b/c"));
  EXPECT_EQ(store->put({"a/b/c"}, as_bytes("x")).error().code(), Errc::kInvalid) << "a directory";
  EXPECT_EQ(store->put({"a/b/c/object/d"}, as_bytes("x")).error().code(), Errc::kInvalid) << "below an object";
}

/// The temporary file lies where the directory went; its name, which is given by the whole path, does not.
TEST(PosixStore, ObjectIsNotNamedInADirectoryThatWasMovedAway) {
  for (const bool by_rename : {true, false}) {
    const ScratchDirectory root;
    PosixOptions options = near_options();
    options.use_rename_no_replace = by_rename;
    auto store = PosixStore::open(root.path(), options).value();
    ASSERT_TRUE(store->put({"main/wal/first"}, as_bytes("x")).has_value());
    auto written = std::move(store->create({"main/wal/second"})).value();
    std::filesystem::rename(root.path() + "/main", root.path() + "/old");
    const auto lost = std::move(*written).commit();
    ASSERT_FALSE(lost.has_value());
    EXPECT_EQ(lost.error().code(), Errc::kPermission);
    EXPECT_THAT(lost.error().message(), HasSubstr("moved away or removed"));
    written.reset();
    EXPECT_THAT(keys_of(*store), ElementsAre("old/wal/first")) << "and nothing was made in its place";
    // The same, but begun afterwards through what the store remembers, with another directory there by now.
    std::filesystem::rename(root.path() + "/old", root.path() + "/main");
    ASSERT_TRUE(store->put({"main/wal/third"}, as_bytes("x")).has_value());
    std::filesystem::rename(root.path() + "/main", root.path() + "/old");
    std::filesystem::create_directories(root.path() + "/main/wal");
    EXPECT_EQ(store->put({"main/wal/fourth"}, as_bytes("x")).error().code(), Errc::kPermission);
    ASSERT_TRUE(store->put({"main/wal/fourth"}, as_bytes("x")).has_value());
    EXPECT_THAT(keys_of(*store), ElementsAre("main/wal/fourth", "old/wal/first", "old/wal/third"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root.path() + "/old/wal"), {}), 2) << "no leftovers";
  }
}

TEST(PosixStore, DirectoryRemovedByAnotherProcessIsMadeAgain) {
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path(), far_options()).value();
  auto other = PosixStore::open(root.path()).value();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(store->put({"main/lease/backup"}, as_bytes("x")).has_value());
    ASSERT_TRUE(other->remove({"main/lease/backup"}).value());
    ASSERT_FALSE(std::filesystem::exists(root.path() + "/main"));
  }
}

TEST(PosixStore, EveryCommitHasAnFsyncOfItsDirectoryAfterItsNameAppears) {
  const ScratchDirectory root;
  Journal journal;
  auto store = PosixStore::open(root.path(), journal.options()).value();
  constexpr int kObjects = 200;
  TaskGroup group;
  for (int t = 0; t < 8; ++t)
    group.spawn([&, t]() -> Result<> {
      for (int i = t; i < kObjects; i += 8) TRY(store->put({fmt::format("dir/object-{}", i)}, as_bytes("x")));
      return {};
    });
  ASSERT_TRUE(group.wait().has_value());
  const auto events = journal.take();
  EXPECT_EQ(std::ranges::count_if(events, [](const auto& e) { return e.starts_with("publish"); }), kObjects);
  EXPECT_GE(std::ranges::count(events, "fsyncdir dir"), 1);
  EXPECT_EQ(events.size(), std::set<std::string>(events.begin(), events.end()).size() +
                               static_cast<size_t>(std::ranges::count(events, "fsyncdir dir") - 1 +
                                                   std::ranges::count(events, "fsyncdir ") - 1));
}

TEST(PosixStore, StaleTemporariesOfDeadWritersAreRemovedAndOthersKept) {
  const ScratchDirectory root;
  auto store = PosixStore::open(root.path()).value();
  auto alive = std::move(store->create({"a/alive"})).value();
  ASSERT_TRUE(alive->append(as_bytes("12345")).has_value());
  std::filesystem::create_directories(root.path() + "/dead/b");
  for (const char* name : {"/dead/b/.tmp-1-old", "/.tmp-1-old", "/.tmp-1-young"}) write_file(root.path() + name, "123");
  for (const char* name : {"/dead/b/.tmp-1-old", "/.tmp-1-old"})
    std::filesystem::last_write_time(root.path() + name,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
  auto found = store->remove_stale_temporaries(std::chrono::days(1));
  ASSERT_TRUE(found.has_value()) << found.error().to_string();
  EXPECT_EQ(found->removed, 2u);
  EXPECT_EQ(found->removed_bytes, 6u);
  EXPECT_EQ(found->kept, 2u);
  EXPECT_FALSE(std::filesystem::exists(root.path() + "/dead")) << "nor the directories that held nothing else";
  found = store->remove_stale_temporaries(std::chrono::seconds(0));
  EXPECT_EQ(found->removed, 1u);
  EXPECT_EQ(found->kept, 1u) << "a living writer's, whatever its age";
  ASSERT_TRUE(std::move(*alive).commit().has_value());
  EXPECT_THAT(keys_of(*store), ElementsAre("a/alive"));
}

TEST(PosixStore, ListingReadsNoDirectoryOutsideItsPrefix) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const ScratchDirectory root;
  std::filesystem::permissions(root.path(), std::filesystem::perms(0755));
  PosixOptions options;
  options.directory_mode = 0755;
  auto store = PosixStore::open(root.path(), options).value();
  for (const char* name : {"a/1/x", "a/2/x", "a/3/x", "b/1/x"})
    ASSERT_TRUE(store->put({name}, as_bytes("x")).has_value());
  // Who may not enter a directory notices when it is tried.
  for (const char* name : {"/a/1", "/a/3", "/b"})
    std::filesystem::permissions(root.path() + name, std::filesystem::perms(0700));
  const std::string text = in_child([&]() -> std::string {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return "cannot become nobody";
    for (const ListRequest& request : {ListRequest{.prefix = "a/2"}, ListRequest{.prefix = "a/2/"},
                                       ListRequest{.prefix = "a/", .after = "a/1~", .limit = 0}}) {
      ListRequest asked = request;
      if (asked.limit == 0) asked.limit = 1;
      const auto page = store->list(asked);
      // The last one fails on a/3, which it needs in order to say whether there is more.
      if (!page.has_value() && asked.after.empty()) return page.error().to_string();
      if (!page.has_value() && page.error().message().find("'a/3'") == std::string::npos)
        return page.error().to_string();
    }
    return "ok";
  });
  EXPECT_EQ(text, "ok");
}

/// Become root of a user namespace with mounts of its own; why not, if the kernel refuses.
std::string enter_namespace() {
  const std::string uid = fmt::format("0 {} 1", ::geteuid());
  const std::string gid = fmt::format("0 {} 1", ::getegid());
  pgark::testing::end_sanitizer_thread();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return fmt::format("skip: unshare: {}", std::strerror(errno));
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", uid);
  write_file("/proc/self/gid_map", gid);
  return ::geteuid() == 0 ? "" : "skip: the ids of the user namespace cannot be set";
}

/// Mounts a file system of `bytes` in a child's own namespace and runs `body` there.
std::string on_small_file_system(const std::string& directory, const char* size,
                                 const std::function<std::string()>& body) {
  return in_child([&]() -> std::string {
    if (auto refused = enter_namespace(); !refused.empty()) return refused;
    if (::mount("tmpfs", directory.c_str(), "tmpfs", 0, size) != 0)
      return fmt::format("skip: mount: {}", std::strerror(errno));
    return body();
  });
}

TEST(PosixStore, FullDiskIsNoSpaceAndHarmsNothing) {
  const ScratchDirectory root;
  const std::string text = on_small_file_system(root.path(), "size=512k", [&]() -> std::string {
    auto store = PosixStore::open(root.path()).value();
    const std::string block(100'000, 'x');
    size_t written = 0;
    Result<> failed;
    while (failed.has_value() && written < 100) {
      auto put = store->put({fmt::format("dir/object-{:02}", written)}, as_bytes(block));
      if (put.has_value())
        ++written;
      else
        failed = std::move(put).error();
    }
    if (failed.has_value()) return "never full";
    std::string report = fmt::format("{} {}\n", errc_name(failed.error().code()), failed.error().to_string());
    size_t whole = 0;
    const auto listed = store->list_all("").value();
    for (const auto& object : listed) whole += store->get(object.key).value().size() == block.size();
    report += whole == written ? "whole\n" : "damaged\n";
    report += store->remove_stale_temporaries(std::chrono::seconds(0))->removed == 0 ? "tidy\n" : "littered\n";
    if (!store->remove({"dir/object-00"}).value_or(false)) report += "cannot remove\n";
    if (!store->put({"dir/again"}, as_bytes(block)).has_value()) report += "cannot write again\n";
    return report;
  });
  if (text.starts_with("skip: ")) GTEST_SKIP() << "no file system of our own: " << text.substr(6);
  EXPECT_THAT(text, HasSubstr("no_space write object 'dir/object-0"));
  EXPECT_THAT(text, HasSubstr("HINT: the file system of " + root.path() + " has no free space"));
  EXPECT_THAT(text, HasSubstr("\nwhole\ntidy\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("cannot")));
}

TEST(PosixStore, ReadOnlyFileSystemIsNamedAsTheCause) {
  const ScratchDirectory root;
  const std::string text = on_small_file_system(root.path(), "size=512k", [&]() -> std::string {
    auto store = PosixStore::open(root.path()).value();
    if (!store->put({"dir/object"}, as_bytes("x")).has_value()) return "cannot write";
    if (::mount("tmpfs", root.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=512k") != 0)
      return fmt::format("skip: remount: {}", std::strerror(errno));
    const auto put = store->put({"dir/other"}, as_bytes("x"));
    const auto removed = store->remove({"dir/object"});
    if (put.has_value() || removed.has_value()) return "wrote on a read-only file system";
    return fmt::format("{} {}\n{} {}\n{}", errc_name(put.error().code()), put.error().to_string(),
                       errc_name(removed.error().code()), removed.error().to_string(),
                       as_text(store->get({"dir/object"}).value().bytes()));
  });
  if (text.starts_with("skip: ")) GTEST_SKIP() << "no file system of our own: " << text.substr(6);
  EXPECT_THAT(text, HasSubstr("permission create object 'dir/other'"));
  EXPECT_THAT(text, HasSubstr("permission remove object 'dir/object'"));
  EXPECT_THAT(text, HasSubstr("HINT: the file system of " + root.path() + " is mounted read-only"));
}

TEST(PosixStore, FileSystemMountedOverTheRootIsNoticed) {
  const ScratchDirectory root;
  const std::string text = in_child([&]() -> std::string {
    if (auto refused = enter_namespace(); !refused.empty()) return refused;
    auto store = PosixStore::open(root.path(), near_options()).value();
    if (::mount("tmpfs", root.path().c_str(), "tmpfs", 0, "size=64k") != 0)
      return fmt::format("skip: mount: {}", std::strerror(errno));
    const auto created = store->create({"object"});
    const auto status = store->stat({"object"});
    if (created.has_value() || status.has_value()) return "not noticed";
    return created.error().message() + "\n" + status.error().message();
  });
  if (text.starts_with("skip: ")) GTEST_SKIP() << "no file system of our own: " << text.substr(6);
  EXPECT_THAT(text, HasSubstr("create object 'object'"));
  EXPECT_THAT(text, HasSubstr("mounted over"));
}

}  // namespace
}  // namespace pgark
