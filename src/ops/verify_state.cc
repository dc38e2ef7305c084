#include "ops/verify_state.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "codec/hash.h"
#include "core/file.h"
#include "core/log.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr uint64_t kVersion = 1;
constexpr auto kAgeMax = std::chrono::days(30);
constexpr uint64_t kStateBytesMax = 256u << 20;

/// Paths and messages hold any bytes; JSON holds text.
json bytes_json(const std::string& text) {
  json value = text;
  try {
    (void)value.dump();
    return value;
  } catch (const json::exception&) {
    std::string hex;
    for (const char c : text) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return {{"hex", hex}};
  }
}

std::string bytes_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  const auto hex = value.at("hex").get<std::string>();
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}

template <typename T, typename Encode>
json list_json(const std::vector<T>& items, Encode encode) {
  json list = json::array();
  for (const T& item : items) list.push_back(encode(item));
  return list;
}

json range_json(const DamagedRange& range) { return json::array({range.first, range.last}); }
json place_json(const DamagedPlace& place) { return json::array({place.offset, place.bytes}); }
json pack_json(const PackName& pack) { return json::array({pack.label, pack.number}); }

json file_json(const DamagedFile& file) {
  return {{"path", bytes_json(file.path)},
          {"blocks", list_json(file.blocks, range_json)},
          {"block_count", file.block_count},
          {"packs", list_json(file.packs, pack_json)}};
}

DamagedFile file_of(const json& value) {
  DamagedFile file;
  file.path = bytes_of(value.at("path"));
  for (const json& one : value.at("blocks")) file.blocks.push_back({one.at(0), one.at(1)});
  file.block_count = value.at("block_count");
  for (const json& one : value.at("packs")) file.packs.push_back({one.at(0), one.at(1)});
  return file;
}

json bad_json(const VerifiedBadPages& bad) {
  return {{"path", bytes_json(bad.path)}, {"blocks", bad.blocks}, {"count", bad.count}};
}

json damage_json(const VerifyDamage& damage) {
  return {{"kind", static_cast<unsigned>(damage.kind)},
          {"object", damage.object},
          {"name", damage.name},
          {"count", damage.count},
          {"missing", damage.missing},
          {"harmless", damage.harmless},
          {"index_unreadable", damage.index_unreadable},
          {"places", list_json(damage.places, place_json)},
          {"cause", bytes_json(damage.cause)}};
}

VerifyDamage damage_of(const json& value) {
  VerifyDamage damage;
  const auto kind = value.at("kind").get<unsigned>();
  if (kind > static_cast<unsigned>(DamageKind::kDumpPack)) throw std::runtime_error("kind of damage");
  damage.kind = static_cast<DamageKind>(kind);
  damage.object = value.at("object");
  damage.name = value.at("name");
  damage.count = value.at("count");
  damage.missing = value.at("missing");
  damage.harmless = value.at("harmless");
  damage.index_unreadable = value.at("index_unreadable");
  for (const json& one : value.at("places")) damage.places.push_back({one.at(0), one.at(1)});
  damage.cause = bytes_of(value.at("cause"));
  return damage;
}

json ranges_json(const std::map<std::string, NumberRanges>& all) {
  json out = json::object();
  for (const auto& [name, ranges] : all) out[name] = ranges.text();
  return out;
}

std::map<std::string, NumberRanges> ranges_of(const json& value) {
  std::map<std::string, NumberRanges> out;
  for (const auto& [name, text] : value.items()) {
    auto ranges = NumberRanges::parse(text.get<std::string>());
    if (!ranges) throw std::runtime_error("numbers");
    out.emplace(name, std::move(*ranges));
  }
  return out;
}

json manifest_json(const ManifestResult& manifest) {
  return {{"packs", list_json(manifest.packs, pack_json)},
          {"files", list_json(manifest.files, file_json)},
          {"file_count", manifest.file_count},
          {"bad_pages", list_json(manifest.bad_pages, bad_json)},
          {"bad_page_count", manifest.bad_page_count}};
}

ManifestResult manifest_of(const std::string& label, const json& value) {
  ManifestResult manifest;
  for (const json& one : value.at("packs")) manifest.packs.push_back({one.at(0), one.at(1)});
  for (const json& one : value.at("files")) manifest.files.push_back(file_of(one));
  manifest.file_count = value.at("file_count");
  for (const json& one : value.at("bad_pages")) {
    manifest.bad_pages.push_back({label, bytes_of(one.at("path")), one.at("blocks"), one.at("count")});
  }
  manifest.bad_page_count = value.at("bad_page_count");
  return manifest;
}

VerifyState state_of(const json& value) {
  VerifyState state;
  state.repository_id = value.at("repository_id");
  state.stanza = value.at("stanza");
  state.sets = value.at("sets").get<std::vector<std::string>>();
  state.share = value.at("share");
  state.seed = value.at("seed");
  state.started = Timestamp(std::chrono::microseconds(value.at("started_us").get<int64_t>()));
  state.saved = Timestamp(std::chrono::microseconds(value.at("saved_us").get<int64_t>()));
  state.packs = ranges_of(value.at("packs"));
  state.segments = ranges_of(value.at("segments"));
  for (const auto& [label, manifest] : value.at("manifests").items()) {
    state.manifests.emplace(label, manifest_of(label, manifest));
  }
  for (const json& one : value.at("damages")) state.damages.push_back(damage_of(one));
  state.damage_count = value.at("damage_count");
  state.extent_count = value.at("extent_count");
  state.dump_frame_count = value.value("dump_frame_count", uint64_t{0});
  state.segment_count = value.at("segment_count");
  state.read_bytes = value.at("read_bytes");
  return state;
}

std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

void NumberRanges::add(uint64_t number) {
  if (has(number)) return;
  uint64_t first = number;
  uint64_t last = number;
  const auto behind = ranges_.find(number + 1);
  if (behind != ranges_.end()) {
    last = behind->second;
    ranges_.erase(behind);
  }
  const auto next = ranges_.lower_bound(number);
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->second + 1 == number) {
      first = before->first;
      ranges_.erase(before);
    }
  }
  ranges_.emplace(first, last);
}

void NumberRanges::remove(uint64_t number) {
  if (!has(number)) return;
  const auto found = std::prev(ranges_.upper_bound(number));
  const auto [first, last] = *found;
  ranges_.erase(found);
  if (first < number) ranges_.emplace(first, number - 1);
  if (number < last) ranges_.emplace(number + 1, last);
}

bool NumberRanges::has(uint64_t number) const {
  const auto behind = ranges_.upper_bound(number);
  return behind != ranges_.begin() && number <= std::prev(behind)->second;
}

uint64_t NumberRanges::count() const {
  uint64_t count = 0;
  for (const auto& [first, last] : ranges_) count += last - first + 1;
  return count;
}

std::string NumberRanges::text() const {
  std::string text;
  for (const auto& [first, last] : ranges_) {
    if (!text.empty()) text += ",";
    text += first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
  }
  return text;
}

std::optional<NumberRanges> NumberRanges::parse(std::string_view text) {
  NumberRanges ranges;
  for (size_t at = 0; at < text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view part = text.substr(at, comma - at);
    const size_t dash = part.find('-');
    const auto first = number_of(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number_of(part.substr(dash + 1));
    const bool later = ranges.ranges_.empty() || (first && *first > ranges.ranges_.rbegin()->second + 1);
    if (!first || !last || *first > *last || *last == UINT64_MAX || !later) return std::nullopt;
    ranges.ranges_.emplace(*first, *last);
    at = comma + 1;
  }
  return ranges;
}

bool VerifyState::same_round(const VerifyState& other) const {
  return repository_id == other.repository_id && stanza == other.stanza && sets == other.sets && share == other.share;
}

std::string encode_verify_state(const VerifyState& state) {
  json manifests = json::object();
  for (const auto& [label, manifest] : state.manifests) manifests[label] = manifest_json(manifest);
  const json document{{"version", kVersion},
                      {"repository_id", state.repository_id},
                      {"stanza", state.stanza},
                      {"sets", state.sets},
                      {"share", state.share},
                      {"seed", state.seed},
                      {"started_us", state.started.time_since_epoch().count()},
                      {"saved_us", state.saved.time_since_epoch().count()},
                      {"packs", ranges_json(state.packs)},
                      {"segments", ranges_json(state.segments)},
                      {"manifests", manifests},
                      {"damages", list_json(state.damages, damage_json)},
                      {"damage_count", state.damage_count},
                      {"extent_count", state.extent_count},
                      {"dump_frame_count", state.dump_frame_count},
                      {"segment_count", state.segment_count},
                      {"read_bytes", state.read_bytes}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<VerifyState> decode_verify_state(std::string_view text) {
  try {
    const json document = json::parse(text);
    if (document.at("version") != kVersion) return Error(Errc::kCorrupt, "it is of another version");
    return state_of(document);
  } catch (const std::exception& failure) {
    return Error(Errc::kCorrupt, failure.what());
  }
}

Result<std::optional<VerifyState>> load_verify_state(const std::string& path, Timestamp now) {
  auto text = read_file(path, kStateBytesMax);
  if (!text && text.error().code() == Errc::kNotFound) return std::optional<VerifyState>{};
  if (!text) return Error(std::move(text).error());
  auto state = decode_verify_state(*text);
  if (!state) {
    log_warn("the state of the last verify in {} cannot be used: {}: a new round begins", path,
             state.error().message());
    return std::optional<VerifyState>{};
  }
  if (now - state->saved > kAgeMax) {
    log_info("the state of the last verify in {} is older than 30 days: a new round begins", path);
    return std::optional<VerifyState>{};
  }
  return std::optional(std::move(*state));
}

Result<> save_verify_state(const std::string& path, const VerifyState& state) {
  TRY(make_directories(parent_path(path)));
  return write_file_durable(path, encode_verify_state(state));
}

std::string verify_state_path(const std::string& spool_path, const VerifyOptions& options) {
  std::string scope;
  for (const std::string& label : options.sets) scope += label + "\n";
  if (options.share < 1) scope += fmt::format("share {}", options.share);
  const std::string suffix = scope.empty() ? "" : fmt::format("-{:016x}", seeded_hash(as_bytes(scope), 0));
  return fmt::format("{}/{}-verify-repo{}{}.json", spool_path, options.stanza, options.repo, suffix);
}

}  // namespace pgark
