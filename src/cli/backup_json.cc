// One spelling of a backup's members for every command.
#include "cli/backup_json.h"

#include <nlohmann/json.hpp>

namespace pgark {

nlohmann::ordered_json backup_members(const BackupMeta& meta) {
  using nlohmann::ordered_json;
  return {{"label", meta.label},
          {"type", backup_type_name(meta.type)},
          {"prior", meta.prior_label.empty() ? ordered_json() : ordered_json(meta.prior_label)},
          {"cluster", meta.cluster_number},
          {"started_us", meta.started.time_since_epoch().count()},
          {"stopped_us", meta.stopped.time_since_epoch().count()},
          {"start_lsn", to_string(meta.start_lsn)},
          {"stop_lsn", to_string(meta.stop_lsn)},
          {"start_timeline", meta.start_timeline.value},
          {"stop_timeline", meta.stop_timeline.value},
          {"wal_start", meta.wal_start},
          {"wal_stop", meta.wal_stop},
          {"source", meta.source},
          {"logical_bytes", meta.logical_bytes},
          {"read_bytes", meta.read_bytes},
          {"stored_bytes", meta.stored_bytes},
          {"referenced_bytes", meta.referenced_bytes},
          {"reused_bytes", meta.reused_bytes},
          {"extent_count", meta.extent_count},
          {"file_count", meta.file_count},
          {"bad_page_count", meta.bad_page_count},
          {"scan", meta.scan.empty() ? ordered_json() : ordered_json(meta.scan)},
          {"compress_type", meta.codec},
          {"annotations", meta.annotations}};
}

}  // namespace pgark
