#include "ops/stanza_remote.h"

#include <fmt/format.h>

#include "core/log.h"

namespace pgark {
namespace {

/// The record stanza-create would write from pg_control, of which the server shows the same values. None if it hides
/// them.
Result<std::optional<ClusterRecord>> ask_cluster(PgSession& session, Timestamp now) {
  auto info = read_server_info(session);
  if (!info.has_value()) {
    if (info.error().code() != Errc::kPermission && info.error().code() != Errc::kUnsupported)
      return std::move(info).error();
    log_warn("the server does not tell which cluster it is: {}", info.error().message());
    return std::optional<ClusterRecord>();
  }
  ClusterRecord record;
  record.system_identifier = info->system_id;
  record.pg_major = info->version_num / 10000;
  record.control_version = info->control_version;
  record.catalog_version = info->catalog_version;
  record.wal_segment_bytes = info->wal_segment_bytes;
  record.created = now;
  return std::optional(record);
}

}  // namespace

Result<RemoteStanza> create_remote_stanza(ObjectStore& store, Clock& clock, PgSession* session,
                                          const StanzaCreateOptions& options) {
  RemoteStanza result;
  if (session != nullptr) {
    TRY_ASSIGN(result.cluster, ask_cluster(*session, clock.now()));
  }
  const std::string context = fmt::format("create stanza {} in {}", options.stanza, store.describe());
  auto known = options.keys != nullptr ? Repository::open(store, *options.keys) : Repository::open(store);
  if (!known.has_value() && known.error().code() == Errc::kNotFound) {
    result.created = true;
    known = options.keys != nullptr ? Repository::open_or_create(store, clock, *options.keys)
                                    : Repository::open_or_create(store, clock);
  }
  if (!known.has_value()) return std::move(known).error();
  const Repository& repository = **known;
  TRY_ASSIGN(const auto records, list_clusters(repository, options.stanza));
  if (!result.cluster) {
    if (!records.empty()) result.cluster = records.back();
    return result;
  }
  if (!records.empty()) {
    TRY_CTX(check_same_cluster(options.stanza, records.back(), *result.cluster), context);
    result.cluster = records.back();
    return result;
  }
  auto written = write_cluster(repository, options.stanza, *result.cluster);
  result.created = true;
  if (written.has_value()) return result;
  // Somebody was faster, or it was written after all: what is there decides.
  TRY_ASSIGN(const ClusterRecord there, current_cluster(repository, options.stanza));
  TRY_CTX(check_same_cluster(options.stanza, there, *result.cluster), context);
  result.cluster = there;
  return result;
}

}  // namespace pgark
