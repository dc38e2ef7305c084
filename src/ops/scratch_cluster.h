// A PostgreSQL server of its own for one proof: made, started, used and removed by this process, reachable by its user
// alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "pgwire/pg_client.h"
#include "pgwire/pg_session.h"

namespace pgark {

/// Among the clients those with a server (initdb, postgres): of this major version, else the next newer one; with
/// `major` 0 the newest.
/// Errors: kUnsupported, naming what was found and what to install.
Result<PgClientSet> choose_scratch_server(const std::vector<PgClientSet>& sets, unsigned major);

struct ScratchClusterOptions {
  PgClientSet programs;
  std::string parent;        // Directory in which its own is made.
  unsigned connections = 1;  // That the load wants at the same time.
  /// Of initdb. From 16 on memberships of the system's roles can only be granted in its name.
  std::string superuser = "postgres";
};

/// Listens on a Unix socket in a directory of mode 0700 and nowhere else, so that it can trust whoever reaches it. Not
/// durable, since it is thrown away. Stopped and removed by the destructor.
class ScratchCluster {
 public:
  /// Errors: kInvalid as root, where PostgreSQL does not run, and with the words of initdb or the server; kNoSpace;
  ///         kCancelled.
  static Result<std::unique_ptr<ScratchCluster>> start(const ScratchClusterOptions& options, Clock& clock,
                                                       const CancelToken& cancel);
  virtual ~ScratchCluster() = default;
  /// As the superuser, in a database that no dump has.
  virtual const PgEndpoint& endpoint() const = 0;
  /// For tablespaces and the like. Gone with the cluster.
  virtual const std::string& directory() const = 0;
};

}  // namespace pgark
