// `pgark info`: what the repository holds of one stanza or of all, as text or JSON.
#include <fmt/format.h>

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

}  // namespace

Result<int> cmd_info(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& set = settings.text("set");
  if (!set.empty() && settings.stanza().empty()) {
    return Error(Errc::kInvalid, "--set names a backup of one stanza: give --stanza too");
  }
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  if (!set.empty()) {
    TRY_ASSIGN(const InfoBackupDetail detail, backup_detail(*opened.repository, settings.stanza(), set));
    TRY(context.out.print(context.json() ? render_detail_json(settings.stanza(), detail)
                                         : render_detail_text(settings.stanza(), detail)));
    return kExitOk;
  }
  InfoOptions options{.now = context.clock.now(), .rules = {}};
  if (!settings.stanza().empty()) {  // The configuration has been read for this stanza alone.
    TRY_ASSIGN(options.rules, retention_rules(settings, repository_number(settings)));
  }
  InfoDocument document{.repository = opened.store->describe(), .stanzas = {}};
  TRY_ASSIGN(const auto stanzas, wanted_stanzas(*opened.repository, settings.stanza()));
  for (const std::string& stanza : stanzas) {
    TRY(context.cancel.check());
    TRY_ASSIGN(InfoStanza info, stanza_info(*opened.repository, stanza, options));
    document.stanzas.push_back(std::move(info));
  }
  TRY(context.out.print(context.json() ? render_info_json(document) : render_info_text(document)));
  return kExitOk;
}

}  // namespace pgark
