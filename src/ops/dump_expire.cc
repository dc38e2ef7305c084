// Which dumps are kept, series by series, and the removal of the others: tombstone, manifest, what lies beside it, and
// after the grace period the packs.
#include "ops/dump_expire.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "catalog/tombstone.h"
#include "core/log.h"
#include "ops/expire_parts.h"

namespace pgark {
namespace {

using Outcome = ExpiredBackup::Outcome;

/// As of expire: clocks that differ by more tell no ages.
constexpr std::chrono::minutes kClockSkewMax{5};
constexpr int kTombstoneAttemptsMax = 100;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// What the rules say of backups, said of dumps.
std::string dump_text(const RetentionReason& reason) {
  if (reason.rule == "last restorable") return "the last dump of its series";
  if (reason.rule == "last drill") return "the last dump of its series that dump-verify proved";
  std::string text = reason.text;
  replace_all(text, "full or differential backup", "dump");
  replace_all(text, "full backup", "dump");
  replace_all(text, "backups that can be restored", "dumps of its series");
  replace_all(text, "backup", "dump");
  return text;
}

/// Dumps that are decided among themselves. One whose manifest cannot be read belongs to nobody.
std::string series_of(const ListedDump& dump) { return dump.meta ? dump.meta->series : "\n" + dump.label; }

RetentionBackup retention_backup(const ListedDump& dump, const std::map<std::string, DumpVerdict>& verdicts,
                                 const std::map<std::string, Hold>& holds) {
  RetentionBackup backup;
  backup.label = dump.label;
  backup.readable = backup.restorable = dump.meta.has_value();
  if (dump.meta) backup.stopped = dump.meta->stopped;
  if (const auto verdict = verdicts.find(dump.label); verdict != verdicts.end()) {
    backup.drilled = verdict->second.ok;
    backup.restorable = backup.restorable && verdict->second.ok;
  }
  if (const auto hold = holds.find(dump.label); hold != holds.end()) backup.hold_until = hold->second.until;
  return backup;
}

class DumpExpiry {
 public:
  DumpExpiry(const Repository& repository, const CancelToken& cancel, const DumpExpireOptions& options, Timestamp now)
      : repository_(repository),
        options_(options),
        now_(now),
        prefix_(options.stanza + "/dump/"),
        remover_(repository.store(), cancel, options.dry_run, counts_) {}

  Result<DumpExpireReport> run() {
    TRY(read());
    TRY(decide());
    if (newest_ > now_ + kClockSkewMax) {
      put_off();
      return std::move(report_);
    }
    for (size_t i = 0; i < dumps_.size(); ++i) {
      if (report_.dumps[i].decision.keep) continue;
      TRY_CTX(remove_dump(report_.dumps[i]), "remove dump " + dumps_[i].label);
    }
    for (const auto& one : objects_) {
      const std::string& label = one.first;  // No binding: clang 14 lets no lambda take one.
      if (!is_there(label)) TRY_CTX(remove_remains(label), "remove remains of dump " + label);
    }
    TRY(remove_tombstones());
    report_.refused = counts_.refused;
    report_.refusal = counts_.refusal;
    if (report_.refused.count > 0)
      report_.warnings.push_back(fmt::format("the store refused to remove {} objects; the next run tries again: {}",
                                             report_.refused.count, report_.refusal));
    return std::move(report_);
  }

 private:
  bool is_young(const Tombstone& tombstone) const { return now_ - tombstone.time() < options_.grace; }

  Result<> read() {
    TRY_ASSIGN_CTX(const auto objects, repository_.store().list_all(prefix_),
                   "list dumps of stanza " + options_.stanza);
    for (const ObjectInfo& object : objects) {
      const std::string below = object.key.value.substr(prefix_.size());
      const std::string label = below.substr(0, below.find('/'));
      if (!is_dump_label(label)) continue;  // Not ours.
      objects_[label].push_back(object);
      newest_ = std::max(newest_, object.modified);
    }
    // After the objects: a dump that ended in between is then seen with its manifest.
    TRY_ASSIGN(dumps_, list_dumps(repository_, options_.stanza));
    for (const ListedDump& one : dumps_) {
      const bool is_damage =
          one.error && (one.error->code() == Errc::kCorrupt || one.error->code() == Errc::kUnsupported);
      if (one.error && !is_damage) return Error(*one.error);
    }
    TRY_ASSIGN(auto tombstones, list_tombstones(repository_, options_.stanza));
    for (ListedTombstone& one : tombstones) {
      if (!is_dump_label(one.tombstone.label)) continue;
      newest_ = std::max(newest_, one.tombstone.modified);
      tombstones_.push_back(std::move(one.tombstone));
    }
    return {};
  }

  Result<> decide() {
    TRY_ASSIGN(const auto verdicts, read_dump_verdicts(repository_, options_.stanza));
    TRY_ASSIGN(const auto holds, read_dump_holds(repository_, options_.stanza));
    TRY_ASSIGN(auto decisions, decide_dump_retention(options_.rules, dumps_, verdicts, holds, now_));
    if (!options_.set.empty()) TRY(decide_set(decisions, holds));
    for (size_t i = 0; i < dumps_.size(); ++i) {
      ExpiredDump one;
      one.label = dumps_[i].label;
      if (dumps_[i].meta) one.series = dumps_[i].meta->series;
      if (dumps_[i].meta) one.stopped = dumps_[i].meta->stopped;
      one.decision = std::move(decisions[i]);
      report_.dumps.push_back(std::move(one));
    }
    return {};
  }

  /// The user's choice takes the place of the rules.
  Result<> decide_set(std::vector<RetentionDecision>& decisions, const std::map<std::string, Hold>& holds) const {
    const bool exists =
        std::any_of(dumps_.begin(), dumps_.end(), [&](const ListedDump& one) { return one.label == options_.set; });
    if (!exists) {
      return Error(Errc::kNotFound, fmt::format("dump {} of stanza {} does not exist in {}", options_.set,
                                                options_.stanza, repository_.store().describe()))
          .with_hint(fmt::format("run 'pgark --stanza={} dump-ls' to see the dumps there are", options_.stanza));
    }
    if (const auto hold = holds.find(options_.set); hold != holds.end() && hold->second.holds(now_)) {
      return Error(Errc::kInvalid, fmt::format("dump {} is held", options_.set))
          .with_hint(fmt::format("release it first: pgark --stanza={} hold --set={} --release", options_.stanza,
                                 options_.set));
    }
    for (RetentionDecision& decision : decisions) {
      if (decision.label == options_.set) {
        decision = {options_.set, false, {{"set", "named with --set"}}};
      } else if (!decision.keep) {
        decision = {decision.label, true, {{"set", "only the dump named with --set is removed"}}};
      }
    }
    return {};
  }

  void put_off() {
    for (ExpiredDump& dump : report_.dumps)
      if (!dump.decision.keep) dump.outcome = Outcome::kPutOff;
    report_.warnings.push_back(
        "the clock of this machine is behind the newest object of the repository: ages are not known, and nothing is "
        "removed");
  }

  // -- A dump that goes: a tombstone keeps its packs for those who read them just now, and the manifest goes first.

  Result<> remove_dump(ExpiredDump& dump) {
    TRY_ASSIGN(const bool ready, prepare_tombstone(dump));
    dump.outcome = Outcome::kRefused;
    if (!ready) return {};
    const ObjectKey manifest = dump_manifest_key(options_.stanza, dump.label);
    for (const ObjectInfo& object : objects_[dump.label]) {
      if (object.key != manifest) continue;
      TRY_ASSIGN(const bool gone, remover_.remove(object, report_.objects));
      if (!gone) return {};
      dump.outcome = Outcome::kRemoved;
    }
    if (dump.outcome == Outcome::kRemoved)
      log_info("{}dump {}: {}", options_.dry_run ? "would remove " : "removed ", dump.label,
               dump.decision.reasons.front().text);
    return {};
  }

  /// Have a tombstone that is young. False if it is too soon to try again after a refusal.
  Result<bool> prepare_tombstone(const ExpiredDump& dump) {
    std::vector<Timestamp> times;
    Tombstone tombstone;
    for (const Tombstone& one : tombstones_) {
      if (one.label != dump.label) continue;
      tombstone.generation = one.generation + 1;
      times.push_back(one.time());
    }
    const TombstoneStep step = next_tombstone_step(times, now_, options_.grace);
    if (step == TombstoneStep::kWait) return false;
    if (step == TombstoneStep::kReuse) return true;
    tombstone.label = dump.label;
    tombstone.expired = now_;
    tombstone.rule = dump.decision.reasons.front().rule;
    tombstone.reason = dump.decision.reasons.front().text;
    const unsigned first = tombstone.generation;
    while (!options_.dry_run) {
      auto written = write_tombstone(repository_, options_.stanza, tombstone);
      if (written) break;
      if (written.error().code() != Errc::kAlreadyExists || tombstone.generation > first + kTombstoneAttemptsMax)
        return Error(std::move(written).error());
      ++tombstone.generation;
    }
    tombstone.key = tombstone_key(options_.stanza, tombstone.label, tombstone.generation);
    tombstone.modified = now_;
    tombstones_.push_back(std::move(tombstone));
    return true;
  }

  /// Whether the manifest is there after remove_dump() (or would be).
  bool is_there(const std::string& label) const {
    return std::any_of(report_.dumps.begin(), report_.dumps.end(), [&](const ExpiredDump& dump) {
      return dump.label == label && dump.outcome != Outcome::kRemoved;
    });
  }

  // -- What is left of dumps without a manifest.

  Result<> remove_remains(const std::string& label) {
    const Tombstone* tombstone = nullptr;
    for (const Tombstone& one : tombstones_)
      if (one.label == label && (tombstone == nullptr || one.time() > tombstone->time())) tombstone = &one;
    const ObjectKey manifest = dump_manifest_key(options_.stanza, label);
    std::vector<ObjectInfo> left;
    Timestamp newest = Timestamp::min();
    for (const ObjectInfo& object : objects_[label]) {
      newest = std::max(newest, object.modified);
      if (object.key != manifest) left.push_back(object);
    }
    // Of one without a tombstone the newest object counts: it may be running, on another machine.
    const bool wait = tombstone != nullptr ? is_young(*tombstone) : now_ - newest < options_.grace;
    if (wait) {
      for (const ObjectInfo& object : left) report_.waiting.add(object.bytes);
      return {};
    }
    if (tombstone == nullptr) {
      TRY_ASSIGN(const auto arrived, repository_.store().stat(manifest));
      if (arrived) return {};
    }
    for (size_t at = 0; at < left.size(); at += kExpireBatch) {
      const auto end = std::min(left.size(), at + kExpireBatch);
      const std::vector<ObjectInfo> batch(left.begin() + static_cast<ptrdiff_t>(at),
                                          left.begin() + static_cast<ptrdiff_t>(end));
      TRY(remover_.remove_many(batch, tombstone != nullptr ? report_.objects : report_.orphans));
    }
    cleared_.push_back(label);
    return {};
  }

  /// Of dumps that stay after all, and of those of which nothing is left.
  Result<> remove_tombstones() {
    for (const Tombstone& one : tombstones_) {
      const bool cleared =
          std::find(cleared_.begin(), cleared_.end(), one.label) != cleared_.end() || !objects_.contains(one.label);
      const auto dump = std::find_if(report_.dumps.begin(), report_.dumps.end(),
                                     [&](const ExpiredDump& it) { return it.label == one.label; });
      const bool stays = dump != report_.dumps.end() && dump->decision.keep;
      if (!stays && (!cleared || is_young(one))) continue;
      TRY_ASSIGN(const auto object, repository_.store().stat(one.key));
      ExpireCount own;  // What was written for this alone is not space that was freed.
      if (object) TRY(remover_.remove(*object, own));
    }
    return {};
  }

  const Repository& repository_;
  const DumpExpireOptions& options_;
  const Timestamp now_;
  const std::string prefix_;
  DumpExpireReport report_;
  ExpireReport counts_;  // Of the remover: what the store refused.
  ExpireRemover remover_;

  std::map<std::string, std::vector<ObjectInfo>> objects_;  // Below "<stanza>/dump/", by label.
  std::vector<ListedDump> dumps_;                           // This and report_.dumps go together.
  std::vector<Tombstone> tombstones_;                       // Of dumps.
  std::vector<std::string> cleared_;                        // Labels of which all objects are gone.
  Timestamp newest_ = Timestamp::min();
};

}  // namespace

Result<std::vector<RetentionDecision>> decide_dump_retention(const RetentionRules& rules,
                                                             const std::vector<ListedDump>& dumps,
                                                             const std::map<std::string, DumpVerdict>& verdicts,
                                                             const std::map<std::string, Hold>& holds, Timestamp now) {
  std::map<std::string, std::vector<size_t>> by_series;
  for (size_t i = 0; i < dumps.size(); ++i) by_series[series_of(dumps[i])].push_back(i);
  std::vector<RetentionDecision> decisions(dumps.size());
  for (const auto& [series, members] : by_series) {
    std::vector<RetentionBackup> backups;
    for (const size_t i : members) backups.push_back(retention_backup(dumps[i], verdicts, holds));
    TRY_ASSIGN(auto decided, decide_retention(rules, backups, now));
    for (size_t i = 0; i < members.size(); ++i) {
      for (RetentionReason& reason : decided[i].reasons) reason.text = dump_text(reason);
      decisions[members[i]] = std::move(decided[i]);
    }
  }
  return decisions;
}

Result<DumpExpireReport> run_dump_expire(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                         const DumpExpireOptions& options) {
  return DumpExpiry(repository, cancel, options, clock.now()).run();
}

}  // namespace pgark
