// Tables of contents: where each format keeps them, and what pg_restore is shown of them.
#include "ops/load_archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "core/file.h"
#include "core/subprocess.h"

namespace pgark {
namespace {

constexpr uint64_t kTocBytesMax = 4ull << 30;
constexpr size_t kTarBlock = 512;

/// Read a table of contents that is followed by data, as far as it goes.
Result<pg::DumpToc> read_head(const DumpStream& stream, const DumpReader& reader, const CancelToken& cancel,
                              bool is_tar) {
  std::vector<std::byte> head;
  std::optional<pg::DumpToc> toc;
  size_t next_try = 1;
  const auto decode = [&]() -> Result<bool> {
    Bytes bytes = head;
    if (is_tar) bytes = bytes.subspan(std::min(bytes.size(), kTarBlock));
    auto decoded = pg::read_dump_toc(bytes);
    if (decoded) {
      toc = std::move(*decoded);
      return true;
    }
    if (decoded.error().code() != Errc::kNotFound) return std::move(decoded).error();
    next_try = 2 * head.size();
    return false;
  };
  const auto read = reader.read(stream, cancel, [&](Bytes data) -> Result<> {
    head.insert(head.end(), data.begin(), data.end());
    if (head.size() > kTocBytesMax) return Error(Errc::kUnsupported, "the table of contents is too large");
    if (head.size() < next_try) return {};
    TRY_ASSIGN(const bool is_read, decode());
    // What follows is not needed: end the reading.
    return is_read ? Result<>(Error(Errc::kCancelled, "read enough")) : Result<>();
  });
  if (toc) return std::move(*toc);
  if (!read) return Error(read.error());
  TRY_ASSIGN(const bool is_read, decode());
  if (!is_read) return Error(Errc::kCorrupt, "the archive ends within its table of contents");
  return std::move(*toc);
}

bool names_roles(const pg::DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 7> kWords = {
      "ACL", "DEFAULT ACL", "POLICY", "USER MAPPING", "DATABASE PROPERTIES", "SCHEMA", "EVENT TRIGGER"};
  return std::find(kWords.begin(), kWords.end(), entry.desc) != kWords.end();
}

}  // namespace

void LoadUnit::index_streams() {
  for (const DumpStream& stream : unit->streams) streams.emplace(stream.name, &stream);
}

const DumpStream* LoadUnit::find_stream(const std::string& name) const {
  if (!streams.empty()) {
    const auto indexed = streams.find(name);
    return indexed == streams.end() ? nullptr : indexed->second;
  }
  const auto found = std::find_if(unit->streams.begin(), unit->streams.end(),
                                  [&](const DumpStream& stream) { return stream.name == name; });
  return found == unit->streams.end() ? nullptr : &*found;
}

Result<const DumpStream*> LoadUnit::only_stream() const {
  if (unit->streams.size() == 1) return &unit->streams.front();
  return Error(Errc::kCorrupt, fmt::format("unit {} of the dump has {} streams, not one", index, unit->streams.size()));
}

Result<std::optional<pg::DumpToc>> read_unit_toc(const DumpUnit& unit, const DumpReader& reader,
                                                 const CancelToken& cancel) {
  if (unit.format == DumpFormat::kPlain) return std::nullopt;
  LoadUnit view;
  view.unit = &unit;
  if (unit.format == DumpFormat::kDirectory) {
    const DumpStream* stream = view.find_stream("toc.dat");
    if (stream == nullptr) return Error(Errc::kCorrupt, "the dump of " + unit.database + " has no toc.dat");
    TRY_ASSIGN(const std::string bytes, reader.read_whole(*stream, cancel, kTocBytesMax));
    TRY_ASSIGN_CTX(auto toc, pg::read_dump_toc(as_bytes(bytes)), "read toc.dat of " + unit.database);
    return toc;
  }
  TRY_ASSIGN(const DumpStream* stream, view.only_stream());
  TRY_ASSIGN_CTX(auto toc, read_head(*stream, reader, cancel, unit.format == DumpFormat::kTar),
                 "read the table of contents of " + unit.database);
  return toc;
}

Result<> map_toc_roles(pg::DumpToc& toc, const pg::RoleMap& roles) {
  if (roles.empty()) return {};
  for (pg::DumpTocEntry& entry : toc.entries) {
    if (entry.owner)
      if (const auto mapped = roles.find(*entry.owner); mapped != roles.end()) entry.owner = mapped->second;
    if (!names_roles(entry)) continue;
    for (auto* text : {&entry.definition, &entry.drop_statement}) {
      if (!*text || (*text)->empty()) continue;
      TRY_ASSIGN_CTX(*text, pg::map_roles(**text, roles), "rename roles in " + entry_label(entry));
    }
  }
  return {};
}

Result<ScratchDirectory> ScratchDirectory::create(const std::string& parent) {
  TRY(make_directories(parent));
  std::string path = parent + "/pgark-load-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return errno_error(errno, "create a directory in " + parent);
  return ScratchDirectory(std::move(path));
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<std::string> make_toc_directory(const LoadTools& tools, const LoadUnit& unit) {
  const std::string path = fmt::format("{}/{}", tools.scratch, unit.index);
  std::error_code failed;
  if (std::filesystem::exists(path + "/toc.dat", failed)) return path;
  TRY(make_directories(path, 0700));
  pg::DumpToc toc = *unit.toc;
  toc.format = pg::DumpToc::Format::kTar;  // A directory shares the code of tar.
  const std::vector<std::byte> bytes = pg::write_dump_toc(toc);
  TRY_ASSIGN(File file, File::open(path + "/toc.dat", O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(file.write(bytes));
  TRY(file.close());
  return path;
}

Result<std::string> make_list(const LoadTools& tools, const LoadUnit& unit, const std::vector<size_t>& entries,
                              const std::string& name) {
  std::string list;
  for (const size_t at : entries) list += fmt::format("{}; 0 0\n", unit.toc->entries[at].dump_id);
  const std::string path = fmt::format("{}/{}-{}.list", tools.scratch, unit.index, name);
  TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(file.write(as_bytes(list)));
  TRY(file.close());
  return path;
}

Result<std::string> make_script(const LoadTools& tools, const LoadUnit& unit, const std::vector<size_t>& entries,
                                const std::string& name, const std::vector<std::string>& arguments) {
  TRY_ASSIGN(const std::string directory, make_toc_directory(tools, unit));
  TRY_ASSIGN(const std::string list, make_list(tools, unit, entries, name));
  SubprocessOptions options = load_program(tools.client, "pg_restore", tools.request.server);
  options.arguments = {"--format=directory", "--file=-", "--use-list=" + list};
  options.arguments.insert(options.arguments.end(), tools.request.arguments.begin(), tools.request.arguments.end());
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  options.arguments.push_back(directory);
  options.output = SubprocessOptions::Stream::kPipe;
  const std::string path = fmt::format("{}/{}-{}.sql", tools.scratch, unit.index, name);
  TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  ScriptFilter filter(tools.needs, [&](Bytes data) { return file.write(data); });
  TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
  std::vector<std::byte> chunk(1u << 17);
  for (;;) {
    TRY_ASSIGN(const size_t count, process.read_output(chunk, tools.cancel));
    if (count == 0) break;
    TRY(filter.add(Bytes(chunk).first(count)));
  }
  TRY(filter.finish());
  TRY(file.close());
  TRY_ASSIGN(const SubprocessExit exit, process.wait(tools.cancel));
  if (exit.ok()) return path;
  const auto errors = program_errors(exit.error_text);
  return Error(Errc::kInvalid, "pg_restore: " + (errors.empty() ? exit.error_text : errors.front()));
}

uint64_t entry_bytes(const LoadUnit& unit, const pg::DumpTocEntry& entry) {
  if (unit.unit->format != DumpFormat::kDirectory) return 0;
  const DumpStream* stream = unit.find_stream(entry.file_name);
  return stream == nullptr ? 0 : stream->raw_bytes;
}

}  // namespace pgark
