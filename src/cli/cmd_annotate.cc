// `pgark annotate`: add, change or remove annotations of a backup.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/backup.h"
#include "cli/access.h"
#include "cli/command.h"

namespace pgark {

Result<int> cmd_annotate(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& label = settings.text("set");
  TRY(parse_backup_label(label));
  std::map<std::string, std::string> changes;
  for (const auto& [name, value] : settings.map("annotation")) changes[name] = value;
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  TRY(annotate_backup(*opened.repository, settings.stanza(), label, changes));
  TRY_ASSIGN(const BackupMeta meta, read_backup(*opened.repository, settings.stanza(), label));
  if (context.json()) {
    TRY(context.out.print_json({{"stanza", settings.stanza()}, {"label", label}, {"annotations", meta.annotations}}));
    return kExitOk;
  }
  std::string text = fmt::format("annotations of backup {}:{}\n", label, meta.annotations.empty() ? " none" : "");
  for (const auto& [name, value] : meta.annotations) text += fmt::format("  {}: {}\n", name, value);
  TRY(context.out.print(text));
  return kExitOk;
}

}  // namespace pgark
