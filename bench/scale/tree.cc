// Sizes of made-up relations, and the system calls that are answered for them: functions of the C library that this
// program defines itself are called by the product, too.
#include "tree.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "scale.h"

namespace pgark::scale {
namespace {

constexpr uint64_t kPage = 8192;
constexpr double kFlatness = 3;  // Of the largest: the sizes fall as 1 / (rank + this).

const Tree* served = nullptr;

}  // namespace

Tree::Tree(uint64_t relations, uint64_t bytes)
    : relations_(relations), large_count_(std::clamp<uint64_t>(relations / 1000, 1, 10'000)) {
  large_every_ = relations / large_count_ / 4 * 4;  // So that all of them are heaps.
  uint64_t small = 0;
  for (uint64_t i = 0; i < relations; ++i) small += small_bytes(i);
  large_bytes_ = static_cast<double>(bytes - std::min(bytes, small));
  for (uint64_t rank = 0; rank < large_count_; ++rank) harmonic_ += 1 / (static_cast<double>(rank) + kFlatness);
}

uint64_t Tree::small_bytes(uint64_t relation) {
  const uint64_t chance = scatter(relation) % 100;
  const uint64_t more = scatter(relation + (1ull << 40));
  switch (relation % 4) {
    case 0:  // Heaps.
      return chance < 20 ? 0 : chance < 60 ? kPage : chance < 85 ? kPage * (2 + more % 3) : kPage * (5 + more % 4);
    case 1:  // TOAST tables: nearly all are empty.
      return chance < 90 ? 0 : kPage * (1 + more % 8);
    case 2:  // Their indexes: a page of no entries.
      return chance < 90 ? kPage : 2 * kPage;
    default:  // Primary keys.
      return chance < 20 ? kPage : chance < 80 ? 2 * kPage : kPage * (3 + more % 6);
  }
}

uint64_t Tree::bytes_of(uint64_t relation) const {
  if (relation % large_every_ != 0 || relation / large_every_ >= large_count_) return small_bytes(relation);
  const uint64_t rank = relation / large_every_ * 7919 % large_count_;  // Not the largest first.
  const double bytes = large_bytes_ / harmonic_ / (static_cast<double>(rank) + kFlatness);
  return static_cast<uint64_t>(bytes) / kPage * kPage;
}

bool Tree::has_maps(uint64_t relation) const { return relation % 4 == 0 && bytes_of(relation) > 4 * kPage; }

uint64_t Tree::map_bytes(uint64_t relation, bool free_space) const {
  const uint64_t pages = bytes_of(relation) / kPage;
  return free_space ? kPage * (3 + pages / 4000) : kPage * (1 + pages / 32'000);
}

std::vector<std::string> Tree::files_of(uint64_t relation) const {
  std::vector<std::string> names{std::to_string(relfilenode_of(relation))};
  const uint64_t bytes = bytes_of(relation);
  for (uint64_t segment = 1; segment * kSegmentBytes < bytes; ++segment)
    names.push_back(fmt::format("{}.{}", names.front(), segment));
  if (!has_maps(relation)) return names;
  names.push_back(names.front() + "_fsm");
  names.push_back(names.front() + "_vm");
  return names;
}

uint64_t Tree::file_bytes(uint32_t database, const std::string& name) const {
  uint32_t relfilenode = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), relfilenode);
  const uint64_t relation = database * relations_each() + relfilenode - kFirstRelfilenode;
  const std::string_view rest(parsed.ptr, static_cast<size_t>(name.data() + name.size() - parsed.ptr));
  if (rest == "_fsm" || rest == "_vm") return map_bytes(relation, rest == "_fsm");
  const uint64_t segment = rest.empty() ? 0 : std::strtoull(rest.data() + 1, nullptr, 10);
  return std::min(bytes_of(relation) - segment * kSegmentBytes, kSegmentBytes);
}

namespace {

/// A directory that is being read.
struct MadeUpDirectory {
  std::vector<std::string> names;
  size_t next = 0;
  uint64_t relation = 0;  // Whose names follow.
  uint64_t end = 0;
  dirent entry{};
};
std::set<const void*> open_directories;
std::map<int, std::string> open_paths;  // Of directories that are open to look at what is in them.

/// The path below the root, "" for it; none if it is not ours.
const char* below_root(const char* path) {
  const size_t size = std::strlen(kTreeRoot);
  if (served == nullptr || std::strncmp(path, kTreeRoot, size) != 0) return nullptr;
  if (path[size] == '\0') return "";
  return path[size] == '/' ? path + size + 1 : nullptr;
}

/// Which database "base/16385/100000" or "base/16385" is in, and the name there.
bool in_database(std::string_view path, uint32_t& database, std::string_view& name) {
  if (!path.starts_with("base/")) return false;
  path.remove_prefix(5);
  uint32_t oid = 0;
  const auto parsed = std::from_chars(path.data(), path.data() + path.size(), oid);
  if (parsed.ec != std::errc() || oid < Tree::kFirstDatabaseOid || oid >= Tree::kFirstDatabaseOid + Tree::kDatabases)
    return false;
  database = oid - Tree::kFirstDatabaseOid;
  path.remove_prefix(static_cast<size_t>(parsed.ptr - path.data()));
  name = path.empty() ? path : path.substr(1);
  return true;
}

bool open_made_up(const std::string& path, MadeUpDirectory& directory) {
  std::vector<std::string>& names = directory.names;
  if (path.empty()) {
    names = {"PG_VERSION", "base", "global", "pg_tblspc"};
  } else if (path == "base") {
    for (uint32_t i = 0; i < Tree::kDatabases; ++i) names.push_back(std::to_string(Tree::kFirstDatabaseOid + i));
  } else if (path == "global") {
    names = {"pg_control"};
  } else if (path != "pg_tblspc") {
    uint32_t database = 0;
    std::string_view name;
    if (!in_database(path, database, name) || !name.empty()) return false;
    directory.relation = served->begin_of(database);
    directory.end = served->begin_of(database + 1);
  }
  return true;
}

int look(const std::string& path, struct stat& status) {
  status = {};
  status.st_dev = 0xFFFF;
  status.st_ino = scatter(std::hash<std::string>{}(path));
  status.st_mtim.tv_sec = 1'700'000'000 + static_cast<time_t>(status.st_ino % 80'000'000);
  status.st_uid = ::getuid();
  status.st_gid = ::getgid();
  uint32_t database = 0;
  std::string_view name;
  const bool relation = in_database(path, database, name) && !name.empty();
  const bool file = relation || path == "PG_VERSION" || path == "global/pg_control";
  status.st_mode = file ? S_IFREG | 0600u : S_IFDIR | 0700u;
  if (file) status.st_size = 8192;
  if (relation) status.st_size = static_cast<off_t>(served->file_bytes(database, std::string(name)));
  return 0;
}

void serve(const Tree* tree) {
  served = tree;
  if (tree == nullptr) open_paths.clear();
}

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

void serve_tree(const Tree* tree) { serve(tree); }

}  // namespace pgark::scale

using pgark::scale::below_root;

extern "C" {

DIR* opendir(const char* path) {
  const char* const below = below_root(path);
  if (below == nullptr) return pgark::scale::real<DIR* (*)(const char*)>("opendir")(path);
  auto* const directory = new pgark::scale::MadeUpDirectory;
  if (!pgark::scale::open_made_up(below, *directory)) {
    delete directory;
    errno = ENOENT;
    return nullptr;
  }
  pgark::scale::open_directories.insert(directory);
  return reinterpret_cast<DIR*>(directory);
}

struct dirent* readdir(DIR* opened) {
  if (!pgark::scale::open_directories.contains(opened))
    return pgark::scale::real<struct dirent* (*)(DIR*)>("readdir")(opened);
  auto& directory = *reinterpret_cast<pgark::scale::MadeUpDirectory*>(opened);
  if (directory.next == directory.names.size() && directory.relation < directory.end) {
    directory.names = pgark::scale::served->files_of(directory.relation++);
    directory.next = 0;
  }
  if (directory.next == directory.names.size()) return nullptr;
  const std::string& name = directory.names[directory.next++];
  std::memcpy(directory.entry.d_name, name.c_str(), name.size() + 1);
  directory.entry.d_type = DT_UNKNOWN;
  return &directory.entry;
}

int closedir(DIR* opened) {
  if (pgark::scale::open_directories.erase(opened) == 0) return pgark::scale::real<int (*)(DIR*)>("closedir")(opened);
  delete reinterpret_cast<pgark::scale::MadeUpDirectory*>(opened);
  return 0;
}

int lstat(const char* path, struct stat* status) {
  const char* const below = below_root(path);
  if (below == nullptr) return pgark::scale::real<int (*)(const char*, struct stat*)>("lstat")(path, status);
  return pgark::scale::look(below, *status);
}

int stat(const char* path, struct stat* status) {
  const char* const below = below_root(path);
  if (below == nullptr) return pgark::scale::real<int (*)(const char*, struct stat*)>("stat")(path, status);
  return pgark::scale::look(below, *status);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const char* const below = below_root(path);
  static const auto real_open = pgark::scale::real<int (*)(const char*, int, ...)>("open");
  if (below == nullptr) return real_open(path, flags, mode);
  const int fd = real_open("/", O_PATH | O_CLOEXEC);
  if (fd >= 0) pgark::scale::open_paths[fd] = below;
  return fd;
}

int fstatat(int fd, const char* name, struct stat* status, int flags) {
  const auto found = pgark::scale::open_paths.find(fd);
  if (pgark::scale::served != nullptr && found != pgark::scale::open_paths.end())
    return pgark::scale::look(found->second.empty() ? name : found->second + "/" + name, *status);
  static const auto real_fstatat = pgark::scale::real<int (*)(int, const char*, struct stat*, int)>("fstatat");
  return real_fstatat(fd, name, status, flags);
}

char* realpath(const char* path, char* resolved) {
  const char* const below = below_root(path);
  if (below == nullptr) return pgark::scale::real<char* (*)(const char*, char*)>("realpath")(path, resolved);
  if (resolved == nullptr) return ::strdup(path);
  return std::strcpy(resolved, path);
}

}  // extern "C"
