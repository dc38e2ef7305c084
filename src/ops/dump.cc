// run_dump: databases side by side, each under a snapshot of its own; runs of pg_dump as many at a time as there are
// jobs; the manifest last.
#include "ops/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "catalog/cluster.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "core/version.h"
#include "ops/dump_assemble.h"
#include "ops/dump_plan.h"
#include "ops/dump_run.h"
#include "ops/dump_spool.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

/// Connections that may be open at a time, handed out in the order in which they were asked for: one who asks for many
/// is not passed by those who ask for few.
class JobSlots {
 public:
  explicit JobSlots(unsigned count) : count_(std::max(1u, count)), free_(count_) {}

  /// Errors: kCancelled.
  Result<> acquire(unsigned count, const CancelToken& cancel) {
    count = std::min(count, count_);
    const MutexLock lock(mu_);
    const uint64_t ticket = next_ticket_++;
    while (ticket != serving_ || free_ < count) {
      if (cancel.cancelled()) {
        // The run ends: nobody behind needs his turn.
        return cancel.check();
      }
      changed_.wait_for(mu_, std::chrono::milliseconds(100));
    }
    ++serving_;
    free_ -= count;
    changed_.notify_all();
    return {};
  }
  void release(unsigned count) {
    const MutexLock lock(mu_);
    free_ += std::min(count, count_);
    changed_.notify_all();
  }

 private:
  const unsigned count_;
  Mutex mu_;
  CondVar changed_;
  unsigned free_ GUARDED_BY(mu_);
  uint64_t next_ticket_ GUARDED_BY(mu_) = 0;
  uint64_t serving_ GUARDED_BY(mu_) = 0;
};

void tell_warnings(const std::vector<DumpWarning>& warnings) {
  for (const DumpWarning& warning : warnings) {
    if (warning.severity == DumpWarning::Severity::kInfo) {
      log_info("{}", dump_warning_text(warning));
    } else {
      log_warn("{}", dump_warning_text(warning));
    }
  }
}

/// The runs of one dump.
class DumpRunner {
 public:
  DumpRunner(const DumpRequest& request, const DumpRate& rate, DumpServerPlan& server, DumpPacks& packs,
             const DumpSpool* spool, const CancelToken& cancel, DumpProgress& progress)
      : request_(request),
        rate_(rate),
        server_(server),
        packs_(packs),
        spool_(spool),
        progress_(progress),
        slots_(request.jobs),
        databases_(server.databases.size()),
        group_(&cancel) {}

  Result<> run() {
    for (const std::string& name : server_.databases)
      for (const DumpDatabase& database : server_.facts.databases)
        if (database.name == name) bytes_total_ += database.bytes;
    if (request_.globals) group_.spawn([this] { return dump_globals(); });
    const size_t side_by_side = std::min<size_t>(databases_.size(), std::max(1u, request_.jobs));
    for (size_t i = 0; i < side_by_side; ++i) group_.spawn([this] { return dump_databases(); });
    return group_.wait();
  }

  std::optional<DumpUnitResult> take_globals() { return std::move(globals_); }
  std::vector<DumpedDatabase> take_databases() { return std::move(databases_); }

 private:
  DumpRunContext context(const CancelToken& cancel) {
    return {request_, server_.client, spool_, packs_, progress_, cancel};
  }

  Result<> dump_globals() {
    TRY(slots_.acquire(1, group_.cancel()));
    auto result = run_dump_globals(context(group_.cancel()), server_.role_passwords);
    slots_.release(1);
    if (!result.has_value()) return std::move(result).error();
    globals_ = std::move(*result);
    return {};
  }

  Result<> dump_databases() {
    for (;;) {
      const size_t index = next_database_.fetch_add(1);
      if (index >= databases_.size()) return {};
      TRY(group_.cancel().check());
      TRY(dump_database(server_.databases[index], databases_[index]));
    }
  }

  Result<> dump_database(const std::string& name, DumpedDatabase& done) {
    TRY_ASSIGN(DumpDatabasePlan plan, plan_dump_database(request_, server_, name, rate_, group_.cancel()));
    tell_warnings(plan.warnings);
    done.warnings = std::move(plan.warnings);
    if (plan.nothing_chosen) return {};
    done.dumped = true;
    progress_.totals.bytes_total.fetch_add(plan.bytes(), std::memory_order_relaxed);
    progress_.totals.files_total.fetch_add(plan.facts.tables.size(), std::memory_order_relaxed);
    progress_.totals.phase = "dump";
    log_info("dumping database {}: {} tables of {} bytes in {} runs of pg_dump{}", name, plan.facts.tables.size(),
             plan.bytes(), plan.units.size(),
             plan.snapshot.id.empty() ? "" : fmt::format(", snapshot {}", plan.snapshot.id));
    done.units.resize(plan.units.size());
    TRY(dump_units(plan, done));
    done.facts = std::move(plan.facts);
    return {};
  }

  /// The units of a database, the largest first, so that none is left alone at the end.
  Result<> dump_units(const DumpDatabasePlan& plan, DumpedDatabase& done) {
    std::vector<size_t> order(plan.units.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return plan.units[a].bytes > plan.units[b].bytes; });
    const unsigned share =
        share_of_jobs(request_.jobs, plan.facts.database.bytes, bytes_total_, server_.databases.size());
    TableBytes bytes;
    if (progress_.on_table)
      for (const DumpTable& table : plan.facts.tables) bytes[table.schema + "." + table.name] = table.bytes;
    std::atomic<size_t> next = 0;
    const auto work = [&](const CancelToken& cancel) -> Result<> {
      for (;;) {
        const size_t at = next.fetch_add(1);
        if (at >= order.size()) return {};
        const PlannedUnit& unit = plan.units[order[at]];
        const unsigned jobs = request_.format == DumpFormat::kDirectory
                                  ? share_of_jobs(share, unit.bytes, plan.bytes(), plan.units.size())
                                  : 1;
        TRY(slots_.acquire(jobs, cancel));
        auto result =
            run_dump_unit(context(cancel), unit.unit, {plan.snapshot.id, jobs, next_number_.fetch_add(1), &bytes});
        slots_.release(jobs);
        if (!result.has_value()) return std::move(result).error();
        done.units[order[at]] = std::move(*result);
      }
    };
    TaskGroup units(&group_.cancel());
    const size_t side_by_side = std::min<size_t>(order.size(), std::max(1u, request_.jobs));
    for (size_t i = 0; i < side_by_side; ++i) units.spawn([&] { return work(units.cancel()); });
    return units.wait();
  }

  const DumpRequest& request_;
  const DumpRate& rate_;
  const DumpServerPlan& server_;
  DumpPacks& packs_;
  const DumpSpool* spool_;
  DumpProgress& progress_;
  JobSlots slots_;
  uint64_t bytes_total_ = 0;
  std::optional<DumpUnitResult> globals_;
  std::vector<DumpedDatabase> databases_;
  std::atomic<size_t> next_database_ = 0;
  std::atomic<unsigned> next_number_ = 1;
  TaskGroup group_;  // Last: its threads use all the others.
};

}  // namespace

Result<DumpReport> run_dump(const DumpRequest& request, const DumpRate& rate, const RepositorySet& repositories,
                            Clock& clock, const CancelToken& cancel, DumpProgress& progress) {
  progress.totals.phase = "look at the server";
  const Timestamp started = clock.now();
  TRY_ASSIGN(DumpServerPlan server, plan_dump_server(request, cancel));
  for (const std::string& note : server.notes) log_info("{}", note);
  tell_warnings(server.warnings);
  TRY(check_dump_cluster(request, repositories, server.facts.system_identifier));
  TRY_ASSIGN(const std::string label, choose_dump_label(request, repositories, started));
  std::optional<DumpSpool> spool;
  if (request.format == DumpFormat::kDirectory) {
    TRY_ASSIGN_CTX(DumpSpool made, DumpSpool::create(request.spool_path), "prepare the spool");
    spool.emplace(std::move(made));
  }
  DumpPacks packs(repositories, {request.stanza, label, request.codec, request.level});
  const auto fail = [&](Error error) {
    packs.discard();
    return error;
  };
  DumpAssembly assembly(request, label, started);
  DumpReport report;
  {
    DumpRunner run(request, rate, server, packs, spool ? &*spool : nullptr, cancel, progress);
    if (auto done = run.run(); !done.has_value()) return fail(std::move(done).error());
    if (auto globals = run.take_globals()) assembly.add_globals(std::move(*globals), server.role_passwords);
    size_t dumped = 0;
    for (DumpedDatabase& database : run.take_databases()) {
      if (database.dumped) ++dumped;
      report.plan.estimated_bytes += database.facts.database.bytes;
      for (const DumpWarning& warning : database.warnings) server.warnings.push_back(warning);
      assembly.add_database(std::move(database));
    }
    if (dumped == 0) return fail(Error(Errc::kInvalid, "nothing in any database matches what was asked for"));
  }
  progress.totals.phase = "close packs";
  if (auto done = packs.finish(); !done.has_value()) return fail(std::move(done).error());
  if (auto same = cancel.check(); !same.has_value()) return fail(std::move(same).error());
  report.dump = std::move(assembly).finish(server, packs, clock.now());
  TRY(publish_dump(request, repositories, report.dump, packs, progress));
  report.plan.server = std::move(server.facts);
  report.plan.client = std::move(server.client);
  report.plan.warnings = std::move(server.warnings);
  report.plan.notes = std::move(server.notes);
  return report;
}

DumpRate last_dump_rate(const std::vector<ListedDump>& dumps, const std::string& series) {
  DumpRate rate;
  // The newest of the same series, else the newest of all.
  for (const bool same : {true, false}) {
    for (auto at = dumps.rbegin(); at != dumps.rend(); ++at) {
      if (!at->meta || (same && at->meta->series != series)) continue;
      const double seconds = static_cast<double>((at->meta->stopped - at->meta->started).count()) / 1e6;
      if (seconds <= 0 || at->meta->raw_bytes == 0) continue;
      rate.bytes_per_second = static_cast<double>(at->meta->raw_bytes) / seconds;
      rate.of_label = at->label;
      return rate;
    }
  }
  return rate;
}

}  // namespace pgark
