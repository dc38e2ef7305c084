// `pgark repo-put`: an object of the user's own, from a file or standard input.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "core/file.h"
#include "ops/repo_objects.h"

namespace pgark {
namespace {

/// Reads a descriptor, which may be a pipe, to its end.
ReadSome reader_of(int fd, std::string name) {
  return [fd, name = std::move(name)](MutableBytes into) -> Result<size_t> {
    for (;;) {
      const ssize_t count = ::read(fd, into.data(), into.size());
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) return errno_error(errno, "read " + name);
    }
  };
}

}  // namespace

Result<int> cmd_repo_put(CommandContext& context) {
  const Settings& settings = context.settings;
  std::string name = settings.arguments().front();
  name.erase(0, name.find_first_not_of('/'));
  TRY_ASSIGN(const ObjectKey key, make_object_key(std::move(name)));
  File file;
  if (settings.arguments().size() > 1 && settings.arguments()[1] != "-") {
    TRY_ASSIGN(file, File::open(settings.arguments()[1], O_RDONLY));
  }
  TRY_ASSIGN(const auto store, context.open_store(static_cast<unsigned>(settings.integer("repo")), false));
  if (!settings.boolean("force")) {
    TRY_ASSIGN(const bool own, belongs_to_pgark(*store, key.value));
    if (own)
      return Error(Errc::kInvalid,
                   fmt::format("'{}' is a name that pgark itself writes in {}", key.value, store->describe()))
          .with_hint("choose another, such as notes/" + key.value.substr(key.value.rfind('/') + 1))
          .with_hint("--force puts back an object that was taken from a copy of this repository with repo-get --raw");
  }
  const ReadSome read =
      file.is_open() ? reader_of(file.fd(), "'" + file.path() + "'") : reader_of(STDIN_FILENO, "standard input");
  TRY_ASSIGN_CTX(const ObjectInfo made, put_object(*store, key, read, context.cancel), "put " + key.value);
  if (context.json()) TRY(context.out.print_json({{"name", key.value}, {"bytes", made.bytes}}));
  return kExitOk;
}

}  // namespace pgark
