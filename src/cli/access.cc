#include "cli/access.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

namespace pgark {

PgEndpoint server_endpoint(const Settings& settings) {
  PgEndpoint endpoint;
  endpoint.socket_path = settings.text("pg1-socket-path");
  endpoint.port = static_cast<uint16_t>(settings.integer("pg1-port"));
  endpoint.user = settings.text("pg1-user");
  endpoint.database = settings.text("pg1-database");
  endpoint.application_name = fmt::format("pgark [{}]", settings.command_name());
  endpoint.connect_timeout = settings.duration("io-timeout");
  endpoint.query_timeout = settings.duration("db-timeout");
  return endpoint;
}

unsigned repository_number(const Settings& settings) { return static_cast<unsigned>(settings.integer("repo")); }

Result<OpenedRepository> open_repository(const CommandContext& context) {
  OpenedRepository opened;
  TRY_ASSIGN(opened.store, context.open_store(repository_number(context.settings), false));
  TRY_ASSIGN(opened.repository, Repository::open(*opened.store));
  return opened;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

}  // namespace pgark
