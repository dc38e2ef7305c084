#include "ops/info.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/pack_tables.h"
#include "catalog/retention_input.h"
#include "ops/wal_survey.h"
#include "pg/wal.h"
#include "repo/manifest.h"

namespace pgark {
namespace {

/// Whether an error is about one object's bytes, so that the rest can still be shown.
bool is_damage(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kUnsupported; }

/// The WAL of a cluster, which is listed once. A history that cannot be read leaves the cluster without its timelines,
/// and is shown.
Result<> add_wal(const Repository& repository, const std::string& stanza, const InfoOptions& options,
                 InfoCluster& cluster, InfoStanza& info) {
  const ClusterRecord& record = cluster.record;
  TRY_ASSIGN(const auto names, list_wal_segments(repository, stanza, record.number, std::nullopt));
  cluster.wal = wal_ranges(names, record.wal_segment_bytes);
  cluster.gaps = wal_gaps(cluster.wal, record.wal_segment_bytes);
  const auto survey = [&]() -> Result<WalCoverage> {
    TRY_ASSIGN(RepositoryWal wal, RepositoryWal::open(repository, stanza, record, names));
    if (options.now) {
      TRY_ASSIGN(cluster.wal_rate, measure_wal_rate(repository, stanza, wal, *options.now));
    }
    return survey_wal(repository, stanza, wal, info.backups);
  };
  auto coverage = survey();
  if (coverage) {
    cluster.coverage = std::move(*coverage);
  } else if (is_damage(coverage.error())) {
    info.errors.push_back(coverage.error());
  } else {
    return Error(std::move(coverage).error());
  }
  return {};
}

std::string describe_bad_blocks(const FileEntry& file) {
  constexpr size_t kShownMax = 20;
  std::string text = file.path + ": blocks ";
  for (size_t i = 0; i < file.bad_blocks.size() && i < kShownMax; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", file.bad_blocks[i]);
  }
  if (file.bad_blocks.size() > kShownMax) text += fmt::format(" and {} more", file.bad_blocks.size() - kShownMax);
  return text;
}

/// What verify recorded, of the backups there are.
Result<> add_verdicts(const Repository& repository, const std::string& stanza, InfoStanza& info) {
  TRY_ASSIGN(auto records, list_verify_records(repository, stanza));
  if (records.empty()) return {};
  auto verdicts = verify_verdicts(records);
  for (const ListedBackup& backup : info.backups) {
    const auto found = verdicts.find(backup.label);
    if (found != verdicts.end()) info.verdicts.emplace(backup.label, std::move(found->second));
  }
  info.last_verify = std::move(records.back());
  return {};
}

Result<> add_backups(const Repository& repository, const std::string& stanza, InfoStanza& info) {
  PackTables tables;
  const auto take_packs = [&tables](const std::string& label, const Result<std::vector<PackName>>& packs) {
    if (packs) tables.put(label, *packs);
  };
  TRY_ASSIGN(info.backups, list_backups(repository, stanza, take_packs));
  std::vector<std::string> labels;
  for (const ListedBackup& backup : info.backups) labels.push_back(backup.label);
  if (labels.empty()) return {};
  TRY_ASSIGN(info.sizes, backup_sizes(repository, stanza, labels, tables));
  return {};
}

/// What the backups of the current cluster and its WAL promise.
void add_outlook(InfoStanza& info, Timestamp now) {
  if (info.clusters.empty()) return;
  const InfoCluster& current = info.clusters.back();
  std::vector<BackupMeta> backups;
  for (const ListedBackup& backup : info.backups) {
    if (backup.meta && backup.meta->cluster_number == current.record.number) backups.push_back(*backup.meta);
  }
  const TimelineCoverage* timeline = current.coverage.current_timeline();
  info.outlook = estimate_outlook(backups, current.wal_rate, timeline == nullptr ? Lsn{} : timeline->end, now);
}

/// What expire would do with each backup. A hold that cannot be read is shown, and nothing is said of retention then.
Result<> add_retention(const Repository& repository, const std::string& stanza, const RetentionRules& rules,
                       Timestamp now, InfoStanza& info) {
  info.rules = rules;
  const auto backups = read_retention_backups(repository, stanza, info.backups);
  if (!backups && is_damage(backups.error())) {
    info.errors.push_back(backups.error());
    return {};
  }
  if (!backups) return Error(backups.error());
  TRY_ASSIGN(auto decisions, decide_retention(rules, *backups, now));
  for (RetentionDecision& decision : decisions) info.retention[decision.label] = std::move(decision);
  return {};
}

bool is_tablespace_link(const std::string& path) { return path.starts_with("pg_tblspc/"); }

}  // namespace

std::string_view stanza_status_name(StanzaStatus status) {
  switch (status) {
    case StanzaStatus::kOk:
      return "ok";
    case StanzaStatus::kMissing:
      return "missing";
    case StanzaStatus::kNoBackups:
      return "no_backups";
    case StanzaStatus::kDamaged:
      return "damaged";
  }
  return "damaged";
}

std::vector<WalGap> wal_gaps(const std::vector<WalRange>& ranges, uint32_t wal_segment_bytes) {
  std::vector<WalGap> gaps;
  for (size_t i = 1; i < ranges.size(); ++i) {
    const auto before = pg::parse_segment_name(ranges[i - 1].last, wal_segment_bytes);
    const auto after = pg::parse_segment_name(ranges[i].first, wal_segment_bytes);
    if (!before || !after || before->timeline != after->timeline || after->number <= before->number + 1) continue;
    const pg::WalSegment last{after->timeline, after->number - 1};
    gaps.push_back({before->timeline, pg::segment_name(before->next(), wal_segment_bytes),
                    pg::segment_name(last, wal_segment_bytes), after->number - before->number - 1});
  }
  return gaps;
}

Result<std::vector<std::string>> list_stanzas(const Repository& repository) {
  std::vector<std::string> stanzas;
  // One key of each top directory, then straight on to the next: '0' is the character after '/'.
  ListRequest request{.prefix = "", .after = "", .limit = 1};
  for (;;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list stanzas");
    if (page.objects.empty()) break;
    const std::string& key = page.objects.front().key.value;
    const size_t slash = key.find('/');
    if (slash == std::string::npos) {
      request.after = key;
      continue;
    }
    stanzas.push_back(key.substr(0, slash));
    request.after = stanzas.back() + "0";
  }
  std::sort(stanzas.begin(), stanzas.end());
  return stanzas;
}

Result<InfoStanza> stanza_info(const Repository& repository, const std::string& stanza, const InfoOptions& options) {
  InfoStanza info;
  info.name = stanza;
  auto records = list_clusters(repository, stanza);
  if (records) {
    for (const ClusterRecord& record : *records)
      info.clusters.push_back({.record = record, .wal = {}, .gaps = {}, .coverage = {}, .wal_rate = {}});
  } else if (is_damage(records.error())) {
    info.errors.push_back(records.error());
  } else {
    return Error(std::move(records).error());
  }
  TRY(add_backups(repository, stanza, info));
  TRY(add_verdicts(repository, stanza, info));
  TRY_ASSIGN(info.dumps, read_dump_listing(repository, stanza, options.rules, options.now));
  info.as_of = options.now.value_or(Timestamp{});
  info.errors.insert(info.errors.end(), info.dumps.errors.begin(), info.dumps.errors.end());
  for (InfoCluster& cluster : info.clusters) TRY(add_wal(repository, stanza, options, cluster, info));
  if (options.now) add_outlook(info, *options.now);
  if (options.now && options.rules) TRY(add_retention(repository, stanza, *options.rules, *options.now, info));

  const auto unreadable = [](const auto& one) { return one.error.has_value(); };
  const auto archives = [](const InfoCluster& cluster) { return !cluster.wal.empty(); };
  const auto found_damaged = [](const auto& one) { return !one.second.damage.empty(); };
  const bool damaged = !info.errors.empty() || std::any_of(info.backups.begin(), info.backups.end(), unreadable) ||
                       std::any_of(info.dumps.dumps.begin(), info.dumps.dumps.end(), unreadable) ||
                       std::any_of(info.verdicts.begin(), info.verdicts.end(), found_damaged);
  if (damaged) {
    info.status = StanzaStatus::kDamaged;
  } else if (info.backups.empty()) {
    const bool for_dumps =
        !info.dumps.dumps.empty() && std::none_of(info.clusters.begin(), info.clusters.end(), archives);
    if (!for_dumps) info.status = info.clusters.empty() ? StanzaStatus::kMissing : StanzaStatus::kNoBackups;
  }
  return info;
}

Result<InfoBackupDetail> backup_detail(const Repository& repository, const std::string& stanza,
                                       const std::string& label) {
  InfoBackupDetail detail;
  TRY_ASSIGN(detail.meta, read_backup(repository, stanza, label));
  TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository, stanza, label));
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY_ASSIGN(const FileChunk chunk, manifest.chunk(i));
    for (const FileEntry& file : chunk.files) {
      if (file.kind == EntryKind::kSymlink && !is_tablespace_link(file.path)) {
        detail.links.push_back({file.path, file.link_target});
      }
      if (!file.bad_blocks.empty()) detail.bad_files.push_back(describe_bad_blocks(file));
    }
  }
  const auto by_path = [](const InfoLink& a, const InfoLink& b) { return a.path < b.path; };
  std::sort(detail.links.begin(), detail.links.end(), by_path);
  std::sort(detail.bad_files.begin(), detail.bad_files.end());
  return detail;
}

}  // namespace pgark
