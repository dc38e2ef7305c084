// Examiner of check that looks at dumps, where there are any: their age, whether one was ever loaded, and what of the
// server is in none of them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "catalog/dump.h"
#include "ops/check_examiners.h"

namespace pgark {
namespace {

constexpr size_t kNamesShown = 5;
constexpr size_t kDatabasesAskedMax = 50;  // For their extensions, one connection each.

std::string age_text(std::chrono::microseconds age) {
  const auto hours = std::chrono::duration_cast<std::chrono::hours>(age).count();
  return hours < 72 ? fmt::format("{} hours", hours) : fmt::format("{} days", hours / 24);
}

std::string names_text(const std::vector<std::string>& names) {
  std::string text = fmt::format(
      "{}",
      fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(std::min(names.size(), kNamesShown)), ", "));
  if (names.size() > kNamesShown) text += fmt::format(" and {} more", names.size() - kNamesShown);
  return text;
}

std::string dumps_hint(const CheckState& state, std::string_view options) {
  return fmt::format("'pgark --stanza={} dump{}{}'", state.options.stanza, options.empty() ? "" : " ", options);
}

/// What all repositories have together; of each dump one copy counts.
struct KnownDumps {
  std::map<std::string, DumpMeta> by_label;       // Labels sort as their times do.
  std::map<std::string, DumpVerdict> verdicts;    // The newest of each.
  std::map<std::string, const DumpMeta*> newest;  // By series.
  std::map<std::string, size_t> count;            // By series.

  void sum_up() {
    for (const auto& [label, meta] : by_label) {
      newest[meta.series] = &meta;
      ++count[meta.series];
    }
  }
};

void examine_dump_age(CheckState& state, const CheckedRepository& one, const std::vector<ListedDump>& dumps) {
  std::map<std::string, const DumpMeta*> newest;
  std::map<std::string, size_t> count;
  for (const ListedDump& dump : dumps) {
    if (!dump.meta) continue;
    newest[dump.meta->series] = &*dump.meta;
    ++count[dump.meta->series];
  }
  const auto limit = state.options.thresholds.dump_age;
  for (const auto& [series, meta] : newest) {
    const auto age = state.clock.now() - meta->stopped;
    if (age <= limit) continue;
    // A single one was perhaps meant to be just that.
    state.add({.severity = count[series] > 1 ? Severity::kWarning : Severity::kInfo,
               .code = "dump_old",
               .what = fmt::format("the newest dump of {}, {}, is {} old, and {} is allowed", series, meta->label,
                                   age_text(age), age_text(limit)),
               .why = "what was written since is in no dump",
               .mend = fmt::format("see why {} does not run or fails; check-dump-age sets what is allowed",
                                   dumps_hint(state, "")),
               .repo = one.number});
  }
}

Result<> read_repository(CheckState& state, const CheckedRepository& one, KnownDumps& known) {
  TRY_ASSIGN(const auto dumps, list_dumps(*one.repository, state.options.stanza));
  if (dumps.empty()) return {};
  for (const ListedDump& dump : dumps) {
    if (dump.meta) known.by_label.emplace(dump.label, *dump.meta);
    if (!dump.error) continue;
    state.add({.severity = Severity::kError,
               .code = "dump_unreadable",
               .what = fmt::format("dump {} cannot be read: {}", dump.label, dump.error->message()),
               .why = "it cannot be loaded from this repository",
               .mend = fmt::format("look for a good copy in another repository, then make a new one: {}",
                                   dumps_hint(state, "")),
               .repo = one.number});
  }
  examine_dump_age(state, one, dumps);
  TRY_ASSIGN(const auto verdicts, read_dump_verdicts(*one.repository, state.options.stanza));
  for (const auto& [label, verdict] : verdicts) {
    DumpVerdict& newest = known.verdicts[label];
    if (newest.when <= verdict.when) newest = verdict;
  }
  return {};
}

void examine_proof(CheckState& state, const KnownDumps& known) {
  std::vector<std::string> never;
  for (const auto& [series, newest] : known.newest) {
    const DumpVerdict* last = nullptr;
    const DumpMeta* of = nullptr;
    for (const auto& [label, meta] : known.by_label) {
      const auto verdict = known.verdicts.find(label);
      if (meta.series != series || verdict == known.verdicts.end()) continue;
      if (last == nullptr || last->when < verdict->second.when) {
        last = &verdict->second;
        of = &meta;
      }
    }
    if (last == nullptr) {
      never.push_back(series);
    } else if (!last->ok) {
      state.add({.severity = Severity::kError,
                 .code = "dump_verify_failed",
                 .what = fmt::format("dump-verify last found dump {} wrong: {}", of->label,
                                     last->findings.empty() ? "see dump-ls" : last->findings.front()),
                 .why = "it cannot be relied on, nor perhaps those after it",
                 .mend = fmt::format("'pgark --stanza={} dump-ls --set={}' has all it found; mend it, dump and verify "
                                     "again",
                                     state.options.stanza, of->label)});
    } else if (const auto age = state.clock.now() - last->when; age > state.options.thresholds.drill_age) {
      state.add({.severity = Severity::kWarning,
                 .code = "dump_not_verified",
                 .what = fmt::format("dump-verify last tried a dump of {} {} ago, and {} is allowed", series,
                                     age_text(age), age_text(state.options.thresholds.drill_age)),
                 .why = "versions, roles and extensions have changed since",
                 .mend = fmt::format("run 'pgark --stanza={} dump-verify'", state.options.stanza)});
    }
  }
  if (never.empty()) return;
  state.add({.severity = Severity::kInfo,
             .code = "dump_not_verified",
             .what = fmt::format("no dump of {} was ever loaded by dump-verify", names_text(never)),
             .why = "a dump that was never loaded is a hope",
             .mend = fmt::format("run 'pgark --stanza={} dump-verify' from time to time", state.options.stanza)});
}

/// What is in the newest dumps, and what of the server is not.
class DumpedAndNot {
 public:
  DumpedAndNot(CheckState& state, const KnownDumps& known) : state_(state) {
    const auto has_backup = [](const CheckedRepository& one) { return newest_backup(one) != nullptr; };
    // A physical backup has everything; without one, what is in no dump is nowhere.
    if (std::any_of(state.repositories.begin(), state.repositories.end(), has_backup)) severity_ = Severity::kInfo;
    for (const auto& [series, meta] : known.newest) {
      if (meta->globals && (globals_ == nullptr || globals_->label < meta->label)) globals_ = meta;
      for (const DumpDatabase& database : meta->databases) {
        Dumped& one = databases_[database.name];
        one.partly = one.partly && !meta->selection.empty();
        for (const BackupExtension& extension : database.extensions) one.extensions.insert(extension.name);
      }
    }
  }

  Result<> run() {
    TRY(examine_roles());
    if (!state_.session) return {};
    TRY(examine_databases());
    return examine_extensions();
  }

 private:
  struct Dumped {
    bool partly = true;
    std::set<std::string> extensions;  // That were there then.
  };

  void add(Severity severity, std::string code, std::string what, std::string why, std::string mend) {
    state_.add({.severity = severity,
                .code = std::move(code),
                .what = std::move(what),
                .why = std::move(why),
                .mend = std::move(mend)});
  }

  Result<> examine_roles() {
    if (globals_ == nullptr) {
      add(Severity::kWarning, "roles_not_dumped", "no newest dump of a series has roles, memberships and tablespaces",
          "a load on another server fails wherever an owner or a privilege names a role that is not there",
          fmt::format("dump with globals once more: {}", dumps_hint(state_, "--globals")));
      return {};
    }
    if (!state_.session) return {};
    TRY_ASSIGN(const PgRows rows, state_.session->query("SELECT rolname AS dumped_role FROM pg_roles WHERE rolname !~ "
                                                        "'^pg_' ORDER BY rolname"));
    std::set<std::string> dumped;
    for (const DumpRole& role : globals_->roles) dumped.insert(role.name);
    std::vector<std::string> missing;
    for (const PgRow& row : rows)
      if (row.at(0) && !dumped.contains(*row[0])) missing.push_back(*row[0]);
    if (missing.empty()) return {};
    add(Severity::kInfo, "roles_not_dumped",
        fmt::format("{} made since the newest dump with roles, {}: {}",
                    missing.size() == 1 ? "1 role was" : fmt::format("{} roles were", missing.size()), globals_->label,
                    names_text(missing)),
        "a load of a later dump without globals would miss them", "the next dump with globals has them");
    return {};
  }

  Result<> examine_databases() {
    TRY_ASSIGN(const PgRows rows, state_.session->query("SELECT datname FROM pg_database WHERE datallowconn AND NOT "
                                                        "datistemplate ORDER BY datname"));
    std::vector<std::string> missing;
    for (const PgRow& row : rows) {
      // The one everybody connects to first mostly holds nothing.
      if (row.at(0) && row[0] != "postgres" && !databases_.contains(*row[0])) missing.push_back(*row[0]);
    }
    if (missing.empty()) return {};
    add(severity_, "database_not_dumped",
        fmt::format("{} in no newest dump: {}",
                    missing.size() == 1 ? "1 database is" : fmt::format("{} databases are", missing.size()),
                    names_text(missing)),
        severity_ == Severity::kInfo ? "physical backups have them" : "and there is no physical backup",
        fmt::format("{} without --dbname takes all; where that is meant, check-ignore=database_not_dumped",
                    dumps_hint(state_, "")));
    return {};
  }

  Result<> examine_extensions() {
    std::vector<std::string> missing;
    size_t asked = 0;
    for (const auto& [name, dumped] : databases_) {
      if (!state_.access->open_database || ++asked > kDatabasesAskedMax) break;
      TRY(state_.cancel.check());
      const auto session = state_.access->open_database(name);
      const auto rows = session ? (*session)->query(
                                      "SELECT extname AS dumped_extension FROM pg_extension WHERE "
                                      "extname <> 'plpgsql' ORDER BY extname")
                                : Result<PgRows>(session.error());
      if (!rows) continue;  // Dropped, or closed to this role: what dump says when it comes to it.
      for (const PgRow& row : *rows) {
        if (!row.at(0)) continue;
        if (dumped.partly || !dumped.extensions.contains(*row[0]))
          missing.push_back(fmt::format("{} of {}", *row[0], name));
      }
    }
    if (missing.empty()) return {};
    add(severity_, "extensions_not_dumped",
        fmt::format("{} in no newest dump: {}",
                    missing.size() == 1 ? "1 extension is" : fmt::format("{} extensions are", missing.size()),
                    names_text(missing)),
        "pg_dump leaves extensions out when schemas or tables are chosen; those made since the dump lack as well",
        "CREATE EXTENSION before such a dump is loaded, or give --extension to the dump (pg_dump 14 and newer)");
    return {};
  }

  CheckState& state_;
  Severity severity_ = Severity::kWarning;
  const DumpMeta* globals_ = nullptr;  // The newest dump with roles.
  std::map<std::string, Dumped> databases_;
};

}  // namespace

Result<> examine_dumps(CheckState& state) {
  KnownDumps known;
  for (const CheckedRepository& one : state.repositories)
    if (one.repository) TRY(read_repository(state, one, known));
  if (known.by_label.empty()) {
    if (state.options.dumps_only)
      state.add({Severity::kWarning, "no_dump", "there is no dump of the server", "nothing of it can be brought back",
                 "run " + dumps_hint(state, "")});
    return {};
  }
  known.sum_up();
  examine_proof(state, known);
  return DumpedAndNot(state, known).run();
}

}  // namespace pgark
