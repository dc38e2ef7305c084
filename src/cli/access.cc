#include "cli/access.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "catalog/cluster.h"
#include "cli/key_settings.h"
#include "repo/keyring_store.h"
#include "store/calls_at_once.h"
#include "store/early_reads.h"

namespace pgark {

PgEndpoint server_endpoint(const Settings& settings, unsigned cluster) {
  const auto name = [&](std::string_view option) { return fmt::format("pg{}-{}", cluster, option); };
  PgEndpoint endpoint;
  endpoint.host = settings.text(name("host"));
  endpoint.socket_path = settings.text(name("socket-path"));
  endpoint.port = static_cast<uint16_t>(settings.integer(name("port")));
  endpoint.user = settings.text(name("user"));
  endpoint.database = settings.text(name("database"));
  for (const std::string_view option : {"sslmode", "sslrootcert", "sslcert", "sslkey"})
    if (settings.has(name(option))) endpoint.tls.emplace_back(option, settings.text(name(option)));
  endpoint.application_name = fmt::format("pgark [{}]", settings.command_name());
  endpoint.connect_timeout = settings.duration("io-timeout");
  endpoint.query_timeout = settings.duration("db-timeout");
  return endpoint;
}

unsigned repository_number(const Settings& settings) { return static_cast<unsigned>(settings.integer("repo")); }

Result<OpenedRepository> open_repository(const CommandContext& context) {
  return open_repository(context, repository_number(context.settings));
}

Result<OpenedRepository> open_repository(const CommandContext& context, unsigned repo) {
  OpenedRepository opened;
  TRY_ASSIGN(opened.store, context.open_store(repo, false));
  TRY_ASSIGN(opened.repository, open_repository_in(context, repo, *opened.store));
  return opened;
}

Result<OpenedRepository> open_repository_of_stanza(const CommandContext& context, unsigned repo,
                                                   std::vector<ObjectKey> also) {
  OpenedRepository opened;
  TRY_ASSIGN(opened.store, context.open_store(repo, false));
  if (is_far(*opened.store)) {
    const std::string& stanza = context.settings.stanza();
    EarlyReads::Wanted wanted{.objects = std::move(also), .prefixes = {cluster_prefix(stanza)}};
    wanted.objects.push_back(kRepositoryRootKey);
    wanted.objects.push_back(cluster_key(stanza, 1));
    if (context.settings.text(fmt::format("repo{}-cipher-type", repo)) != "none") {
      wanted.objects.push_back({fmt::format("{}1", kKeyringPrefix)});
      wanted.prefixes.emplace_back(kKeyringPrefix);
    }
    opened.store = std::make_unique<EarlyReads>(std::move(opened.store), std::move(wanted));
  }
  TRY_ASSIGN(opened.repository, open_repository_in(context, repo, *opened.store));
  return opened;
}

ChosenRepositories::ChosenRepositories(const CommandContext& context, std::string reads_data)
    : context_(context), reads_data_(std::move(reads_data)) {
  for (const unsigned number : context.settings.chosen_repositories())
    sources_.push_back({.name = fmt::format("repo{}", number), .open = [this, number] { return open(number); }});
}

Result<const Repository*> ChosenRepositories::open(unsigned number) {
  OpenedRepository& opened = opened_[number];
  if (opened.repository == nullptr) {
    TRY_ASSIGN(opened, open_repository(context_, number));
  }
  if (!reads_data_.empty()) TRY(opened.repository->check_can_open_data(reads_data_));
  return opened.repository.get();
}

Result<std::unique_ptr<Repository>> open_repository_in(const CommandContext& context, unsigned repo,
                                                       ObjectStore& store) {
  TRY_ASSIGN(const KeyConfig keys, key_config(context.settings, repo, context.cancel));
  return Repository::open(store, keys);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

}  // namespace pgark
