// stanza-create and stanza-delete: tie a stanza to its cluster, and take all of it away.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "catalog/cluster.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "pgwire/pg_session.h"
#include "repo/keyring.h"
#include "store/object_store.h"

namespace pgark {

struct StanzaCreateOptions {
  std::string stanza;
  std::string data_directory;
  const KeyConfig* keys = nullptr;  // Of the repository, should it be new; null: not encrypted.
};

struct StanzaCreateResult {
  ClusterRecord cluster;
  bool created = false;  // False: the stanza was there already, for this very cluster.
};

/// Make the repository if it is new and the stanza's first cluster record from the data directory's files, compared
/// with the running server if `session` is not null. Errors: kInvalid if files and server are of different clusters, or
/// the stanza is another cluster's.
Result<StanzaCreateResult> stanza_create(ObjectStore& store, Clock& clock, PgSession* session,
                                         const StanzaCreateOptions& options);

struct StanzaDeleteResult {
  uint64_t backups = 0;
  uint64_t dumps = 0;
  uint64_t objects = 0;  // All of them, manifests included.
  uint64_t bytes = 0;
};

/// Remove every object of a stanza: manifests first, so that no listed backup or dump ever lacks its data, cluster
/// records last, so that an interrupted removal can be repeated. Errors: kNotFound if the stanza has no object; of the
/// store.
Result<StanzaDeleteResult> stanza_delete(const Repository& repository, const std::string& stanza,
                                         const CancelToken& cancel);

}  // namespace pgark
