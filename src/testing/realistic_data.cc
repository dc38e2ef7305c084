// Runs tools/realistic_data.sql.
#include "testing/realistic_data.h"

#include <fmt/format.h>

#include "core/file.h"

namespace pgark::testing {

Result<> fill_realistic(PgServer& server, int mib, uint64_t seed) {
  TRY_ASSIGN(const std::string sql, read_file(PGARK_SOURCE_DIR "/tools/realistic_data.sql"));
  TRY_ASSIGN(PgConnection connection, server.connect());
  TRY(connection.exec(sql));
  return connection.exec(fmt::format("SELECT pgark_make_data({}, {}, 0)", mib, seed));
}

}  // namespace pgark::testing
