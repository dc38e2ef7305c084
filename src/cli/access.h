// How commands reach the server and the repository that the settings name.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cli/command.h"
#include "ops/repository_source.h"
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

/// The same, for a command that reads first which cluster the stanza of the settings is of: what both need, and the
/// small objects of `also`, are fetched from a far store together.
Result<OpenedRepository> open_repository_of_stanza(const CommandContext& context, unsigned repo,
                                                   std::vector<ObjectKey> also = {});

/// The repository chosen with --repo, or all that are configured, each opened when its turn comes and once.
class ChosenRepositories {
 public:
  /// `context` must outlive it. `reads_data`: what is done ("restore main"), if data has to be read: a repository whose
  /// data this host has no key for is then as good as none.
  explicit ChosenRepositories(const CommandContext& context, std::string reads_data = {});
  ChosenRepositories(const ChosenRepositories&) = delete;
  ChosenRepositories& operator=(const ChosenRepositories&) = delete;
  std::span<const RepositorySource> sources() const { return sources_; }

 private:
  Result<const Repository*> open(unsigned number);

  const CommandContext& context_;
  const std::string reads_data_;
  std::map<unsigned, OpenedRepository> opened_;
  std::vector<RepositorySource> sources_;
};

/// The repository in a store that is open already, with the keys the settings name.
Result<std::unique_ptr<Repository>> open_repository_in(const CommandContext& context, unsigned repo,
                                                       ObjectStore& store);

/// Number given with --repo.
unsigned repository_number(const Settings& settings);

/// Name of this machine.
std::string host_name();

}  // namespace pgark
