// `pgark repo-rm`: remove objects by name, with a fence around what pgark keeps.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "core/log.h"
#include "ops/repo_objects.h"

namespace pgark {

Result<int> cmd_repo_rm(CommandContext& context) {
  const Settings& settings = context.settings;
  std::string name = settings.arguments().front();
  name.erase(0, name.find_first_not_of('/'));
  name.erase(name.find_last_not_of('/') + 1);
  if (name.empty())
    return Error(Errc::kInvalid, "the repository as a whole is not removed")
        .with_hint("run 'pgark stanza-delete' for each stanza");
  TRY_ASSIGN(const ObjectKey key, make_object_key(std::move(name)));
  TRY_ASSIGN(const auto store, context.open_store(static_cast<unsigned>(settings.integer("repo")), false));
  TRY_ASSIGN(const bool own, belongs_to_pgark(*store, key.value));
  if (own && !settings.boolean("force"))
    return Error(Errc::kInvalid, fmt::format("'{}' belongs to what pgark keeps in {}", key.value, store->describe()))
        .with_hint("backups and WAL are removed by `pgark expire`, a whole stanza by `pgark stanza-delete`")
        .with_hint("--force removes it all the same; what needs it can then not be restored");
  if (own) log_warn("'{}' belongs to what pgark keeps and is removed by force", key.value);
  TRY_ASSIGN_CTX(
      const RemovedObjects removed,
      settings.boolean("recurse") ? remove_objects_below(*store, key, context.cancel) : remove_object(*store, key),
      "remove " + key.value);
  log_info("removed {} objects, {} bytes", removed.count, removed.bytes);
  if (context.json()) {
    TRY(context.out.print_json({{"removed_count", removed.count}, {"removed_bytes", removed.bytes}}));
  } else {
    TRY(context.out.print(fmt::format("removed {} object{} of {}\n", removed.count, removed.count == 1 ? "" : "s",
                                      format_size(removed.bytes))));
  }
  return kExitOk;
}

}  // namespace pgark
