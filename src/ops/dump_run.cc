#include "ops/dump_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "core/check.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/dump_client.h"
#include "ops/dump_units.h"
#include "ops/tar_rows.h"

namespace pgark {
namespace {

constexpr size_t kPipeBytes = 256u << 10;

/// Tells a display which tables are under way.
class TableDisplay {
 public:
  TableDisplay(DumpProgress& progress, std::string database, unsigned jobs, const TableBytes* bytes)
      : progress_(progress), database_(std::move(database)), jobs_(jobs), bytes_(bytes) {}
  ~TableDisplay() {
    const MutexLock lock(mu_);
    while (!open_.empty()) end(open_.begin());
  }
  TableDisplay(const TableDisplay&) = delete;
  TableDisplay& operator=(const TableDisplay&) = delete;

  DumpMessages::OnTable hook() {
    return [this](const std::string& table, bool ended) {
      const MutexLock lock(mu_);
      if (!ended) {
        // One connection dumps one table at a time; of several the leader tells when one has ended.
        while (open_.size() >= std::max(1u, jobs_)) end(open_.begin());
        open_.push_back(table);
        tell(table, false);
        return;
      }
      const auto found = std::find_if(open_.begin(), open_.end(), [&](const std::string& one) {
        return one == table || one.ends_with("." + table) || one.ends_with("." + table + "\"");
      });
      if (found != open_.end()) end(found);
    };
  }

 private:
  void end(std::deque<std::string>::iterator which) REQUIRES(mu_) {
    progress_.totals.files_done.fetch_add(1, std::memory_order_relaxed);
    tell(*which, true);
    open_.erase(which);
  }
  void tell(const std::string& table, bool ended) REQUIRES(mu_) {
    if (!progress_.on_table) return;
    uint64_t bytes = 0;
    if (bytes_ != nullptr)
      if (const auto found = bytes_->find(table); found != bytes_->end()) bytes = found->second;
    progress_.on_table(database_ + ": " + table, bytes, ended);
  }

  DumpProgress& progress_;
  const std::string database_;
  const unsigned jobs_;
  const TableBytes* bytes_;
  Mutex mu_;
  std::deque<std::string> open_ GUARDED_BY(mu_);
};

/// Move all that a program writes to standard output into a stream.
Result<DumpStream> store_output(const DumpRunContext& context, Subprocess& program, const std::string& name,
                                pg::DumpRowCounter* counter) {
  TRY_ASSIGN(DumpPacks::Writer writer, context.packs.begin(name));
  Buffer buffer(kPipeBytes);
  for (;;) {
    TRY_ASSIGN(const size_t count, program.read_output(buffer.bytes(), context.cancel));
    if (count == 0) break;
    const Bytes data = buffer.bytes().first(count);
    TRY(writer.append(data));
    if (counter != nullptr) counter->add(data);
    context.progress.totals.bytes_done.fetch_add(count, std::memory_order_relaxed);
  }
  return std::move(writer).finish();
}

/// The tables and rows of an archive or script that went through a counter.
void take_counts(const pg::DumpRowCounter& counter, DumpUnitResult& result) {
  const auto counts = counter.counts();
  if (const pg::DumpToc* toc = counter.toc(); toc != nullptr) {
    std::map<int32_t, uint64_t> rows;
    for (const auto& count : counts) rows[count.dump_id] = count.rows;
    result.tables = tables_of_toc(*toc, rows, {});
    return;
  }
  result.tables = tables_of_counts(counts);
  result.tables_known = false;
}

std::unique_ptr<pg::DumpRowCounter> counter_for(DumpFormat format) {
  switch (format) {
    case DumpFormat::kCustom:
      return pg::count_custom_rows();
    case DumpFormat::kPlain:
      return pg::count_plain_rows();
    case DumpFormat::kTar:
      return count_tar_rows();
    case DumpFormat::kDirectory:
      break;
  }
  return nullptr;
}

SubprocessOptions unit_program(const DumpRunContext& context, const DumpUnit& unit, const std::string& snapshot,
                               DumpMessages& messages) {
  SubprocessOptions options = dump_program(context.request, context.client, "pg_dump", unit.database, messages);
  options.arguments.insert(options.arguments.end(), unit.arguments.begin(), unit.arguments.end());
  // Frames of ours compress, several at a time, and only what is not compressed can be counted.
  options.arguments.emplace_back("--compress=0");
  if (!snapshot.empty()) options.arguments.push_back("--snapshot=" + snapshot);
  // It tells which table is under way; in SQL it would be written, too.
  if (unit.format != DumpFormat::kPlain) options.arguments.emplace_back("--verbose");
  return options;
}

Result<DumpUnitResult> run_stream_unit(const DumpRunContext& context, DumpUnit unit, SubprocessOptions options,
                                       DumpMessages& messages) {
  DumpUnitResult result;
  const auto counter = counter_for(unit.format);
  options.output = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN(Subprocess program, Subprocess::start(std::move(options)));
  TRY_ASSIGN(DumpStream stream, store_output(context, program, "dump", counter.get()));
  TRY_ASSIGN(const SubprocessExit exit, program.wait(context.cancel));
  if (!exit.ok()) return dump_program_error("pg_dump", context.client, exit, messages);
  unit.streams.push_back(std::move(stream));
  if (counter != nullptr) take_counts(*counter, result);
  if (counter == nullptr) result.tables_known = false;
  result.unit = std::move(unit);
  return result;
}

/// Match the files of a directory with the tables its table of contents names.
Result<> take_directory(std::vector<FollowedFile> files, Bytes toc_bytes, DumpUnitResult& result) {
  auto toc = pg::read_dump_toc(toc_bytes);
  if (toc.has_value()) {
    std::map<std::string, const FollowedFile*> by_name;
    for (const FollowedFile& file : files) by_name[file.stream.name] = &file;
    result.tables = tables_of_toc(*toc, {}, by_name);
    for (const pg::DumpTocEntry& entry : toc->entries)
      if (!entry.file_name.empty() && !by_name.contains(entry.file_name))
        return Error(Errc::kInternal,
                     fmt::format("pg_dump wrote no file '{}', which its table of contents names", entry.file_name));
  } else {
    result.tables_known = false;
    result.warnings.push_back("rows are not counted: " + toc.error().message());
  }
  for (FollowedFile& file : files) result.unit.streams.push_back(std::move(file.stream));
  return {};
}

Result<DumpUnitResult> run_directory_unit(const DumpRunContext& context, DumpUnit unit,
                                          SubprocessOptions program_options, DumpMessages& messages,
                                          const DumpUnitOptions& options) {
  CHECK(context.spool != nullptr);
  TRY_ASSIGN(const std::string directory, context.spool->make_directory(fmt::format("{:06}", options.number)));
  program_options.arguments.push_back("--file=" + directory);
  program_options.arguments.emplace_back("--no-sync");
  program_options.arguments.push_back(fmt::format("--jobs={}", options.jobs));
  FollowOptions follow;
  follow.directory = directory;
  follow.threads = options.jobs;
  follow.bytes_max =
      std::max<uint64_t>(context.request.spool_max * options.jobs / std::max(1u, context.request.jobs), 1u << 20);
  follow.count_rows = true;
  DirectoryFollower follower(context.packs, context.progress.totals, follow);
  TRY(follower.start());
  DumpUnitResult result;
  {
    TRY_ASSIGN(Subprocess program, Subprocess::start(std::move(program_options)));
    TRY_ASSIGN(const DumpGuard guard, DumpGuard::start(program, directory));
    TRY_ASSIGN(const SubprocessExit exit, follower.follow(program, context.cancel));
    if (!exit.ok()) return dump_program_error("pg_dump", context.client, exit, messages);
  }
  TRY_ASSIGN(std::vector<FollowedFile> files, follower.finish(context.cancel));
  if (files.empty() || files.front().stream.name != "toc.dat")
    return Error(Errc::kInternal, "pg_dump wrote no table of contents");
  result.unit = std::move(unit);
  result.spool_peak = follower.bytes_peak();
  TRY(take_directory(std::move(files), follower.toc(), result));
  DumpSpool::remove_directory(directory);
  return result;
}

/// The two names of "schema.table" as SQL writes it.
std::pair<std::string, std::string> split_name(std::string_view text) {
  std::pair<std::string, std::string> names;
  std::string* at = &names.first;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"' && quoted && i + 1 < text.size() && text[i + 1] == '"') {
      *at += '"';
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == '.' && !quoted && at == &names.first) {
      at = &names.second;
    } else {
      *at += text[i];
    }
  }
  return names;
}

bool is_relation(std::string_view desc) {
  for (const std::string_view kind : {"TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW", "SEQUENCE"})
    if (desc == kind) return true;
  return false;
}
bool is_data(std::string_view desc) {
  return desc == "TABLE DATA" || desc == "MATERIALIZED VIEW DATA" || desc == "SEQUENCE SET";
}

}  // namespace

std::vector<SeenTable> tables_of_toc(const pg::DumpToc& toc, const std::map<int32_t, uint64_t>& rows,
                                     const std::map<std::string, const FollowedFile*>& files) {
  std::map<uint32_t, SeenTable> seen;
  std::map<std::pair<std::string, std::string>, uint32_t> sequences;
  for (const pg::DumpTocEntry& entry : toc.entries)
    if (entry.desc == "SEQUENCE") sequences[{entry.schema.value_or(""), entry.tag}] = entry.oid;
  for (const pg::DumpTocEntry& entry : toc.entries) {
    if (!is_relation(entry.desc) && !is_data(entry.desc)) continue;
    uint32_t oid = entry.oid;
    // What sets a sequence has no oid of its own.
    if (const auto found = sequences.find({entry.schema.value_or(""), entry.tag});
        oid == 0 && entry.desc == "SEQUENCE SET" && found != sequences.end())
      oid = found->second;
    if (oid == 0) continue;
    SeenTable& table = seen[oid];
    table.oid = oid;
    table.schema = entry.schema.value_or("");
    table.name = entry.tag;
    if (!is_data(entry.desc)) continue;
    table.data = true;
    if (const auto found = rows.find(entry.dump_id); found != rows.end()) table.rows = found->second;
    if (const auto found = files.find(entry.file_name); found != files.end() && !entry.file_name.empty()) {
      table.stream = entry.file_name;
      table.rows = found->second->rows;
    }
  }
  std::vector<SeenTable> tables;
  tables.reserve(seen.size());
  for (auto& [oid, table] : seen) tables.push_back(std::move(table));
  return tables;
}

std::vector<SeenTable> tables_of_counts(const std::vector<pg::DumpRowCounter::Count>& counts) {
  std::vector<SeenTable> tables;
  for (const auto& count : counts) {
    SeenTable table;
    std::tie(table.schema, table.name) = split_name(count.of);
    table.data = true;
    table.rows = count.rows;
    tables.push_back(std::move(table));
  }
  return tables;
}

Result<DumpUnitResult> run_dump_unit(const DumpRunContext& context, DumpUnit unit, const DumpUnitOptions& options) {
  TableDisplay display(context.progress, unit.database, options.jobs, options.table_bytes);
  DumpMessages messages(display.hook());
  const std::string what =
      unit.kind == DumpUnit::Kind::kWhole
          ? "dump database " + unit.database
          : fmt::format("dump {} {} of database {}", dump_unit_kind_name(unit.kind), unit.name, unit.database);
  log_detail("{}: {} connections", what, options.jobs);
  SubprocessOptions program = unit_program(context, unit, options.snapshot, messages);
  auto result = unit.format == DumpFormat::kDirectory
                    ? run_directory_unit(context, std::move(unit), std::move(program), messages, options)
                    : run_stream_unit(context, std::move(unit), std::move(program), messages);
  if (!result.has_value()) return std::move(result).error().with_context(what);
  for (std::string& warning : messages.warnings()) result->warnings.push_back("pg_dump: " + std::move(warning));
  return result;
}

Result<DumpUnitResult> run_dump_globals(const DumpRunContext& context, bool role_passwords) {
  DumpMessages messages;
  DumpUnitResult result;
  DumpUnit& unit = result.unit;
  unit.kind = DumpUnit::Kind::kGlobals;
  unit.name = "globals";
  unit.format = DumpFormat::kPlain;
  unit.client = context.client.version;
  unit.client_major = context.client.major;
  unit.arguments = {"--globals-only"};
  if (!role_passwords) unit.arguments.emplace_back("--no-role-passwords");
  for (const std::string_view passed :
       {"--no-comments", "--no-security-labels", "--no-tablespaces", "--quote-all-identifiers", "--role"})
    for (const std::string& word : context.request.arguments)
      if (is_dump_option(word, passed)) unit.arguments.push_back(word);
  SubprocessOptions options =
      dump_program(context.request, context.client, "pg_dumpall", context.request.server.database, messages);
  options.arguments.insert(options.arguments.end(), unit.arguments.begin(), unit.arguments.end());
  // Not read from the environment by pg_dumpall, which would try others. A name that looks like a connection string
  // would be taken for one.
  const std::string& database = context.request.server.database;
  if (!database.empty() && database.find_first_of("=:/") == database.npos)
    options.arguments.push_back("--database=" + database);
  options.output = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN(Subprocess program, Subprocess::start(std::move(options)));
  TRY_ASSIGN_CTX(DumpStream stream, store_output(context, program, "globals.sql", nullptr), "dump globals");
  TRY_ASSIGN(const SubprocessExit exit, program.wait(context.cancel));
  if (!exit.ok())
    return dump_program_error("pg_dumpall", context.client, exit, messages)
        .with_context("dump globals")
        .with_hint("--no-globals leaves roles and tablespaces out");
  unit.streams.push_back(std::move(stream));
  for (std::string& warning : messages.warnings()) result.warnings.push_back("pg_dumpall: " + std::move(warning));
  return result;
}

}  // namespace pgark
