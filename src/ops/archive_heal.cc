#include "ops/archive_heal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "catalog/wal_archive.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/archive_push.h"
#include "ops/verify_objects.h"
#include "ops/wal_survey.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using pg::WalSegment;

/// Longest history taken; a line a promotion.
constexpr uint64_t kHistoryBytesMax = 4u << 20;

/// A directory that goes with its content.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> create(const std::string& parent) {
    std::string path = parent + "/pgark-heal-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return errno_error(errno, fmt::format("make a directory in '{}'", parent));
    return TemporaryDirectory(std::move(path));
  }
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class Healer {
 public:
  Healer(const Repository& repository, Clock& clock, const CancelToken& cancel,
         std::vector<std::unique_ptr<WalSource>> sources, const ArchiveHealOptions& options, ClusterRecord cluster)
      : repository_(repository),
        clock_(clock),
        cancel_(cancel),
        sources_(std::move(sources)),
        options_(options),
        cluster_(cluster) {}

  Result<ArchiveHealResult> run() {
    TRY_ASSIGN(backups_, list_backups(repository_, options_.stanza));
    TRY_ASSIGN(const bool readable, heal_damaged_histories());
    if (!readable) return std::move(result_);
    TRY_ASSIGN(RepositoryWal wal, RepositoryWal::open(repository_, options_.stanza, cluster_));
    WalSurveyOptions survey;
    if (options_.verify) TRY(verify(wal, survey.damaged));
    TRY_ASSIGN(const WalCoverage coverage, survey_wal(repository_, options_.stanza, wal, backups_, survey));
    result_.needs_backup = coverage.needs_backup();
    collect(coverage);
    if (wanted_.empty() && wanted_histories_.empty()) return std::move(result_);
    TRY(prepare());
    for (const TimelineId timeline : wanted_histories_) TRY(heal_history(timeline, ""));
    for (const auto& [segment, damage] : wanted_) {
      TRY(cancel_.check());
      TRY(heal_segment(wal, segment, damage));
    }
    if (!options_.dry_run && !result_.healed.empty()) TRY(look_again(std::move(survey)));
    return std::move(result_);
  }

 private:
  /// What is there now decides whether a backup is needed, not what was pushed.
  Result<> look_again(WalSurveyOptions survey) {
    TRY_ASSIGN(RepositoryWal now, RepositoryWal::open(repository_, options_.stanza, cluster_));
    for (const HealedWal& healed : result_.healed) {
      if (const auto segment = pg::parse_segment_name(healed.name, cluster_.wal_segment_bytes)) {
        survey.damaged.erase(*segment);
      }
    }
    TRY_ASSIGN(const WalCoverage after, survey_wal(repository_, options_.stanza, now, backups_, survey));
    result_.needs_backup = after.needs_backup();
    return {};
  }

  /// Where the oldest backup begins: WAL before it is of no use to anyone.
  Lsn oldest_start() const {
    std::optional<Lsn> oldest;
    for (const ListedBackup& backup : backups_) {
      if (!backup.meta || backup.meta->cluster_number != cluster_.number) continue;
      oldest = std::min(oldest.value_or(backup.meta->start_lsn), backup.meta->start_lsn);
    }
    return oldest.value_or(Lsn{});
  }

  void collect(const WalCoverage& coverage) {
    const Lsn oldest = oldest_start();
    for (const TimelineCoverage& one : coverage.timelines) {
      if (one.history_missing) wanted_histories_.push_back(one.timeline);
      for (const CoverageGap& gap : one.gaps) {
        const auto first = pg::parse_segment_name(gap.first, cluster_.wal_segment_bytes);
        if (!first) continue;
        for (uint64_t i = 0; i < gap.count; ++i) {
          const WalSegment segment{first->timeline, first->number + i};
          if (pg::segment_end(segment, cluster_.wal_segment_bytes) > oldest) wanted_.emplace(segment, gap.damage);
        }
      }
    }
  }

  /// Read what is stored, whole. The last segment of a timeline may end early.
  Result<> verify(const RepositoryWal& wal, std::map<WalSegment, std::string>& damaged) {
    const Lsn oldest = oldest_start();
    for (const TimelineId timeline : wal.timelines()) {
      const auto numbers = wal.segments_of(timeline);
      for (const uint64_t number : numbers) {
        const WalSegment segment{timeline, number};
        if (pg::segment_end(segment, cluster_.wal_segment_bytes) <= oldest) continue;
        TRY(cancel_.check());
        TRY_ASSIGN(const std::string damage, damage_of(segment, number == numbers.back()));
        if (!damage.empty()) damaged.emplace(segment, damage);
        ++result_.verified_count;
      }
    }
    return {};
  }

  /// What keeps archive-get from serving a segment whole; empty if some copy is good.
  Result<std::string> damage_of(const WalSegment& segment, bool is_last) const {
    TRY_ASSIGN(SegmentCheck check,
               check_stored_segment(repository_, options_.stanza, cluster_, segment, is_last, options_.threads, false));
    return std::move(check.damage);
  }

  static std::string incomplete(const pg::WalIndex& index) {
    return fmt::format("its WAL ends at {}: {}", to_string(index.valid_to), index.end_reason);
  }

  Result<pg::WalIndex> index_of(const WalSegment& segment, Bytes content,
                                const pg::WalFragment* before = nullptr) const {
    const std::string name = pg::segment_name(segment, cluster_.wal_segment_bytes);
    TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
    TRY(check_archive_file(parsed, content, cluster_));
    return pg::make_wal_index(content, segment, before);
  }

  /// Without the histories nothing else can be judged. False: some cannot be read (dry_run: yet).
  Result<bool> heal_damaged_histories() {
    TRY_ASSIGN(const auto timelines, list_timeline_histories(repository_, options_.stanza, cluster_.number));
    std::map<TimelineId, std::string> damaged;
    for (const TimelineId timeline : timelines) {
      TRY_ASSIGN(std::string damage, history_damage(timeline));
      if (!damage.empty()) damaged.emplace(timeline, std::move(damage));
    }
    if (damaged.empty()) return true;
    TRY(prepare());
    for (const auto& [timeline, damage] : damaged) TRY(heal_history(timeline, damage));
    if (result_.missing_count == 0 && !options_.dry_run) return true;
    result_.warnings.emplace_back("segments were not looked at: that needs every timeline history");
    return false;
  }

  /// Why no copy of a history can be read; empty if one can.
  Result<std::string> history_damage(TimelineId timeline) const {
    const std::string name = pg::history_name(timeline);
    TRY_ASSIGN(const auto copies, find_wal_copies(repository_, options_.stanza, cluster_.number, name));
    std::string damage;
    for (const ObjectKey& key : copies) {
      const auto stored = read_stored_file(repository_, key, kHistoryBytesMax);
      if (!stored && stored.error().code() != Errc::kCorrupt) return Error(stored.error());
      if (stored) {
        const auto parsed = pg::parse_timeline_history(timeline, as_text(stored->raw));
        return parsed ? std::string() : parsed.error().message();
      }
      if (damage.empty()) damage = stored.error().message();
    }
    return damage;
  }

  Result<> prepare() {
    if (std::exchange(prepared_, true)) return {};
    open_sources();
    TRY_ASSIGN(temporary_, make_temporary());
    return {};
  }

  void open_sources() {
    std::erase_if(sources_, [&](const std::unique_ptr<WalSource>& source) {
      const auto opened = source->open(options_.stanza, cluster_);
      if (opened) return false;
      result_.warnings.push_back(fmt::format("{} was passed over: {}", source->describe(), opened.error().message()));
      log_detail("{}", result_.warnings.back());
      return true;
    });
  }

  Result<std::optional<TemporaryDirectory>> make_temporary() const {
    std::optional<TemporaryDirectory> made;
    if (options_.dry_run) return made;
    TRY_ASSIGN(TemporaryDirectory directory, TemporaryDirectory::create(options_.temporary_parent));
    made.emplace(std::move(directory));
    return made;
  }

  Result<> heal_history(TimelineId timeline, const std::string& damage) {
    const std::string name = pg::history_name(timeline);
    const auto check = [&](Bytes content) -> Result<> {
      TRY(pg::parse_timeline_history(timeline, as_text(content)));
      return {};
    };
    return heal(name, damage, kHistoryBytesMax, check);
  }

  Result<> heal_segment(RepositoryWal& wal, const WalSegment& segment, const std::string& damage) {
    // Read first: that the store fails says nothing against a copy found.
    TRY_ASSIGN(const Neighbours neighbours, read_neighbours(wal, segment));
    std::optional<pg::WalIndex> index;
    const auto check = [&](Bytes content) -> Result<> {
      TRY_ASSIGN(index, complete_index(segment, content, neighbours));
      return {};
    };
    const size_t healed_before = result_.healed.size();
    TRY(heal(pg::segment_name(segment, cluster_.wal_segment_bytes), damage, cluster_.wal_segment_bytes, check));
    if (result_.healed.size() > healed_before && index) last_healed_ = std::move(index);
    return {};
  }

  /// Take the file from the first place whose copy passes `check`.
  template <typename Check>
  Result<> heal(const std::string& name, const std::string& damage, uint64_t bytes_max, const Check& check) {
    std::vector<std::string> tried;
    for (const auto& source : sources_) {
      auto content = source->fetch(name, bytes_max);
      if (content && !*content) continue;
      if (!content) {
        if (content.error().code() == Errc::kCancelled) return Error(std::move(content).error());
        tried.push_back(fmt::format("{}: {}", source->describe(), content.error().message()));
        continue;
      }
      if (const auto checked = check(Bytes(**content)); !checked) {
        tried.push_back(fmt::format("{}: {}", source->describe(), checked.error().message()));
        continue;
      }
      TRY_ASSIGN(const std::optional<std::string> key, push(name, **content, *source, tried));
      if (!key) continue;
      log_info("{} {} from {}", options_.dry_run ? "could heal" : "healed", name, source->describe());
      result_.healed.push_back({name, source->describe(), damage, *key});
      return {};
    }
    ++result_.missing_count;
    if (result_.missing.size() < kUnhealedMax) result_.missing.push_back({name, damage, std::move(tried)});
    return {};
  }

  static Result<> write_temporary(const std::string& path, Bytes content) {
    TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY(file.write(content));
    return file.close();
  }

  /// The history of the segment's timeline as this place knows it: archive_push() refuses a timeline that has the
  /// number in common with the repository's and no more.
  Result<> put_history_beside(const std::string& name, WalSource& source) {
    const auto segment = pg::parse_segment_name(name, cluster_.wal_segment_bytes);
    if (!segment || segment->timeline.value <= 1) return {};
    const std::string history = pg::history_name(segment->timeline);
    const std::string path = temporary_->at(history);
    ::unlink(path.c_str());  // Of the place asked before.
    const auto content = source.fetch(history, kHistoryBytesMax);
    return content && *content ? write_temporary(path, **content) : Result<>{};
  }

  /// Key of the new copy; none if the archive refuses it. The bytes that were checked are pushed, not the file they
  /// came from, which may be recycled at any moment.
  Result<std::optional<std::string>> push(const std::string& name, Bytes content, WalSource& source,
                                          std::vector<std::string>& tried) {
    if (options_.dry_run) return std::optional<std::string>("");
    const std::string path = temporary_->at(name);
    TRY(write_temporary(path, content));
    TRY(put_history_beside(name, source));
    ArchivePushOptions options;
    options.stanza = options_.stanza;
    options.source_path = path;
    options.codec = options_.codec;
    options.level = options_.level;
    options.threads = options_.threads;
    options.host = options_.host;
    auto pushed = archive_push(repository_, clock_, options);
    ::unlink(path.c_str());
    if (pushed) return std::optional(pushed->key.value);
    // Other bytes are stored under the name, and whole: not for this command to decide which are right.
    if (pushed.error().code() != Errc::kInvalid && pushed.error().code() != Errc::kCorrupt) {
      return Error(std::move(pushed).error());
    }
    tried.push_back(fmt::format("{}: {}", source.describe(), pushed.error().message()));
    return std::optional<std::string>{};
  }

  /// Indexes of the segments before and behind, as far as they are there and good.
  struct Neighbours {
    std::optional<pg::WalIndex> before;
    std::optional<pg::WalIndex> after;
  };

  Result<Neighbours> read_neighbours(RepositoryWal& wal, const WalSegment& segment) const {
    Neighbours neighbours;
    const WalSegment after{segment.timeline, segment.number + 1};
    if (wal.has(after) && !wanted_.contains(after)) {
      TRY_ASSIGN(neighbours.after, good_index(wal, after));
    }
    if (segment.number == 0) return neighbours;
    if (last_healed_ && last_healed_->segment == WalSegment{segment.timeline, segment.number - 1}) {
      neighbours.before = last_healed_;
      return neighbours;
    }
    pg::TimelineHistory history(segment.timeline);
    for (const pg::TimelineHistory& known : wal.histories())
      if (known.timeline() == segment.timeline) history = known;
    const auto before = find_segment_on(wal, history, segment.number - 1);
    if (!before || wanted_.contains(*before)) return neighbours;
    TRY_ASSIGN(neighbours.before, good_index(wal, *before));
    return neighbours;
  }

  static Result<std::optional<pg::WalIndex>> good_index(RepositoryWal& wal, const WalSegment& segment) {
    auto index = wal.index(segment);
    if (index) return std::optional(std::move(*index));
    if (index.error().code() == Errc::kCorrupt) return std::optional<pg::WalIndex>{};
    return Error(std::move(index).error());
  }

  /// The index of a copy found, if it is whole and joins its neighbours.
  Result<pg::WalIndex> complete_index(const WalSegment& segment, Bytes content, const Neighbours& neighbours) const {
    TRY_ASSIGN(pg::WalIndex index, index_of(segment, content));
    if (!index.is_complete()) {
      return Error(Errc::kInvalid, incomplete(index) + ": it is damaged, or still being written");
    }
    const auto& before = neighbours.before;
    if (before && before->is_complete() && !before->continuation_reaches_end) {
      auto joined = pg::complete_wal_index(*before, index);
      if (!joined && joined.error().code() == Errc::kNotFound && before->fragment) {
        // A continuation too long to be kept in the index: read with it.
        TRY_ASSIGN(index, index_of(segment, content, &*before->fragment));
        joined = index.is_complete() ? Result<>{} : Result<>(Error(Errc::kCorrupt, incomplete(index)));
      }
      TRY_CTX(std::move(joined), "it does not join the segment before");
    }
    if (neighbours.after) {
      pg::WalIndex after = *neighbours.after;
      const auto joined = pg::complete_wal_index(index, after);
      // Too long a continuation to tell is no reason against it.
      if (!joined && joined.error().code() == Errc::kCorrupt) {
        return Error(joined.error()).with_context("it does not join the segment behind");
      }
    }
    return index;
  }

  const Repository& repository_;
  Clock& clock_;
  const CancelToken& cancel_;
  std::vector<std::unique_ptr<WalSource>> sources_;
  const ArchiveHealOptions& options_;
  const ClusterRecord cluster_;
  std::vector<ListedBackup> backups_;
  std::map<WalSegment, std::string> wanted_;  // And what is wrong with the stored copy.
  std::vector<TimelineId> wanted_histories_;
  std::optional<pg::WalIndex> last_healed_;  // Segments are healed in order: the one before is the last.
  bool prepared_ = false;
  std::optional<TemporaryDirectory> temporary_;
  ArchiveHealResult result_;
};

}  // namespace

Result<ArchiveHealResult> archive_heal(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                       std::vector<std::unique_ptr<WalSource>> sources,
                                       const ArchiveHealOptions& options) {
  TRY_ASSIGN_CTX(const ClusterRecord cluster, current_cluster(repository, options.stanza), "heal the archive");
  auto result = Healer(repository, clock, cancel, std::move(sources), options, cluster).run();
  if (!result) return Error(std::move(result).error()).with_context("heal the archive");
  return result;
}

}  // namespace pgark
