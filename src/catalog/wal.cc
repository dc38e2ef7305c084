#include "catalog/wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "store/calls_at_once.h"

namespace pgark {
namespace {

std::string wal_prefix(const std::string& stanza, unsigned cluster_number) {
  return fmt::format("{}/wal/{}/", stanza, cluster_number);
}

/// Generation named by what follows a file's name in its key: "" is 0, ".r7" is 7; nothing else is a copy of the file.
std::optional<unsigned> parse_generation(std::string_view suffix) {
  if (suffix.empty()) return 0;
  if (!suffix.starts_with(".r")) return std::nullopt;
  const std::string_view digits = suffix.substr(2);
  unsigned generation = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  if (status != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  // One spelling for each number, so that no copy is found that wal_key() would not write.
  if (generation == 0 || digits.front() == '0') return std::nullopt;
  return generation;
}

/// The segment a key below "<stanza>/wal/<n>/" is a copy of; none if it is another kind of object.
std::optional<std::string> segment_of_key(std::string_view below) {
  // "<8 digits>/<8 digits>/<24 digits>" and perhaps ".r1".
  constexpr size_t kNameAt = 18;
  constexpr size_t kNameBytes = 24;
  if (below.size() < kNameAt + kNameBytes || below[8] != '/' || below[17] != '/') return std::nullopt;
  const std::string_view name = below.substr(kNameAt, kNameBytes);
  if (!parse_generation(below.substr(kNameAt + kNameBytes))) return std::nullopt;
  if (name.substr(0, 8) != below.substr(0, 8) || name.substr(8, 8) != below.substr(9, 8)) return std::nullopt;
  const auto parsed = pg::parse_wal_file_name(name);
  if (!parsed || !std::holds_alternative<pg::WalSegmentName>(*parsed)) return std::nullopt;
  return std::string(name);
}

}  // namespace

Result<ObjectKey> wal_key(const std::string& stanza, unsigned cluster_number, const std::string& name,
                          unsigned generation) {
  TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
  std::string key = wal_prefix(stanza, cluster_number);
  if (std::holds_alternative<pg::WalSegmentName>(parsed)) {
    key += fmt::format("{}/{}/", name.substr(0, 8), name.substr(8, 8));
  }
  key += name;
  if (generation > 0) key += fmt::format(".r{}", generation);
  return make_object_key(std::move(key));
}

Result<std::vector<ObjectKey>> find_wal_copies(const Repository& repository, const std::string& stanza,
                                               unsigned cluster_number, const std::string& name) {
  TRY_ASSIGN(const ObjectKey first, wal_key(stanza, cluster_number, name));
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(first.value), "look for " + name);
  std::vector<std::pair<unsigned, ObjectKey>> copies;
  for (const ObjectInfo& object : objects) {
    const auto generation = parse_generation(std::string_view(object.key.value).substr(first.value.size()));
    if (generation) copies.emplace_back(*generation, object.key);
  }
  std::sort(copies.begin(), copies.end());
  std::vector<ObjectKey> keys;
  for (auto& [generation, key] : copies) keys.push_back(std::move(key));
  return keys;
}

Result<std::vector<std::string>> list_wal_segments(const Repository& repository, const std::string& stanza,
                                                   unsigned cluster_number, std::optional<TimelineId> timeline) {
  const std::string below = wal_prefix(stanza, cluster_number);
  const std::string prefix = timeline ? below + fmt::format("{:08X}/", timeline->value) : below;
  std::vector<std::string> names;
  // Page by page: a year of WAL has too many names for all their keys to be held as well.
  for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(repository.store())};;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list WAL of stanza " + stanza);
    for (const ObjectInfo& object : page.objects) {
      auto name = segment_of_key(std::string_view(object.key.value).substr(below.size()));
      if (name && (names.empty() || names.back() != *name)) names.push_back(std::move(*name));
    }
    if (!page.more || page.objects.empty()) break;
    request.after = page.objects.back().key.value;
  }
  return names;
}

Result<std::vector<std::string>> list_wal_segments_after(const Repository& repository, const std::string& stanza,
                                                         unsigned cluster_number, const std::string& name,
                                                         size_t count_max) {
  const std::string below = wal_prefix(stanza, cluster_number);
  TRY_ASSIGN(const ObjectKey key, wal_key(stanza, cluster_number, name));
  const size_t page_max = list_page(repository.store());
  std::vector<std::string> names;
  // A few more than wanted: later generations are listed as well, those of `name` itself first.
  for (ListRequest request{
           .prefix = below + name.substr(0, 8) + "/", .after = key.value, .limit = std::min(page_max, count_max + 8)};
       names.size() < count_max;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list WAL of stanza " + stanza);
    for (const ObjectInfo& object : page.objects) {
      auto found = segment_of_key(std::string_view(object.key.value).substr(below.size()));
      if (!found || *found <= name || (!names.empty() && names.back() == *found)) continue;
      if (names.size() == count_max) break;
      names.push_back(std::move(*found));
    }
    if (!page.more || page.objects.empty()) break;
    request.after = page.objects.back().key.value;
  }
  return names;
}

Result<std::vector<TimelineId>> list_timeline_histories(const Repository& repository, const std::string& stanza,
                                                        unsigned cluster_number) {
  const std::string prefix = wal_prefix(stanza, cluster_number);
  std::vector<TimelineId> timelines;
  // What follows the first segment of a page is passed over, and a store of files looks at each entry: ask for little
  // first, and for more where there is no segment to step over.
  constexpr size_t kLimitFirst = 4;
  constexpr size_t kLimitMax = 1000;
  ListRequest request{.prefix = prefix, .after = "", .limit = kLimitFirst};
  for (;;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list timelines of stanza " + stanza);
    request.limit = std::min(kLimitMax, 4 * request.limit);
    for (const ObjectInfo& object : page.objects) {
      request.after = object.key.value;
      const std::string_view below = std::string_view(object.key.value).substr(prefix.size());
      // The segments of a timeline lie in a directory that sorts right after its history: step over them.
      if (below.size() > 8 && below[8] == '/') {
        request.after = prefix + std::string(below.substr(0, 8)) + "0";  // '0' follows '/'.
        request.limit = kLimitFirst;
        break;
      }
      const size_t suffix = below.find(".history");
      if (suffix == std::string_view::npos || !parse_generation(below.substr(suffix + 8))) continue;
      const auto name = pg::parse_wal_file_name(below.substr(0, suffix + 8));
      const auto* history = name ? std::get_if<pg::WalHistoryName>(&*name) : nullptr;
      if (history != nullptr && (timelines.empty() || timelines.back() != history->timeline)) {
        timelines.push_back(history->timeline);
      }
    }
    if (page.objects.empty() || (!page.more && request.after == page.objects.back().key.value)) break;
  }
  return timelines;
}

std::vector<WalRange> wal_ranges(const std::vector<std::string>& segments, uint32_t wal_segment_bytes) {
  std::vector<WalRange> ranges;
  std::optional<pg::WalSegment> expected;
  for (const std::string& name : segments) {
    const auto segment = pg::parse_segment_name(name, wal_segment_bytes);
    if (!segment) {  // Impossible with this segment size: adjoins nothing, but stays visible.
      const auto parsed = pg::parse_wal_file_name(name);
      const auto* loose = parsed ? std::get_if<pg::WalSegmentName>(&*parsed) : nullptr;
      ranges.push_back({loose != nullptr ? loose->timeline : TimelineId{}, name, name, 1});
      expected.reset();
      continue;
    }
    if (expected && *segment == *expected) {
      ranges.back().last = name;
      ++ranges.back().count;
    } else {
      ranges.push_back({segment->timeline, name, name, 1});
    }
    expected = segment->next();
  }
  return ranges;
}

}  // namespace pgark
