#include "ops/verify_finish.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "catalog/backup.h"
#include "catalog/verify_record.h"
#include "catalog/wal_archive.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/verify_objects.h"
#include "ops/wal_source.h"
#include "ops/wal_survey.h"

namespace pgark {
namespace {

/// WAL files looked for in other repositories: each is read there, whole.
constexpr uint64_t kLookedForMax = 200;

/// Another repository, opened as a place that may have WAL of one cluster.
struct Place {
  unsigned repo = 0;
  std::unique_ptr<WalSource> source;
};

class Finisher {
 public:
  Finisher(const VerifyFindings& findings, VerifyReport& report) : findings_(findings), report_(report) {}

  Result<> run() {
    add_hit_backups();
    TRY_ASSIGN(backups_, list_backups(findings_.repository, findings_.options.stanza));
    for (const ClusterRecord& cluster : findings_.clusters) TRY(survey(cluster));
    for (const ClusterRecord& cluster : findings_.clusters) find_wal_copies_elsewhere(cluster);
    find_backups_elsewhere();
    report_.next_steps = verify_next_steps(report_, findings_.options.stanza, findings_.options.repo);
    return {};
  }

 private:
  DamagedBackup& backup_of(const std::string& label) {
    for (DamagedBackup& backup : report_.backups)
      if (backup.label == label) return backup;
    report_.backups.push_back(
        {.label = label, .manifest = false, .wal = {}, .file_count = 0, .files = {}, .copies = {}});
    return report_.backups.back();
  }

  bool is_chosen(const std::string& label) const {
    return std::find(report_.labels.begin(), report_.labels.end(), label) != report_.labels.end();
  }

  void add_hit_backups() {
    for (const std::string& label : report_.labels) {
      const auto found = findings_.manifests.find(label);
      if (found == findings_.manifests.end() || found->second.file_count == 0) continue;
      DamagedBackup& backup = backup_of(label);
      backup.file_count = found->second.file_count;
      backup.files = found->second.files;
    }
    for (const VerifyDamage& damage : report_.damages)
      if (damage.kind == DamageKind::kManifest && !damage.harmless) backup_of(damage.name).manifest = true;
    const auto by_label = [](const DamagedBackup& a, const DamagedBackup& b) { return a.label < b.label; };
    std::sort(report_.backups.begin(), report_.backups.end(), by_label);
  }

  /// What can be recovered of one cluster, with what was found.
  Result<> survey(const ClusterRecord& cluster) {
    auto opened = RepositoryWal::open(findings_.repository, findings_.options.stanza, cluster);
    if (!opened && is_object_damage(opened.error())) {
      report_.warnings.push_back(fmt::format("what can be recovered cannot be told without every timeline history: {}",
                                             opened.error().message()));
      return {};
    }
    if (!opened) return Error(std::move(opened).error());
    RepositoryWal& wal = *opened;
    const auto ask = [&](const std::vector<ListedBackup>& backups, const WalSurveyOptions& options) {
      return survey_wal(findings_.repository, findings_.options.stanza, wal, backups, options);
    };
    WalSurveyOptions known;
    known.damaged = unusable_segments(cluster);
    TRY_ASSIGN(const WalCoverage judged, ask(backups_, known));
    add_missing_wal(cluster, judged);
    add_backups_without_wal(cluster, judged);
    if (report_.backups.empty() && report_.damages.empty()) return {};
    TRY_ASSIGN(const WalCoverage ideal, ask(backups_, {}));
    TRY_ASSIGN(const WalCoverage real, ask(good_backups(), known));
    for (LostRange& range : find_lost_ranges(ideal, real)) report_.lost.push_back(std::move(range));
    return {};
  }

  std::map<pg::WalSegment, std::string> unusable_segments(const ClusterRecord& cluster) const {
    std::map<pg::WalSegment, std::string> damaged;
    const std::string prefix = wal_prefix(cluster);
    for (const VerifyDamage& damage : report_.damages) {
      if (damage.kind != DamageKind::kSegment || damage.harmless || damage.missing) continue;
      if (!damage.object.starts_with(prefix)) continue;
      const auto segment = pg::parse_segment_name(damage.name, cluster.wal_segment_bytes);
      if (segment) damaged.emplace(*segment, damage.cause);
    }
    return damaged;
  }

  std::string wal_prefix(const ClusterRecord& cluster) const {
    return fmt::format("{}/wal/{}/", findings_.options.stanza, cluster.number);
  }

  std::vector<ListedBackup> good_backups() const {
    std::vector<ListedBackup> good;
    for (const ListedBackup& backup : backups_) {
      const bool hit = std::any_of(report_.backups.begin(), report_.backups.end(),
                                   [&](const DamagedBackup& one) { return one.label == backup.label; });
      if (!hit) good.push_back(backup);
    }
    return good;
  }

  std::optional<Lsn> oldest_start(const ClusterRecord& cluster) const {
    std::optional<Lsn> oldest;
    for (const ListedBackup& backup : backups_) {
      if (!backup.meta || backup.meta->cluster_number != cluster.number) continue;
      oldest = std::min(oldest.value_or(backup.meta->start_lsn), backup.meta->start_lsn);
    }
    return oldest;
  }

  void add_missing(const ClusterRecord& cluster, const std::string& name, uint64_t count, std::string cause) {
    const auto key = wal_key(findings_.options.stanza, cluster.number, name);
    if (!key) return;
    const bool known = std::any_of(report_.damages.begin(), report_.damages.end(),
                                   [&](const VerifyDamage& one) { return one.object == key->value; });
    if (known) return;
    report_.damage_count += count;
    if (report_.damages.size() >= kVerifyDamagesMax) return;
    VerifyDamage damage;
    damage.kind = name.ends_with(".history") ? DamageKind::kWalFile : DamageKind::kSegment;
    damage.object = key->value;
    damage.name = name;
    damage.count = count;
    damage.missing = true;
    damage.cause = std::move(cause);
    report_.damages.push_back(std::move(damage));
  }

  /// Segments that were written and are not there. What was given up on purpose is told by info and check.
  void add_missing_wal(const ClusterRecord& cluster, const WalCoverage& judged) {
    const auto oldest = oldest_start(cluster);
    if (!findings_.options.sets.empty() || !oldest) return;
    for (const TimelineCoverage& timeline : judged.timelines) {
      if (timeline.history_missing) {
        add_missing(cluster, pg::history_name(timeline.timeline), 1,
                    "its segments are there, and the file that says where the timeline begins is not");
      }
      for (const CoverageGap& gap : timeline.gaps) {
        if (!gap.damage.empty() || !gap.dropped.empty() || gap.end <= *oldest) continue;
        add_missing(cluster, gap.first, gap.count,
                    gap.count == 1 ? "it is missing"
                                   : fmt::format("{} to {} ({} segments) are missing", gap.first, gap.last, gap.count));
      }
    }
  }

  void add_backups_without_wal(const ClusterRecord& cluster, const WalCoverage& judged) {
    std::set<std::string> whole;  // Along some timeline.
    for (const TimelineCoverage& timeline : judged.timelines)
      for (const RecoverableRange& range : timeline.recoverable)
        whole.insert(range.backups.begin(), range.backups.end());
    for (const TimelineCoverage& timeline : judged.timelines) {
      for (const BrokenBackup& broken : timeline.broken_backups) {
        if (whole.contains(broken.label) || !is_chosen(broken.label)) continue;
        backup_of(broken.label).wal = broken.missing;
        add_missing(cluster, broken.missing, 1, "it is missing");
        for (VerifyDamage& damage : report_.damages) {
          if (damage.name != broken.missing || damage.kind != DamageKind::kSegment) continue;
          if (std::find(damage.backups.begin(), damage.backups.end(), broken.label) == damage.backups.end()) {
            damage.backups.push_back(broken.label);
          }
        }
      }
    }
  }

  void find_wal_copies_elsewhere(const ClusterRecord& cluster) {
    const std::string prefix = wal_prefix(cluster);
    const auto wanted = [&](const VerifyDamage& damage) {
      return damage.object.starts_with(prefix) && !damage.harmless &&
             (damage.kind == DamageKind::kSegment || damage.kind == DamageKind::kWalFile);
    };
    if (std::none_of(report_.damages.begin(), report_.damages.end(), wanted)) return;
    std::vector<Place> places;
    for (const OtherRepository& other : findings_.others) {
      Place place{other.repo, repository_wal_source(*other.repository)};
      const auto opened = place.source->open(findings_.options.stanza, cluster);
      if (opened) {
        places.push_back(std::move(place));
      } else {
        log_detail("repo{} was not looked into for WAL: {}", other.repo, opened.error().message());
      }
    }
    uint64_t looked_for = 0;
    for (VerifyDamage& damage : report_.damages) {
      if (!wanted(damage)) continue;
      looked_for += damage.count;
      if (looked_for > kLookedForMax) break;
      for (Place& place : places)
        if (has_all(*place.source, cluster, damage)) damage.good_copies.push_back(place.repo);
    }
  }

  static bool has_all(WalSource& source, const ClusterRecord& cluster, const VerifyDamage& damage) {
    if (damage.count == 1) return has_good(source, cluster, damage.name);
    const auto first = pg::parse_segment_name(damage.name, cluster.wal_segment_bytes);
    for (uint64_t i = 0; first && i < damage.count; ++i) {
      const pg::WalSegment segment{first->timeline, first->number + i};
      if (!has_good(source, cluster, pg::segment_name(segment, cluster.wal_segment_bytes))) return false;
    }
    return first.has_value();
  }

  static bool has_good(WalSource& source, const ClusterRecord& cluster, const std::string& name) {
    const auto content = source.fetch(name, std::max<uint64_t>(cluster.wal_segment_bytes, 4u << 20));
    if (!content || !*content) return false;
    const auto parsed = pg::parse_wal_file_name(name);
    if (!parsed || !check_archive_file(*parsed, **content, cluster)) return false;
    const auto segment = pg::parse_segment_name(name, cluster.wal_segment_bytes);
    if (!segment) return true;
    const auto index = pg::make_wal_index(**content, *segment);
    return index && index->is_complete();
  }

  void find_backups_elsewhere() {
    if (report_.backups.empty()) return;
    for (const OtherRepository& other : findings_.others) {
      const auto records = list_verify_records(*other.repository, findings_.options.stanza);
      const auto verdicts = records ? verify_verdicts(*records) : std::map<std::string, VerifyVerdict>{};
      for (DamagedBackup& backup : report_.backups) {
        const auto meta = read_backup(*other.repository, findings_.options.stanza, backup.label);
        if (!meta && meta.error().code() != Errc::kNotFound) {
          report_.warnings.push_back(
              fmt::format("repo{} cannot tell of backup {}: {}", other.repo, backup.label, meta.error().message()));
        }
        if (!meta || !same_cluster(*meta)) continue;
        const auto verdict = verdicts.find(backup.label);
        if (verdict != verdicts.end() && !verdict->second.damage.empty()) continue;
        backup.copies.push_back({other.repo, verdict != verdicts.end() ? verdict->second.verified : std::nullopt});
      }
    }
  }

  bool same_cluster(const BackupMeta& meta) const {
    return findings_.clusters.empty() ||
           std::any_of(findings_.clusters.begin(), findings_.clusters.end(), [&](const ClusterRecord& cluster) {
             return cluster.system_identifier == meta.system_identifier;
           });
  }

  const VerifyFindings& findings_;
  VerifyReport& report_;
  std::vector<ListedBackup> backups_;
};

template <typename Predicate>
bool any_damage(const VerifyReport& report, Predicate predicate) {
  return std::any_of(report.damages.begin(), report.damages.end(), predicate);
}

std::string join_numbers(const std::vector<unsigned>& repos) {
  std::string text;
  for (const unsigned repo : repos) text += fmt::format("{}repo{}", text.empty() ? "" : ", ", repo);
  return text;
}

}  // namespace

std::string_view damage_kind_name(DamageKind kind) {
  switch (kind) {
    case DamageKind::kManifest:
      return "manifest";
    case DamageKind::kPack:
      return "pack";
    case DamageKind::kSegment:
      return "segment";
    case DamageKind::kWalFile:
      return "wal_file";
    case DamageKind::kRecord:
      return "record";
    case DamageKind::kDumpManifest:
      return "dump_manifest";
    case DamageKind::kDumpPack:
      return "dump_pack";
  }
  return "record";
}

std::string describe_damage(const DamagedBackup& backup) {
  if (backup.manifest) return "its manifest is damaged: nothing of it can be restored";
  std::string text;
  if (backup.file_count > 0) {
    text = backup.file_count == 1 ? "1 file is damaged" : fmt::format("{} files are damaged", backup.file_count);
  }
  if (!backup.wal.empty()) {
    text += fmt::format("{}WAL it needs is missing or damaged from {} on", text.empty() ? "" : "; ", backup.wal);
  }
  return text;
}

std::vector<std::string> verify_next_steps(const VerifyReport& report, const std::string& stanza, unsigned repo) {
  std::vector<std::string> steps;
  const std::string pgark = fmt::format("pgark --stanza={} --repo={}", stanza, repo);
  const auto is_wal = [](const VerifyDamage& damage) {
    return damage.kind == DamageKind::kSegment || damage.kind == DamageKind::kWalFile;
  };
  if (any_damage(report, [&](const VerifyDamage& damage) { return is_wal(damage) && !damage.harmless; })) {
    std::set<unsigned> repos;
    for (const VerifyDamage& damage : report.damages)
      repos.insert(damage.good_copies.begin(), damage.good_copies.end());
    const std::vector<unsigned> sorted(repos.begin(), repos.end());
    steps.push_back(fmt::format("run '{} archive-heal --verify': it fetches WAL from pg_wal of the nodes{}", pgark,
                                sorted.empty() ? " and from other repositories"
                                               : " and from other repositories; " + join_numbers(sorted) +
                                                     (sorted.size() == 1 ? " has good copies" : " have good copies")));
  }
  const auto hits_backup = [](const DamagedBackup& backup) { return backup.manifest || backup.file_count > 0; };
  const bool new_backup = std::any_of(report.backups.begin(), report.backups.end(), hits_backup);
  if (new_backup) {
    steps.push_back(fmt::format("run '{} backup --type=full': a full backup stores everything anew", pgark));
  } else if (any_damage(report, [](const VerifyDamage& damage) { return damage.kind == DamageKind::kPack; })) {
    steps.push_back(
        fmt::format("run '{} backup --type=full' before the next incremental: it would compare with what is "
                    "damaged, though no backup needs it to be restored",
                    pgark));
  }
  for (const DamagedBackup& backup : report.backups) {
    for (const BackupCopy& copy : backup.copies) {
      steps.push_back(fmt::format("to restore {}, use 'pgark --stanza={} --repo={} restore --set={}'", backup.label,
                                  stanza, copy.repo, backup.label));
    }
  }
  for (const DamagedDump& dump : report.dumps) {
    if (!dump.good_copies.empty())
      steps.push_back(fmt::format("to load {}, use 'pgark --stanza={} --repo={} load --set={}': {} {}", dump.label,
                                  stanza, dump.good_copies.front(), dump.label, join_numbers(dump.good_copies),
                                  dump.good_copies.size() == 1 ? "has a good copy" : "have good copies"));
    else
      steps.push_back(
          fmt::format("dump {} cannot be mended: run 'pgark dump' with the same options again", dump.label));
  }
  const bool ends =
      std::any_of(report.lost.begin(), report.lost.end(), [](const LostRange& lost) { return lost.ends; });
  if (ends && !new_backup) {
    steps.push_back(
        fmt::format("if that does not mend it, run '{} backup': what follows the gap cannot be recovered "
                    "without a new backup",
                    pgark));
  }
  if (any_damage(report, [](const VerifyDamage& damage) { return damage.kind == DamageKind::kRecord; })) {
    steps.emplace_back(
        "records are not stored twice: copy damaged ones from a copy of the repository; an annotation can be given "
        "anew");
  }
  return steps;
}

Result<> finish_verify_report(const VerifyFindings& findings, VerifyReport& report) {
  return Finisher(findings, report).run();
}

}  // namespace pgark
