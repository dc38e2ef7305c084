// Listing a container of Azure Blob Storage behind any key.
#include "store/azure_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <pugixml.hpp>
#include <string_view>

#include "store/cloud_util.h"
#include "store/object_store.h"

namespace pgark {
namespace {

constexpr size_t kEntriesMax = 5000;  // The service gives no more in one answer.
constexpr size_t kMarkersMax = 256;
constexpr std::chrono::minutes kMarkerLife{10};

Error corrupt(std::string_view what) { return Error(Errc::kCorrupt, fmt::format("read the answer: {}", what)); }

/// Whether `text` may be the beginning of an object's name.
bool may_begin_a_key(std::string_view text) {
  return std::ranges::all_of(text,
                             [](char c) { return c == '/' || is_key_component(std::string_view(&c, 1)) || c == '.'; });
}

Result<AzureEntry> parse_blob(const pugi::xml_node& node) {
  AzureEntry entry;
  entry.name = node.child("Name").text().get();
  const pugi::xml_node properties = node.child("Properties");
  const std::string_view bytes = properties.child("Content-Length").text().get();
  const auto [end, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), entry.bytes);
  if (error != std::errc() || end != bytes.data() + bytes.size())
    return corrupt(fmt::format("the length of '{}' is '{}'", entry.name, bytes.substr(0, 40)));
  const std::string_view modified = properties.child("Last-Modified").text().get();
  const auto time = parse_http_date(modified);
  if (!time) return corrupt(fmt::format("the time of '{}' is '{}'", entry.name, modified.substr(0, 40)));
  entry.modified = *time;
  return entry;
}

}  // namespace

Result<AzurePage> parse_azure_page(Bytes xml) {
  pugi::xml_document document;
  const auto parsed = document.load_buffer(xml.data(), xml.size());
  const pugi::xml_node root = document.child("EnumerationResults");
  if (!parsed || !root || !root.child("Blobs")) return corrupt("it is not a listing");
  AzurePage page;
  page.next_marker = root.child("NextMarker").text().get();
  for (const pugi::xml_node& node : root.child("Blobs").children()) {
    // Names with characters that XML does not have are marked and encoded: none is ours.
    if (node.child("Name").attribute("Encoded").as_bool()) continue;
    const std::string_view kind = node.name();
    if (kind == "BlobPrefix") {
      page.entries.push_back({.name = node.child("Name").text().get(), .directory = true});
    } else if (kind == "Blob") {
      if (std::string_view(node.child("Properties").child("ResourceType").text().get()) == "directory") continue;
      TRY_ASSIGN(AzureEntry entry, parse_blob(node));
      page.entries.push_back(std::move(entry));
    }
  }
  return page;
}

/// What a listing has found so far; one more than `limit` tells that there is more.
struct AzureLister::Gathered {
  const std::string& after;
  const size_t limit;
  std::vector<AzureEntry> found{};
  bool disordered = false;  // The service does not sort by bytes.

  bool full() const { return found.size() > limit; }
  /// Entries to ask for, so that a page begins with the last one that is returned: from there the next listing goes on.
  size_t wanted() const {
    const size_t before_last = limit - 1;
    return found.size() < before_last ? before_last - found.size() : limit + 1 - found.size();
  }
  void take(AzureEntry entry) {
    if (full() || entry.name <= after || !check_object_key(ObjectKey{entry.name}).has_value()) return;
    found.push_back(std::move(entry));
  }
};

Result<AzureLister::Listing> AzureLister::list(const std::string& prefix, const std::string& after, size_t limit) {
  // Keys that begin with the prefix sort behind `after` all, none, or, if `after` begins with it too, some.
  const bool some = after.starts_with(prefix) && after.size() > prefix.size();
  if (!may_begin_a_key(prefix) || (!some && after > prefix)) return Listing{};
  TRY_ASSIGN(bool by_level, hierarchical());
  Gathered gathered{.after = after, .limit = limit};
  if (!by_level) {
    if (!some || marker_at(prefix, after)) {
      TRY(walk_pages(prefix, gathered));
    } else {
      TRY(walk_directories(prefix, false, gathered));
    }
    if (gathered.disordered) {
      MutexLock lock(mu_);
      hierarchical_ = by_level = true;
      gathered.found.clear();
      gathered.disordered = false;
    }
  }
  if (by_level) TRY(walk_directories(prefix, true, gathered));
  Listing listing{.entries = std::move(gathered.found), .more = false};
  if (listing.entries.size() > limit) {
    listing.more = true;
    listing.entries.resize(limit);
  }
  return listing;
}

Result<bool> AzureLister::hierarchical() {
  {
    MutexLock lock(mu_);
    if (hierarchical_) return *hierarchical_;
  }
  TRY_ASSIGN(const bool answer, ask_hierarchical_());
  MutexLock lock(mu_);
  if (!hierarchical_) hierarchical_ = answer;
  return *hierarchical_;
}

Result<AzurePage> AzureLister::fetch(const AzurePageRequest& request) {
  AzurePageRequest below_root = request;
  below_root.prefix = root_ + request.prefix;
  TRY_ASSIGN(AzurePage page, fetch_(below_root));
  for (AzureEntry& entry : page.entries) {
    if (!entry.name.starts_with(below_root.prefix))
      return corrupt(fmt::format("it lists '{}', which does not begin with '{}'", entry.name, below_root.prefix));
    entry.name.erase(0, root_.size());
  }
  return page;
}

/// Take what begins with `prefix`, in the service's own order, from the remembered marker at `after` or the beginning.
Result<> AzureLister::walk_pages(const std::string& prefix, Gathered& gathered) {
  AzurePageRequest request{.prefix = prefix};
  std::string previous;
  const auto remembered = marker_at(prefix, gathered.after);
  if (remembered) request.marker = *remembered;
  for (bool first_page = true; !gathered.full(); first_page = false) {
    const bool goes_on = first_page && remembered.has_value();
    request.entries_max = std::min(gathered.wanted() + (goes_on ? 1 : 0), kEntriesMax);
    auto page = fetch(request);
    if (!page.has_value()) {
      if (goes_on) forget(prefix, gathered.after);  // Should the marker be no good any more, begin anew next time.
      return std::move(page).error();
    }
    if (!page->entries.empty() && !request.marker.empty()) remember(prefix, page->entries.front().name, request.marker);
    for (AzureEntry& entry : page->entries) {
      if (entry.name <= previous) gathered.disordered = true;
      previous = entry.name;
      gathered.take(std::move(entry));
    }
    if (gathered.disordered || page->next_marker.empty()) return {};
    request.marker = page->next_marker;
  }
  return {};
}

/// Take what begins with `prefix` and sorts behind `after`: first in the directory that `after` lies in, then in the
/// ones above it up to `prefix`, each without what was there before.
Result<> AzureLister::walk_directories(const std::string& prefix, bool all_levels, Gathered& gathered) {
  const std::string& after = gathered.after;
  std::vector<std::string> levels;
  if (after.starts_with(prefix))
    for (size_t at = after.size(); at > prefix.size(); --at)
      if (after[at - 1] == '/' && may_begin_a_key(std::string_view(after).substr(0, at)))
        levels.push_back(after.substr(0, at));
  levels.push_back(prefix);
  for (const std::string& level : levels) {
    TRY_ASSIGN(const auto entries, directory(level));
    for (const AzureEntry& entry : entries) {
      if (gathered.full() || gathered.disordered) return {};
      // A directory in which `after` lies is not behind it: what it holds was taken on the level before.
      if (entry.name > after) TRY(walk_entry(entry, all_levels, gathered));
    }
  }
  return {};
}

Result<> AzureLister::walk_entry(const AzureEntry& entry, bool all_levels, Gathered& gathered) {
  if (!entry.directory) {
    gathered.take(entry);
    return {};
  }
  if (!all_levels) return walk_pages(entry.name, gathered);
  TRY_ASSIGN(const auto entries, directory(entry.name));
  for (const AzureEntry& below : entries) {
    if (gathered.full()) return {};
    TRY(walk_entry(below, all_levels, gathered));
  }
  return {};
}

/// Everything directly below `prefix`, in the order of bytes.
Result<std::vector<AzureEntry>> AzureLister::directory(const std::string& prefix) {
  std::vector<AzureEntry> entries;
  AzurePageRequest request{.prefix = prefix, .entries_max = kEntriesMax, .by_directory = true};
  do {
    TRY_ASSIGN(AzurePage page, fetch(request));
    request.marker = std::move(page.next_marker);
    std::move(page.entries.begin(), page.entries.end(), std::back_inserter(entries));
  } while (!request.marker.empty());
  std::ranges::sort(entries, {}, &AzureEntry::name);
  // A directory whose entries fill several pages may be named on each.
  const auto same = [](const AzureEntry& a, const AzureEntry& b) { return a.name == b.name; };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
  return entries;
}

std::optional<std::string> AzureLister::marker_at(const std::string& prefix, const std::string& first) {
  MutexLock lock(mu_);
  const auto found = markers_.find({prefix, first});
  if (found == markers_.end() || clock_.steady() - found->second.noted > kMarkerLife) return {};
  return found->second.marker;
}

void AzureLister::remember(const std::string& prefix, const std::string& first, const std::string& marker) {
  MutexLock lock(mu_);
  if (markers_.size() >= kMarkersMax)
    markers_.erase(std::ranges::min_element(markers_, {}, [](const auto& each) { return each.second.noted; }));
  markers_[{prefix, first}] = {marker, clock_.steady()};
}

void AzureLister::forget(const std::string& prefix, const std::string& first) {
  MutexLock lock(mu_);
  markers_.erase({prefix, first});
}

}  // namespace pgark
