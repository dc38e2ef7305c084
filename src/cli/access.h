// How commands reach the server and the repository that the settings name.
#pragma once

#include <memory>
#include <string>

#include "cli/command.h"
#include "pgwire/pg_session.h"
#include "repo/repository.h"

namespace pgark {

/// The server of pg1-* (or of another number), named "pgark [COMMAND]" to it.
PgEndpoint server_endpoint(const Settings& settings, unsigned cluster = 1);

/// The repository that --repo chose, with the store it lives in.
struct OpenedRepository {
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<Repository> repository;
};
/// Errors: as CommandContext::open_store and Repository::open().
Result<OpenedRepository> open_repository(const CommandContext& context);
Result<OpenedRepository> open_repository(const CommandContext& context, unsigned repo);

/// The repository in a store that is open already, with the keys the settings name.
Result<std::unique_ptr<Repository>> open_repository_in(const CommandContext& context, unsigned repo,
                                                       ObjectStore& store);

/// Number given with --repo.
unsigned repository_number(const Settings& settings);

/// Name of this machine.
std::string host_name();

}  // namespace pgark
