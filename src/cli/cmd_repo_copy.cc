// `pgark repo-copy`: a stanza from one repository to another.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/key_settings.h"
#include "cli/progress.h"
#include "cli/repo_copy_render.h"
#include "core/local_lock.h"
#include "ops/repo_copy.h"

namespace pgark {
namespace {

Result<unsigned> configured(const Settings& settings, std::string_view option) {
  const auto number = static_cast<unsigned>(settings.integer(option));
  const auto& known = settings.repositories();
  if (std::find(known.begin(), known.end(), number) != known.end()) return number;
  return Error(Errc::kInvalid, fmt::format("--{}={}: there is no repo{} in the configuration", option, number, number))
      .with_hint(fmt::format("set repo{}-path, and what else it needs", number));
}

}  // namespace

Result<int> cmd_repo_copy(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const unsigned from, configured(settings, "from"));
  TRY_ASSIGN(const unsigned to, configured(settings, "to"));
  if (from == to) return Error(Errc::kInvalid, "--from and --to are the same repository");
  TRY_ASSIGN(
      const LocalLock lock,
      LocalLock::acquire(settings.text("lock-path"), settings.stanza(), fmt::format("repo-copy-repo{}", to),
                         {.pid = 0, .command = "repo-copy", .label = {}, .host = {}, .started = context.clock.now()}));
  TRY_ASSIGN(const OpenedRepository source, open_repository(context, from));
  OpenedRepository destination;
  TRY_ASSIGN(destination.store, context.open_store(to, true));
  TRY_ASSIGN(const KeyConfig keys, key_config(settings, to, context.cancel));
  TRY_ASSIGN(destination.repository, Repository::open_or_create(*destination.store, context.clock, keys));
  RepoCopyRequest request;
  request.stanza = settings.stanza();
  request.sets = settings.list("set");
  request.process_max = static_cast<unsigned>(settings.integer("process-max"));
  Progress progress;
  const auto report = [&] {
    const ProgressDisplay display(settings, progress, context.clock);
    return copy_stanza(*source.repository, *destination.repository, request, context.clock, context.cancel, progress);
  }();
  if (!report.has_value()) return Error(report.error());
  if (context.json()) {
    nlohmann::ordered_json document{{"stanza", settings.stanza()}, {"from", from}, {"to", to}};
    document.update(repo_copy_json(*report));
    TRY(context.out.print(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n"));
  } else {
    TRY(context.out.print(fmt::format("stanza {} from repo{} to repo{}\n", settings.stanza(), from, to) +
                          repo_copy_text(*report)));
  }
  return report->damages.empty() ? kExitOk : kExitNegative;
}

}  // namespace pgark
