// `pgark dump-ls`: the dumps there are, or everything of one.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/dump_list_render.h"
#include "cli/retention_settings.h"
#include "ops/dump_listing.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// What one repository holds, or why that cannot be told.
struct RepositoryDumps {
  unsigned repo = 1;
  std::string location;
  DumpListing listing;
  std::optional<Error> error;
};

Result<RepositoryDumps> dumps_of(const CommandContext& context, unsigned repo) {
  RepositoryDumps dumps;
  dumps.repo = repo;
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  dumps.location = opened.store->describe();
  TRY_ASSIGN(const RetentionRules rules, retention_rules(context.settings, repo));
  TRY_ASSIGN(dumps.listing,
             read_dump_listing(*opened.repository, context.settings.stanza(), rules, context.clock.now()));
  return dumps;
}

/// One dump from the first repository that has it.
Result<int> show(CommandContext& context, const std::string& set) {
  std::optional<Error> failed;
  for (const unsigned repo : context.settings.chosen_repositories()) {
    const auto shown = [&]() -> Result<> {
      TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
      TRY_ASSIGN(const Dump dump, read_dump(*opened.repository, context.settings.stanza(), set));
      TRY_ASSIGN(const RepositoryDumps dumps, dumps_of(context, repo));
      const Timestamp now = context.clock.now();
      if (!context.json())
        return context.out.print(
            fmt::format("stanza: {}\n{}", context.settings.stanza(), dump_detail_text(dumps.listing, dump, now)));
      return context.out.print_json({{"stanza", context.settings.stanza()},
                                     {"repo", repo},
                                     {"dump", dump_detail_json(dumps.listing, dump, now)}});
    }();
    if (shown) return kExitOk;
    if (!failed || failed->code() == Errc::kNotFound) failed = shown.error();
  }
  return std::move(*failed);
}

ordered_json repository_json(const RepositoryDumps& one, Timestamp now) {
  ordered_json dumps = ordered_json::array();
  for (const ListedDump& dump : one.listing.dumps) dumps.push_back(listed_dump_json(one.listing, dump, now));
  ordered_json errors = ordered_json::array();
  for (const Error& error : one.listing.errors) errors.push_back(error_json(error));
  ordered_json document{
      {"repo", one.repo}, {"location", one.location}, {"dumps", std::move(dumps)}, {"errors", std::move(errors)}};
  if (one.error) document["error"] = error_json(*one.error);
  return document;
}

Result<> print(const CommandContext& context, const std::vector<RepositoryDumps>& all) {
  const Timestamp now = context.clock.now();
  const std::string& stanza = context.settings.stanza();
  if (context.json()) {
    ordered_json repositories = ordered_json::array();
    for (const RepositoryDumps& one : all) repositories.push_back(repository_json(one, now));
    return context.out.print_json({{"stanza", stanza}, {"repositories", std::move(repositories)}});
  }
  std::string text;
  for (const RepositoryDumps& one : all) {
    text += one.location + ":\n";
    if (one.error) {
      text += one.error->to_string() + "\n";
    } else if (one.listing.dumps.empty()) {
      text += fmt::format("    no dump of stanza {}\n", stanza);
    } else {
      text += dump_table_text(one.listing, now);
    }
  }
  return context.out.print(text);
}

}  // namespace

Result<int> cmd_dump_ls(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& set = settings.text("set");
  if (!set.empty()) {
    TRY(parse_dump_label(set));
    return show(context, set);
  }
  std::vector<RepositoryDumps> all;
  int exit_code = kExitOk;
  for (const unsigned repo : settings.chosen_repositories()) {
    auto dumps = dumps_of(context, repo);
    if (dumps) {
      all.push_back(std::move(*dumps));
      continue;
    }
    // Of a single one it is the command's failure; of several the others are still shown.
    if (settings.chosen_repositories().size() == 1 || dumps.error().code() == Errc::kCancelled)
      return std::move(dumps).error();
    exit_code = exit_code_of("dump-ls", dumps.error().code(), 0);
    all.push_back({.repo = repo, .location = fmt::format("repo{}", repo), .listing = {}, .error = dumps.error()});
  }
  TRY(print(context, all));
  return exit_code;
}

}  // namespace pgark
