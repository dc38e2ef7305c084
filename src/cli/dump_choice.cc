// A repository that is away keeps nobody from a dump that another has.
#include "cli/dump_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/log.h"

namespace pgark {
namespace {

struct Candidate {
  unsigned repo = 1;
  OpenedRepository opened;
  std::vector<std::string> labels;
};

struct Candidates {
  std::vector<Candidate> all;
  std::optional<Error> failed;  // Of the first that cannot be used.
};

Candidates open_candidates(const CommandContext& context) {
  Candidates candidates;
  for (const unsigned repo : context.settings.chosen_repositories()) {
    auto candidate = [&]() -> Result<Candidate> {
      Candidate one;
      one.repo = repo;
      TRY_ASSIGN(one.opened, open_repository(context, repo));
      TRY_ASSIGN(one.labels, list_dump_labels(*one.opened.repository, context.settings.stanza()));
      return one;
    }();
    if (candidate) {
      candidates.all.push_back(*std::move(candidate));
      continue;
    }
    if (context.settings.chosen_repositories().size() > 1)
      log_warn("repo{} is passed over: {}", repo, candidate.error().message());
    if (!candidates.failed) candidates.failed = std::move(candidate).error();
  }
  return candidates;
}

Result<std::string> label_of(const CommandContext& context, const std::vector<Candidate>& all) {
  const std::string& set = context.settings.text("set");
  if (set != "latest") {
    TRY(parse_dump_label(set));
    return set;
  }
  std::string newest;
  for (const Candidate& one : all)
    if (!one.labels.empty()) newest = std::max(newest, one.labels.back());
  if (!newest.empty()) return newest;
  return Error(Errc::kNotFound, fmt::format("stanza {} has no dump", context.settings.stanza()))
      .with_hint(fmt::format("make one: pgark --stanza={} dump", context.settings.stanza()));
}

}  // namespace

Result<ChosenDump> choose_dump(const CommandContext& context, bool alone) {
  const std::string& stanza = context.settings.stanza();
  Candidates candidates = open_candidates(context);
  if (candidates.all.empty()) return *std::move(candidates.failed);
  TRY_ASSIGN(const std::string label, label_of(context, candidates.all));
  ChosenDump chosen;
  std::optional<Error> failed;
  bool is_found = false;
  for (Candidate& one : candidates.all) {
    if (std::find(one.labels.begin(), one.labels.end(), label) == one.labels.end()) continue;
    if (is_found && alone) break;
    if (!is_found) {
      auto dump = read_dump(*one.opened.repository, stanza, label);
      if (!dump) {
        log_warn("dump {} cannot be read from repo{}: {}", label, one.repo, dump.error().message());
        if (!failed) failed = std::move(dump).error();
        continue;
      }
      chosen.dump = *std::move(dump);
      chosen.repo = one.repo;
      is_found = true;
    }
    chosen.repositories.push_back(std::move(one.opened));
  }
  if (!is_found && failed) return *std::move(failed);
  if (!is_found) {
    Error absent(Errc::kNotFound, fmt::format("dump {} of stanza {} does not exist", label, stanza));
    // Of one that could not be asked it is not known.
    if (candidates.failed) absent = std::move(absent).with_code(candidates.failed->code());
    return std::move(absent).with_hint(
        fmt::format("run 'pgark --stanza={} dump-ls' to see the dumps there are", stanza));
  }
  std::vector<const Repository*> repositories;
  for (const OpenedRepository& one : chosen.repositories) repositories.push_back(one.repository.get());
  chosen.reader = std::make_unique<DumpReader>(std::move(repositories), stanza, label);
  return chosen;
}

}  // namespace pgark
