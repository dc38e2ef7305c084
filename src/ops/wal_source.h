// Places beside the archive where a WAL file may still be: pg_wal of a node, read from its files or through its server,
// and other repositories.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "catalog/cluster.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"
#include "pgwire/pg_session.h"
#include "repo/repository.h"

namespace pgark {

class WalSource {
 public:
  virtual ~WalSource() = default;
  /// Where this is, for messages.
  virtual std::string describe() const = 0;
  /// Refuse a place that is of another cluster, or cannot be reached. Called once, before fetch().
  virtual Result<> open(const std::string& stanza, const ClusterRecord& cluster) = 0;
  /// The file as it is there, unchecked; none if it is not there. Errors: kInvalid if larger than `bytes_max`.
  virtual Result<std::optional<Buffer>> fetch(const std::string& name, uint64_t bytes_max) = 0;
};

/// pg_wal below a data directory of this machine; its server need not run.
std::unique_ptr<WalSource> directory_wal_source(std::string data_directory, Clock& clock);
/// pg_wal of a running server, with pg_read_binary_file().
std::unique_ptr<WalSource> server_wal_source(std::function<Result<std::unique_ptr<PgSession>>()> open_session);
/// Another repository, of which `repository` must outlive the source.
std::unique_ptr<WalSource> repository_wal_source(const Repository& repository);

}  // namespace pgark
