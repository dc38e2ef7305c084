// PostgreSQL's own client programs on this machine (pg_dump, pg_dumpall, pg_restore, psql, initdb): finding the one
// that suits a server, and telling it where that server is.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "core/subprocess.h"
#include "pgwire/pg_session.h"

namespace pgark {

/// A directory of client programs of one version.
struct PgClientSet {
  std::string directory;                     // "/usr/lib/postgresql/15/bin"
  unsigned major = 0;                        // 15
  unsigned minor = 0;                        // 20; 0 for a release candidate.
  std::string version;                       // As pg_dump says it: "15.20 (Debian 15.20-0+deb12u1)".
  bool has(std::string_view program) const;  // "initdb"
  std::string path(std::string_view program) const { return directory + "/" + std::string(program); }
};

/// Every set of clients found, newest first: in `client_paths` (directories, or directories of "<major>/bin"), PATH,
/// /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/local/pgsql/bin, /opt/*. Each directory once, a set if it has
/// pg_dump and its version can be read.
Result<std::vector<PgClientSet>> find_client_sets(const std::vector<std::string>& client_paths,
                                                  const CancelToken& cancel);

/// The set to dump a server with: of its own major version the newest minor; else the nearest major above it.
/// Errors: kUnsupported, naming the versions found and the package to install, if all are older.
Result<PgClientSet> choose_dump_client(const std::vector<PgClientSet>& sets, unsigned server_major);

/// The set to load an archive with that `dump_major` wrote (0: not known), into a server: of those that can read it the
/// nearest up to the server's major version, else the lowest above. Errors: as above.
Result<PgClientSet> choose_load_client(const std::vector<PgClientSet>& sets, unsigned dump_major,
                                       unsigned server_major);

/// Environment that leads a libpq program to the database `endpoint` names: PGHOST, PGPORT, PGUSER, PGDATABASE,
/// PGAPPNAME, PGSSL..., PGCONNECT_TIMEOUT. Passwords come from libpq's own places, which it inherits.
/// Every other PG variable that could lead it elsewhere or change what it writes (PGOPTIONS, PGSERVICE, PGDATESTYLE,
/// ...) is in `unset`.
void point_to(const PgEndpoint& endpoint, SubprocessOptions& options);

}  // namespace pgark
