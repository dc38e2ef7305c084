// `pgark annotate`: add, change or remove annotations of a backup.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "catalog/backup.h"
#include "cli/access.h"
#include "cli/command.h"

namespace pgark {
namespace {

Result<BackupMeta> annotate_in(const CommandContext& context, unsigned repo, const std::string& label,
                               const std::map<std::string, std::string>& changes) {
  const std::string& stanza = context.settings.stanza();
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context, repo));
  TRY(annotate_backup(*opened.repository, stanza, label, changes));
  return read_backup(*opened.repository, stanza, label);
}

}  // namespace

Result<int> cmd_annotate(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& label = settings.text("set");
  TRY(parse_backup_label(label));
  std::map<std::string, std::string> changes;
  for (const auto& [name, value] : settings.map("annotation")) changes[name] = value;
  // Without --repo in every repository that has the backup.
  std::optional<BackupMeta> annotated;
  std::optional<Error> failed;
  for (const unsigned repo : settings.chosen_repositories()) {
    auto meta = annotate_in(context, repo, label, changes);
    if (meta) {
      if (!annotated) annotated = std::move(*meta);
    } else if (!failed || failed->code() == Errc::kNotFound) {
      failed = std::move(meta).error();
    }
  }
  if (!annotated || (failed && failed->code() != Errc::kNotFound)) return std::move(*failed);
  const BackupMeta& meta = *annotated;
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
