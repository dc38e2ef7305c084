// Which PostgreSQL cluster a stanza belongs to, and the refusal to write anything of another one (I8).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "repo/repository.h"

namespace pgark {

/// What identifies a cluster. A new record is added when the cluster is upgraded; records are never changed.
struct ClusterRecord {
  unsigned number = 1;  // 1, 2, ... in the order of upgrades; part of the names of its WAL.
  uint64_t system_identifier = 0;
  unsigned pg_major = 0;  // 10..19
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  uint32_t wal_segment_bytes = 0;
  Timestamp created{};
};

/// "<stanza>/cluster/": what the keys of a stanza's records begin with.
std::string cluster_prefix(const std::string& stanza);
/// "<stanza>/cluster/<n>".
ObjectKey cluster_key(const std::string& stanza, unsigned number);

/// Records of a stanza by number; empty if the stanza does not exist.
Result<std::vector<ClusterRecord>> list_clusters(const Repository& repository, const std::string& stanza);
/// The newest record. Errors: kNotFound with the hint to run stanza-create.
Result<ClusterRecord> current_cluster(const Repository& repository, const std::string& stanza);
/// Errors: kAlreadyExists if that number is taken.
Result<> write_cluster(const Repository& repository, const std::string& stanza, const ClusterRecord& record);

/// Refuse a cluster that is not the stanza's.
/// Errors: kInvalid, naming what differs (system identifier, version, segment size), both values and the next step.
Result<> check_same_cluster(const std::string& stanza, const ClusterRecord& record, const ClusterRecord& offered);

}  // namespace pgark
