// Tombstones as records, one for each removal that was begun.
#include "catalog/tombstone.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

using nlohmann::json;

std::string tombstone_prefix(const std::string& stanza) { return stanza + "/expire/"; }

/// Packs by label, as most of them have few: {"20261122-101500F": [1, 2, 3]}.
json encode_packs(const std::vector<PackName>& packs) {
  json document = json::object();
  for (const PackName& pack : packs) document[pack.label].push_back(pack.number);
  return document;
}

Result<std::vector<PackName>> decode_packs(const json& document) {
  if (!document.is_object()) return Error(Errc::kCorrupt, "member 'packs' is no object");
  std::vector<PackName> packs;
  for (const auto& [label, numbers] : document.items()) {
    if (!numbers.is_array()) return Error(Errc::kCorrupt, "member 'packs' names no numbers");
    for (const json& number : numbers) {
      if (!number.is_number_unsigned() || number.get<uint64_t>() > UINT32_MAX)
        return Error(Errc::kCorrupt, "member 'packs' names no numbers");
      packs.push_back({label, number.get<uint32_t>()});
    }
  }
  return packs;
}

std::string encode(const Tombstone& tombstone) {
  return json{{"label", tombstone.label},
              {"expired_us", tombstone.expired.time_since_epoch().count()},
              {"rule", tombstone.rule},
              {"reason", tombstone.reason},
              {"cluster", tombstone.cluster_number},
              {"start_timeline", tombstone.start_timeline.value},
              {"stop_timeline", tombstone.stop_timeline.value},
              {"start_lsn", to_string(tombstone.start_lsn)},
              {"wal_start", tombstone.wal_start},
              {"wal_stop", tombstone.wal_stop},
              {"packs", encode_packs(tombstone.packs)}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> text_member(const json& document, const char* name) {
  const json value = document.value(name, json());
  if (!value.is_string()) return Error(Errc::kCorrupt, fmt::format("member '{}' is missing or no text", name));
  return value.get<std::string>();
}
template <typename T>
Result<T> number_member(const json& document, const char* name) {
  const json value = document.value(name, json());
  if (!value.is_number_integer())
    return Error(Errc::kCorrupt, fmt::format("member '{}' is missing or no number", name));
  return value.get<T>();
}

Result<> decode(const std::string& text, Tombstone& tombstone) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Error(Errc::kCorrupt, "document is no JSON object");
  TRY_ASSIGN(const std::string label, text_member(document, "label"));
  if (label != tombstone.label) return Error(Errc::kCorrupt, "it says it is of backup " + label);
  TRY_ASSIGN(const auto expired, number_member<int64_t>(document, "expired_us"));
  tombstone.expired = Timestamp(std::chrono::microseconds(expired));
  TRY_ASSIGN(tombstone.rule, text_member(document, "rule"));
  TRY_ASSIGN(tombstone.reason, text_member(document, "reason"));
  TRY_ASSIGN(tombstone.cluster_number, number_member<unsigned>(document, "cluster"));
  TRY_ASSIGN(tombstone.start_timeline.value, number_member<uint32_t>(document, "start_timeline"));
  TRY_ASSIGN(tombstone.stop_timeline.value, number_member<uint32_t>(document, "stop_timeline"));
  TRY_ASSIGN(const std::string start_lsn, text_member(document, "start_lsn"));
  TRY_ASSIGN(tombstone.start_lsn, parse_lsn(start_lsn));
  TRY_ASSIGN(tombstone.wal_start, text_member(document, "wal_start"));
  TRY_ASSIGN(tombstone.wal_stop, text_member(document, "wal_stop"));
  TRY_ASSIGN(tombstone.packs, decode_packs(document.value("packs", json())));
  return {};
}

/// Label and generation of "<label>" or "<label>.r<n>".
std::pair<std::string, unsigned> parse_name(std::string_view name) {
  const size_t at = name.rfind(".r");
  if (at == std::string_view::npos) return {std::string(name), 0};
  const std::string_view digits = name.substr(at + 2);
  unsigned generation = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  if (status != std::errc{} || end != digits.data() + digits.size()) return {std::string(name), 0};
  return {std::string(name.substr(0, at)), generation};
}

}  // namespace

ObjectKey tombstone_key(const std::string& stanza, const std::string& label, unsigned generation) {
  std::string key = tombstone_prefix(stanza) + label;
  if (generation > 0) key += fmt::format(".r{}", generation);
  return {std::move(key)};
}

Result<> write_tombstone(const Repository& repository, const std::string& stanza, const Tombstone& tombstone) {
  const ObjectKey key = tombstone_key(stanza, tombstone.label, tombstone.generation);
  TRY_CTX(write_record(repository, key, encode(tombstone)), "write tombstone of backup " + tombstone.label);
  return {};
}

namespace {

/// Read what a listing named; none if it was removed since.
Result<std::optional<ListedTombstone>> read_listed(const Repository& repository, const std::string& prefix,
                                                   const ObjectInfo& object) {
  ListedTombstone one;
  one.tombstone.key = object.key;
  one.tombstone.modified = object.modified;
  one.tombstone.bytes = object.bytes;
  std::tie(one.tombstone.label, one.tombstone.generation) =
      parse_name(std::string_view(object.key.value).substr(prefix.size()));
  const std::string context = "read tombstone " + object.key.value;
  auto text = read_record(repository, object.key);
  Result<> decoded;
  if (text) decoded = decode(*text, one.tombstone);
  if (!text && text.error().code() == Errc::kNotFound) return std::optional<ListedTombstone>();
  if (!text && text.error().code() != Errc::kCorrupt && text.error().code() != Errc::kUnsupported)
    return Error(std::move(text).error()).with_context(context);
  if (!text) one.error = Error(std::move(text).error()).with_context(context);
  if (!decoded) one.error = Error(std::move(decoded).error()).with_code(Errc::kCorrupt).with_context(context);
  return std::optional(std::move(one));
}

}  // namespace

Result<std::vector<ListedTombstone>> list_tombstones(const Repository& repository, const std::string& stanza) {
  const std::string prefix = tombstone_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list tombstones of stanza " + stanza);
  std::vector<std::optional<ListedTombstone>> read(objects.size());
  TRY(for_each_call(repository.store(), objects.size(), [&](size_t i) -> Result<> {
    TRY_ASSIGN(read[i], read_listed(repository, prefix, objects[i]));
    return {};
  }));
  std::vector<ListedTombstone> listed;
  for (auto& one : read)
    if (one) listed.push_back(std::move(*one));
  std::sort(listed.begin(), listed.end(), [](const ListedTombstone& a, const ListedTombstone& b) {
    return std::tie(a.tombstone.label, a.tombstone.generation) < std::tie(b.tombstone.label, b.tombstone.generation);
  });
  return listed;
}

TombstoneStep next_tombstone_step(const std::vector<Timestamp>& times, Timestamp now, std::chrono::microseconds grace) {
  constexpr int kTenths = 10;  // One that lost no more than a tenth of its time will do: a run that was ended and begun
                               // again needs no second one.
  constexpr std::chrono::hours kWaitMin{1};
  if (times.empty()) return TombstoneStep::kWrite;
  const auto [oldest, youngest] = std::minmax_element(times.begin(), times.end());
  const auto age = now - *youngest;
  if (age * kTenths < grace) return TombstoneStep::kReuse;
  // A run that was killed looks like a refusal. Those of the last hour are few, whichever they were.
  const auto wait = *youngest - *oldest;
  return wait < kWaitMin || age >= wait ? TombstoneStep::kWrite : TombstoneStep::kWait;
}

}  // namespace pgark
