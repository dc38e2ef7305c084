// `pgark archive-heal`: fill gaps of the archive from pg_wal of the cluster's nodes, and from the other repositories.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "cli/access.h"
#include "cli/command.h"
#include "core/log.h"
#include "ops/archive_heal.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

struct NumberedRepository {
  unsigned repo = 1;
  OpenedRepository opened;
};

/// What happened to one repository.
struct Healed {
  unsigned repo = 1;
  std::string location;
  ArchiveHealResult result;
};

/// Directories first: they need no server. A server is asked only where somebody said how to reach it.
std::vector<std::unique_ptr<WalSource>> node_sources(CommandContext& context) {
  const Settings& settings = context.settings;
  std::vector<std::unique_ptr<WalSource>> sources;
  for (const unsigned number : settings.clusters()) {
    const std::string& path = settings.text(fmt::format("pg{}-path", number));
    if (!path.empty()) sources.push_back(directory_wal_source(path, context.clock));
  }
  for (const unsigned number : settings.clusters()) {
    if (!settings.given(fmt::format("pg{}-socket-path", number)) && !settings.given(fmt::format("pg{}-port", number))) {
      continue;
    }
    sources.push_back(server_wal_source(
        [&context, number] { return open_pg_session(server_endpoint(context.settings, number), context.cancel); }));
  }
  return sources;
}

Codec codec_of(const std::string& name) {
  if (name == "none") return Codec::kNone;
  return name == "lz4" ? Codec::kLz4 : Codec::kZstd;
}

ArchiveHealOptions heal_options(const Settings& settings) {
  ArchiveHealOptions options;
  options.stanza = settings.stanza();
  options.verify = settings.boolean("verify");
  options.dry_run = settings.boolean("dry-run");
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  options.temporary_parent = error ? "/tmp" : temporary.string();
  options.codec = codec_of(settings.text("compress-type"));
  options.level = settings.has("compress-level") ? static_cast<int>(settings.integer("compress-level")) : 1;
  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  options.host = host_name();
  return options;
}

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }

ordered_json healed_json(const Healed& one) {
  ordered_json healed = ordered_json::array();
  for (const HealedWal& file : one.result.healed) {
    healed.push_back({{"name", file.name},
                      {"source", file.source},
                      {"damage", text_or_null(file.damage)},
                      {"object", text_or_null(file.key)}});
  }
  ordered_json missing = ordered_json::array();
  for (const UnhealedWal& file : one.result.missing) {
    missing.push_back({{"name", file.name}, {"damage", text_or_null(file.damage)}, {"tried", file.tried}});
  }
  return {{"repo", one.repo},
          {"location", one.location},
          {"healed", healed},
          {"missing", missing},
          {"missing_count", one.result.missing_count},
          {"verified_count", one.result.verified_count},
          {"needs_backup", one.result.needs_backup},
          {"warnings", one.result.warnings}};
}

std::string outcome_text(const ArchiveHealResult& result, bool dry_run) {
  if (dry_run && !result.healed.empty()) {
    return fmt::format("run again without --dry-run to fetch {} of {}", result.healed.size(),
                       result.healed.size() + result.missing_count);
  }
  if (result.missing_count > 0) {
    return result.needs_backup ? "what was committed behind the gap cannot be recovered: take a new backup now"
                               : "moments inside the gap cannot be reached; a newer backup covers what follows";
  }
  return result.healed.empty() ? "nothing is missing" : "nothing is missing any more";
}

std::string healed_text(const Healed& one, bool dry_run, bool verify) {
  const ArchiveHealResult& result = one.result;
  std::string text = one.location + ":\n";
  for (const HealedWal& file : result.healed) {
    text += fmt::format("    {}: {} from {}{}\n", file.name, dry_run ? "can be fetched" : "fetched", file.source,
                        file.damage.empty() ? "" : "; the copy stored before is damaged");
  }
  for (const UnhealedWal& file : result.missing) {
    text +=
        fmt::format("    {}: {}\n", file.name, file.damage.empty() ? "STILL MISSING" : "STILL DAMAGED: " + file.damage);
    for (const std::string& tried : file.tried) text += fmt::format("        {}\n", tried);
  }
  if (result.missing_count > result.missing.size()) {
    text += fmt::format("    and {} more\n", result.missing_count - result.missing.size());
  }
  for (const std::string& warning : result.warnings) text += fmt::format("    warning: {}\n", warning);
  if (verify) text += fmt::format("    {} stored segments were read\n", result.verified_count);
  return text + "    " + outcome_text(result, dry_run) + "\n";
}

Result<Healed> heal_one(CommandContext& context, const std::vector<NumberedRepository>& all,
                        const NumberedRepository& target, const ArchiveHealOptions& options) {
  auto sources = node_sources(context);
  for (const NumberedRepository& other : all) {
    if (other.repo != target.repo) sources.push_back(repository_wal_source(*other.opened.repository));
  }
  Healed healed{target.repo, target.opened.store->describe(), {}};
  TRY_ASSIGN(healed.result,
             archive_heal(*target.opened.repository, context.clock, context.cancel, std::move(sources), options));
  return healed;
}

Result<> print(CommandContext& context, const std::vector<Healed>& all, bool whole) {
  const Settings& settings = context.settings;
  if (context.json()) {
    ordered_json repositories = ordered_json::array();
    for (const Healed& one : all) repositories.push_back(healed_json(one));
    const ordered_json document{{"stanza", settings.stanza()},
                                {"dry_run", settings.boolean("dry-run")},
                                {"whole", whole},
                                {"repositories", repositories}};
    return context.out.print(document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  std::string text;
  for (const Healed& one : all) text += healed_text(one, settings.boolean("dry-run"), settings.boolean("verify"));
  return context.out.print(text);
}

}  // namespace

Result<int> cmd_archive_heal(CommandContext& context) {
  const Settings& settings = context.settings;
  // One that cannot be opened keeps nothing from the others.
  std::vector<NumberedRepository> all;
  std::optional<Error> failed;
  for (const unsigned repo : settings.repositories()) {
    auto opened = open_repository(context, repo);
    if (opened) {
      all.push_back({repo, std::move(*opened)});
      continue;
    }
    log_warn("repo{} is passed over: {}", repo, opened.error().message());
    const auto chosen = settings.chosen_repositories();
    if (!failed && std::find(chosen.begin(), chosen.end(), repo) != chosen.end()) failed = std::move(opened).error();
  }
  const ArchiveHealOptions options = heal_options(settings);
  std::vector<Healed> healed;
  bool whole = true;
  for (const unsigned repo : settings.chosen_repositories()) {
    const auto target = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.repo == repo; });
    if (target == all.end()) continue;
    auto done = heal_one(context, all, *target, options);
    if (done) {
      // What could be fetched and was not is missing still.
      whole = whole && done->result.missing_count == 0 && (!options.dry_run || done->result.healed.empty());
      healed.push_back(std::move(*done));
    } else if (!failed) {
      failed = std::move(done).error();
    }
  }
  // A result in JSON is one document: an error takes its place.
  if (failed && (healed.empty() || context.json())) return std::move(*failed);
  TRY(print(context, healed, whole && !failed));
  if (failed) return std::move(*failed);
  return whole ? kExitOk : kExitNegative;
}

}  // namespace pgark
