// A dump is proven by loading it: where that happens, what is compared, and the verdict.
#include "ops/dump_verify.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "core/file.h"
#include "core/log.h"
#include "ops/load_archive.h"
#include "ops/scratch_cluster.h"
#include "pg/sql_text.h"

namespace pgark {
namespace {

constexpr size_t kFindingsMax = 1000;
constexpr uint64_t kPlainBytesMax = uint64_t{64} << 20;  // Of a script that is searched for roles.
constexpr uint64_t kClusterBytes = uint64_t{64} << 20;   // An empty one.

std::string identifier(const std::string& name) { return pg::quote_identifier(name); }

/// Databases of the dump that are to be loaded.
std::vector<std::string> databases_of(const Dump& dump, const std::vector<std::string>& wanted) {
  std::vector<std::string> names;
  for (const DumpUnit& unit : dump.meta.units) {
    if (unit.kind == DumpUnit::Kind::kGlobals) continue;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), unit.database) == wanted.end()) continue;
    if (std::find(names.begin(), names.end(), unit.database) == names.end()) names.push_back(unit.database);
  }
  return names;
}

bool has_globals(const Dump& dump) {
  return std::any_of(dump.meta.units.begin(), dump.meta.units.end(),
                     [](const DumpUnit& unit) { return unit.kind == DumpUnit::Kind::kGlobals; });
}

/// Whether it is the dump that failed, not the attempt.
bool tells_of_the_dump(const Error& error) {
  return error.code() == Errc::kCorrupt || error.code() == Errc::kInvalid || error.code() == Errc::kNotFound ||
         error.code() == Errc::kAlreadyExists;
}

/// Who made the dumped cluster, as far as can be told: what its globals grant is granted in this role's name.
std::string superuser_of(const Dump& dump) {
  std::string found = "postgres";
  bool is_first = true;
  for (const DumpRole& role : dump.meta.roles) {
    if (!role.superuser || role.name.starts_with("pg_")) continue;
    if (role.name == "postgres") return role.name;
    if (std::exchange(is_first, false)) found = role.name;
  }
  return found;
}

// ---- roles ----------------------------------------------------------------------------------------------------------

/// Roles that own something or are granted something, where the dump has no globals to make them.
class RolesNeeded {
 public:
  RolesNeeded(const Dump& dump, const DumpReader& reader, const CancelToken& cancel)
      : dump_(dump), reader_(reader), cancel_(cancel) {}

  Result<std::set<std::string>> find() {
    for (const DumpRole& role : dump_.meta.roles) roles_.insert(role.name);
    for (const DumpDatabase& database : dump_.meta.databases) {
      roles_.insert(database.owner);
      for (const auto& [role, setting] : database.settings) roles_.insert(role);
    }
    for (const DumpUnit& unit : dump_.meta.units) {
      // What cannot be read is found, and told, when it is to be loaded.
      if (auto done = of_unit(unit); !done && !tells_of_the_dump(done.error())) return Error(std::move(done).error());
    }
    std::erase_if(roles_, [](const std::string& name) { return name.empty() || name.starts_with("pg_"); });
    return std::move(roles_);
  }

 private:
  Result<> of_unit(const DumpUnit& unit) {
    if (unit.format == DumpFormat::kPlain) {
      if (unit.streams.empty() || unit.raw_bytes() > kPlainBytesMax) return {};
      TRY_ASSIGN(const std::string script, reader_.read_whole(unit.streams.front(), cancel_, kPlainBytesMax));
      add_named(script);
      return {};
    }
    TRY_ASSIGN(const auto toc, read_unit_toc(unit, reader_, cancel_));
    if (!toc) return {};
    for (const pg::DumpTocEntry& entry : toc->entries) {
      if (entry.owner) roles_.insert(*entry.owner);
      static constexpr std::string_view kWithRoles[] = {"ACL", "DEFAULT ACL", "POLICY", "USER MAPPING",
                                                        "DATABASE PROPERTIES"};
      if (entry.definition &&
          std::find(std::begin(kWithRoles), std::end(kWithRoles), entry.desc) != std::end(kWithRoles))
        add_named(*entry.definition);
    }
    return {};
  }

  void add_named(std::string_view sql) {
    if (const auto names = pg::named_roles(sql)) roles_.insert(names->begin(), names->end());
  }

  const Dump& dump_;
  const DumpReader& reader_;
  const CancelToken& cancel_;
  std::set<std::string> roles_;
};

// ---- checks ---------------------------------------------------------------------------------------------------------

/// What the database's own sessions would have: ours name everything in full.
Result<> use_search_path(PgSession& session) {
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT coalesce((SELECT substr(setting, 13) FROM pg_db_role_setting, unnest(setconfig) "
                           "setting WHERE setrole = 0 AND setting LIKE 'search_path=%' AND setdatabase = (SELECT oid "
                           "FROM pg_database WHERE datname = current_database())), '\"$user\", public')"));
  TRY(session.query("SELECT set_config('search_path', $1, false)", {rows.at(0).at(0)}));
  return {};
}

bool is_true(const PgRows& rows) {
  return rows.size() == 1 && rows[0].size() == 1 && rows[0][0] && (*rows[0][0] == "t" || *rows[0][0] == "true");
}

std::string shown(const PgRows& rows) {
  if (rows.empty()) return "no row";
  if (rows.size() > 1) return fmt::format("{} rows", rows.size());
  if (rows[0].size() != 1) return fmt::format("{} columns", rows[0].size());
  return rows[0][0] ? rows[0][0]->substr(0, 200) : "null";
}

Result<DumpCheckResult> run_check(const PgEndpoint& endpoint, const DumpCheck& check, const std::string& database,
                                  const CancelToken& cancel) {
  DumpCheckResult result{check, database, false, ""};
  const auto found = [&]() -> Result<PgRows> {
    TRY_ASSIGN(auto session, open_pg_session(endpoint, cancel));
    TRY(use_search_path(*session));
    TRY(session->exec("SET default_transaction_read_only = on"));
    return session->query(check.sql);
  }();
  if (!found && found.error().code() == Errc::kCancelled) return found.error();
  result.ok = found && is_true(*found);
  result.found = found ? shown(*found) : found.error().message();
  return result;
}

// ---- the proof ------------------------------------------------------------------------------------------------------

class Verifier {
 public:
  Verifier(const DumpVerifyRequest& request, const Dump& dump, const DumpReader& reader, Clock& clock,
           const CancelToken& cancel, DumpProgress& progress)
      : request_(request),
        dump_(dump),
        reader_(reader),
        clock_(clock),
        cancel_(cancel),
        progress_(progress),
        load_(request.load),
        databases_(databases_of(dump, request.load.databases)) {}
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;
  ~Verifier() { (void)drop_databases().has_value(); }

  Result<DumpVerifyReport> run() {
    if (databases_.empty())
      return Error(Errc::kNotFound, fmt::format("dump {} has none of the databases asked for", dump_.meta.label))
          .with_hint("run dump-ls --set=" + dump_.meta.label);
    load_.create = true;
    load_.compare_counts = true;
    load_.exit_on_error = false;  // All that fails shall be told.
    if (request_.scratch == DumpVerifyRequest::Scratch::kCluster) {
      TRY(use_cluster());
    } else {
      TRY(use_databases());
    }
    TRY(check_that_it_can_be_tried());
    TRY(load());
    if (is_loaded_) TRY(run_checks());
    report_.verdict.when = clock_.now();
    report_.verdict.ok = report_.verdict.findings.empty();
    return std::move(report_);
  }

 private:
  void find(std::string text) {
    std::vector<std::string>& findings = report_.verdict.findings;
    if (findings.size() < kFindingsMax) findings.push_back(std::move(text));
    if (findings.size() == kFindingsMax) findings.emplace_back("and more");
  }

  // ---- where --------------------------------------------------------------------------------------------------------

  Result<> use_cluster() {
    TRY_ASSIGN(const PgClientSet programs, choose_scratch_server(load_.clients, dump_.meta.pg_major()));
    TRY(check_space());
    progress_.totals.phase = "make scratch cluster";
    TRY_ASSIGN(cluster_,
               ScratchCluster::start({programs, load_.scratch_path, load_.jobs, superuser_of(dump_)}, clock_, cancel_));
    load_.server = cluster_->endpoint();
    load_.globals = has_globals(dump_);
    report_.verdict.where = fmt::format("scratch cluster of PostgreSQL {}", programs.version);
    log_info("verify dump {} in a {} at {}", dump_.meta.label, report_.verdict.where, cluster_->directory());
    TRY_ASSIGN(auto session, open_pg_session(load_.server, cancel_));
    TRY_CTX(make_tablespaces(*session), "make tablespaces in the scratch cluster");
    if (!load_.globals) TRY_CTX(make_roles(*session), "make roles in the scratch cluster");
    return {};
  }

  Result<> check_space() const {
    uint64_t needed = kClusterBytes;
    for (const DumpTable& table : dump_.tables)
      if (std::find(databases_.begin(), databases_.end(), table.database) != databases_.end())
        needed += std::max(table.bytes, table.total_bytes);
    struct statvfs info {};
    if (::statvfs(load_.scratch_path.c_str(), &info) != 0) return {};
    const uint64_t free = uint64_t{info.f_bavail} * info.f_frsize;
    if (free >= needed) return {};
    return Error(Errc::kNoSpace, fmt::format("make a scratch cluster in {}: it needs about {} MiB, {} MiB are free",
                                             load_.scratch_path, needed >> 20, free >> 20))
        .with_hint(
            "set TMPDIR to a directory with room, verify single databases with --dbname, or use "
            "--scratch=database");
  }

  // Where the dump's tablespaces were is no place for ours: that may be this very machine.
  Result<> make_tablespaces(PgSession& session) {
    size_t number = 0;
    for (const std::string& name : dump_.meta.tablespaces) {
      if (name == "pg_default" || name == "pg_global") continue;
      const std::string place = fmt::format("{}/tablespace.{}", cluster_->directory(), ++number);
      TRY(make_directories(place, 0700));
      TRY(session.exec(fmt::format("CREATE TABLESPACE {} LOCATION {}", identifier(name), pg::quote_literal(place))));
    }
    if (dump_.meta.tablespaces.empty()) load_.arguments.emplace_back("--no-tablespaces");
    return {};
  }

  Result<> make_roles(PgSession& session) {
    TRY_ASSIGN(const auto roles, RolesNeeded(dump_, reader_, cancel_).find());
    for (const std::string& name : roles) {
      if (name == cluster_->endpoint().user) continue;
      TRY(session.exec("CREATE ROLE " + identifier(name)));
    }
    return {};
  }

  Result<> use_databases() {
    progress_.totals.phase = "look at the server";
    report_.verdict.where = "scratch databases on " + load_.server.where();
    size_t number = 0;
    for (const std::string& name : databases_)
      load_.database_map[name] = fmt::format("pgark_verify_{}_{}", dump_.meta.label, ++number);
    // Of a run that was killed: the names are ours alone.
    drops_ = true;
    return drop_databases();
  }

  Result<> drop_databases() {
    if (!drops_) return {};
    const CancelToken none;  // Also when the run was cancelled.
    TRY_ASSIGN(auto session, open_pg_session(load_.server, none));
    for (const auto& [name, scratch] : load_.database_map) {
      const std::string drop = "DROP DATABASE IF EXISTS " + identifier(scratch);
      auto dropped = session->exec(drop);
      for (int attempt = 0; !dropped && attempt < 100; ++attempt) {
        (void)session->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", {scratch})
            .has_value();
        clock_.sleep_for(std::chrono::milliseconds(100));
        dropped = session->exec(drop);
      }
      if (!dropped) {
        log_warn("scratch database {} could not be dropped: {}", scratch, dropped.error().message());
        return dropped;
      }
    }
    return {};
  }

  // ---- what ---------------------------------------------------------------------------------------------------------

  /// What is missing here says nothing about the dump.
  Result<> check_that_it_can_be_tried() {
    auto plan = plan_load(load_, dump_, reader_, cancel_);
    if (!plan) {
      if (!tells_of_the_dump(plan.error())) return Error(std::move(plan).error());
      find(plan.error().message());
      is_readable_ = false;
      return {};
    }
    std::string text;
    Error error(Errc::kInvalid, "");
    for (const LoadFinding& finding : plan->findings) {
      if (finding.severity != DumpWarning::Severity::kError) continue;
      text += (text.empty() ? "" : "; ") + (finding.database.empty() ? "" : finding.database + ": ") + finding.what;
      if (!finding.mend.empty()) error = std::move(error).with_hint(finding.mend);
    }
    if (text.empty()) return {};
    return std::move(error).with_context(fmt::format("the dump cannot be tried here: {}", text));
  }

  Result<> load() {
    if (!is_readable_) return {};
    auto loaded = run_load(load_, dump_, reader_, clock_, cancel_, progress_);
    if (!loaded) {
      TRY(cancel_.check());
      if (!tells_of_the_dump(loaded.error())) return Error(std::move(loaded).error());
      find(loaded.error().message());
      return {};
    }
    is_loaded_ = true;
    report_.load = *std::move(loaded);
    for (const std::string& error : report_.load.errors) find(error);
    compare_counts();
    return {};
  }

  std::string scratch_name(const std::string& database) const {
    const auto found = load_.database_map.find(database);
    return found == load_.database_map.end() ? database : found->second;
  }

  void compare_counts() {
    std::set<std::tuple<std::string, std::string, std::string>> counted;
    for (const LoadedTable& table : report_.load.tables) {
      counted.emplace(table.database, table.schema, table.name);
      if (table.expected) ++report_.verdict.tables;
      if (!table.ok())
        find(fmt::format("{}: {}.{} has {} rows after the load, {} were dumped", dumped_name(table.database),
                         table.schema, table.name, table.found, *table.expected));
    }
    for (const DumpTable& table : dump_.tables) {
      if (!table.rows || std::find(databases_.begin(), databases_.end(), table.database) == databases_.end()) continue;
      if (!counted.contains({scratch_name(table.database), table.schema, table.name}))
        find(fmt::format("{}: {}.{} with {} rows is not among what was loaded", table.database, table.schema,
                         table.name, *table.rows));
    }
  }

  std::string dumped_name(const std::string& scratch) const {
    for (const auto& [name, mapped] : load_.database_map)
      if (mapped == scratch) return name;
    return scratch;
  }

  Result<> run_checks() {
    progress_.totals.phase = "run checks";
    for (const DumpCheck& check : request_.checks) {
      bool is_known = check.database.empty();
      for (const DumpUnit& unit : dump_.meta.units) is_known = is_known || unit.database == check.database;
      if (!is_known) add_check({check, check.database, false, "the dump has no such database"});
      for (const std::string& database : databases_) {
        if (!check.database.empty() && check.database != database) continue;
        PgEndpoint endpoint = load_.server;
        endpoint.database = scratch_name(database);
        TRY_ASSIGN(DumpCheckResult result, run_check(endpoint, check, database, cancel_));
        ++report_.verdict.checks;
        add_check(std::move(result));
      }
    }
    return {};
  }

  void add_check(DumpCheckResult result) {
    if (!result.ok) find(fmt::format("{}: check {} failed: {}", result.database, result.check.name, result.found));
    report_.checks.push_back(std::move(result));
  }

  const DumpVerifyRequest& request_;
  const Dump& dump_;
  const DumpReader& reader_;
  Clock& clock_;
  const CancelToken& cancel_;
  DumpProgress& progress_;
  LoadRequest load_;
  std::vector<std::string> databases_;
  std::unique_ptr<ScratchCluster> cluster_;
  bool drops_ = false;
  bool is_readable_ = true;
  bool is_loaded_ = false;
  DumpVerifyReport report_;
};

}  // namespace

Result<DumpVerifyReport> run_dump_verify(const DumpVerifyRequest& request, const Dump& dump, const DumpReader& reader,
                                         Clock& clock, const CancelToken& cancel, DumpProgress& progress) {
  return Verifier(request, dump, reader, clock, cancel, progress).run();
}

}  // namespace pgark
