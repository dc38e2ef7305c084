// Rows and large objects on their way from a repository to psql.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/subprocess.h"
#include "ops/load_archive.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr uint64_t kLargeObjectListMax = 1ull << 30;
constexpr size_t kLargeObjectPiece = 64u << 10;
constexpr size_t kLargeObjectsOfSync = 500;

bool has_argument(const LoadRequest& request, std::string_view word) {
  return std::find(request.arguments.begin(), request.arguments.end(), word) != request.arguments.end();
}

/// Counts what passes, for the display.
std::function<Result<>(Bytes)> counted(const LoadTools& tools, PsqlSession& psql) {
  return [&tools, &psql](Bytes data) -> Result<> {
    TRY(psql.write(data));
    tools.progress.totals.bytes_done += data.size();
    return {};
  };
}

std::string qualified(const pg::DumpTocEntry& entry) {
  return pg::quote_identifier(entry.schema.value_or("public")) + "." + pg::quote_identifier(entry.tag);
}

Result<> write_large_object(const LoadTools& tools, const DumpStream& stream, std::string_view oid, PsqlSession& psql) {
  TRY(psql.write(fmt::format("SELECT pg_catalog.lo_open('{}', 131072);\n", oid)));
  const auto pass = [&](Bytes data) -> Result<> {
    while (!data.empty()) {
      const Bytes piece = data.first(std::min(data.size(), kLargeObjectPiece));
      TRY(psql.write("SELECT pg_catalog.lowrite(0, '\\x" + to_hex(piece) + "');\n"));
      tools.progress.totals.bytes_done += piece.size();
      data = data.subspan(piece.size());
    }
    return {};
  };
  TRY(tools.reader.read(stream, tools.cancel, pass));
  return psql.write("SELECT pg_catalog.lo_close(0);\n");
}

/// A list of numbers and files, as the archive has it.
Result<> write_large_objects(const LoadTools& tools, const LoadUnit& unit, const DumpStream& list, PsqlSession& psql) {
  TRY_ASSIGN(const std::string text, tools.reader.read_whole(list, tools.cancel, kLargeObjectListMax));
  size_t count = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t space = line.find(' ');
    if (line.empty()) continue;
    const std::string_view oid = line.substr(0, space);
    if (space == line.npos || oid.find_first_not_of("0123456789") != oid.npos)
      return Error(Errc::kCorrupt, fmt::format("'{}' in {} names no large object", line, list.name));
    const auto stream = unit.streams.find(line.substr(space + 1));
    if (stream == unit.streams.end())
      return Error(Errc::kCorrupt, fmt::format("large object {} has no data in the dump", oid));
    TRY_CTX(write_large_object(tools, *stream->second, oid, psql), fmt::format("load large object {}", oid));
    if (++count % kLargeObjectsOfSync == 0) TRY(psql.sync());
  }
  return {};
}

/// Rows of a table. A table cut short is never committed: whatever fails here fails before COMMIT is written.
Result<> write_rows(const LoadTools& tools, const pg::DumpTocEntry& entry, const DumpStream& stream,
                    PsqlSession& psql) {
  const bool without_triggers = tools.request.data_only && has_argument(tools.request, "--disable-triggers");
  if (without_triggers) TRY(psql.write(fmt::format("ALTER TABLE {} DISABLE TRIGGER ALL;\n", qualified(entry))));
  if (entry.copy_statement && !entry.copy_statement->empty()) {
    TRY(psql.write(*entry.copy_statement));
  }
  TRY(tools.reader.read(stream, tools.cancel, counted(tools, psql)));
  TRY(psql.write("\n"));
  if (without_triggers) TRY(psql.write(fmt::format("ALTER TABLE {} ENABLE TRIGGER ALL;\n", qualified(entry))));
  return {};
}

}  // namespace

Result<> write_entry_data(const LoadTools& tools, const LoadUnit& unit, const pg::DumpTocEntry& entry,
                          PsqlSession& psql) {
  const DumpStream* stream = unit.find_stream(entry.file_name);
  if (stream == nullptr) {
    // pg_dump compressed it itself: the rows are not to be had without its help.
    const bool compressed = unit.toc->compression != 0;
    return Error(compressed ? Errc::kUnsupported : Errc::kCorrupt,
                 fmt::format("load {}: the dump has no file {}{}", entry_label(entry), entry.file_name,
                             compressed ? " that is not compressed" : ""))
        .with_hint("write the dump to a directory with 'pgark dump-get', and run pg_restore on that");
  }
  const std::string what = entry_label(entry);
  if (tools.progress.on_table) tools.progress.on_table(what, stream->raw_bytes, false);
  const bool is_large_objects = entry.desc == "BLOBS" || entry.desc == "LARGE OBJECTS";
  auto written =
      is_large_objects ? write_large_objects(tools, unit, *stream, psql) : write_rows(tools, entry, *stream, psql);
  if (written) written = psql.sync();
  if (!written) return std::move(written).error().with_context("load " + what);
  if (tools.progress.on_table) tools.progress.on_table(what, stream->raw_bytes, true);
  ++tools.progress.totals.files_done;
  return {};
}

Result<> write_stream_data(const LoadTools& tools, const LoadUnit& unit, PsqlSession& psql) {
  TRY_ASSIGN(const DumpStream* stream, unit.only_stream());
  TRY_ASSIGN(const std::string list, make_list(tools, unit, unit.chosen.data, "data"));
  SubprocessOptions options = load_program(tools.client, "pg_restore", tools.request.server);
  options.arguments = {unit.unit->format == DumpFormat::kTar ? "--format=tar" : "--format=custom", "--file=-",
                       "--data-only", "--use-list=" + list};
  // Triggers fire, or not, as in a load of rows alone only if it is one.
  for (const std::string& word : tools.request.arguments)
    if (word != "--disable-triggers" || tools.request.data_only) options.arguments.push_back(word);
  options.input = SubprocessOptions::Stream::kPipe;
  options.output = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
  bool ended_early = false;
  TaskGroup group(&tools.cancel);
  group.spawn([&]() -> Result<> {
    const auto fed = tools.reader.read(*stream, group.cancel(), [&](Bytes data) -> Result<> {
      TRY(process.write_input(data, group.cancel()));
      tools.progress.totals.bytes_done += data.size();
      return {};
    });
    // It stops reading when it has what was chosen; whether all went well its exit status says.
    if (!fed && fed.error().code() == Errc::kInvalid) return {};
    if (!fed) {
      process.kill();  // Before its input ends, which it could take for the end of the archive.
      return Error(fed.error());
    }
    process.close_input();
    return {};
  });
  ScriptFilter filter(tools.needs, [&](Bytes data) { return psql.write(data); });
  const auto passed = [&]() -> Result<> {
    std::vector<std::byte> chunk(1u << 17);
    for (;;) {
      TRY_ASSIGN(const size_t count, process.read_output(chunk, group.cancel()));
      if (count == 0) return filter.finish();
      TRY(filter.add(Bytes(chunk).first(count)));
    }
  }();
  if (!passed) {
    ended_early = passed.error().code() != Errc::kCancelled;
    process.kill();
    group.cancel().cancel();
  }
  const auto fed = group.wait();
  if (ended_early) return Error(passed.error());
  TRY(fed);
  TRY(passed);
  TRY_ASSIGN(const SubprocessExit exit, process.wait(tools.cancel));
  if (!exit.ok()) {
    const auto errors = program_errors(exit.error_text);
    return Error(Errc::kInvalid, "pg_restore: " + (errors.empty() ? exit.error_text : errors.front()));
  }
  return psql.sync();
}

Result<> write_plain(const LoadTools& tools, const LoadUnit& unit, PsqlSession& psql) {
  TRY_ASSIGN(const DumpStream* stream, unit.only_stream());
  ScriptFilter filter(tools.needs, counted(tools, psql));
  TRY(tools.reader.read(*stream, tools.cancel, [&](Bytes data) { return filter.add(data); }));
  TRY(filter.finish());
  TRY(psql.write("\n"));
  return psql.sync();
}

}  // namespace pgark
