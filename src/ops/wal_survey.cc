#include "ops/wal_survey.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "catalog/wal_dropped.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// When the newest copy of a segment was stored: as its document says, else as the store does.
Result<std::optional<Timestamp>> stored_at(const Repository& repository, const std::string& stanza, unsigned cluster,
                                           const std::string& name) {
  TRY_ASSIGN(const auto copies, find_wal_copies(repository, stanza, cluster, name));
  if (copies.empty()) return std::optional<Timestamp>{};
  if (const auto text = read_stored_document(repository, copies.back())) {
    const auto document = nlohmann::json::parse(*text, nullptr, false);
    if (document.is_object() && document.contains("pushed_us") && document["pushed_us"].is_number_integer()) {
      return std::optional(Timestamp(std::chrono::microseconds(document["pushed_us"].get<int64_t>())));
    }
  }
  TRY_ASSIGN(const auto info, repository.store().stat(copies.back()));
  return info ? std::optional(info->modified) : std::nullopt;
}

Result<std::vector<GivenUpWal>> read_given_up(const Repository& repository, const std::string& stanza,
                                              const RepositoryWal& wal) {
  std::vector<GivenUpWal> all;
  TRY_ASSIGN(const auto records, list_dropped_wal(repository, stanza, wal.cluster().number));
  for (const DroppedWal& record : records) {
    const auto first = pg::parse_segment_name(record.first, wal.segment_bytes());
    const auto last = pg::parse_segment_name(record.last, wal.segment_bytes());
    if (!first || !last || first->timeline != last->timeline) continue;
    all.push_back({*first, *last,
                   fmt::format("at {} on {}, when {} bytes waited and archive-push-queue-max was {}",
                               format_timestamp_utc(record.time), record.host.empty() ? "an unknown host" : record.host,
                               record.queue_bytes, record.limit_bytes)});
  }
  return all;
}

}  // namespace

Result<std::vector<std::string>> list_partial_segments(const Repository& repository, const std::string& stanza,
                                                       unsigned cluster_number) {
  constexpr size_t kNameBytes = 24;
  const std::string prefix = fmt::format("{}/wal/{}/", stanza, cluster_number);
  std::vector<std::string> names;
  ListRequest request{.prefix = prefix, .after = "", .limit = 1000};
  for (;;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list WAL of stanza " + stanza);
    for (const ObjectInfo& object : page.objects) {
      request.after = object.key.value;
      const std::string_view below = std::string_view(object.key.value).substr(prefix.size());
      if (const size_t slash = below.find('/'); slash != std::string_view::npos) {
        // Step over the directory of a timeline: '0' follows '/'.
        request.after = prefix + std::string(below.substr(0, slash)) + "0";
        break;
      }
      const std::string name(below.substr(0, kNameBytes + std::string_view(".partial").size()));
      const auto parsed = pg::parse_wal_file_name(name);
      if (!parsed || !std::holds_alternative<pg::WalPartialName>(*parsed)) continue;
      if (names.empty() || names.back() != name) names.push_back(name);
    }
    if (page.objects.empty() || (!page.more && request.after == page.objects.back().key.value)) break;
  }
  return names;
}

Result<WalCoverage> survey_wal(const Repository& repository, const std::string& stanza, RepositoryWal& wal,
                               const std::vector<ListedBackup>& backups, const WalSurveyOptions& options) {
  const unsigned cluster = wal.cluster().number;
  CoverageRequest request;
  request.current = options.current;
  request.damaged = options.damaged;
  for (const ListedBackup& backup : backups) {
    if (backup.meta && backup.meta->cluster_number == cluster) request.backups.push_back(*backup.meta);
  }
  TRY_ASSIGN(request.given_up, read_given_up(repository, stanza, wal));
  TRY_ASSIGN(request.expired, read_expired_wal(repository, stanza, cluster, wal.segment_bytes()));
  TRY_ASSIGN(request.partials, list_partial_segments(repository, stanza, cluster));
  request.stored_at = [&](const pg::WalSegment& segment) {
    return stored_at(repository, stanza, cluster, pg::segment_name(segment, wal.segment_bytes()));
  };
  return wal_coverage(wal, request);
}

}  // namespace pgark
