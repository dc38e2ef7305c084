// `pgark dump-get`: a dump as files again.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/dump_source.h"
#include "cli/progress.h"
#include "core/file.h"
#include "ops/dump_export.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kStandardOutput = "-";

/// A directory that is there, or that a slash at its end asks for.
bool means_directory(const std::string& destination) {
  struct stat info {};
  return destination.ends_with('/') || (::stat(destination.c_str(), &info) == 0 && S_ISDIR(info.st_mode));
}

Result<DumpExportRequest> request_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  DumpExportRequest request;
  request.destination = settings.arguments().front();
  if (request.destination.empty()) return Error(Errc::kInvalid, "DESTINATION is empty");
  request.into_directory = request.destination != kStandardOutput && means_directory(request.destination);
  request.output = [&out = context.out](Bytes data) { return out.write(data); };
  request.gpg = settings.list("gpg");
  for (const std::string& text : settings.list("age")) {
    TRY_ASSIGN_CTX(request.age.emplace_back(), parse_age_recipient(text), "--age");
  }
  if (!request.gpg.empty() && !request.age.empty())
    return Error(Errc::kInvalid, "--gpg and --age cannot be combined").with_hint("run dump-get once for each");
  request.force = settings.boolean("force");
  return request;
}

/// Bytes for a program must not land on a screen or in the middle of a document.
Result<> check_standard_output(const CommandContext& context, const DumpExportRequest& request, const Dump& dump) {
  if (request.destination != kStandardOutput) return {};
  if (context.json())
    return Error(Errc::kInvalid, "--output=json and the destination - both want standard output")
        .with_hint("name a file, or leave out --output");
  const bool is_text =
      dump.meta.units[request.units.front()].format == DumpFormat::kPlain && request.gpg.empty() && request.age.empty();
  if (context.out.is_terminal() && !is_text)
    return Error(Errc::kInvalid, "standard output is a terminal, and the dump is no text")
        .with_hint("send it to a program or file: pgark ... dump-get - | ...");
  return {};
}

ordered_json part_json(const ExportedPart& part, const Dump& dump, const DumpExportRequest& request) {
  const DumpUnit& unit = dump.meta.units[part.unit];
  ordered_json encryption = nullptr;
  if (!request.gpg.empty()) encryption = "gpg";
  if (!request.age.empty()) encryption = "age";
  return {{"part", dump_part_name(unit)},
          {"kind", dump_unit_kind_name(unit.kind)},
          {"database", unit.database.empty() ? ordered_json(nullptr) : ordered_json(unit.database)},
          {"format", dump_format_name(unit.format)},
          {"tar", part.is_tar},
          {"encryption", std::move(encryption)},
          {"path", part.path},
          {"raw_bytes", part.raw_bytes}};
}

/// What reads it, since names do not always tell.
std::string_view reader_of(const ExportedPart& part, const DumpUnit& unit) {
  if (unit.format == DumpFormat::kPlain) return "psql";
  return part.is_tar ? "pg_restore -Ft" : "pg_restore";
}

std::string text_of(const std::vector<ExportedPart>& parts, const Dump& dump) {
  TextTable table;
  table.column("part");
  table.column("database");
  table.column("size", TextTable::Align::kRight);
  table.column("read by");
  table.column("path");
  for (const ExportedPart& part : parts) {
    const DumpUnit& unit = dump.meta.units[part.unit];
    table.row({dump_part_name(unit), unit.database.empty() ? "-" : unit.database, format_size(part.raw_bytes),
               std::string(reader_of(part, unit)), part.path});
  }
  return table.to_string();
}

}  // namespace

Result<int> cmd_dump_get(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(DumpExportRequest request, request_of(context));
  TRY_ASSIGN(const auto source, DumpSource::open(context, "get a dump of " + settings.stanza()));
  const Dump& dump = source->dump();
  TRY_ASSIGN(request.units,
             choose_dump_parts(dump, settings.list("dbname"), settings.text("part"), !request.into_directory));
  TRY(check_standard_output(context, request, dump));
  if (request.into_directory) {
    while (request.destination.size() > 1 && request.destination.ends_with('/')) request.destination.pop_back();
    TRY(make_directories(request.destination, 0700));
  }
  std::vector<ExportedPart> parts;
  {
    Progress progress;
    const ProgressDisplay display(settings, progress, context.clock);
    TRY_ASSIGN_CTX(parts, export_dump(request, dump, source->reader(), context.cancel, progress),
                   fmt::format("get dump {}", dump.meta.label));
  }
  if (request.destination == kStandardOutput) return kExitOk;
  if (!context.json()) {
    TRY(context.out.print(text_of(parts, dump)));
    return kExitOk;
  }
  ordered_json written = ordered_json::array();
  for (const ExportedPart& part : parts) written.push_back(part_json(part, dump, request));
  TRY(context.out.print_json({{"stanza", settings.stanza()},
                              {"repo", source->repository()},
                              {"label", dump.meta.label},
                              {"parts", std::move(written)}}));
  return kExitOk;
}

}  // namespace pgark
