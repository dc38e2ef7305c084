// Loading into one database. In one transaction: definitions, rows, indexes and the rest through one psql, and COMMIT
// once everything is known to be whole. Step by step: rows of each table in a transaction of their own, over several
// sessions, so that a table is loaded completely or is empty.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <deque>

#include "core/file.h"
#include "core/log.h"
#include "core/subprocess.h"
#include "core/thread_annotations.h"
#include "ops/load_steps.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr uint64_t kScriptBytesMax = 1ull << 36;

/// Begin a transaction that no setting of the server, database or role cuts short or keeps from writing. Programs
/// before 17 do not know that time limit, and leave it as it is.
std::string begin_statement(const LoadTools& tools) {
  const bool has_limit = !tools.needs.drop_transaction_timeout;
  return std::string(has_limit ? "SET transaction_timeout = 0;\n" : "") + "BEGIN READ WRITE;\n";
}

/// Names of indexes that are a partition's share of one of its parent: those go with the parent's, and cannot be
/// dropped alone, though pg_dump writes so of constraints.
RelationKeys attached_indexes(const LoadUnit& unit) {
  RelationKeys keys;
  for (const pg::DumpTocEntry& entry : unit.toc->entries)
    if (entry.desc == "INDEX ATTACH") keys.emplace(entry.schema.value_or(""), entry.tag);
  return keys;
}

/// The tag of a constraint is its table's name, a space, and its own; either may hold spaces.
bool names_attached(const pg::DumpTocEntry& constraint, const RelationKeys& attached) {
  for (size_t space = constraint.tag.find(' '); space != std::string::npos; space = constraint.tag.find(' ', space + 1))
    if (attached.contains({constraint.schema.value_or(""), constraint.tag.substr(space + 1)})) return true;
  return false;
}

/// Entries of `list` whose objects can be dropped, which is told by pg_restore without touching data.
std::vector<size_t> droppable(const LoadUnit& unit, const std::vector<size_t>& list) {
  const RelationKeys attached = attached_indexes(unit);
  std::vector<size_t> entries;
  for (const size_t at : list) {
    const pg::DumpTocEntry& entry = unit.toc->entries[at];
    if (entry.has_data || !entry.drop_statement) continue;
    const bool is_attached = entry.desc == "CONSTRAINT" && names_attached(entry, attached);
    if (!is_attached) entries.push_back(at);
  }
  return entries;
}

/// Scripts that drop what is to be made anew: of all units what comes last first, because it may refer to others.
Result<std::vector<std::string>> drop_scripts(const LoadTools& tools, const LoadDatabase& database) {
  std::vector<std::string> paths;
  if (!tools.request.clean || database.step.create) return paths;
  std::vector<std::string> arguments = {"--clean"};
  // A database that is there in every server is not dropped with the others: what is in it is, as far as it is there.
  if (tools.request.if_exists || tools.request.create) arguments.emplace_back("--if-exists");
  for (const bool post : {true, false})
    for (auto unit = database.units.rbegin(); unit != database.units.rend(); ++unit) {
      if (!unit->toc) continue;
      const auto entries = droppable(*unit, post ? unit->chosen.post : unit->chosen.pre);
      if (entries.empty()) continue;
      const char* name = post ? "drop-post" : "drop-pre";
      TRY_ASSIGN(const std::string path, make_script(tools, *unit, entries, name, arguments));
      TRY_ASSIGN(const std::string script, read_file(path, kScriptBytesMax));
      TRY(write_file_durable(path, drops_of_script(script), 0600));
      paths.push_back(path);
    }
  return paths;
}

Result<std::string> preamble(const LoadTools& tools, const LoadUnit& unit) {
  return make_script(tools, unit, {}, "settings");
}

/// Where schemas that are in the way wait for the end of the transaction.
class SchemaMover {
 public:
  SchemaMover(const LoadTools& tools, const LoadDatabase& database) : tools_(tools), database_(database) {}

  std::string before() const {
    std::string sql;
    for (const auto& [from, to] : tools_.request.schema_map) {
      const std::string name = pg::quote_identifier(from);
      if (database_.aside.contains(from))
        sql += fmt::format("ALTER SCHEMA {} RENAME TO {};\n", name, pg::quote_identifier(aside(from)));
      if (!makes(from)) sql += fmt::format("CREATE SCHEMA {};\n", name);
    }
    return sql;
  }
  std::string after() const {
    std::string sql;
    for (const auto& [from, to] : tools_.request.schema_map) {
      const std::string name = pg::quote_identifier(from);
      sql += fmt::format("ALTER SCHEMA {} RENAME TO {};\n", name, pg::quote_identifier(to));
      if (database_.aside.contains(from))
        sql += fmt::format("ALTER SCHEMA {} RENAME TO {};\n", pg::quote_identifier(aside(from)), name);
    }
    return sql;
  }

 private:
  static std::string aside(const std::string& schema) { return "pgark_aside_" + schema.substr(0, 48); }
  /// Whether the archive makes the schema; it does not make "public".
  bool makes(const std::string& schema) const {
    for (const LoadUnit& unit : database_.units)
      for (const size_t at : unit.chosen.pre) {
        const pg::DumpTocEntry& entry = unit.toc->entries[at];
        if (entry.desc == "SCHEMA" && entry.tag == schema && entry.definition &&
            entry.definition->find("CREATE SCHEMA") != std::string::npos)
          return true;
      }
    return false;
  }

  const LoadTools& tools_;
  const LoadDatabase& database_;
};

class TransactionLoader {
 public:
  TransactionLoader(const LoadTools& tools, const LoadDatabase& database) : tools_(tools), database_(database) {}

  Result<> load() {
    // Scripts first: what is wrong with the archive or pg_restore is found before the server does any work.
    TRY_ASSIGN(const auto drops, drop_scripts(tools_, database_));
    TRY(make_scripts());
    TRY_ASSIGN(PsqlSession psql,
               PsqlSession::start(tools_.client, endpoint_of(tools_.request, database_.step.database), tools_.cancel));
    TRY(psql.write(begin_statement(tools_)));
    for (const std::string& path : settings_) TRY(psql.write_file(path));
    TRY_CTX(run_scripts(psql, drops), "drop what is loaded");
    const SchemaMover mover(tools_, database_);
    TRY(psql.write(mover.before()));
    TRY_CTX(psql.sync(), "make room for schemas");
    tools_.progress.totals.phase = "load definitions";
    TRY_CTX(run_scripts(psql, pre_), "load definitions");
    tools_.progress.totals.phase = "load rows";
    for (const LoadUnit& unit : database_.units) TRY(load_data(unit, psql));
    tools_.progress.totals.phase = "load indexes and constraints";
    TRY_CTX(run_scripts(psql, post_), "load indexes and constraints");
    TRY(psql.write(mover.after()));
    TRY_CTX(psql.sync(), "rename schemas");
    TRY(tools_.cancel.check());
    TRY(psql.write("COMMIT;\n"));
    TRY_CTX(psql.finish(), "commit");
    return {};
  }

 private:
  Result<> make_scripts() {
    for (const LoadUnit& unit : database_.units) {
      if (!unit.toc) continue;
      if (settings_.empty()) {
        TRY_ASSIGN(std::string path, preamble(tools_, unit));
        settings_.push_back(std::move(path));
      }
      if (!unit.chosen.pre.empty()) {
        TRY_ASSIGN(std::string path, make_script(tools_, unit, unit.chosen.pre, "pre"));
        pre_.push_back(std::move(path));
      }
      if (!unit.chosen.post.empty()) {
        TRY_ASSIGN(std::string path, make_script(tools_, unit, unit.chosen.post, "post"));
        post_.push_back(std::move(path));
      }
    }
    return {};
  }
  Result<> run_scripts(PsqlSession& psql, const std::vector<std::string>& paths) const {
    for (const std::string& path : paths) {
      TRY(psql.write_file(path));
      TRY(psql.sync());
    }
    return {};
  }
  Result<> load_data(const LoadUnit& unit, PsqlSession& psql) {
    if (!unit.toc) return write_plain(tools_, unit, psql);
    if (unit.chosen.data.empty()) return {};
    if (unit.unit->format != DumpFormat::kDirectory) return write_stream_data(tools_, unit, psql);
    for (const size_t at : unit.chosen.data) TRY(write_entry_data(tools_, unit, unit.toc->entries[at], psql));
    return {};
  }

  const LoadTools& tools_;
  const LoadDatabase& database_;
  std::vector<std::string> settings_;
  std::vector<std::string> pre_;
  std::vector<std::string> post_;
};

class StepLoader {
 public:
  StepLoader(const LoadTools& tools, const LoadDatabase& database, std::vector<std::string>& errors)
      : tools_(tools),
        database_(database),
        endpoint_(endpoint_of(tools.request, database.step.database)),
        errors_(errors) {}

  Result<> load() {
    TRY_ASSIGN(const auto drops, drop_scripts(tools_, database_));
    for (const std::string& path : drops) TRY_CTX(run_file(path), "drop what is loaded");
    tools_.progress.totals.phase = "load definitions";
    for (const LoadUnit& unit : database_.units) {
      if (!unit.toc || unit.chosen.pre.empty()) continue;
      TRY_ASSIGN(const std::string path, make_script(tools_, unit, unit.chosen.pre, "pre"));
      TRY_CTX(run_file(path), "load definitions");
    }
    tools_.progress.totals.phase = "load rows";
    TRY(load_streams());
    TRY(load_tables());
    tools_.progress.totals.phase = "load indexes and constraints";
    for (const LoadUnit& unit : database_.units)
      if (unit.toc && !unit.chosen.post.empty()) TRY_CTX(load_post(unit), "load indexes and constraints");
    return {};
  }

 private:
  struct TableTask {
    const LoadUnit* unit = nullptr;
    const pg::DumpTocEntry* entry = nullptr;
    uint64_t bytes = 0;
  };

  bool goes_on() const { return !tools_.request.exit_on_error; }

  Result<> run_file(const std::string& path) {
    std::vector<std::string> found;
    TRY(run_psql_file(tools_.client, endpoint_, path, goes_on() ? &found : nullptr, tools_.cancel));
    for (std::string& one : found) add_error(std::move(one));
    return {};
  }
  void add_error(std::string text) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    errors_.push_back(std::move(text));
  }

  /// Units that are one stream: their rows come in one pass, and in one transaction.
  Result<> load_streams() {
    for (const LoadUnit& unit : database_.units) {
      if (unit.toc && (unit.unit->format == DumpFormat::kDirectory || unit.chosen.data.empty())) continue;
      auto loaded = load_stream(unit);
      if (loaded) continue;
      if (!goes_on() || loaded.error().code() != Errc::kInvalid) return loaded;
      add_error(loaded.error().message());
    }
    return {};
  }
  Result<> load_stream(const LoadUnit& unit) {
    TRY_ASSIGN(PsqlSession psql, PsqlSession::start(tools_.client, endpoint_, tools_.cancel));
    TRY(psql.write(begin_statement(tools_)));
    TRY(unit.toc ? write_stream_data(tools_, unit, psql) : write_plain(tools_, unit, psql));
    TRY(psql.write("COMMIT;\n"));
    return psql.finish();
  }

  Result<> load_tables() {
    for (const LoadUnit& unit : database_.units) {
      if (!unit.toc || unit.unit->format != DumpFormat::kDirectory) continue;
      for (const size_t at : unit.chosen.data) {
        const pg::DumpTocEntry& entry = unit.toc->entries[at];
        tables_.push_back({&unit, &entry, entry_bytes(unit, entry)});
      }
    }
    // The largest first, so that none is left to be waited for alone; rows that others refer to keep their place.
    if (!tools_.request.data_only)
      std::stable_sort(tables_.begin(), tables_.end(),
                       [](const TableTask& a, const TableTask& b) { return a.bytes > b.bytes; });
    if (tables_.empty()) return {};
    TRY_ASSIGN(const std::string path, preamble(tools_, *tables_.front().unit));
    const size_t jobs = std::min<size_t>(std::max(1u, tools_.request.jobs), tables_.size());
    TaskGroup group(&tools_.cancel);
    for (size_t at = 0; at < jobs; ++at) group.spawn([&] { return load_some(path, group.cancel()); });
    return group.wait();
  }

  /// One session, as long as nothing fails in it.
  Result<> load_some(const std::string& settings, const CancelToken& cancel) {
    LoadTools tools{tools_.request, tools_.reader, tools_.client,  tools_.needs,
                    tools_.scratch, cancel,        tools_.progress};
    std::optional<PsqlSession> psql;
    for (size_t at = next_++; at < tables_.size(); at = next_++) {
      if (!psql) {
        TRY_ASSIGN(psql, PsqlSession::start(tools.client, endpoint_, cancel));
        TRY(psql->write_file(settings));
      }
      auto loaded = load_table(tools, tables_[at], *psql);
      if (loaded) continue;
      psql.reset();
      if (!goes_on() || loaded.error().code() != Errc::kInvalid) return loaded;
      add_error(loaded.error().message());
    }
    return psql ? psql->finish() : Result<>();
  }
  static Result<> load_table(const LoadTools& tools, const TableTask& task, PsqlSession& psql) {
    TRY(psql.write(begin_statement(tools)));
    TRY(write_entry_data(tools, *task.unit, *task.entry, psql));
    TRY(psql.write("COMMIT;\n"));
    return psql.sync();
  }

  /// Indexes and constraints side by side is what pg_restore does best, given a connection of its own. Not where it
  /// would begin with a setting the server does not know, or where the order of entries is ours.
  Result<> load_post(const LoadUnit& unit) {
    const bool ours = std::any_of(unit.chosen.post.begin(), unit.chosen.post.end(),
                                  [&](size_t at) { return unit.toc->entries[at].desc == "TABLE ATTACH"; });
    const bool refuses = tools_.needs.drop_transaction_timeout && tools_.client.major >= 17;
    if (tools_.request.jobs > 1 && !ours && !refuses) return restore_post(unit);
    TRY_ASSIGN(const std::string path, make_script(tools_, unit, unit.chosen.post, "post"));
    return run_file(path);
  }

  Result<> restore_post(const LoadUnit& unit) {
    TRY_ASSIGN(const std::string directory, make_toc_directory(tools_, unit));
    TRY_ASSIGN(const std::string list, make_list(tools_, unit, unit.chosen.post, "post"));
    SubprocessOptions options = load_program(tools_.client, "pg_restore", endpoint_);
    options.arguments = {"--format=directory", "--no-password", "--use-list=" + list,
                         fmt::format("--jobs={}", tools_.request.jobs), "--dbname=" + conninfo()};
    if (!goes_on()) options.arguments.emplace_back("--exit-on-error");
    for (const std::string& word : tools_.request.arguments) options.arguments.push_back(word);
    options.arguments.push_back(directory);
    std::string said;
    options.on_error_line = [&said](std::string_view line) { said.append(line).append("\n"); };
    TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
    TRY_ASSIGN(const SubprocessExit exit, process.wait(tools_.cancel));
    if (exit.ok()) return {};
    auto found = program_errors(said);
    if (found.empty()) return Error(Errc::kInvalid, "pg_restore: " + exit.error_text);
    if (!goes_on()) return explain_load_error(found.front());
    for (std::string& one : found) add_error(std::move(one));
    return {};
  }
  /// A name that holds '=' must not be read as settings.
  std::string conninfo() const {
    std::string name;
    for (const char c : endpoint_.database) {
      if (c == '\'' || c == '\\') name += '\\';
      name += c;
    }
    return "dbname='" + name + "'";
  }

  const LoadTools& tools_;
  const LoadDatabase& database_;
  const PgEndpoint endpoint_;
  std::vector<TableTask> tables_;
  std::atomic<size_t> next_ = 0;
  Mutex mu_;
  std::vector<std::string>& errors_ GUARDED_BY(mu_);
};

}  // namespace

Result<> load_database(const LoadTools& tools, const LoadDatabase& database, std::vector<std::string>& errors) {
  if (database.units.empty()) return {};
  if (database.single_transaction) return TransactionLoader(tools, database).load();
  return StepLoader(tools, database, errors).load();
}

}  // namespace pgark
