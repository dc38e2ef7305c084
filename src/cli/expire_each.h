// What `expire` and `dump-expire` share: each chosen repository in its turn, under the stanza's lock, and what is said
// when one of them fails.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "core/local_lock.h"
#include "core/log.h"

namespace pgark {

/// What happened to one repository.
template <typename Report>
struct ExpiredIn {
  unsigned repo = 1;
  std::string location;
  Report report;
};

/// How one command expires and shows what came of it.
/// Shape:  `one(repo)` gives a Result<ExpiredIn<Report>>, `json(report)` an object, `text(report, grace, dry_run)` a
/// table.
template <typename One, typename Json, typename Text>
struct ExpireCommand {
  std::string name;  // "expire", for the lock's holder.
  std::string lock;  // "backup"
  std::string what;  // "expire", before "repo1" in messages.
  One one;
  Json json;
  Text text;
};

template <typename Report, typename Json, typename Text>
Result<> print_expired(const CommandContext& context, const std::vector<ExpiredIn<Report>>& all, const Json& json,
                       const Text& text) {
  const auto grace = context.settings.duration("expire-grace");
  const bool dry_run = context.settings.boolean("dry-run");
  if (context.json()) {
    auto repositories = nlohmann::ordered_json::array();
    for (const auto& one : all) {
      nlohmann::ordered_json document{{"repo", one.repo}, {"location", one.location}};
      document.update(json(one.report));
      repositories.push_back(std::move(document));
    }
    return context.out.print_json({{"stanza", context.settings.stanza()},
                                   {"dry_run", dry_run},
                                   {"grace_ms", grace.count()},
                                   {"repositories", std::move(repositories)}});
  }
  std::string out;
  for (const auto& one : all) out += one.location + ":\n" + text(one.report, grace, dry_run);
  return context.out.print(out);
}

template <typename Report, typename One, typename Json, typename Text>
Result<int> run_expire(CommandContext& context, const ExpireCommand<One, Json, Text>& command) {
  const Settings& settings = context.settings;
  LockHolder holder;
  holder.command = command.name;
  holder.started = context.clock.now();
  // A dry run disturbs nobody, and what begins meanwhile does not change what it says.
  LocalLock lock;
  if (!settings.boolean("dry-run")) {
    TRY_ASSIGN(lock, LocalLock::acquire(settings.text("lock-path"), settings.stanza(), command.lock, holder));
  }
  std::vector<ExpiredIn<Report>> all;
  std::optional<Error> failed;
  std::optional<Error> not_found;  // --set may name what only one repository has.
  for (const unsigned repo : settings.chosen_repositories()) {
    TRY(context.cancel.check());
    Result<ExpiredIn<Report>> done = command.one(repo);
    if (done) {
      all.push_back(std::move(*done));
    } else if (!settings.text("set").empty() && done.error().code() == Errc::kNotFound) {
      if (!not_found) not_found = std::move(done).error();
    } else if (!failed) {
      // One that cannot be reached keeps nothing from the others.
      failed = std::move(done).error().with_context(fmt::format("{} repo{}", command.what, repo));
    } else {
      log_error("{} repo{}: {}", command.what, repo, done.error().to_string());
    }
  }
  if (!failed && all.empty()) failed = std::move(not_found);
  // A result in JSON is one document: an error takes its place.
  if (failed && (all.empty() || context.json())) return std::move(*failed);
  TRY(print_expired(context, all, command.json, command.text));
  if (failed) return std::move(*failed);
  return kExitOk;
}

}  // namespace pgark
