// Listing behind any key, over a model of the service: its markers, its short pages, its two orders.
#include "store/azure_list.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/bytes.h"
#include "store/object_store.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

/// Sorts as accounts with a hierarchical namespace do: component by component.
bool before_by_component(std::string_view a, std::string_view b) {
  return std::ranges::lexicographical_compare(
      a, b, {}, [](char c) { return c == '/' ? '\0' : c; }, [](char c) { return c == '/' ? '\0' : c; });
}

/// A container that holds names. Its markers name the entry that begins the next page, as the real ones do.
class Model {
 public:
  std::set<std::string> names;
  bool by_component = false;
  bool says_by_component = true;
  Rng* short_pages = nullptr;  // If set, pages are shorter than asked for now and then.
  std::vector<AzurePageRequest> requests;

  Result<AzurePage> fetch(const AzurePageRequest& request) {
    requests.push_back(request);
    if (bad_markers && !request.marker.empty()) return Error(Errc::kInvalid, "OutOfRangeInput");
    std::vector<AzureEntry> all = entries(request.prefix, request.by_directory);
    size_t limit = std::min<size_t>(request.entries_max, 5000);
    if (short_pages != nullptr && short_pages->below(3) == 0) limit = short_pages->below(limit + 1);
    AzurePage page;
    for (AzureEntry& entry : all) {
      if (!request.marker.empty() && before(entry.name, request.marker.substr(1))) continue;
      if (page.entries.size() == limit) {
        page.next_marker = "@" + entry.name;
        break;
      }
      page.entries.push_back(std::move(entry));
    }
    return page;
  }

  AzureLister lister(std::string root = "") {
    return AzureLister([this](const AzurePageRequest& request) { return fetch(request); },
                       [this]() -> Result<bool> { return by_component && says_by_component; }, std::move(root),
                       system_clock());
  }
  bool bad_markers = false;

 private:
  bool before(std::string_view a, std::string_view b) const { return by_component ? before_by_component(a, b) : a < b; }

  std::vector<AzureEntry> entries(const std::string& prefix, bool by_directory) const {
    std::vector<AzureEntry> all;
    for (const std::string& name : names) {
      if (!name.starts_with(prefix)) continue;
      const size_t slash = by_directory ? name.find('/', prefix.size()) : std::string::npos;
      if (slash == std::string::npos) {
        all.push_back({.name = name, .bytes = name.size()});
      } else if (all.empty() || all.back().name != name.substr(0, slash + 1)) {
        all.push_back({.name = name.substr(0, slash + 1), .directory = true});
      }
    }
    std::ranges::sort(all, [this](const AzureEntry& a, const AzureEntry& b) { return before(a.name, b.name); });
    return all;
  }
};

/// What a listing must hold.
std::vector<std::string> expected(const std::set<std::string>& names, const std::string& prefix,
                                  const std::string& after, size_t limit, bool& more) {
  std::vector<std::string> page;
  more = false;
  for (const std::string& name : names) {
    if (!name.starts_with(prefix) || name <= after || !check_object_key(ObjectKey{name}).has_value()) continue;
    if (page.size() == limit) {
      more = true;
      break;
    }
    page.push_back(name);
  }
  return page;
}

void expect_listing(AzureLister& lister, const std::set<std::string>& names, const std::string& prefix,
                    const std::string& after, size_t limit, std::string& last, bool& more) {
  const auto page = expected(names, prefix, after, limit, more);
  const auto listing = lister.list(prefix, after, limit);
  ASSERT_TRUE(listing.has_value()) << listing.error().to_string();
  std::vector<std::string> listed;
  for (const AzureEntry& entry : listing->entries) listed.push_back(entry.name);
  ASSERT_EQ(listed, page) << "prefix '" << prefix << "' after '" << after << "' limit " << limit;
  ASSERT_EQ(listing->more, more) << "prefix '" << prefix << "' after '" << after << "' limit " << limit;
  last = page.empty() ? after : page.back();
}

std::string random_name(Rng& rng) {
  static constexpr std::string_view kCharacters = "a-b.0/_";
  std::string name(1 + rng.below(8), 'a');
  for (char& c : name) c = kCharacters[rng.below(kCharacters.size())];
  return name;
}

/// Pages and jumps over names that come and go between the calls.
void run_random(bool by_component, bool says_so) {
  const uint64_t seed = test_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  for (int round = 0; round < 30; ++round) {
    Model model;
    model.by_component = by_component;
    model.says_by_component = says_so;
    if (rng.below(2) == 0) model.short_pages = &rng;
    AzureLister lister = model.lister();
    for (int i = 0; i < 60; ++i) model.names.insert(random_name(rng));
    for (int walk = 0; walk < 6; ++walk) {
      const std::string prefix = rng.below(2) == 0 ? "" : random_name(rng).substr(0, rng.below(4));
      std::string after = rng.below(3) == 0 ? "" : random_name(rng);
      bool more = true;
      for (int page = 0; more && page < 100; ++page) {
        expect_listing(lister, model.names, prefix, after, 1 + rng.below(5), after, more);
        if (testing::Test::HasFatalFailure()) return;
        if (rng.below(6) == 0) after += "/~";
        for (uint64_t change = rng.below(3); change > 0; --change) {
          const std::string name = random_name(rng);
          if (rng.below(2) == 0 || model.names.size() < 20) {
            model.names.insert(name);
          } else {
            const auto at = model.names.lower_bound(name);
            if (at != model.names.end()) model.names.erase(at);
          }
        }
      }
    }
  }
}

TEST(AzureLister, AgreesWithTheNamesThereAreWhateverChanges) { run_random(false, true); }
TEST(AzureLister, SortsByBytesWhereTheServiceSortsByComponent) { run_random(true, true); }

TEST(AzureLister, NoticesAnOrderThatIsNotOfBytes) {
  Model model;
  model.by_component = true;
  model.says_by_component = false;  // Who may list may not be allowed to ask for the kind of account.
  model.names = {"a/b", "a/c", "a-b", "a.d/e"};
  AzureLister lister = model.lister();
  std::string last;
  bool more = false;
  expect_listing(lister, model.names, "", "", 1000, last, more);
  expect_listing(lister, model.names, "", "", 1, last, more);
}

std::set<std::string> numbered(std::string_view below, size_t count) {
  std::set<std::string> names;
  for (size_t i = 0; i < count; ++i) names.insert(fmt::format("{}/{:05}", below, i));
  return names;
}

TEST(AzureLister, GoesOnWithoutReadingAgain) {
  Model model;
  model.names = numbered("pack", 10'000);
  AzureLister lister = model.lister();
  std::string after;
  size_t pages = 0;
  for (bool more = true; more; ++pages) {
    expect_listing(lister, model.names, "pack/", after, 1000, after, more);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(pages, 10u);
  // A page of names, and a glance at the one behind: never what was before.
  EXPECT_LE(model.requests.size(), 2 * pages);
  size_t entries = 0;
  for (const auto& request : model.requests) entries += request.entries_max;
  EXPECT_LE(entries, 10'000 + 3 * pages);
}

TEST(AzureLister, JumpsOverDirectoriesWithoutReadingThem) {
  Model model;
  model.names = numbered("main/pack/20261122-101500F", 20'000);
  for (const auto& name : numbered("other/wal", 3)) model.names.insert(name);
  AzureLister lister = model.lister();
  std::string last;
  bool more = false;
  for (const char* after : {"main0", "main/pack/20261122-101500F/~", "main/~"}) {
    model.requests.clear();
    expect_listing(lister, model.names, "", after, 1, last, more);
    EXPECT_EQ(last, "other/wal/00000");
    EXPECT_LE(model.requests.size(), 9u) << after;
  }
  model.requests.clear();
  expect_listing(lister, model.names, "", "main0", 1, last, more);
  EXPECT_EQ(model.requests.size(), 2u) << "one for the directories, one for what is in the next";
}

TEST(AzureLister, SurvivesAMarkerThatIsNoGoodAnyMore) {
  Model model;
  model.names = numbered("pack", 100);
  AzureLister lister = model.lister();
  std::string after;
  bool more = false;
  expect_listing(lister, model.names, "pack/", "", 10, after, more);
  model.bad_markers = true;
  EXPECT_FALSE(lister.list("pack/", after, 10).has_value());
  // Said once; from then on the marker is forgotten.
  expect_listing(lister, model.names, "pack/", after, 10, after, more);
}

TEST(AzureLister, PutsTheRootBeforeAndTakesItOff) {
  Model model;
  model.names = {"other/x", "root of all/main/a", "root of all/main/b c", "root of all/main/d"};
  AzureLister lister = model.lister("root of all/");
  const auto listing = lister.list("main/", "", 1000).value();
  ASSERT_EQ(listing.entries.size(), 2u) << "what is no key of ours is left out";
  EXPECT_EQ(listing.entries[0].name, "main/a");
  EXPECT_EQ(listing.entries[1].name, "main/d");
  EXPECT_FALSE(listing.more);
}

TEST(AzurePage, IsReadFromItsDocument) {
  const auto page = parse_azure_page(as_bytes(R"(<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults ServiceEndpoint="https://a.blob.core.windows.net/" ContainerName="c"><Prefix>p/</Prefix><Blobs>
<Blob><Name>p/a&amp;b</Name><Properties><Last-Modified>Sun, 22 Nov 2026 10:15:00 GMT</Last-Modified>
<Content-Length>4294967296</Content-Length><ResourceType>file</ResourceType></Properties></Blob>
<Blob><Name>p/dir</Name><Properties><Last-Modified>Sun, 22 Nov 2026 10:15:00 GMT</Last-Modified>
<Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
<Blob><Name Encoded="true">p%2F%EF%BF%BE</Name><Properties/></Blob>
<BlobPrefix><Name>p/dir/</Name></BlobPrefix>
</Blobs><NextMarker>2!92!abc</NextMarker></EnumerationResults>)"));
  ASSERT_TRUE(page.has_value()) << page.error().to_string();
  ASSERT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(page->entries[0].name, "p/a&b");
  EXPECT_EQ(page->entries[0].bytes, uint64_t{1} << 32);
  EXPECT_FALSE(page->entries[0].directory);
  EXPECT_EQ(page->entries[1].name, "p/dir/");
  EXPECT_TRUE(page->entries[1].directory);
  EXPECT_EQ(page->next_marker, "2!92!abc");
}

TEST(AzurePage, RefusesWhatIsNoListing) {
  for (const char* text :
       {"", "<", "<html>Welcome to the hotel</html>", "<EnumerationResults/>",
        "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>x</Content-Length>"
        "<Last-Modified>Sun, 22 Nov 2026 10:15:00 GMT</Last-Modified></Properties></Blob></Blobs></EnumerationResults>",
        "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Content-Length>1</Content-Length>"
        "<Last-Modified>yesterday</Last-Modified></Properties></Blob></Blobs></EnumerationResults>"}) {
    const auto page = parse_azure_page(as_bytes(text));
    ASSERT_FALSE(page.has_value()) << text;
    EXPECT_EQ(page.error().code(), Errc::kCorrupt);
  }
}

}  // namespace
}  // namespace pgark
