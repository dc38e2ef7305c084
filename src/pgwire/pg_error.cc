// SQLSTATE classes to Errc, and the causes of failed connections with what to do about each.
#include "pgwire/pg_error.h"

#include <fmt/format.h>

#include <optional>

namespace pgark {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// What to do about a connection that TLS refused; none if it was something else.
std::optional<std::string> tls_hint(std::string_view message) {
  if (contains(message, "certificate verify failed"))
    return "the server's certificate is signed by none of those in pg1-sslrootcert: name the file of its authority";
  if (contains(message, "does not match host name"))
    return "set pg1-host to a name the server's certificate is for; pg1-sslmode=verify-ca does without the name";
  if (contains(message, "root certificate file"))
    return "set pg1-sslrootcert to the file of the authority that signed the server's certificate";
  if (contains(message, "server does not support SSL"))
    return "switch TLS on at the server (ssl = on), or set pg1-sslmode to prefer or disable";
  if (contains(message, "private key file") || contains(message, "certificate file") ||
      contains(message, "could not load private key"))
    return "check pg1-sslcert and pg1-sslkey: the key has to be the certificate's, and readable by its owner alone";
  if (contains(message, "certificate required") || contains(message, "valid client certificate"))
    return "the server wants a certificate of the client: set pg1-sslcert and pg1-sslkey";
  return std::nullopt;
}

}  // namespace

Errc errc_of_sqlstate(std::string_view state) {
  const std::string_view group = state.substr(0, 2);
  if (state.empty() || group == "08" || group == "40")
    return Errc::kTransient;  // Empty: libpq's own, a broken connection.
  if (state == "42501" || group == "28") return Errc::kPermission;
  if (state == "53100") return Errc::kNoSpace;
  if (group == "53" || group == "57") return Errc::kTransient;  // Resources, operator intervention, starting up.
  if (group == "58") return Errc::kTransient;                   // System errors outside PostgreSQL.
  if (group == "0A") return Errc::kUnsupported;
  if (group == "XX") return state == "XX000" ? Errc::kInvalid : Errc::kCorrupt;
  return Errc::kInvalid;
}

std::string tidy_server_message(std::string_view text) {
  for (const std::string_view severity : {"FATAL:", "ERROR:", "PANIC:", "WARNING:", "NOTICE:"})
    if (text.starts_with(severity)) text.remove_prefix(severity.size());
  std::string line;
  for (const char c : text) {
    const bool space = c == '\n' || c == '\t' || c == '\r' || c == ' ';
    if (!space)
      line.push_back(c);
    else if (!line.empty() && line.back() != ' ')
      line.push_back(' ');
  }
  while (!line.empty() && (line.back() == ' ' || line.back() == '.')) line.pop_back();
  return line;
}

Error connect_error(const PgEndpoint& endpoint, std::string_view libpq_message) {
  const std::string message = tidy_server_message(libpq_message);
  const auto error = [&](Errc code) {
    return Error(code, fmt::format("connect to postgres at {}: {}", endpoint.where(), message));
  };
  if (const auto hint = tls_hint(message)) return error(Errc::kPermission).with_hint(*hint);
  if (contains(message, "no pg_hba.conf entry") && !endpoint.host.empty())
    return error(Errc::kPermission)
        .with_hint(fmt::format("allow the connection in pg_hba.conf, for example: hostssl {} {} ADDRESS scram-sha-256; "
                               "where the line says \"no encryption\", set pg1-sslmode=verify-full",
                               endpoint.database, endpoint.user.empty() ? "postgres" : endpoint.user));
  if (contains(message, "no pg_hba.conf entry"))
    return error(Errc::kPermission)
        .with_hint(fmt::format("allow the connection in pg_hba.conf, for example: local {} {} peer", endpoint.database,
                               endpoint.user.empty() ? "postgres" : endpoint.user));
  if (contains(message, "authentication failed") || contains(message, "no password supplied") ||
      contains(message, "fe_sendauth"))
    return error(Errc::kPermission)
        .with_hint("set pg1-user to a role this system user may use, or put the password into ~/.pgpass");
  if (contains(message, "role \"") && contains(message, "does not exist"))
    return error(Errc::kPermission).with_hint("set pg1-user to an existing role");
  if (contains(message, "database \"") && contains(message, "does not exist"))
    return error(Errc::kInvalid).with_hint("set pg1-database to an existing database");
  if (contains(message, "starting up") || contains(message, "shutting down") || contains(message, "in recovery mode"))
    return error(Errc::kTransient).with_hint("wait until the server accepts connections, then run the command again");
  if (contains(message, "too many clients") || contains(message, "remaining connection slots"))
    return error(Errc::kTransient).with_hint("free a connection or raise max_connections");
  if (contains(message, "ermission denied"))
    return error(Errc::kPermission).with_hint("run pgark as the system user that owns the cluster");
  return error(Errc::kTransient)
      .with_hint(
          fmt::format("check that the server runs, and that pg1-socket-path, pg1-host and pg1-port ({}) are its own",
                      endpoint.port));
}

}  // namespace pgark
