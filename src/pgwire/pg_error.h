// Turn what a server or libpq says of a failure into pgark's errors.
#pragma once

#include <string>
#include <string_view>

#include "pgwire/pg_session.h"

namespace pgark {

/// What a caller may do after an error with this SQLSTATE ("42501").
/// Source: PostgreSQL src/backend/utils/errcodes.txt.
Errc errc_of_sqlstate(std::string_view state);

/// A server's message as pgark's texts have it: one line, without severity and trailing full stop.
std::string tidy_server_message(std::string_view text);

/// A failed connection, told apart by libpq's words, because libpq up to 15 does not give the SQLSTATE.
Error connect_error(const PgEndpoint& endpoint, std::string_view libpq_message);

}  // namespace pgark
