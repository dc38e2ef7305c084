// `pgark dump`: options to a request, the lock, the dump, and what came of it.
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "cli/access.h"
#include "cli/backup_destinations.h"
#include "cli/command.h"
#include "cli/dump_render.h"
#include "cli/dump_settings.h"
#include "cli/job_lease.h"
#include "cli/progress.h"
#include "cli/retention_settings.h"
#include "cli/table_progress.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "pgwire/pg_client.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// What dumps did before, as far as a repository tells; nothing if it does not.
DumpRate past_rate(const Repository& repository, const DumpRequest& request) {
  const auto dumps = list_dumps(repository, request.stanza);
  if (!dumps.has_value()) return {};
  return last_dump_rate(*dumps, dump_series(request.databases, request.selection, request.name));
}

/// A dry run asks repositories only for how fast dumps were, and does without if none answers.
DumpRate past_rate(const CommandContext& context, const DumpRequest& request) {
  for (const unsigned number : context.settings.chosen_repositories())
    if (const auto opened = open_repository(context, number); opened.has_value())
      return past_rate(*opened->repository, request);
  return {};
}

Result<int> dry_run(CommandContext& context, const DumpRequest& request) {
  const DumpRate rate = past_rate(context, request);
  TRY_ASSIGN_CTX(const DumpPlan plan, plan_dump(request, rate, context.cancel), "plan a dump");
  if (context.json()) {
    // Names may hold any bytes.
    const auto document = dump_plan_json(plan, rate, request.stanza);
    TRY(context.out.print(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"));
  } else {
    TRY(context.out.print(dump_plan_text(plan, rate)));
  }
  return kExitOk;
}

Result<> check_stdin(const Settings& settings) {
  if (settings.text("name").empty())
    return Error(Errc::kInvalid, "a dump from standard input needs a name")
        .with_hint("--name=NAME is the series in which retention counts it");
  if (::isatty(STDIN_FILENO) == 1)
    return Error(Errc::kInvalid, "standard input is a terminal")
        .with_hint("pg_dump ... | pgark --stanza=... dump --stdin --name=...");
  for (const std::string_view option : {"split", "format", "jobs"})
    if (settings.given(option)) return Error(Errc::kInvalid, fmt::format("--stdin cannot be combined with {}", option));
  return {};
}

ExpireAfterDump expire_after_dump(const CommandContext& context, const Repository& repository, unsigned repo) {
  ExpireAfterDump after;
  after.repo = repo;
  if (!context.settings.boolean("expire-auto")) return after;
  const auto fail = [&](Error error) {
    after.error = std::move(error).with_context("expire after the dump, which is complete");
    return after;
  };
  DumpExpireOptions options;
  options.stanza = context.settings.stanza();
  auto rules = retention_rules(context.settings, repo);
  if (!rules.has_value()) return fail(std::move(rules).error());
  options.rules = std::move(*rules);
  if (!options.rules.any()) return after;
  options.grace = context.settings.duration("expire-grace");
  auto report = run_dump_expire(repository, context.clock, context.cancel, options);
  if (!report.has_value()) return fail(std::move(report).error());
  after.report = std::move(*report);
  return after;
}

/// The repositories of a run, where those that fail are left behind.
class Destinations {
 public:
  Result<> open(const CommandContext& context, JobLeases& leases) {
    if (auto opened = all_.open(context); !opened.has_value()) {
      if (opened.error().code() != Errc::kNotFound) return std::move(opened).error();
      return std::move(opened).error().with_hint(
          "stanza-create needs no data directory: without pg1-path it asks the server at pg1-host");
    }
    TRY(all_.take_leases(leases));
    std::vector<const Repository*> repositories;
    for (const auto& one : all_.opened()) repositories.push_back(one.opened.repository.get());
    set_.emplace(std::move(repositories));
    return {};
  }

  const RepositorySet& set() const { return *set_; }
  const Repository& first() const { return set_->at(0); }

  /// Leave those behind whose lease was lost. Errors: if none is left.
  Result<> check_leases() const {
    for (size_t i = 0; i < all_.opened().size(); ++i) {
      const HeldLease* lease = all_.opened()[i].lease;
      if (lease == nullptr || set_->has_failed(i)) continue;
      if (auto held = lease->check(); !held.has_value()) TRY(set_->fail(i, std::move(held).error()));
    }
    return {};
  }

  std::vector<std::string> stored_in() const {
    std::vector<std::string> names;
    for (size_t i = 0; i < all_.opened().size(); ++i)
      if (!set_->has_failed(i)) names.push_back(repository_name(all_.opened()[i].number));
    return names;
  }
  std::vector<std::pair<std::string, Error>> left_behind() const {
    std::vector<std::pair<std::string, Error>> left;
    const auto failures = set_->failures();
    for (size_t i = 0; i < failures.size(); ++i)
      if (failures[i]) left.emplace_back(repository_name(all_.opened()[i].number), *failures[i]);
    for (const auto& [number, error] : all_.left_behind()) left.emplace_back(repository_name(number), error);
    return left;
  }
  std::vector<ExpireAfterDump> expire(const CommandContext& context) const {
    std::vector<ExpireAfterDump> expired;
    for (size_t i = 0; i < all_.opened().size(); ++i)
      if (!set_->has_failed(i))
        expired.push_back(expire_after_dump(context, *all_.opened()[i].opened.repository, all_.opened()[i].number));
    return expired;
  }

 private:
  BackupDestinations all_;
  std::optional<RepositorySet> set_;
};

Result<DumpReport> make_dump(const CommandContext& context, const Destinations& destinations, DumpRequest& request) {
  DumpProgress progress;
  const TableProgress tables(progress, {});
  const ProgressDisplay display(context.settings, progress.totals, context.clock);
  request.before_manifest = [&](const RepositorySet&) { return destinations.check_leases(); };
  if (context.settings.boolean("stdin"))
    return run_dump_from_stdin(request, STDIN_FILENO, destinations.set(), context.clock, context.cancel, progress);
  const DumpRate rate = past_rate(destinations.first(), request);
  return run_dump(request, rate, destinations.set(), context.clock, context.cancel, progress);
}

/// The result is told already, and a document in JSON stands alone: failures are told by log and exit code.
int exit_code_after(const DumpOutcome& outcome) {
  int exit_code = kExitOk;
  const auto failed = [&exit_code](const Error& error) {
    log_error("{}", error.to_string());
    if (exit_code == kExitOk) exit_code = exit_code_of("dump", error.code(), 0);
  };
  for (const auto& [name, error] : outcome.left_behind)
    failed(Error(error).with_context(fmt::format("dump {} is not in {}", outcome.report.dump.meta.label, name)));
  for (const ExpireAfterDump& one : outcome.expired)
    if (one.error) failed(*one.error);
  return exit_code;
}

}  // namespace

Result<int> cmd_dump(CommandContext& outer) {
  const Settings& settings = outer.settings;
  const bool from_stdin = settings.boolean("stdin");
  if (from_stdin) TRY(check_stdin(settings));
  TRY_ASSIGN(DumpRequest request, dump_request(outer));
  if (!from_stdin) {
    TRY_ASSIGN(request.clients, find_client_sets(settings.list("client-path"), outer.cancel));
  }
  if (settings.boolean("dry-run")) return dry_run(outer, request);
  LockHolder holder;
  holder.command = "dump";
  holder.started = outer.clock.now();
  TRY_ASSIGN(LocalLock lock, LocalLock::acquire(settings.text("lock-path"), settings.stanza(), "dump", holder));
  request.on_label = [&lock](const std::string& label) { return lock.set_label(label); };
  Destinations destinations;
  JobLeases leases(outer, kDumpLease);
  CommandContext context = leases.context();
  TRY(destinations.open(context, leases));
  auto report = make_dump(context, destinations, request);
  if (!report) return leases.explain(std::move(report).error()).with_context("dump " + settings.stanza());
  const auto stored_in = destinations.stored_in();
  const auto left_behind = destinations.left_behind();
  const auto expired = destinations.expire(context);
  const DumpOutcome outcome{*report, stored_in, left_behind, expired};
  if (context.json()) {
    const auto document = dump_outcome_json(outcome, settings.stanza());
    TRY(context.out.print(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"));
  } else {
    TRY(context.out.print(dump_outcome_text(outcome)));
  }
  return exit_code_after(outcome);
}

}  // namespace pgark
