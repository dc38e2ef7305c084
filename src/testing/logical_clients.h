// Finding PostgreSQL's client programs (pg_dump, pg_restore, psql) for tests: the servers' builds mostly lack them.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace pgark::testing {

/// Majors of which pg_dump, pg_dumpall, pg_restore and psql are at hand, ascending: Debian's own, what tools/servers.sh
/// put into "clients" of its cache, and servers that came with them.
const std::vector<int>& client_majors();

/// Directory of the client programs of a major.
/// Errors: kNotFound with the reason that `tools/servers.sh` noted.
Result<std::string> client_bin_dir(int major);

/// The oldest client that can dump a server: its own major if there, else the next newer one.
/// Errors: kNotFound.
Result<int> client_major_for(int server_major);

}  // namespace pgark::testing

/// Declare `dir`, where pg_dump and its kin of a major are, or skip the test with the reason why there is none.
#define PGARK_REQUIRE_CLIENT(dir, major)                                        \
  const auto dir##_found = ::pgark::testing::client_bin_dir(major);             \
  if (!dir##_found && (major) == 15) FAIL() << dir##_found.error().to_string(); \
  if (!dir##_found) GTEST_SKIP() << dir##_found.error().to_string();            \
  [[maybe_unused]] const std::string& dir = *dir##_found
