// stanza-create for a server whose files are out of reach: a managed database, of which dumps are made and nothing
// else.
#pragma once

#include <optional>

#include "catalog/cluster.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/stanza.h"
#include "pgwire/pg_session.h"
#include "store/object_store.h"

namespace pgark {

struct RemoteStanza {
  std::optional<ClusterRecord> cluster;  // None if the server does not tell which cluster it is, or was not asked.
  bool created = false;                  // False: the repository was there, with this very cluster if one is known.
};

/// Make the repository if it is new, and the stanza's first cluster record from what the server says of itself.
/// `session`: null if it is not to be asked. Errors: kInvalid if the stanza is another cluster's; of the store.
Result<RemoteStanza> create_remote_stanza(ObjectStore& store, Clock& clock, PgSession* session,
                                          const StanzaCreateOptions& options);

}  // namespace pgark
