// A round of verify: packs, WAL, manifests and records are read by a few threads; what was done is noted as it is done.
#include "ops/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <functional>
#include <set>

#include "catalog/dump.h"
#include "catalog/verify_record.h"
#include "core/version.h"
#include "ops/verify_dumps.h"
#include "ops/verify_finish.h"
#include "ops/verify_ledger.h"
#include "ops/verify_manifest.h"
#include "ops/verify_objects.h"
#include "ops/verify_plan.h"
#include "ops/verify_state.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

/// Segments held in memory at once, stored and raw, however many workers there are.
constexpr uint64_t kSegmentMemoryMax = 256u << 20;

std::string hex_of(const RepositoryId& id) {
  std::string text;
  for (const std::byte byte : id) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

bool is_of_dump(const VerifyDamage& damage) {
  return damage.kind == DamageKind::kDumpManifest || damage.kind == DamageKind::kDumpPack;
}

std::string timeline_key(const ClusterRecord& cluster, TimelineId timeline) {
  return fmt::format("{}/{:08X}", cluster.number, timeline.value);
}

class Round {
 public:
  Round(const Repository& repository, const std::vector<OtherRepository>& others, const VerifyOptions& options,
        Clock& clock, Rng& rng, const CancelToken& cancel, Progress& progress)
      : repository_(repository),
        others_(others),
        options_(options),
        clock_(clock),
        rng_(rng),
        cancel_(cancel),
        progress_(progress),
        indexes_(repository, options.stanza),
        ledger_(options, clock) {}

  Result<VerifyReport> run() {
    if (options_.time_limit) deadline_ = clock_.steady() + *options_.time_limit;
    resumed_ = ledger_.open(fresh_state());
    progress_.phase = "list";
    TRY_ASSIGN(plan_, plan_verify(repository_, options_, cancel_));
    if (resumed_) forget_damaged_segments();
    sample_ = ledger_.look([](const VerifyState& state) { return VerifySample(state.share, state.seed); });
    read_before_ = ledger_.look([](const VerifyState& state) { return state.read_bytes; });
    plan_progress();
    const auto worked = work();
    ledger_.save();  // Whatever ended it.
    if (!worked) return Error(worked.error());
    return make_report();
  }

 private:
  VerifyState fresh_state() {
    VerifyState fresh;
    fresh.repository_id = hex_of(repository_.id());
    fresh.stanza = options_.stanza;
    fresh.sets = options_.sets;
    fresh.share = options_.share;
    fresh.seed = rng_.next();
    fresh.started = fresh.saved = clock_.now();
    return fresh;
  }

  /// They may have been healed since.
  void forget_damaged_segments() {
    ledger_.update([&](VerifyState& state) {
      std::erase_if(state.damages, [&](const VerifyDamage& damage) {
        if (damage.kind != DamageKind::kSegment) return false;
        for (const ClusterRecord& cluster : plan_.clusters) {
          const auto segment = pg::parse_segment_name(damage.name, cluster.wal_segment_bytes);
          if (!segment || !damage.object.starts_with(fmt::format("{}/wal/{}/", options_.stanza, cluster.number))) {
            continue;
          }
          const auto found = state.segments.find(timeline_key(cluster, segment->timeline));
          if (found != state.segments.end()) found->second.remove(segment->number);
        }
        state.damage_count -= damage.count;
        --state.segment_count;
        return true;
      });
    });
  }

  bool pack_done(const PackName& pack) {
    return ledger_.look([&](const VerifyState& state) {
      const auto found = state.packs.find(pack.label);
      return found != state.packs.end() && found->second.has(pack.number);
    });
  }
  bool segment_done(const std::string& timeline, uint64_t number) {
    return ledger_.look([&](const VerifyState& state) {
      const auto found = state.segments.find(timeline);
      return found != state.segments.end() && found->second.has(number);
    });
  }

  void plan_progress() {
    const double share = options_.share;
    double total = static_cast<double>(plan_.manifest_bytes);
    for (const PlannedPack& pack : plan_.packs) {
      if (!pack_done(pack.name)) total += static_cast<double>(pack.bytes) * share;
    }
    for (const PlannedSegments& some : plan_.segments) {
      const ClusterRecord& cluster = plan_.clusters[some.cluster];
      for (const uint64_t number : some.numbers) {
        if (!segment_done(timeline_key(cluster, some.timeline), number)) total += cluster.wal_segment_bytes * share;
      }
    }
    for (const PlannedDump& dump : plan_.dumps)
      for (const auto& [number, bytes] : dump.packs)
        if (!pack_done({dump.label, number})) total += static_cast<double>(bytes) * share;
    progress_.bytes_done = 0;
    progress_.bytes_total = static_cast<uint64_t>(total);
  }

  bool past_deadline() {
    if (deadline_ && clock_.steady() >= *deadline_) stopped_ = true;
    return stopped_;
  }

  /// Work on `count` things, until all are done or the time is up.
  Result<> each(size_t count, unsigned threads, const std::function<Result<>(size_t)>& do_one) {
    std::atomic<size_t> next = 0;
    TaskGroup group(&cancel_);
    for (unsigned i = 0; i < std::max(1u, threads) && i < count; ++i) {
      group.spawn([&]() -> Result<> {
        for (;;) {
          TRY(group.cancel().check());
          if (past_deadline()) return {};
          const size_t at = next++;
          if (at >= count) return {};
          TRY(do_one(at));
        }
      });
    }
    return group.wait();
  }

  Result<> work() {
    progress_.phase = "verify packs";
    TRY(each(plan_.packs.size(), options_.process_max, [&](size_t i) { return verify_pack(plan_.packs[i]); }));
    progress_.phase = "verify WAL";
    uint64_t segment_bytes = 1;
    for (const ClusterRecord& cluster : plan_.clusters) {
      segment_bytes = std::max<uint64_t>(segment_bytes, cluster.wal_segment_bytes);
    }
    const uint64_t workers = std::clamp<uint64_t>(kSegmentMemoryMax / (2 * segment_bytes), 1, options_.process_max);
    segment_threads_ = std::max(1u, options_.process_max / static_cast<unsigned>(workers));
    TRY(each(plan_.segments.size(), static_cast<unsigned>(workers),
             [&](size_t i) { return verify_segments(plan_.segments[i]); }));
    progress_.phase = "verify manifests";
    ManifestChecker checker(repository_, options_.stanza, indexes_, damaged_packs());
    for (const std::string& label : plan_.labels) {
      if (past_deadline()) return {};
      TRY(verify_manifest(checker, label));
    }
    TRY(verify_dumps());
    progress_.phase = "verify records";
    TRY(each(plan_.files.size(), options_.process_max, [&](size_t i) { return verify_file(plan_.files[i]); }));
    return each(plan_.records.size(), options_.process_max, [&](size_t i) { return verify_record(plan_.records[i]); });
  }

  Result<> verify_dumps() {
    progress_.phase = "verify dumps";
    DumpChecker checker(repository_, options_.stanza, *sample_, ledger_, cancel_, progress_.bytes_done);
    const VerifyEach on_threads = [&](size_t count, const std::function<Result<>(size_t)>& do_one) {
      return each(count, options_.process_max, do_one);
    };
    for (const PlannedDump& dump : plan_.dumps) {
      if (past_deadline()) break;
      TRY(checker.check(dump, on_threads));
    }
    plan_.damages.insert(plan_.damages.end(), checker.damages().begin(), checker.damages().end());
    return {};
  }

  Result<> verify_pack(const PlannedPack& pack) {
    if (pack_done(pack.name)) return {};
    const ObjectKey key = pack_key(options_.stanza, pack.name.label, pack.name.number);
    PackCheck check;
    if (pack.listed) {
      auto checked =
          insist(repository_, [&] { return check_pack(repository_, key, *sample_, cancel_, progress_.bytes_done); });
      if (checked) {
        check = std::move(*checked);
      } else if (checked.error().code() == Errc::kCorrupt) {
        check.damage.index_unreadable = true;
        check.cause = checked.error().message();
      } else {
        return Error(std::move(checked).error());
      }
    } else {
      check.damage.missing = true;
      check.cause = fmt::format("object {} is missing", key.value);
    }
    if (check.extents) indexes_.put(pack.name, check.extents);
    ledger_.update([&](VerifyState& state) {
      state.packs[pack.name.label].add(pack.name.number);
      state.extent_count += check.extent_count;
      state.read_bytes += check.read_bytes;
      if (check.cause.empty()) return;
      VerifyDamage damage;
      damage.kind = DamageKind::kPack;
      damage.object = key.value;
      damage.name = fmt::format("{}/{:06}", pack.name.label, pack.name.number);
      damage.missing = check.damage.missing;
      damage.harmless = check.harmless;
      damage.index_unreadable = check.damage.index_unreadable;
      damage.places = std::move(check.damage.places);
      damage.cause = std::move(check.cause);
      add_damage(state, std::move(damage));
    });
    return {};
  }

  Result<> verify_segments(const PlannedSegments& some) {
    const ClusterRecord& cluster = plan_.clusters[some.cluster];
    const std::string timeline = timeline_key(cluster, some.timeline);
    std::optional<pg::WalIndex> before;
    for (const uint64_t number : some.numbers) {
      TRY(cancel_.check());
      if (past_deadline()) return {};
      const pg::WalSegment segment{some.timeline, number};
      const std::string name = pg::segment_name(segment, cluster.wal_segment_bytes);
      const bool done = segment_done(timeline, number);
      if (done || !sample_->takes(name)) {
        before.reset();
        if (!done) ledger_.update([&](VerifyState& state) { state.segments[timeline].add(number); });
        continue;
      }
      TRY_ASSIGN(SegmentCheck check, look_at_segment(cluster, segment, number == some.last));
      if (check.index) TRY(join(some.cluster, segment, before, check));
      before = check.usable ? std::move(check.index) : std::nullopt;
      note_segment(timeline, segment, name, check, cluster.wal_segment_bytes);
    }
    return {};
  }

  Result<SegmentCheck> look_at_segment(const ClusterRecord& cluster, const pg::WalSegment& segment, bool is_last) {
    auto checked = insist(repository_, [&] {
      return check_stored_segment(repository_, options_.stanza, cluster, segment, is_last, segment_threads_, true);
    });
    if (checked || checked.error().code() != Errc::kCorrupt) return checked;
    SegmentCheck check;
    check.usable = false;
    check.damage = checked.error().message();
    TRY_ASSIGN(check.key,
               wal_key(options_.stanza, cluster.number, pg::segment_name(segment, cluster.wal_segment_bytes)));
    return check;
  }

  /// Hold a segment against the one recovery reads before it.
  Result<> join(size_t cluster, const pg::WalSegment& segment, const std::optional<pg::WalIndex>& before,
                SegmentCheck& check) {
    std::string damage;
    if (before && before->segment == pg::WalSegment{segment.timeline, segment.number - 1}) {
      damage = join_segments(*before, *check.index);
    } else if (sample_->whole() && segment.number > 0 && plan_.wal[cluster]) {
      RepositoryWal& wal = *plan_.wal[cluster];
      pg::TimelineHistory history(segment.timeline);
      for (const pg::TimelineHistory& known : wal.histories())
        if (known.timeline() == segment.timeline) history = known;
      const auto previous = find_segment_on(wal, history, segment.number - 1);
      if (!previous) return {};
      const auto index = wal.index(*previous);
      if (!index && !is_object_damage(index.error())) return Error(index.error());
      if (index) damage = join_segments(*index, *check.index);
    }
    if (damage.empty()) return {};
    check.damage = std::move(damage);
    check.usable = false;
    return {};
  }

  void note_segment(const std::string& timeline, const pg::WalSegment& segment, const std::string& name,
                    const SegmentCheck& check, uint32_t segment_bytes) {
    progress_.bytes_done += segment_bytes;
    ledger_.update([&](VerifyState& state) {
      state.segments[timeline].add(segment.number);
      ++state.segment_count;
      state.read_bytes += check.read_bytes;
      if (check.damage.empty() || check.vanished) return;
      VerifyDamage damage;
      damage.kind = DamageKind::kSegment;
      damage.object = check.key.value;
      damage.name = name;
      damage.harmless = check.usable;
      damage.cause = check.damage;
      add_damage(state, std::move(damage));
    });
  }

  /// Once all packs were looked at.
  std::map<PackName, PackDamage> damaged_packs() {
    return ledger_.look([&](const VerifyState& state) {
      std::map<PackName, PackDamage> damaged;
      for (const VerifyDamage& damage : state.damages) {
        if (damage.kind != DamageKind::kPack || damage.harmless) continue;
        const size_t slash = damage.name.find('/');
        PackName name{damage.name.substr(0, slash), 0};
        const char* end = damage.name.data() + damage.name.size();
        if (slash != std::string::npos) std::from_chars(damage.name.data() + slash + 1, end, name.number);
        damaged[name] = {damage.missing, damage.index_unreadable, damage.places};
      }
      return damaged;
    });
  }

  Result<> verify_manifest(ManifestChecker& checker, const std::string& label) {
    const bool done = ledger_.look([&](const VerifyState& state) { return state.manifests.contains(label); });
    if (done) return {};
    const VerifyEach on_threads = [&](size_t count, const std::function<Result<>(size_t)>& do_one) {
      return each(count, options_.process_max, do_one);
    };
    TRY_ASSIGN(ManifestCheck check, checker.check(label, on_threads, progress_.bytes_done));
    if (check.vanished || stopped_) return {};  // Expired meanwhile, or not read to its end.
    ledger_.update([&](VerifyState& state) {
      state.manifests[label] = std::move(check.result);
      if (check.damage.empty()) return;
      VerifyDamage damage;
      damage.kind = DamageKind::kManifest;
      damage.object = manifest_key(options_.stanza, label).value;
      damage.name = label;
      damage.cause = std::move(check.damage);
      add_damage(state, std::move(damage));
    });
    return {};
  }

  Result<> verify_file(const PlannedFile& file) {
    const ClusterRecord& cluster = plan_.clusters[file.cluster];
    auto damage = insist(repository_, [&] { return check_wal_file(repository_, file.copies, file.name, cluster); });
    if (!damage && damage.error().code() != Errc::kCorrupt) return Error(std::move(damage).error());
    const std::string cause = damage ? *damage : damage.error().message();
    note_small(DamageKind::kWalFile, file.copies.front(), file.name, cause);
    return {};
  }

  Result<> verify_record(const ObjectKey& key) {
    auto damage = insist(repository_, [&] { return check_record(repository_, key); });
    if (!damage && damage.error().code() != Errc::kCorrupt) return Error(std::move(damage).error());
    const std::string cause = damage ? *damage : damage.error().message();
    note_small(DamageKind::kRecord, key, key.value, cause);
    return {};
  }

  /// Small objects are read in every run: what they told is not part of the state.
  void note_small(DamageKind kind, const ObjectKey& key, const std::string& name, const std::string& cause) {
    ++record_count_;
    if (cause.empty()) return;
    VerifyDamage damage;
    damage.kind = kind;
    damage.object = key.value;
    damage.name = name;
    damage.cause = cause;
    const MutexLock lock(small_mu_);
    if (small_damages_.size() < kVerifyDamagesMax) small_damages_.push_back(std::move(damage));
  }

  Result<VerifyReport> make_report() {
    progress_.phase = "report";
    TRY(drop_expired());
    VerifyReport report;
    report.finished = !stopped_;
    report.resumed = resumed_;
    report.labels = plan_.chosen;
    report.record_count = record_count_;
    for (const PlannedDump& dump : plan_.dumps) {
      report.dump_labels.push_back(dump.label);
      report.dump_pack_total += dump.packs.size();
    }
    report.pack_total = plan_.packs.size();
    report.segment_total = plan_.segment_total;
    report.unreferenced_pack_count = plan_.unreferenced_pack_count;
    report.unreferenced_bytes = plan_.unreferenced_bytes;
    report.warnings = plan_.warnings;
    const VerifyState state = ledger_.look([](const VerifyState& now) { return now; });
    fill(state, report);
    TRY(name_hit_backups(state, report));
    if (report.finished) {
      TRY(finish_dump_report(repository_, others_, options_.stanza, cancel_, report));
      TRY(finish_verify_report({repository_, others_, options_, plan_.clusters, state.manifests}, report));
    } else {
      report.next_steps.emplace_back("run the same command again: it goes on where this run ended");
    }
    sort_damages(report);
    report.ended = clock_.now();
    if (report.finished) close_round(report);
    return report;
  }

  /// What was expired while it was read is no damage.
  Result<> drop_expired() {
    TRY_ASSIGN(const auto labels, list_backup_labels(repository_, options_.stanza));
    const auto gone = [&](const std::string& label) {
      return std::find(labels.begin(), labels.end(), label) == labels.end();
    };
    std::erase_if(plan_.labels, gone);
    std::erase_if(plan_.chosen, gone);
    TRY_ASSIGN(const auto dumps, list_dump_labels(repository_, options_.stanza));
    const auto dump_gone = [&](const std::string& label) {
      return !std::binary_search(dumps.begin(), dumps.end(), label);
    };
    std::erase_if(plan_.dumps, [&](const PlannedDump& dump) { return dump_gone(dump.label); });
    const auto is_gone = [&](const VerifyDamage& damage) {
      if (is_of_dump(damage)) return dump_gone(damage.name.substr(0, damage.name.find('/')));
      return damage.kind == DamageKind::kManifest && gone(damage.name);
    };
    std::erase_if(plan_.damages, is_gone);
    ledger_.update([&](VerifyState& state) {
      std::erase_if(state.damages, [&](const VerifyDamage& damage) {
        if (!is_gone(damage)) return false;
        state.damage_count -= damage.count;
        return true;
      });
    });
    return {};
  }

  /// What joins no damaged segment is no further damage.
  void forget_broken_joins(VerifyReport& report) const {
    std::set<std::string> damaged;
    for (const VerifyDamage& damage : report.damages)
      if (damage.kind == DamageKind::kSegment && !damage.harmless)
        damaged.insert(damage.object.substr(0, damage.object.rfind(".r")));
    std::erase_if(report.damages, [&](const VerifyDamage& damage) {
      if (damage.kind != DamageKind::kSegment || !damage.cause.starts_with(kDoesNotJoin)) return false;
      for (const ClusterRecord& cluster : plan_.clusters) {
        const auto segment = pg::parse_segment_name(damage.name, cluster.wal_segment_bytes);
        if (!segment || segment->number == 0) continue;
        const auto before =
            wal_key(options_.stanza, cluster.number,
                    pg::segment_name({segment->timeline, segment->number - 1}, cluster.wal_segment_bytes));
        if (!before || !damaged.contains(before->value)) continue;
        --report.damage_count;
        return true;
      }
      return false;
    });
  }

  void fill(const VerifyState& state, VerifyReport& report) {
    report.started = state.started;
    report.share = state.share;
    report.seed = state.seed;
    report.extent_count = state.extent_count;
    report.read_bytes = state.read_bytes;
    report.run_read_bytes = state.read_bytes - read_before_;
    for (const PlannedPack& pack : plan_.packs) report.pack_count += pack_done(pack.name) ? 1u : 0u;
    for (const PlannedDump& dump : plan_.dumps)
      for (const auto& [number, bytes] : dump.packs)
        report.dump_pack_count += pack_done({dump.label, number}) ? 1u : 0u;
    report.dump_frame_count = state.dump_frame_count;
    report.segment_count = state.segment_count;
    report.damages = state.damages;
    report.damage_count = state.damage_count;
    forget_broken_joins(report);
    const auto add = [&](const std::vector<VerifyDamage>& more) {
      for (const VerifyDamage& damage : more) {
        ++report.damage_count;
        if (report.damages.size() < kVerifyDamagesMax) report.damages.push_back(damage);
      }
    };
    add(plan_.damages);
    const MutexLock lock(small_mu_);
    add(small_damages_);
    for (const std::string& label : plan_.labels) {
      const auto found = state.manifests.find(label);
      if (found == state.manifests.end()) continue;
      report.bad_page_count += found->second.bad_page_count;
      for (const VerifiedBadPages& bad : found->second.bad_pages)
        if (report.bad_pages.size() < kVerifyBadFilesMax) report.bad_pages.push_back(bad);
    }
  }

  /// Which backups a damaged pack hits; of a round that is not finished, those that name it. A pack that nobody names
  /// any more is no damage.
  Result<> name_hit_backups(const VerifyState& state, VerifyReport& report) {
    const bool any = std::any_of(report.damages.begin(), report.damages.end(),
                                 [](const VerifyDamage& damage) { return damage.kind == DamageKind::kPack; });
    for (VerifyDamage& damage : report.damages)
      if (damage.kind == DamageKind::kManifest) damage.backups = {damage.name};
    if (!any) return {};
    std::set<std::string> named;
    for (const std::string& label : plan_.labels) {
      const auto manifest = ManifestReader::open(repository_, options_.stanza, label);
      const auto packs = manifest ? manifest->packs() : Result<std::vector<PackName>>(manifest.error());
      if (!packs && !is_object_damage(packs.error())) return Error(packs.error());
      if (!packs) continue;
      const auto result = state.manifests.find(label);
      std::set<std::string> names;
      for (const PackName& pack : *packs) names.insert(fmt::format("{}/{:06}", pack.label, pack.number));
      std::set<std::string> hit;
      if (result != state.manifests.end()) {
        for (const PackName& pack : result->second.packs) hit.insert(fmt::format("{}/{:06}", pack.label, pack.number));
      }
      for (VerifyDamage& damage : report.damages) {
        if (damage.kind != DamageKind::kPack || !names.contains(damage.name)) continue;
        named.insert(damage.name);
        if (report.finished ? hit.contains(damage.name) : !damage.harmless) damage.backups.push_back(label);
      }
    }
    // With a damaged manifest nobody knows what it named.
    if (!std::all_of(plan_.damages.begin(), plan_.damages.end(), is_of_dump)) return {};
    std::erase_if(report.damages, [&](const VerifyDamage& damage) {
      if (damage.kind != DamageKind::kPack || named.contains(damage.name)) return false;
      --report.damage_count;
      return true;
    });
    return {};
  }

  static void sort_damages(VerifyReport& report) {
    std::stable_sort(report.damages.begin(), report.damages.end(), [](const VerifyDamage& a, const VerifyDamage& b) {
      return std::tie(a.kind, a.object) < std::tie(b.kind, b.object);
    });
  }

  /// The result goes to the repository, for info and check; the round ends.
  void close_round(VerifyReport& report) {
    VerifyRecord record;
    record.started = report.started;
    record.finished = report.ended;
    record.pgark_version = kVersion;
    record.host = options_.host;
    record.sets = options_.sets;
    record.share = report.share;
    record.verified = report.labels;
    record.verified.insert(record.verified.end(), report.dump_labels.begin(), report.dump_labels.end());
    record.read_bytes = report.read_bytes;
    record.damage_count = report.damage_count;
    for (const DamagedBackup& backup : report.backups) {
      record.damaged.push_back({backup.label, backup.file_count, describe_damage(backup)});
    }
    for (const DamagedDump& dump : report.dumps)
      record.damaged.push_back({dump.label, dump.stream_count, describe_damage(dump)});
    for (const VerifyDamage& damage : report.damages) record.objects.push_back(damage.object);
    auto written = write_verify_record(repository_, options_.stanza, std::move(record));
    if (written) {
      report.record = std::move(*written);
    } else {
      report.warnings.push_back(
          fmt::format("the result was not recorded in the repository: {}", written.error().message()));
    }
    if (!options_.state_path.empty()) ::unlink(options_.state_path.c_str());
  }

  const Repository& repository_;
  const std::vector<OtherRepository>& others_;
  const VerifyOptions& options_;
  Clock& clock_;
  Rng& rng_;
  const CancelToken& cancel_;
  Progress& progress_;
  PackIndexes indexes_;
  VerifyLedger ledger_;
  VerifyPlan plan_;
  std::optional<VerifySample> sample_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::atomic<bool> stopped_ = false;  // The time was up.
  bool resumed_ = false;
  uint64_t read_before_ = 0;
  unsigned segment_threads_ = 1;
  std::atomic<uint64_t> record_count_ = 0;
  Mutex small_mu_;
  std::vector<VerifyDamage> small_damages_ GUARDED_BY(small_mu_);
};

}  // namespace

Result<VerifyReport> run_verify(const Repository& repository, const std::vector<OtherRepository>& others,
                                const VerifyOptions& options, Clock& clock, Rng& rng, const CancelToken& cancel,
                                Progress& progress) {
  TRY(repository.check_can_open_data("verify " + options.stanza));
  auto report = Round(repository, others, options, clock, rng, cancel, progress).run();
  if (!report) return Error(std::move(report).error()).with_context("verify " + options.stanza);
  return report;
}

}  // namespace pgark
