// Listing a container of Azure Blob Storage behind any key, which the service itself cannot: it goes on only at markers
// that it gave out itself.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"
#include "core/thread_annotations.h"

namespace pgark {

/// One entry of the service's answer.
struct AzureEntry {
  std::string name;        // Whole name in the container; of a directory with the slash.
  bool directory = false;  // Stands for everything that begins with `name`: only where a delimiter was asked for.
  uint64_t bytes = 0;
  Timestamp modified{};
};

struct AzurePage {
  std::vector<AzureEntry> entries;
  std::string next_marker;  // Empty: no further page.
};

/// Read the answer to List Blobs. Names that XML cannot hold, and the entries that accounts with a hierarchical
/// namespace have for directories, are left out.
/// Errors: kCorrupt.
Result<AzurePage> parse_azure_page(Bytes xml);

/// One request to the service.
struct AzurePageRequest {
  std::string prefix{};
  std::string marker{};
  size_t entries_max = 5000;
  bool by_directory = false;  // With "/" as delimiter.
};

/// Lists "keys with `prefix` behind `after`" by what the service has: page after page from the beginning, and by
/// directory. Where a listing stopped is remembered as a marker, so that going on costs no more than the new page; and
/// a jump over what a directory holds asks for directories instead of leafing through them. Safe from several threads.
///
/// A marker names the entry that begins its page. One is used only if that entry is not behind `after`: then whatever
/// was created since, behind `after`, is on its page or a later one, and nothing is missed.
///
/// Accounts with a hierarchical namespace sort by component, not by byte ("a/b" before "a-b"): there every listing goes
/// by directory, sorted here.
class AzureLister {
 public:
  using Fetch = std::function<Result<AzurePage>(const AzurePageRequest&)>;
  /// Asked once, before the first listing: whether the account has a hierarchical namespace.
  using AskHierarchical = std::function<Result<bool>()>;

  /// `root` is put before every prefix that is asked for, and taken from every name: keys here are without it.
  AzureLister(Fetch fetch, AskHierarchical ask_hierarchical, std::string root, Clock& clock)
      : fetch_(std::move(fetch)),
        ask_hierarchical_(std::move(ask_hierarchical)),
        root_(std::move(root)),
        clock_(clock) {}

  struct Listing {
    std::vector<AzureEntry> entries;
    bool more = false;
  };
  /// The first `limit` (at least 1) keys with `prefix` that sort behind `after`, in the order of bytes. Names that are
  /// no keys of objects are left out.
  Result<Listing> list(const std::string& prefix, const std::string& after, size_t limit);

 private:
  struct Gathered;
  struct Marker {
    std::string marker;
    std::chrono::steady_clock::time_point noted{};
  };

  Result<bool> hierarchical();
  Result<AzurePage> fetch(const AzurePageRequest& request);
  Result<> walk_pages(const std::string& prefix, Gathered& gathered);
  Result<> walk_directories(const std::string& prefix, bool all_levels, Gathered& gathered);
  Result<> walk_entry(const AzureEntry& entry, bool all_levels, Gathered& gathered);
  Result<std::vector<AzureEntry>> directory(const std::string& prefix);
  std::optional<std::string> marker_at(const std::string& prefix, const std::string& first);
  void remember(const std::string& prefix, const std::string& first, const std::string& marker);
  void forget(const std::string& prefix, const std::string& first);

  const Fetch fetch_;
  const AskHierarchical ask_hierarchical_;
  const std::string root_;
  Clock& clock_;
  Mutex mu_;
  std::optional<bool> hierarchical_ GUARDED_BY(mu_);
  std::map<std::pair<std::string, std::string>, Marker> markers_ GUARDED_BY(mu_);  // By prefix and first name.
};

}  // namespace pgark
