// The count after a load: rows of each table against those the dump recorded, all seen in one snapshot.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>

#include "ops/load_steps.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

struct CountTask {
  RelationKey dumped;
  LoadedTable table;
};

uint64_t number_of(const std::string& text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// Tables whose rows were loaded, by their names in the dump.
RelationKeys loaded_relations(const LoadDatabase& database, const Dump& dump) {
  RelationKeys keys;
  for (const LoadUnit& unit : database.units) {
    if (unit.toc) {
      for (const size_t at : unit.chosen.data)
        if (const pg::DumpTocEntry& entry = unit.toc->entries[at]; entry.desc == "TABLE DATA")
          keys.emplace(entry.schema.value_or(""), entry.tag);
      continue;
    }
    for (const DumpTable& table : dump.tables)
      if (table.unit == unit.index && table.rows) keys.emplace(table.schema, table.name);
  }
  return keys;
}

/// Rows may have gone to another partition than the one they were dumped from.
bool goes_through_root(const LoadDatabase& database) {
  return std::any_of(database.units.begin(), database.units.end(), [](const LoadUnit& unit) {
    const auto& words = unit.unit->arguments;
    return std::find(words.begin(), words.end(), "--load-via-partition-root") != words.end();
  });
}

std::vector<CountTask> tasks_of(const LoadTools& tools, const Dump& dump, const LoadDatabase& database) {
  std::vector<CountTask> tasks;
  const bool through_root = goes_through_root(database);
  const auto add = [&](const RelationKey& key, std::optional<uint64_t> rows) {
    const auto mapped = tools.request.schema_map.find(key.first);
    const auto before = database.before.find(key);
    if (rows && before != database.before.end()) *rows += before->second;
    tasks.push_back({key,
                     {.database = database.step.database,
                      .schema = mapped == tools.request.schema_map.end() ? key.first : mapped->second,
                      .name = key.second,
                      .expected = rows,
                      .found = 0}});
  };
  RelationKeys keys = loaded_relations(database, dump);
  for (const DumpTable& table : dump.tables) {
    if (table.database != database.step.from_database || keys.erase({table.schema, table.name}) == 0) continue;
    add({table.schema, table.name}, through_root && !table.parent.empty() ? std::nullopt : table.rows);
  }
  for (const RelationKey& key : keys) add(key, std::nullopt);
  return tasks;
}

Result<std::unique_ptr<PgSession>> open_counting(const LoadTools& tools, const std::string& database,
                                                 const std::string& snapshot, const CancelToken& cancel) {
  PgEndpoint endpoint = endpoint_of(tools.request, database);
  endpoint.query_timeout = std::chrono::hours(24 * 7);  // A count of a very large table takes as long as it takes.
  TRY_ASSIGN(auto session, open_pg_session(endpoint, cancel));
  TRY(session->exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
  if (!snapshot.empty()) TRY(session->exec("SET TRANSACTION SNAPSHOT " + pg::quote_literal(snapshot)));
  TRY(session->exec("SET row_security = off"));
  return session;
}

/// Count in as many sessions as there are jobs.
Result<> count_tasks(const LoadTools& tools, const std::string& database, std::vector<CountTask>& tasks) {
  if (tasks.empty()) return {};
  TRY_ASSIGN(auto first, open_counting(tools, database, {}, tools.cancel));
  TRY_ASSIGN(const std::string snapshot, first->query_value("SELECT pg_catalog.pg_export_snapshot()"));
  std::atomic<size_t> next = 0;
  const auto count_some = [&](PgSession& session) -> Result<> {
    for (size_t at = next++; at < tasks.size(); at = next++) {
      const LoadedTable& table = tasks[at].table;
      const std::string name = quote_qualified(table.schema, table.name);
      TRY_ASSIGN_CTX(const std::string count, session.query_value("SELECT pg_catalog.count(*) FROM ONLY " + name),
                     "count rows of " + name);
      tasks[at].table.found = number_of(count);
    }
    return {};
  };
  TaskGroup group(&tools.cancel);
  const size_t others = std::min<size_t>(tools.request.jobs, tasks.size()) - 1;
  for (size_t at = 0; at < others; ++at)
    group.spawn([&]() -> Result<> {
      TRY_ASSIGN(auto session, open_counting(tools, database, snapshot, group.cancel()));
      return count_some(*session);
    });
  const auto counted = count_some(*first);
  if (!counted) group.cancel().cancel();
  const auto rest = group.wait();
  TRY(counted);
  return rest;
}

}  // namespace

Result<std::vector<LoadedTable>> count_loaded_tables(const LoadTools& tools, const Dump& dump,
                                                     const LoadDatabase& database) {
  tools.progress.totals.phase = "count rows";
  std::vector<CountTask> tasks = tasks_of(tools, dump, database);
  TRY(count_tasks(tools, database.step.database, tasks));
  std::vector<LoadedTable> tables;
  for (CountTask& task : tasks) tables.push_back(std::move(task.table));
  std::sort(tables.begin(), tables.end(), [](const LoadedTable& a, const LoadedTable& b) {
    return std::tie(a.schema, a.name) < std::tie(b.schema, b.name);
  });
  return tables;
}

Result<std::map<RelationKey, uint64_t>> count_before(const LoadTools& tools, const LoadDatabase& database) {
  std::vector<CountTask> tasks;
  for (const LoadUnit& unit : database.units) {
    if (!unit.toc) continue;
    for (const size_t at : unit.chosen.data) {
      const pg::DumpTocEntry& entry = unit.toc->entries[at];
      if (entry.desc != "TABLE DATA") continue;
      const RelationKey key{entry.schema.value_or(""), entry.tag};
      tasks.push_back({key, {.database = {}, .schema = key.first, .name = key.second, .expected = {}, .found = 0}});
    }
  }
  TRY(count_tasks(tools, database.step.database, tasks));
  std::map<RelationKey, uint64_t> rows;
  for (const CountTask& task : tasks) rows[task.dumped] = task.table.found;
  return rows;
}

}  // namespace pgark
