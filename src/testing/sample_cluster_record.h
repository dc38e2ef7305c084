// The record of a made-up cluster of PostgreSQL 15, for tests that need a stanza but no data directory.
#pragma once

#include "catalog/cluster.h"

namespace pgark::testing {

inline ClusterRecord sample_cluster_record(uint64_t system_identifier, uint32_t wal_segment_bytes) {
  return {.number = 1,
          .system_identifier = system_identifier,
          .pg_major = 15,
          .control_version = 1300,
          .catalog_version = 202209061,
          .wal_segment_bytes = wal_segment_bytes,
          .created = {}};
}

}  // namespace pgark::testing
