#include "catalog/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "pg/wal.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;

std::string encode_cluster(const ClusterRecord& record) {
  // 64-bit identifiers are text: many JSON readers round numbers past 2^53.
  return json{{"number", record.number},
              {"system_identifier", std::to_string(record.system_identifier)},
              {"pg_major", record.pg_major},
              {"control_version", record.control_version},
              {"catalog_version", record.catalog_version},
              {"wal_segment_bytes", record.wal_segment_bytes},
              {"created_us", record.created.time_since_epoch().count()}}
      .dump();
}

template <typename T>
Result<T> member(const json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end()) return Error(Errc::kCorrupt, fmt::format("member '{}' is missing", name));
  if (!found->is_number_integer()) return Error(Errc::kCorrupt, fmt::format("member '{}' is no integer", name));
  const auto fits = found->is_number_unsigned() ? std::in_range<T>(found->template get<uint64_t>())
                                                : std::in_range<T>(found->template get<int64_t>());
  if (!fits) return Error(Errc::kCorrupt, fmt::format("member '{}' is out of range", name));
  return found->template get<T>();
}

Result<ClusterRecord> decode_cluster(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Error(Errc::kCorrupt, "document is no JSON object");
  ClusterRecord record;
  TRY_ASSIGN(record.number, member<unsigned>(document, "number"));
  TRY_ASSIGN(record.pg_major, member<unsigned>(document, "pg_major"));
  TRY_ASSIGN(record.control_version, member<uint32_t>(document, "control_version"));
  TRY_ASSIGN(record.catalog_version, member<uint32_t>(document, "catalog_version"));
  TRY_ASSIGN(record.wal_segment_bytes, member<uint32_t>(document, "wal_segment_bytes"));
  TRY_ASSIGN(const int64_t created, member<int64_t>(document, "created_us"));
  record.created = Timestamp(std::chrono::microseconds(created));
  const auto id = document.find("system_identifier");
  if (id == document.end() || !id->is_string()) return Error(Errc::kCorrupt, "member 'system_identifier' is no text");
  const auto& digits = id->get_ref<const std::string&>();
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), record.system_identifier);
  if (status != std::errc{} || end != digits.data() + digits.size()) {
    return Error(Errc::kCorrupt, "member 'system_identifier' is no number");
  }
  if (!pg::is_wal_segment_bytes(record.wal_segment_bytes)) {
    return Error(Errc::kCorrupt, fmt::format("segment size {} is impossible", record.wal_segment_bytes));
  }
  return record;
}

}  // namespace

std::string cluster_prefix(const std::string& stanza) { return stanza + "/cluster/"; }

ObjectKey cluster_key(const std::string& stanza, unsigned number) {
  return {cluster_prefix(stanza) + std::to_string(number)};
}

Result<std::vector<ClusterRecord>> list_clusters(const Repository& repository, const std::string& stanza) {
  const std::string prefix = cluster_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list clusters of stanza " + stanza);
  std::vector<ClusterRecord> records;
  for (const ObjectInfo& object : objects) {
    const std::string context = "read cluster record " + object.key.value;
    TRY_ASSIGN_CTX(const std::string document, read_record(repository, object.key), context);
    TRY_ASSIGN_CTX(const ClusterRecord record, decode_cluster(document), context);
    if (cluster_key(stanza, record.number) != object.key) {
      return Error(Errc::kCorrupt, fmt::format("{}: it says it is number {}", context, record.number));
    }
    records.push_back(record);
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return records;
}

Result<ClusterRecord> current_cluster(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto records, list_clusters(repository, stanza));
  if (records.empty()) {
    return Error(Errc::kNotFound, fmt::format("stanza {} does not exist in {}", stanza, repository.store().describe()))
        .with_hint(fmt::format("run 'pgark --stanza={} stanza-create' on the database host", stanza));
  }
  return records.back();
}

Result<> write_cluster(const Repository& repository, const std::string& stanza, const ClusterRecord& record) {
  TRY_CTX(write_record(repository, cluster_key(stanza, record.number), encode_cluster(record)),
          fmt::format("write cluster record {} of stanza {}", record.number, stanza));
  return {};
}

Result<> check_same_cluster(const std::string& stanza, const ClusterRecord& record, const ClusterRecord& offered) {
  if (record.system_identifier != offered.system_identifier) {
    return Error(Errc::kInvalid, fmt::format("stanza {} belongs to the cluster with system identifier {}, not {}",
                                             stanza, record.system_identifier, offered.system_identifier))
        .with_hint("check pg1-path and --stanza: each cluster needs a stanza of its own")
        .with_hint(
            "if the cluster was created anew or by pg_upgrade, use a new stanza: stanza-upgrade is not provided in "
            "this version");
  }
  if (record.pg_major != offered.pg_major) {
    return Error(Errc::kInvalid, fmt::format("stanza {} is of PostgreSQL {}, the cluster of {}", stanza,
                                             record.pg_major, offered.pg_major))
        .with_hint("stanza-upgrade is not provided in this version: create a new stanza for the upgraded cluster");
  }
  if (record.wal_segment_bytes != offered.wal_segment_bytes) {
    return Error(Errc::kInvalid, fmt::format("stanza {} has WAL segments of {} bytes, the cluster of {}", stanza,
                                             record.wal_segment_bytes, offered.wal_segment_bytes))
        .with_hint("pg_resetwal --wal-segsize makes earlier WAL unusable: create a new stanza");
  }
  return {};
}

}  // namespace pgark
