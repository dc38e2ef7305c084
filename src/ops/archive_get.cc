#include "ops/archive_get.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "catalog/wal.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/cluster_files.h"
#include "ops/wal_fetch.h"
#include "ops/wal_hole.h"

namespace pgark {
namespace {

constexpr auto kHolePause = std::chrono::milliseconds(250);

/// What the cluster that asks says of itself in its pg_control; none if it cannot be read (yet).
std::optional<ClusterRecord> read_asking(const std::string& data_directory, Clock& clock) {
  if (data_directory.empty()) return std::nullopt;
  const auto files = read_cluster_files(data_directory, clock);
  if (files) return cluster_record(*files, Timestamp{});
  log_debug("take the stanza's current cluster: {}", files.error().message());
  return std::nullopt;
}

/// The record of the cluster that asks; of one that is not known, the current one.
Result<ClusterRecord> find_record(const Repository& repository, const std::string& stanza,
                                  const std::optional<ClusterRecord>& asking) {
  TRY_ASSIGN(const auto records, list_clusters(repository, stanza));
  if (records.empty()) return current_cluster(repository, stanza);  // Says what is missing.
  if (!asking) return records.back();
  const auto found = std::find_if(records.rbegin(), records.rend(), [&](const ClusterRecord& record) {
    return record.system_identifier == asking->system_identifier && record.pg_major == asking->pg_major;
  });
  if (found != records.rend()) return *found;
  TRY(check_same_cluster(stanza, records.back(), *asking));
  return records.back();
}

/// Not synced: PostgreSQL syncs a restored segment when it keeps it, and fetches it again after a crash.
class Getter {
 public:
  Getter(std::span<const ArchiveSource> sources, Clock& clock, const ArchiveGetOptions& options)
      : sources_(sources), clock_(clock), options_(options) {}

  Result<ArchiveGetOutcome> run() {
    TRY_ASSIGN(name_, pg::parse_wal_file_name(options_.name));
    asking_ = read_asking(options_.data_directory, clock_);
    const auto deadline = clock_.steady() + options_.hole_wait;
    for (;;) {
      TRY(search());
      if (fetched_) return ArchiveGetOutcome::kFetched;
      if (failure_ && !short_) return failed();
      TRY_ASSIGN(const auto hole, find_hole());
      if (!hole) return finish();
      if (failure_) return failed();
      if (clock_.steady() >= deadline) return *hole;
      if (options_.cancel != nullptr) TRY(options_.cancel->check());
      // An asynchronous pusher may store a segment before the one that precedes it.
      log_detail("wait for {}: {}", options_.name, hole->message());
      clock_.sleep_for(kHolePause);
    }
  }

 private:
  /// A copy in which WAL ends before the segment does, for the case that nothing better is found.
  struct Short {
    TemporaryFile file;
    FetchedWal wal;
    std::string key;
  };

  /// One pass over all repositories, until one has a good copy.
  Result<> search() {
    failure_.reset();
    short_.reset();
    searched_.clear();
    for (const ArchiveSource& source : sources_) {
      auto found = search_in(source);
      if (found && *found) {
        fetched_ = true;
        return {};
      }
      if (found) continue;
      Error error = std::move(found).error();
      if (error.code() == Errc::kCancelled) return std::move(error).with_context("get " + options_.name);
      if (sources_.size() > 1) log_warn("{}: get {}: {}", source.name, options_.name, error.message());
      if (!failure_) failure_ = Failure{source.name, std::move(error)};
    }
    return {};
  }

  /// Whether the repository had a good copy, which is then in its place.
  Result<bool> search_in(const ArchiveSource& source) {
    TRY_ASSIGN(const Repository* repository, source.open());
    TRY_ASSIGN(const bool taken, take_first_copy(*repository));
    if (taken) return true;
    TRY_ASSIGN(const ClusterRecord cluster, find_record(*repository, options_.stanza, asking_));
    TRY_ASSIGN(const auto copies, find_wal_copies(*repository, options_.stanza, cluster.number, options_.name));
    if (copies.empty()) TRY(check_absent(*repository, cluster));
    std::optional<Error> damage;
    bool some_short = false;
    for (const ObjectKey& key : copies) {
      TRY_ASSIGN(TemporaryFile file,
                 TemporaryFile::create(fmt::format("{}.{}", temporary_beside(options_.destination), short_ ? 1 : 0)));
      auto wal = fetch_wal_file(*repository, key, name_, cluster, options_.threads, file.file());
      if (wal && wal->end_reason.empty()) {
        TRY(file.move_to(options_.destination));
        return true;
      }
      if (wal) {
        some_short = true;
        if (!short_) short_ = Short{std::move(file), std::move(*wal), key.value};
        continue;
      }
      Error error = std::move(wal).error().with_context("read " + key.value);
      // Only damage is a reason to try another copy. A copy that vanished since it was listed is no proof of absence.
      if (error.code() == Errc::kNotFound) error = std::move(error).with_code(Errc::kTransient);
      if (error.code() != Errc::kCorrupt && error.code() != Errc::kInvalid) return error;
      log_warn("pass over a damaged copy: {}", error.message());
      if (!damage) damage = std::move(error);
    }
    searched_.push_back({repository, cluster});
    if (!damage || some_short) return false;
    return std::move(*damage)
        .with_context(
            fmt::format("none of {} stored {} can be used", copies.size(), copies.size() == 1 ? "copy" : "copies"))
        .with_hint(
            "if the segment is still in pg_wal of the primary or of a standby, push it again: pgark archive-push "
            "stores a good copy beside the damaged one");
  }

  /// Whether the first copy of a segment, in the place of a stanza's first cluster, is good: then it is what a search
  /// would find, with none of the calls that a search takes. The segment itself says which cluster it is of.
  /// Errors: of the store, and of writing. Whatever is wrong with the copy is for the search to find out.
  Result<bool> take_first_copy(const Repository& repository) {
    if (!asking_ || !std::holds_alternative<pg::WalSegmentName>(name_)) return false;
    TRY_ASSIGN(const ObjectKey key, wal_key(options_.stanza, asking_->number, options_.name));
    auto file = TemporaryFile::create(temporary_beside(options_.destination));
    if (!file) return false;
    const auto wal = fetch_wal_file(repository, key, name_, *asking_, options_.threads, file->file());
    if (wal && wal->end_reason.empty()) {
      TRY(file->move_to(options_.destination));
      return true;
    }
    const Errc code = wal ? Errc::kCorrupt : wal.error().code();
    if (code == Errc::kNotFound || code == Errc::kCorrupt || code == Errc::kInvalid) return false;
    return Error(wal.error()).with_context("read " + key.value);
  }

  /// Ask by name as well: of a listing that lost an entry nothing else would tell.
  Result<> check_absent(const Repository& repository, const ClusterRecord& cluster) const {
    TRY_ASSIGN(const ObjectKey key, wal_key(options_.stanza, cluster.number, options_.name));
    TRY_ASSIGN(const auto found, repository.store().stat(key));
    if (!found) return {};
    return Error(Errc::kTransient,
                 fmt::format("{} is in {}, but a listing did not show it", key.value, repository.store().describe()));
  }

  Error failed() const { return Error(failure_->error).with_context("get " + options_.name); }

  /// Nothing better will come: what there is of the file, or its absence.
  Result<ArchiveGetOutcome> finish() {
    if (short_) {
      // Recovery would end where this copy does, and be done, while there is more.
      if (failure_ && ends_recovery()) return not_known_to_end();
      log_detail("WAL ends at {} in {}: {}", to_string(short_->wal.end), short_->key, short_->wal.end_reason);
      TRY_CTX(short_->file.move_to(options_.destination), "get " + options_.name);
      return ArchiveGetOutcome::kFetched;
    }
    return ArchiveGetOutcome::kAbsent;
  }

  Error not_known_to_end() const {
    return Error(failure_->error)
        .with_context(fmt::format("get {}: WAL ends at {} in {} ({}), and {} may have more of it", options_.name,
                                  to_string(short_->wal.end), short_->key, short_->wal.end_reason, failure_->source))
        .with_hint(fmt::format("make {} available; or, if it is lost for good, let recovery end there: take it out of "
                               "the configuration, or name the other with --repo in restore_command",
                               failure_->source));
  }

  /// Why recovery must not end with this file: none if it may.
  Result<std::optional<Error>> find_hole() {
    if (std::holds_alternative<pg::WalSegmentName>(name_)) return find_segment_hole();
    if (const auto* history = std::get_if<pg::WalHistoryName>(&name_)) return find_history_hole(history->timeline);
    return std::optional<Error>();
  }

  /// Whether the server would end recovery at what it cannot get; one that streams does not.
  bool ends_recovery() {
    const auto kind = recovery_kind(options_.data_directory);
    if (kind) return *kind != RecoveryKind::kStandby;
    log_warn("take the server for one that ends recovery: {}", kind.error().message());
    return true;
  }

  Result<std::optional<Error>> find_segment_hole() {
    if (!ends_recovery()) return std::optional<Error>();
    for (const auto& [repository, cluster] : searched_) {
      TRY_ASSIGN(const pg::WalSegment segment, pg::parse_segment_name(options_.name, cluster.wal_segment_bytes));
      TRY_ASSIGN_CTX(const auto later, find_later_wal(*repository, options_.stanza, cluster, segment),
                     "look for WAL after " + options_.name);
      if (!later) continue;
      if (!short_ && server_has(segment, cluster)) return std::optional<Error>();
      return std::optional(segment_hole(*later, segment, cluster));
    }
    return std::optional<Error>();
  }

  /// Whether the server finds the segment in its own pg_wal once it is told that the archive does not have it.
  bool server_has(const pg::WalSegment& segment, const ClusterRecord& cluster) const {
    if (options_.data_directory.empty()) return false;
    const auto file = File::open(options_.data_directory + "/pg_wal/" + options_.name, O_RDONLY);
    if (!file) return false;
    const auto wal = check_segment_file(*file, segment, cluster);
    const bool whole = wal && wal->end_reason.empty();
    if (whole) log_detail("{} is not in the archive, but in pg_wal", options_.name);
    return whole;
  }

  Error segment_hole(const std::string& later, const pg::WalSegment& segment, const ClusterRecord& cluster) const {
    const Lsn start = pg::segment_start(segment, cluster.wal_segment_bytes);
    const std::string what = short_ ? fmt::format("WAL ends at {} in {} ({})", to_string(short_->wal.end), short_->key,
                                                  short_->wal.end_reason)
                                    : fmt::format("segment {} is missing from the archive", options_.name);
    return Error(Errc::kCorrupt, fmt::format("get {}: {}, but WAL goes on: there is {}", options_.name, what, later))
        .with_hint(fmt::format("if a node still has {} in pg_wal, bring it into the archive: pgark archive-heal",
                               options_.name))
        .with_hint(fmt::format("or recover to a target before {}, or restore a backup that was made after the hole",
                               to_string(short_ ? short_->wal.end : start)));
  }

  Result<std::optional<Error>> find_history_hole(TimelineId timeline) {
    if (options_.data_directory.empty() || !ends_recovery()) return std::optional<Error>();
    const auto control = read_control_file(options_.data_directory, clock_);
    if (!control) return std::optional<Error>();
    const TimelineId own = std::max(control->data.timeline, control->data.min_recovery_timeline);
    for (const auto& [repository, cluster] : searched_) {
      TRY_ASSIGN_CTX(const auto proof, find_lost_history(*repository, options_.stanza, cluster, timeline, own),
                     "look for timeline " + std::to_string(timeline.value));
      if (!proof) continue;
      return std::optional(
          Error(Errc::kCorrupt, fmt::format("get {}: it is missing from the archive, but its timeline is not: there "
                                            "is {}",
                                            options_.name, *proof))
              .with_hint(fmt::format("if a node still has {} in pg_wal, push it: pgark archive-push", options_.name))
              .with_hint("or recover along an earlier timeline: pgark restore --target-timeline"));
    }
    return std::optional<Error>();
  }

  struct Searched {
    const Repository* repository;
    ClusterRecord cluster;
  };

  const std::span<const ArchiveSource> sources_;
  Clock& clock_;
  const ArchiveGetOptions& options_;
  pg::WalFileName name_;
  std::optional<ClusterRecord> asking_;
  bool fetched_ = false;
  /// Of the first repository that could not be searched, or had only damaged copies.
  struct Failure {
    std::string source;
    Error error;
  };
  std::optional<Failure> failure_;
  std::optional<Short> short_;
  std::vector<Searched> searched_;
};

}  // namespace

Result<ArchiveGetOutcome> archive_get(std::span<const ArchiveSource> sources, Clock& clock,
                                      const ArchiveGetOptions& options) {
  return Getter(sources, clock, options).run();
}

Result<ArchiveGetOutcome> archive_get(const Repository& repository, Clock& clock, const ArchiveGetOptions& options) {
  const ArchiveSource source{.name = "the repository",
                             .open = [&]() -> Result<const Repository*> { return &repository; }};
  return archive_get(std::span(&source, 1), clock, options);
}

}  // namespace pgark
