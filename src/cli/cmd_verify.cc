// `pgark verify`: read the repositories and check every byte, or a share of them; what is damaged, and what it hits.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "catalog/backup.h"
#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/verify_render.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "ops/verify.h"
#include "ops/verify_state.h"

namespace pgark {
namespace {

struct NumberedRepository {
  unsigned repo = 1;
  OpenedRepository opened;
};

/// "5%" to 0.05.
Result<double> parse_share(const std::string& text) {
  double percent = 0;
  const char* end = text.data() + text.size();
  const bool has_sign = text.ends_with('%');
  const auto [stop, status] = std::from_chars(text.data(), has_sign ? end - 1 : end, percent);
  if (!has_sign || status != std::errc{} || stop != end - 1 || !(percent > 0) || percent > 100) {
    return Error(Errc::kInvalid, fmt::format("'{}' is no share for --sample", text))
        .with_hint("give a percentage above 0% and up to 100%, such as --sample=5%");
  }
  return percent / 100;
}

Result<VerifyOptions> options_of(const Settings& settings) {
  VerifyOptions options;
  options.stanza = settings.stanza();
  if (settings.given("sample")) {
    TRY_ASSIGN(options.share, parse_share(settings.text("sample")));
  }
  options.restart = settings.boolean("restart");
  if (settings.given("time-limit")) options.time_limit = settings.duration("time-limit");
  options.process_max = static_cast<unsigned>(settings.integer("process-max"));
  options.host = host_name();
  return options;
}

/// The backups and dumps of --set that this repository has, each once, in their order.
Result<std::vector<std::string>> sets_in(const Repository& repository, const Settings& settings) {
  std::vector<std::string> sets = settings.list("set");
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  TRY_ASSIGN(auto labels, list_backup_labels(repository, settings.stanza()));
  TRY_ASSIGN(const auto dumps, list_dump_labels(repository, settings.stanza()));
  labels.insert(labels.end(), dumps.begin(), dumps.end());
  std::erase_if(
      sets, [&](const std::string& label) { return std::find(labels.begin(), labels.end(), label) == labels.end(); });
  return sets;
}

Result<VerifyReport> verify_one(CommandContext& context, const std::vector<NumberedRepository>& all,
                                const NumberedRepository& target, VerifyOptions options) {
  const Settings& settings = context.settings;
  options.repo = target.repo;
  options.state_path = verify_state_path(settings.text("spool-path"), options);
  TRY_ASSIGN(
      const LocalLock lock,
      LocalLock::acquire(settings.text("lock-path"), settings.stanza(), fmt::format("verify-repo{}", target.repo),
                         {.pid = 0, .command = "verify", .label = {}, .host = {}, .started = context.clock.now()}));
  std::vector<OtherRepository> others;
  for (const NumberedRepository& other : all)
    if (other.repo != target.repo) others.push_back({other.repo, other.opened.repository.get()});
  Progress progress;
  const ProgressDisplay display(settings, progress, context.clock);
  auto report =
      run_verify(*target.opened.repository, others, options, context.clock, context.rng, context.cancel, progress);
  if (!report && report.error().code() == Errc::kCancelled) {
    return std::move(report).error().with_hint("run the same command again: it goes on where this run ended");
  }
  return report;
}

/// Every repository that can be opened; `failed`: the first chosen one that cannot.
std::vector<NumberedRepository> open_all(CommandContext& context, std::optional<Error>& failed) {
  const Settings& settings = context.settings;
  const auto chosen = settings.chosen_repositories();
  std::vector<NumberedRepository> all;
  for (const unsigned repo : settings.repositories()) {
    auto opened = open_repository(context, repo);
    if (opened) {
      all.push_back({repo, std::move(*opened)});
      continue;
    }
    log_warn("repo{} is passed over: {}", repo, opened.error().message());
    if (!failed && std::find(chosen.begin(), chosen.end(), repo) != chosen.end()) failed = std::move(opened).error();
  }
  return all;
}

Result<> refuse_unknown_sets(const Settings& settings, const std::vector<std::string>& known) {
  for (const std::string& label : settings.list("set")) {
    if (std::find(known.begin(), known.end(), label) != known.end()) continue;
    const bool is_dump = is_dump_label(label);
    return Error(Errc::kNotFound, fmt::format("{} {} of stanza {} does not exist", is_dump ? "dump" : "backup", label,
                                              settings.stanza()))
        .with_hint(fmt::format("run 'pgark --stanza={} {}' to see the {} there are", settings.stanza(),
                               is_dump ? "dump-ls" : "info", is_dump ? "dumps" : "backups"));
  }
  return {};
}

/// What is to be done in each repository; one that has none of the backups asked for is left out.
struct Task {
  const NumberedRepository* target = nullptr;
  VerifyOptions options;
};

Result<std::vector<Task>> plan_tasks(const Settings& settings, const std::vector<NumberedRepository>& all) {
  TRY_ASSIGN(const VerifyOptions options, options_of(settings));
  std::vector<Task> tasks;
  std::vector<std::string> known;
  for (const unsigned repo : settings.chosen_repositories()) {
    const auto target = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.repo == repo; });
    if (target == all.end()) continue;
    Task task{&*target, options};
    if (settings.given("set")) {
      TRY_ASSIGN(task.options.sets, sets_in(*target->opened.repository, settings));
      known.insert(known.end(), task.options.sets.begin(), task.options.sets.end());
      if (task.options.sets.empty()) continue;
    }
    tasks.push_back(std::move(task));
  }
  TRY(refuse_unknown_sets(settings, known));
  return tasks;
}

}  // namespace

Result<int> cmd_verify(CommandContext& context) {
  const Settings& settings = context.settings;
  std::optional<Error> failed;
  const std::vector<NumberedRepository> all = open_all(context, failed);
  if (all.empty() && failed) return std::move(*failed);
  TRY_ASSIGN(auto tasks, plan_tasks(settings, all));
  const auto began = context.clock.steady();
  VerifyDocument document{.stanza = settings.stanza(), .repositories = {}};
  for (Task& task : tasks) {
    if (task.options.time_limit) {
      const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(context.clock.steady() - began);
      *task.options.time_limit = std::max(std::chrono::milliseconds(0), *task.options.time_limit - spent);
    }
    auto report = verify_one(context, all, *task.target, task.options);
    if (report) {
      document.repositories.push_back({task.target->repo, task.target->opened.store->describe(), std::move(*report)});
    } else if (report.error().code() == Errc::kCancelled) {
      return Error(std::move(report).error());
    } else if (!failed) {
      failed = std::move(report).error();
    } else {
      log_error("{}", report.error().message());
    }
  }
  // A result in JSON is one document: an error takes its place.
  if (failed && (document.repositories.empty() || context.json())) return std::move(*failed);
  TRY(context.out.print(context.json() ? render_verify_json(document) : render_verify_text(document)));
  if (failed) return std::move(*failed);
  return document.ok() ? kExitOk : kExitNegative;
}

}  // namespace pgark
