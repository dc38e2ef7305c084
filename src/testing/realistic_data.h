// Rows like those of a shop's database, compressing about 3:1 to 4:1; the same for the same seed.
#pragma once

#include <cstdint>

#include "core/result.h"
#include "testing/pg_server.h"

namespace pgark::testing {

/// Fill tables of `server` with about `mib` MiB, indexes included. The SQL is tools/realistic_data.sql, which
/// tools/make_data.sh and the benchmarks use too.
Result<> fill_realistic(PgServer& server, int mib, uint64_t seed = 1);

}  // namespace pgark::testing
