// `pgark info`: what the repository holds of one stanza or of all, as text or JSON.
#include <fmt/format.h>

#include <optional>

#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "cli/info_render.h"
#include "cli/retention_settings.h"
#include "ops/info.h"

namespace pgark {
namespace {

Result<std::vector<std::string>> wanted_stanzas(const Repository& repository, const std::string& stanza) {
  if (!stanza.empty()) return std::vector<std::string>{stanza};
  return list_stanzas(repository);
}

/// What repository `repo` holds.
Result<InfoDocument> info_of(const CommandContext& context, unsigned repo) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  InfoOptions options{.now = context.clock.now(), .rules = {}};
  if (!settings.stanza().empty()) {  // The configuration has been read for this stanza alone.
    TRY_ASSIGN(options.rules, retention_rules(settings, repo));
  }
  InfoDocument document{.repository = opened.store->describe(), .stanzas = {}, .error = {}};
  TRY_ASSIGN(const auto stanzas, wanted_stanzas(*opened.repository, settings.stanza()));
  for (const std::string& stanza : stanzas) {
    TRY(context.cancel.check());
    TRY_ASSIGN(InfoStanza info, stanza_info(*opened.repository, stanza, options));
    document.stanzas.push_back(std::move(info));
  }
  return document;
}

/// One backup, from the first repository that has it.
Result<InfoBackupDetail> detail_of(const CommandContext& context, const std::string& set) {
  std::optional<Error> failed;
  for (const unsigned repo : context.settings.chosen_repositories()) {
    const auto opened = open_repository(context, repo);
    auto detail = opened ? backup_detail(*opened->repository, context.settings.stanza(), set)
                         : Result<InfoBackupDetail>(opened.error());
    if (detail) return detail;
    if (!failed || failed->code() == Errc::kNotFound) failed = std::move(detail).error();
  }
  return std::move(*failed);
}

}  // namespace

Result<int> cmd_info(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& set = settings.text("set");
  if (!set.empty() && settings.stanza().empty()) {
    return Error(Errc::kInvalid, "--set names a backup of one stanza: give --stanza too");
  }
  if (is_dump_label(set)) {
    return Error(Errc::kInvalid, fmt::format("{} is the label of a dump", set))
        .with_hint(fmt::format("pgark --stanza={} dump-ls --set={} shows it in detail", settings.stanza(), set));
  }
  if (!set.empty()) {
    TRY_ASSIGN(const InfoBackupDetail detail, detail_of(context, set));
    TRY(context.out.print(context.json() ? render_detail_json(settings.stanza(), detail)
                                         : render_detail_text(settings.stanza(), detail)));
    return kExitOk;
  }
  std::vector<InfoDocument> documents;
  int exit_code = kExitOk;
  for (const unsigned repo : settings.chosen_repositories()) {
    auto document = info_of(context, repo);
    if (document) {
      documents.push_back(std::move(*document));
      continue;
    }
    // Of a single one it is the command's failure; of several the others are still shown.
    if (settings.chosen_repositories().size() == 1 || document.error().code() == Errc::kCancelled)
      return std::move(document).error();
    exit_code = exit_code_of("info", document.error().code(), 0);
    documents.push_back({.repository = fmt::format("repo{}", repo), .stanzas = {}, .error = document.error()});
  }
  TRY(context.out.print(context.json() ? render_info_json(documents) : render_info_text(documents)));
  return exit_code;
}

}  // namespace pgark
