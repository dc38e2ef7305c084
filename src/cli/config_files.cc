#include "cli/config_files.h"

#include <dirent.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "codec/hash.h"
#include "core/file.h"

namespace pgark {
namespace {

constexpr uint64_t kFileBytesMax = 16u << 20;

Result<std::vector<std::string>> list_conf_files(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> handle(::opendir(directory.c_str()), ::closedir);
  if (handle == nullptr) return errno_error(errno, "open directory '" + directory + "'");
  std::vector<std::string> files;
  errno = 0;
  while (const dirent* entry = ::readdir(handle.get())) {
    const std::string_view name = entry->d_name;
    if (name.ends_with(".conf") && name[0] != '.') files.push_back(fmt::format("{}/{}", directory, name));
    errno = 0;
  }
  if (errno != 0) return errno_error(errno, "read directory '" + directory + "'");
  std::ranges::sort(files);
  return files;
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

/// One text for a list of names, which hold no zero byte.
std::string joined(const std::vector<std::string>& files) {
  return fmt::format("{}", fmt::join(files, std::string_view("\0", 1)));
}

uint64_t hash_with(const Secret& key, const std::string& text) {
  return seeded_hash(as_bytes(text), load_le<uint64_t>(key.bytes().data()));
}

}  // namespace

Result<uint64_t> ConfigFiles::keyed_hash(const std::string& text) {
  if (hash_key_ == nullptr) {
    Secret key(sizeof(uint64_t));
    TRY(random_bytes(key.bytes()));
    hash_key_ = std::make_shared<const Secret>(std::move(key));
  }
  return hash_with(*hash_key_, text);
}

Result<std::vector<IniEntry>> ConfigFiles::read(const std::string& path, bool required) {
  Source& source = sources_.emplace_back(Source{path, Kind::kFile, std::nullopt});
  if (!required && !exists(path)) return std::vector<IniEntry>();
  TRY_ASSIGN(std::string text, read_file(path, kFileBytesMax));
  const auto content = keyed_hash(text);
  auto entries = parse_ini(text, path);
  wipe(text);  // There may be secrets in it.
  TRY_ASSIGN(source.content, content);
  return entries;
}

Result<std::vector<std::string>> ConfigFiles::list(const std::string& directory, bool required) {
  Source& source = sources_.emplace_back(Source{directory, Kind::kDirectory, std::nullopt});
  if (!required && !exists(directory)) return std::vector<std::string>();
  TRY_ASSIGN(std::vector<std::string> files, list_conf_files(directory));
  TRY_ASSIGN(source.content, keyed_hash(joined(files)));
  return files;
}

bool ConfigFiles::found(const std::string& path) const {
  const auto source = std::ranges::find(sources_, path, &Source::path);
  return source != sources_.end() && source->content.has_value();
}

std::optional<uint64_t> ConfigFiles::current(const Source& source) const {
  if (hash_key_ == nullptr || !exists(source.path)) return std::nullopt;
  if (source.kind == Kind::kDirectory) {
    const auto files = list_conf_files(source.path);
    if (!files) return std::nullopt;
    return hash_with(*hash_key_, joined(*files));
  }
  auto text = read_file(source.path, kFileBytesMax);
  if (!text) return std::nullopt;
  const uint64_t hash = hash_with(*hash_key_, *text);
  wipe(*text);
  return hash;
}

bool ConfigFiles::changed() const {
  return std::ranges::any_of(sources_, [this](const Source& source) {
    // Without a key nothing was there to read.
    if (hash_key_ == nullptr) return exists(source.path);
    return current(source) != source.content;
  });
}

}  // namespace pgark
