#include "ops/verify_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "catalog/dump.h"
#include "catalog/label.h"
#include "catalog/wal.h"
#include "ops/verify_objects.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

constexpr std::string_view kManifest = "/manifest";

class Planner {
 public:
  Planner(const Repository& repository, const VerifyOptions& options, const CancelToken& cancel)
      : repository_(repository), options_(options), cancel_(cancel) {}

  Result<VerifyPlan> run() {
    TRY(plan_clusters());
    TRY(plan_dumps());
    TRY(plan_backups());
    TRY(plan_packs());
    for (size_t i = 0; i < plan_.clusters.size(); ++i) {
      TRY(cancel_.check());
      TRY(plan_wal(i));
      TRY(plan_files(i));
    }
    TRY(plan_records());
    return std::move(plan_);
  }

 private:
  std::string below(std::string_view name) const { return fmt::format("{}/{}/", options_.stanza, name); }

  Result<> plan_clusters() {
    auto clusters = list_clusters(repository_, options_.stanza);
    if (clusters) {
      plan_.clusters = std::move(*clusters);
      return {};
    }
    if (!is_object_damage(clusters.error())) return Error(clusters.error());
    plan_.warnings.push_back(
        fmt::format("WAL was not looked at: that needs every cluster record: {}", clusters.error().message()));
    return {};
  }

  Result<> plan_backups() {
    TRY_ASSIGN(const auto labels, list_backup_labels(repository_, options_.stanza));
    if (labels.empty() && plan_.clusters.empty() && plan_.warnings.empty() && !any_dump_) {
      return Error(Errc::kNotFound,
                   fmt::format("stanza {} does not exist in {}", options_.stanza, repository_.store().describe()))
          .with_hint("'pgark info' lists the stanzas there are");
    }
    for (const std::string& label : options_.sets) {
      if (is_dump_label(label) || std::find(labels.begin(), labels.end(), label) != labels.end()) continue;
      return Error(Errc::kNotFound, fmt::format("backup {} of stanza {} does not exist in {}", label, options_.stanza,
                                                repository_.store().describe()))
          .with_hint(fmt::format("run 'pgark --stanza={} info' to see the backups there are", options_.stanza));
    }
    for (const std::string& label : labels) {
      const auto& sets = options_.sets;
      if (!sets.empty() && std::find(sets.begin(), sets.end(), label) == sets.end()) continue;
      TRY(cancel_.check());
      TRY(open_backup(label));
    }
    return {};
  }

  Result<> plan_dumps() {
    TRY_ASSIGN(const auto labels, list_dump_labels(repository_, options_.stanza));
    any_dump_ = !labels.empty();
    for (const std::string& label : options_.sets)
      if (is_dump_label(label) && !std::binary_search(labels.begin(), labels.end(), label))
        TRY(read_dump_meta(repository_, options_.stanza, label));  // Says that it does not exist.
    for (const std::string& label : labels) {
      const auto& sets = options_.sets;
      if (!sets.empty() && std::find(sets.begin(), sets.end(), label) == sets.end()) continue;
      TRY(plan_dump(label));
    }
    return {};
  }

  Result<> plan_dump(const std::string& label) {
    PlannedDump& dump = plan_.dumps.emplace_back();
    dump.label = label;
    const std::string prefix = fmt::format("{}{}/", below("dump"), label);
    for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(repository_.store())};;) {
      TRY(cancel_.check());
      TRY_ASSIGN_CTX(const ListPage page, repository_.store().list(request), "list packs of dump " + label);
      for (const ObjectInfo& object : page.objects) {
        request.after = object.key.value;
        if (const auto number = parse_generation(std::string_view(object.key.value).substr(prefix.size())))
          dump.packs[*number] = object.bytes;
      }
      if (!page.more || page.objects.empty()) return {};
    }
  }

  Result<> open_backup(const std::string& label) {
    const auto opened = [&]() -> Result<> {
      TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository_, options_.stanza, label));
      TRY_ASSIGN(const std::string document, manifest.document());
      TRY_ASSIGN(const BackupMeta meta, decode_backup_meta(document));
      if (meta.label != label) return Error(Errc::kCorrupt, fmt::format("it says it is of backup {}", meta.label));
      TRY_ASSIGN(const auto packs, manifest.packs());
      for (const PackName& pack : packs) named_[pack.label].add(pack.number);
      plan_.manifest_bytes += manifest.object_bytes();
      needed_.push_back({meta.cluster_number, meta.start_timeline, meta.stop_timeline, meta.start_lsn, meta.stop_lsn});
      return {};
    }();
    if (opened) {
      plan_.labels.push_back(label);
      plan_.chosen.push_back(label);
      return {};
    }
    if (!is_object_damage(opened.error())) return Error(opened.error());
    if (opened.error().code() == Errc::kNotFound) return {};  // Expired meanwhile.
    plan_.chosen.push_back(label);
    VerifyDamage damage;
    damage.kind = DamageKind::kManifest;
    damage.object = manifest_key(options_.stanza, label).value;
    damage.name = label;
    damage.cause = opened.error().message();
    plan_.damages.push_back(std::move(damage));
    return {};
  }

  /// Sizes come from one listing; what is named and not listed is missing.
  Result<> plan_packs() {
    const std::string prefix = below("pack");
    std::map<std::string, std::map<uint32_t, uint64_t>> listed;
    for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(repository_.store())};;) {
      TRY(cancel_.check());
      TRY_ASSIGN_CTX(const ListPage page, repository_.store().list(request), "list packs of stanza " + options_.stanza);
      for (const ObjectInfo& object : page.objects) {
        request.after = object.key.value;
        const std::string_view name = std::string_view(object.key.value).substr(prefix.size());
        const size_t slash = name.find('/');
        if (slash == std::string_view::npos) continue;
        const std::string label(name.substr(0, slash));
        const auto number =
            static_cast<uint32_t>(std::strtoul(std::string(name.substr(slash + 1)).c_str(), nullptr, 10));
        const auto named = named_.find(label);
        if (named != named_.end() && named->second.has(number)) {
          listed[label][number] = object.bytes;
        } else {
          ++plan_.unreferenced_pack_count;
          plan_.unreferenced_bytes += object.bytes;
        }
      }
      if (!page.more || page.objects.empty()) break;
    }
    const bool all = options_.sets.empty() && plan_.damages.empty();
    if (!all) plan_.unreferenced_pack_count = plan_.unreferenced_bytes = 0;
    for (const auto& named : named_) {
      const auto& here = listed[named.first];
      named.second.each([&](uint64_t number) {
        const auto found = here.find(static_cast<uint32_t>(number));
        const bool there = found != here.end();
        plan_.packs.push_back({{named.first, static_cast<uint32_t>(number)}, there ? found->second : 0, there});
      });
    }
    return {};
  }

  /// From one listing, so that both speak of the same segments.
  Result<> plan_wal(size_t index) {
    const ClusterRecord& cluster = plan_.clusters[index];
    TRY_ASSIGN(const auto names, list_wal_segments(repository_, options_.stanza, cluster.number, std::nullopt));
    auto wal = RepositoryWal::open(repository_, options_.stanza, cluster, names);
    if (!wal && !is_object_damage(wal.error())) return Error(std::move(wal).error());
    plan_.wal.push_back(wal ? std::make_unique<RepositoryWal>(std::move(*wal)) : nullptr);
    plan_segments(index, names);
    return {};
  }

  /// With chosen backups: the WAL that makes them consistent.
  bool is_needed(const ClusterRecord& cluster, const pg::WalSegment& segment) const {
    if (options_.sets.empty()) return true;
    return std::any_of(needed_.begin(), needed_.end(), [&](const NeededWal& one) {
      const auto first = pg::segment_at(one.start_timeline, one.start, cluster.wal_segment_bytes);
      const auto last = pg::segment_before(one.stop_timeline, one.stop, cluster.wal_segment_bytes);
      return one.cluster == cluster.number && segment.number >= first.number && segment.number <= last.number &&
             segment.timeline >= one.start_timeline && segment.timeline <= one.stop_timeline;
    });
  }

  void plan_segments(size_t index, const std::vector<std::string>& names) {
    const ClusterRecord& cluster = plan_.clusters[index];
    std::map<TimelineId, uint64_t> last;
    for (const std::string& name : names) {
      const auto segment = pg::parse_segment_name(name, cluster.wal_segment_bytes);
      if (segment) last[segment->timeline] = std::max(last[segment->timeline], segment->number);
    }
    for (const std::string& name : names) {
      const auto segment = pg::parse_segment_name(name, cluster.wal_segment_bytes);
      if (!segment || !is_needed(cluster, *segment)) continue;
      ++plan_.segment_total;
      auto& all = plan_.segments;
      const bool fits = !all.empty() && all.back().cluster == index && all.back().timeline == segment->timeline &&
                        all.back().numbers.size() < kSegmentsAtOnce;
      if (!fits) all.push_back({index, segment->timeline, {}, last[segment->timeline]});
      all.back().numbers.push_back(segment->number);
    }
  }

  /// What lies directly under "<stanza>/wal/<n>/", and the records of what was given up.
  Result<> plan_files(size_t index) {
    const std::string prefix = fmt::format("{}/wal/{}/", options_.stanza, plan_.clusters[index].number);
    for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(repository_.store())};;) {
      TRY_ASSIGN_CTX(const ListPage page, repository_.store().list(request), "list WAL of stanza " + options_.stanza);
      for (const ObjectInfo& object : page.objects) {
        request.after = object.key.value;
        const std::string name = object.key.value.substr(prefix.size());
        const size_t slash = name.find('/');
        if (slash != std::string::npos) {
          if (name.starts_with("dropped/") || name.starts_with("expired/")) {
            plan_.records.push_back(object.key);
            continue;
          }
          request.after = prefix + name.substr(0, slash) + "0";  // Step over the directory: '0' follows '/'.
          break;
        }
        add_file(index, name, object.key);
      }
      const bool stepped = !page.objects.empty() && request.after != page.objects.back().key.value;
      if (page.objects.empty() || (!page.more && !stepped)) return {};
    }
  }

  void add_file(size_t index, const std::string& name, const ObjectKey& key) {
    std::string base = name;
    if (const size_t at = name.rfind(".r"); at != std::string::npos && !pg::parse_wal_file_name(name)) {
      base = name.substr(0, at);
    }
    if (!pg::parse_wal_file_name(base)) return;
    auto& files = plan_.files;
    if (files.empty() || files.back().cluster != index || files.back().name != base) {
      files.push_back({index, base, {}});
    }
    files.back().copies.push_back(key);
  }

  /// Everything of the stanza beside packs, manifests and WAL that is a container.
  Result<> plan_records() {
    const std::string all = options_.stanza + "/";
    for (ListRequest request{.prefix = all, .after = "", .limit = list_page(repository_.store())};;) {
      TRY(cancel_.check());
      TRY_ASSIGN_CTX(const ListPage page, repository_.store().list(request), "list stanza " + options_.stanza);
      for (const ObjectInfo& object : page.objects) {
        request.after = object.key.value;
        const std::string_view name = std::string_view(object.key.value).substr(all.size());
        const std::string_view top = name.substr(0, name.find('/'));
        if (top == "pack" || top == "wal" || top == "probe" || top == "lease") {
          request.after = all + std::string(top) + "0";
          break;
        }
        if (const size_t at = pack_of_dump(name); at != 0) {
          request.after = all + std::string(name.substr(0, at)) + ":";  // ':' follows the digits.
          break;
        }
        if (is_record(top, name)) plan_.records.push_back(object.key);
      }
      const bool stepped = !page.objects.empty() && request.after != page.objects.back().key.value;
      if (page.objects.empty() || (!page.more && !stepped)) return {};
    }
  }

  /// Where the number of "dump/<label>/<number>" begins; 0 if it is no such name.
  static size_t pack_of_dump(std::string_view name) {
    if (!name.starts_with("dump/")) return 0;
    const size_t at = name.rfind('/') + 1;
    return at < name.size() && name[at] >= '0' && name[at] <= '9' ? at : 0;
  }

  bool is_record(std::string_view top, std::string_view name) const {
    if (name.ends_with(kManifest)) return false;
    if (options_.sets.empty() || top == "cluster") return true;
    const std::string_view rest = (top == "backup" || top == "dump") && name.size() > top.size()
                                      ? name.substr(top.size() + 1)
                                      : std::string_view();
    const std::string_view label = rest.substr(0, rest.find('/'));
    return std::find(options_.sets.begin(), options_.sets.end(), label) != options_.sets.end();
  }

  struct NeededWal {
    unsigned cluster = 1;
    TimelineId start_timeline;
    TimelineId stop_timeline;
    Lsn start;
    Lsn stop;
  };

  const Repository& repository_;
  const VerifyOptions& options_;
  const CancelToken& cancel_;
  VerifyPlan plan_;
  bool any_dump_ = false;
  std::map<std::string, NumberRanges> named_;  // Packs by label.
  std::vector<NeededWal> needed_;
};

}  // namespace

Result<VerifyPlan> plan_verify(const Repository& repository, const VerifyOptions& options, const CancelToken& cancel) {
  return Planner(repository, options, cancel).run();
}

}  // namespace pgark
