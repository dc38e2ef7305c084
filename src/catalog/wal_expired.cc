// Records of where the whole WAL of a timeline begins.
#include "catalog/wal_expired.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "pg/wal.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;

std::string expired_prefix(const std::string& stanza, unsigned cluster_number) {
  return fmt::format("{}/wal/{}/expired/", stanza, cluster_number);
}

std::optional<uint32_t> parse_number(std::string_view text, int base) {
  uint32_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return status == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

struct Record {
  unsigned number = 0;
  ObjectKey key;
};

/// Records by timeline, as listed.
Result<std::map<TimelineId, std::vector<Record>>> list_records(const Repository& repository, const std::string& stanza,
                                                               unsigned cluster_number) {
  const std::string prefix = expired_prefix(stanza, cluster_number);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list records of expired WAL");
  std::map<TimelineId, std::vector<Record>> records;
  for (const ObjectInfo& object : objects) {
    const std::string_view name = std::string_view(object.key.value).substr(prefix.size());
    const size_t dot = name.find('.');
    if (dot != 8) continue;
    const auto timeline = parse_number(name.substr(0, dot), 16);
    const auto number = parse_number(name.substr(dot + 1), 10);
    if (timeline && number) records[TimelineId{*timeline}].push_back({*number, object.key});
  }
  return records;
}

const Record& newest(const std::vector<Record>& records) {
  return *std::max_element(records.begin(), records.end(),
                           [](const Record& a, const Record& b) { return a.number < b.number; });
}

Result<std::optional<uint64_t>> read_before(const Repository& repository, const ObjectKey& key,
                                            uint32_t wal_segment_bytes) {
  const std::string context = "read " + key.value;
  TRY_ASSIGN_CTX(const std::string text, read_record(repository, key), context);
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Error(Errc::kCorrupt, context + ": it is no JSON object");
  const json before = document.value("whole_from", json());
  if (before.is_null()) return std::optional<uint64_t>();
  if (!before.is_string()) return Error(Errc::kCorrupt, context + ": member 'whole_from' is no text");
  TRY_ASSIGN_CTX(const auto segment, pg::parse_segment_name(before.get<std::string>(), wal_segment_bytes), context);
  return std::optional(segment.number);
}

}  // namespace

Result<ExpiredWal> read_expired_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                                    uint32_t wal_segment_bytes) {
  TRY_ASSIGN(const auto records, list_records(repository, stanza, cluster_number));
  ExpiredWal expired;
  for (const auto& [timeline, all] : records) {
    auto before = read_before(repository, newest(all).key, wal_segment_bytes);
    // Removed since the listing: a newer one is there, and the next reader finds it.
    if (!before && before.error().code() == Errc::kNotFound) continue;
    TRY(before);
    expired[timeline] = *before;
  }
  return expired;
}

Result<> write_expired_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                           uint32_t wal_segment_bytes, const ExpiredWal& expired, Timestamp now) {
  TRY_ASSIGN(const auto records, list_records(repository, stanza, cluster_number));
  for (const auto& [timeline, before] : expired) {
    const auto known = records.find(timeline);
    if (known != records.end()) {
      const auto said = read_before(repository, newest(known->second).key, wal_segment_bytes);
      if (said && *said == before) continue;
    }
    json document{{"whole_from", nullptr}, {"expired_us", now.time_since_epoch().count()}};
    if (before) document["whole_from"] = pg::segment_name({timeline, *before}, wal_segment_bytes);
    const unsigned number = known == records.end() ? 1 : newest(known->second).number + 1;
    const ObjectKey key{fmt::format("{}{:08X}.{}", expired_prefix(stanza, cluster_number), timeline.value, number)};
    TRY_CTX(write_record(repository, key, document.dump()), "write " + key.value);
    if (known == records.end()) continue;
    for (const Record& record : known->second) {
      const auto removed = repository.store().remove(record.key);
      if (!removed && removed.error().code() != Errc::kPermission) return Error(removed.error());
    }
  }
  return {};
}

}  // namespace pgark
