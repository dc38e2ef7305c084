// Records of WAL that was given up.
#include "catalog/wal_dropped.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "pg/wal.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

std::string encode(const DroppedWal& dropped) {
  const nlohmann::json document{{"first", dropped.first},
                                {"last", dropped.last},
                                {"dropped_us", dropped.time.time_since_epoch().count()},
                                {"host", dropped.host},
                                {"queue_bytes", dropped.queue_bytes},
                                {"limit_bytes", dropped.limit_bytes}};
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_segment_name(const nlohmann::json& value) {
  if (!value.is_string()) return false;
  const auto parsed = pg::parse_wal_file_name(value.get_ref<const std::string&>());
  return parsed && std::holds_alternative<pg::WalSegmentName>(*parsed);
}

Result<DroppedWal> decode(const std::string& text) {
  const auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Error(Errc::kCorrupt, "it is no JSON object");
  const auto member = [&](const char* name) { return document.value(name, nlohmann::json()); };
  const auto number = [&](const char* name) -> uint64_t {
    const nlohmann::json value = member(name);
    return value.is_number_unsigned() ? value.get<uint64_t>() : 0;
  };
  if (!is_segment_name(member("first")) || !is_segment_name(member("last")))
    return Error(Errc::kCorrupt, "it does not name the first and last segment");
  DroppedWal dropped;
  dropped.first = member("first").get<std::string>();
  dropped.last = member("last").get<std::string>();
  if (dropped.first.substr(0, 8) != dropped.last.substr(0, 8) || dropped.last < dropped.first)
    return Error(Errc::kCorrupt, fmt::format("{} to {} is no run of segments", dropped.first, dropped.last));
  dropped.time = Timestamp(std::chrono::microseconds(static_cast<int64_t>(number("dropped_us"))));
  if (member("host").is_string()) dropped.host = member("host").get<std::string>();
  dropped.queue_bytes = number("queue_bytes");
  dropped.limit_bytes = number("limit_bytes");
  return dropped;
}

Result<DroppedWal> read_dropped(const Repository& repository, const ObjectKey& key) {
  const std::string context = "read " + key.value;
  TRY_ASSIGN_CTX(const std::string text, read_record(repository, key), context);
  TRY_ASSIGN_CTX(DroppedWal dropped, decode(text), context);
  return dropped;
}

}  // namespace

Result<ObjectKey> dropped_wal_key(const std::string& stanza, unsigned cluster_number, const std::string& first) {
  return make_object_key(fmt::format("{}/wal/{}/dropped/{}", stanza, cluster_number, first));
}

Result<std::vector<DroppedWal>> list_dropped_wal(const Repository& repository, const std::string& stanza,
                                                 unsigned cluster_number) {
  const std::string prefix = fmt::format("{}/wal/{}/dropped/", stanza, cluster_number);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list WAL that was given up");
  std::vector<DroppedWal> all;
  for (const ObjectInfo& object : objects) {
    TRY_ASSIGN(DroppedWal dropped, read_dropped(repository, object.key));
    all.push_back(std::move(dropped));
  }
  return all;
}

Result<> write_dropped_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                           DroppedWal dropped, uint32_t wal_segment_bytes) {
  // Each round ends, writes, or leaves out at least one segment that another record has.
  for (;;) {
    TRY_ASSIGN(const ObjectKey key, dropped_wal_key(stanza, cluster_number, dropped.first));
    auto written = write_record(repository, key, encode(dropped));
    if (written) return {};
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error());
    TRY_ASSIGN(const DroppedWal known, read_dropped(repository, key));
    if (known.last >= dropped.last) return {};
    TRY_ASSIGN(const pg::WalSegment last, pg::parse_segment_name(known.last, wal_segment_bytes));
    dropped.first = pg::segment_name(last.next(), wal_segment_bytes);
  }
}

}  // namespace pgark
