// One unit after the other goes through tar and encryption, where asked for, into its place.
#include "ops/dump_export.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <system_error>

#include "ops/dump_sinks.h"
#include "ops/tar_writer.h"
#include "pg/dump_toc.h"

namespace pgark {
namespace {

constexpr uint64_t kTocBytesMax = uint64_t{256} << 20;
constexpr size_t kListedMax = 50;

std::string file_name_part(std::string_view name) {
  std::string safe;
  for (const char c : name) {
    const bool is_unsafe = static_cast<unsigned char>(c) < 0x20 || c == '/' || c == '%' || c == 0x7f;
    safe += is_unsafe || (c == '.' && safe.empty()) ? fmt::format("%{:02X}", static_cast<unsigned char>(c))
                                                    : std::string(1, c);
  }
  return safe;
}

std::string_view extension(DumpFormat format) {
  switch (format) {
    case DumpFormat::kDirectory:
      return "";
    case DumpFormat::kCustom:
      return ".dump";
    case DumpFormat::kPlain:
      return ".sql";
    case DumpFormat::kTar:
      return ".tar";
  }
  return "";
}

std::string list_parts(const Dump& dump, const std::vector<uint32_t>& units) {
  std::string list;
  for (size_t i = 0; i < units.size(); ++i) {
    if (i == kListedMax) return fmt::format("{} and {} more", list, units.size() - i);
    const DumpUnit& unit = dump.meta.units[units[i]];
    list += list.empty() ? "" : ", ";
    list += dump_part_name(unit);
    if (!unit.database.empty() && unit.database != dump_part_name(unit)) list += fmt::format(" (of {})", unit.database);
  }
  return list;
}

bool is_part(const DumpUnit& unit, const std::string& part) {
  return dump_part_name(unit) == part || (unit.kind == DumpUnit::Kind::kPartition && unit.name == part);
}

// The files of a directory in the order pg_restore wants them in a tar archive: the table of contents, then data in its
// order, large objects behind their list.
class TarOrder {
 public:
  TarOrder(const DumpUnit& unit, const DumpReader& reader, const CancelToken& cancel)
      : reader_(reader), cancel_(cancel) {
    for (const DumpStream& stream : unit.streams) streams_[stream.name] = &stream;
    for (const DumpStream& stream : unit.streams) rest_.push_back(stream.name);
  }

  Result<std::vector<const DumpStream*>> get() {
    const auto toc = streams_.find("toc.dat");
    if (toc != streams_.end() && toc->second->raw_bytes <= kTocBytesMax) {
      take("toc.dat");
      TRY_ASSIGN(const std::string bytes, reader_.read_whole(*toc->second, cancel_, kTocBytesMax));
      TRY_ASSIGN(const pg::DumpToc contents, pg::read_dump_toc(as_bytes(bytes)));
      for (const pg::DumpTocEntry& entry : contents.entries) {
        TRY(take_data(entry));
      }
    }
    for (const std::string& name : rest_) take(name);
    return std::move(ordered_);
  }

 private:
  void take(const std::string& name) {
    const auto found = streams_.find(name);
    if (found == streams_.end() || !taken_.insert(name).second) return;
    ordered_.push_back(found->second);
  }

  Result<> take_data(const pg::DumpTocEntry& entry) {
    if (entry.file_name.empty()) return {};
    const auto found = streams_.find(entry.file_name);
    const bool is_list = entry.desc == "BLOBS" && found != streams_.end() && !taken_.contains(entry.file_name);
    take(entry.file_name);
    if (!is_list || found->second->raw_bytes > kTocBytesMax) return {};
    TRY_ASSIGN(const std::string list, reader_.read_whole(*found->second, cancel_, kTocBytesMax));
    std::istringstream lines(list);
    for (std::string oid, name; lines >> oid >> name;) take(name);
    return {};
  }

  const DumpReader& reader_;
  const CancelToken& cancel_;
  std::map<std::string, const DumpStream*> streams_;
  std::vector<std::string> rest_;
  std::set<std::string> taken_;
  std::vector<const DumpStream*> ordered_;
};

class Exporter {
 public:
  Exporter(const DumpExportRequest& request, const Dump& dump, const DumpReader& reader, const CancelToken& cancel,
           Progress& progress)
      : request_(request), dump_(dump), reader_(reader), cancel_(cancel), progress_(progress) {}

  Result<std::vector<ExportedPart>> run() {
    TRY(plan());
    progress_.phase = "write files";
    progress_.files_total = parts_.size();
    for (const ExportedPart& part : parts_) {
      TRY_CTX(write(part), fmt::format("write {}", part.path == "-" ? "standard output" : part.path));
      ++progress_.files_done;
    }
    return std::move(parts_);
  }

 private:
  bool is_encrypted() const { return !request_.gpg.empty() || !request_.age.empty(); }
  const DumpUnit& unit_of(const ExportedPart& part) const { return dump_.meta.units[part.unit]; }

  Result<> plan() {
    std::set<std::string> used;
    for (const uint32_t index : request_.units) {
      const DumpUnit& unit = dump_.meta.units[index];
      ExportedPart part{index, request_.destination, false, unit.raw_bytes()};
      part.is_tar = unit.format == DumpFormat::kDirectory && (is_encrypted() || !request_.into_directory);
      if (unit.format != DumpFormat::kDirectory && unit.streams.size() != 1)
        return Error(Errc::kCorrupt, fmt::format("dump {}: part {} has {} streams instead of one", dump_.meta.label,
                                                 dump_part_name(unit), unit.streams.size()));
      if (request_.into_directory) {
        std::string name = dump_part_file_name(unit) + (part.is_tar ? ".tar" : "");
        if (is_encrypted()) name += request_.gpg.empty() ? ".age" : ".gpg";
        const std::string first = name;
        for (int n = 2; !used.insert(name).second; ++n) name = fmt::format("{}-{}", first, n);
        part.path = fmt::format("{}/{}", request_.destination, name);
      }
      progress_.bytes_total += part.raw_bytes;
      parts_.push_back(std::move(part));
    }
    return check_places();
  }

  Result<> check_places() const {
    std::string in_the_way;
    for (const ExportedPart& part : parts_) {
      struct stat info {};
      if (part.path == "-" || ::lstat(part.path.c_str(), &info) != 0) continue;
      if (request_.force) {
        TRY(check_replaceable(part, S_ISDIR(info.st_mode)));
      } else {
        in_the_way += (in_the_way.empty() ? "" : ", ") + part.path;
      }
    }
    if (in_the_way.empty()) return {};
    return Error(Errc::kAlreadyExists, fmt::format("{} exists already", in_the_way))
        .with_hint("choose another destination, or --force to replace it");
  }

  // --force means earlier dumps; a directory of anything else is a slip.
  Result<> check_replaceable(const ExportedPart& part, bool is_directory) const {
    const bool becomes_directory = unit_of(part).format == DumpFormat::kDirectory && !part.is_tar;
    if (!is_directory && !becomes_directory) return {};
    std::error_code error;
    if (is_directory && becomes_directory &&
        (std::filesystem::exists(part.path + "/toc.dat", error) || std::filesystem::is_empty(part.path, error)))
      return {};
    return Error(Errc::kAlreadyExists, fmt::format("{} exists and is no dump of {}", part.path,
                                                   becomes_directory ? "the directory format" : "one file"))
        .with_hint("remove it, or choose another destination");
  }

  Result<> write(const ExportedPart& part) {
    if (part.path == "-") {
      TRY_ASSIGN(auto sink, encrypted(make_function_sink(request_.output)));
      return write_file(part, *sink);
    }
    PendingPath pending(part.path);
    if (unit_of(part).format == DumpFormat::kDirectory && !part.is_tar) {
      TRY(write_directory(unit_of(part), pending.temporary()));
    } else {
      TRY_ASSIGN(auto file, make_file_sink(pending.temporary()));
      TRY_ASSIGN(auto sink, encrypted(std::move(file)));
      TRY(write_file(part, *sink));
    }
    return std::move(pending).commit(request_.force);
  }

  Result<std::unique_ptr<ByteSink>> encrypted(std::unique_ptr<ByteSink> sink) {
    if (!request_.age.empty()) return make_age_sink(request_.age, std::move(sink));
    if (!request_.gpg.empty()) return make_gpg_sink(request_.gpg, std::move(sink), cancel_);
    return sink;
  }

  Result<> write_directory(const DumpUnit& unit, const std::string& directory) {
    TRY(make_directories(directory, 0700));
    for (const DumpStream& stream : unit.streams) {
      if (!is_plain_file_name(stream.name))
        return Error(Errc::kCorrupt, fmt::format("'{}' is no name for a file of a dump", stream.name));
      TRY_ASSIGN(auto file, make_file_sink(directory + "/" + stream.name));
      TRY(copy(stream, [&](Bytes data) { return file->write(data); }));
      TRY(file->finish());
    }
    return fsync_directory(directory);
  }

  Result<> write_file(const ExportedPart& part, ByteSink& sink) {
    const auto to_sink = [&sink](Bytes data) { return sink.write(data); };
    const DumpUnit& unit = unit_of(part);
    if (!part.is_tar) {
      TRY(copy(unit.streams.front(), to_sink));
      return sink.finish();
    }
    TarWriter tar(to_sink, dump_.meta.started);
    TRY_ASSIGN(const auto streams, TarOrder(unit, reader_, cancel_).get());
    for (const DumpStream* stream : streams) {
      TRY(tar.begin(stream->name, stream->raw_bytes));
      TRY(copy(*stream, [&tar](Bytes data) { return tar.append(data); }));
      TRY(tar.end());
    }
    TRY(tar.finish());
    return sink.finish();
  }

  Result<> copy(const DumpStream& stream, const std::function<Result<>(Bytes)>& sink) {
    return reader_.read(stream, cancel_, [&](Bytes data) -> Result<> {
      TRY(sink(data));
      progress_.bytes_done += data.size();
      return {};
    });
  }

  const DumpExportRequest& request_;
  const Dump& dump_;
  const DumpReader& reader_;
  const CancelToken& cancel_;
  Progress& progress_;
  std::vector<ExportedPart> parts_;
};

}  // namespace

std::string dump_part_name(const DumpUnit& unit) {
  switch (unit.kind) {
    case DumpUnit::Kind::kGlobals:
      return "globals";
    case DumpUnit::Kind::kCommon:
      return "common";
    case DumpUnit::Kind::kDefinition:
      return "definition";
    case DumpUnit::Kind::kSchema:
      return unit.name;
    case DumpUnit::Kind::kPartition:
      return unit.schema + "." + unit.name;
    case DumpUnit::Kind::kWhole:
    case DumpUnit::Kind::kGiven:
      break;
  }
  return unit.database.empty() ? "dump" : unit.database;
}

std::string dump_part_file_name(const DumpUnit& unit) {
  if (unit.kind == DumpUnit::Kind::kGlobals) return "globals.sql";
  std::string name = file_name_part(unit.database.empty() ? "dump" : unit.database);
  const std::string part = dump_part_name(unit);
  if (unit.kind != DumpUnit::Kind::kWhole && unit.kind != DumpUnit::Kind::kGiven) name += "." + file_name_part(part);
  return name + std::string(extension(unit.format));
}

Result<std::vector<uint32_t>> choose_dump_parts(const Dump& dump, const std::vector<std::string>& databases,
                                                const std::string& part, bool one) {
  std::vector<uint32_t> all, chosen;
  for (uint32_t i = 0; i < dump.meta.units.size(); ++i) {
    const DumpUnit& unit = dump.meta.units[i];
    all.push_back(i);
    const bool is_global = unit.kind == DumpUnit::Kind::kGlobals;
    const bool is_of_database = databases.empty() || is_global ||
                                std::find(databases.begin(), databases.end(), unit.database) != databases.end();
    if (is_of_database && (part.empty() || is_part(unit, part))) chosen.push_back(i);
  }
  if (one && part.empty() && chosen.size() > 1)
    std::erase_if(chosen, [&](uint32_t i) { return dump.meta.units[i].kind == DumpUnit::Kind::kGlobals; });
  for (const std::string& database : databases)
    if (std::none_of(all.begin(), all.end(), [&](uint32_t i) { return dump.meta.units[i].database == database; }))
      return Error(Errc::kNotFound, fmt::format("dump {} has no database {}", dump.meta.label, database))
          .with_hint("parts there are: " + list_parts(dump, all));
  if (chosen.empty())
    return Error(Errc::kNotFound, fmt::format("dump {} has no part {}", dump.meta.label, part))
        .with_hint("parts there are: " + list_parts(dump, all));
  if (one && chosen.size() > 1)
    return Error(Errc::kInvalid, fmt::format("a file takes one part, and {} of dump {} are meant: {}", chosen.size(),
                                             dump.meta.label, list_parts(dump, chosen)))
        .with_hint("choose one with --part and --dbname, or name a directory, with a slash at its end, for all");
  return chosen;
}

Result<std::vector<ExportedPart>> export_dump(const DumpExportRequest& request, const Dump& dump,
                                              const DumpReader& reader, const CancelToken& cancel, Progress& progress) {
  return Exporter(request, dump, reader, cancel, progress).run();
}

}  // namespace pgark
