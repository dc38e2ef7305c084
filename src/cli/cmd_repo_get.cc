// `pgark repo-get`: one object of the repository to standard output.
#include <fmt/format.h>

#include <algorithm>

#include "cli/access.h"
#include "cli/command.h"
#include "ops/object_view.h"
#include "ops/repo_objects.h"

namespace pgark {
namespace {

constexpr size_t kChunkBytes = 1u << 20;

/// The object's bytes as they are stored.
Result<> copy_stored_bytes(CommandContext& context, ObjectStore& store, const ObjectInfo& object) {
  Buffer chunk(static_cast<size_t>(std::min<uint64_t>(object.bytes, kChunkBytes)));
  for (uint64_t at = 0; at < object.bytes;) {
    TRY(context.cancel.check());
    const size_t want = static_cast<size_t>(std::min<uint64_t>(object.bytes - at, chunk.size()));
    TRY(store.read_exact(object.key, at, chunk.bytes().first(want)));
    TRY(context.out.write(chunk.bytes().first(want)));
    at += want;
  }
  return {};
}

}  // namespace

Result<int> cmd_repo_get(CommandContext& context) {
  const Settings& settings = context.settings;
  std::string name = settings.arguments().front();
  name.erase(0, name.find_first_not_of('/'));
  TRY_ASSIGN(const ObjectKey key, make_object_key(std::move(name)));
  TRY_ASSIGN(const auto store, context.open_store(static_cast<unsigned>(settings.integer("repo")), false));
  TRY_ASSIGN(const std::optional<ObjectInfo> object, store->stat(key));
  if (!object) {
    if (settings.boolean("ignore-missing")) return kExitNegative;
    return Error(Errc::kNotFound, fmt::format("no object '{}' in {}", key.value, store->describe()))
        .with_hint("run 'pgark repo-ls' for the names there are");
  }
  bool as_stored = settings.boolean("raw");
  if (!as_stored) {
    TRY_ASSIGN(const bool own, belongs_to_pgark(*store, key.value));
    as_stored = !own;  // Put here by repo-put: there is nothing to decode.
  }
  if (as_stored) {
    TRY_CTX(copy_stored_bytes(context, *store, *object), "print " + key.value);
    return kExitOk;
  }
  TRY_ASSIGN(const auto repository, open_repository_in(context, repository_number(settings), *store));
  TRY_CTX(write_decoded_object(*repository, key, context.cancel, [&](Bytes bytes) { return context.out.write(bytes); }),
          "print " + key.value);
  return kExitOk;
}

}  // namespace pgark
