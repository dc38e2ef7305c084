// WAL of a repository by content, and the way recovery takes through its
// timelines.
#include "catalog/wal_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// Longest history file that is read: it grows by a line a promotion.
constexpr uint64_t kHistoryBytesMax = 4u << 20;

/// Try the copies of a WAL file in turn, the first without asking for a
/// listing; damaged ones are passed over. Shape:  `use` takes a key. Errors:
/// kNotFound if there is none; the last kCorrupt if none can be used; any other
/// error of `use` at once.
template <typename Use>
auto from_copies(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                 const std::string& name, Use use) -> decltype(use(std::declval<const ObjectKey&>())) {
  TRY_ASSIGN(const ObjectKey first, wal_key(stanza, cluster_number, name));
  auto got = use(first);
  if (got || (got.error().code() != Errc::kCorrupt && got.error().code() != Errc::kNotFound)) return got;
  TRY_ASSIGN(const auto keys, find_wal_copies(repository, stanza, cluster_number, name));
  for (const ObjectKey& key : keys) {
    if (key == first) continue;
    auto other = use(key);
    if (other || (other.error().code() != Errc::kCorrupt && other.error().code() != Errc::kNotFound)) return other;
    if (other.error().code() == Errc::kCorrupt) got = std::move(other);  // One that went meanwhile says nothing.
  }
  return got;
}

Result<pg::TimelineHistory> read_history(const Repository& repository, const std::string& stanza,
                                         unsigned cluster_number, TimelineId timeline) {
  return from_copies(repository, stanza, cluster_number, pg::history_name(timeline),
                     [&](const ObjectKey& key) -> Result<pg::TimelineHistory> {
                       TRY_ASSIGN(const StoredFile file, read_stored_file(repository, key, kHistoryBytesMax));
                       TRY_ASSIGN_CTX(auto history, pg::parse_timeline_history(timeline, as_text(file.raw)), key.value);
                       return history;
                     });
}

/// The timeline of the history that had begun last by the end of a segment.
TimelineId newest_begun(const pg::TimelineHistory& history, uint64_t number, uint32_t segment_bytes) {
  const Lsn last_byte{(number + 1) * segment_bytes - 1};
  return history.owner_of(last_byte);
}

}  // namespace

Result<RepositoryWal> RepositoryWal::open(const Repository& repository, std::string stanza,
                                          const ClusterRecord& cluster) {
  TRY_ASSIGN(const auto names, list_wal_segments(repository, stanza, cluster.number, std::nullopt));
  return open(repository, std::move(stanza), cluster, names);
}

Result<RepositoryWal> RepositoryWal::open(const Repository& repository, std::string stanza,
                                          const ClusterRecord& cluster, const std::vector<std::string>& names) {
  RepositoryWal wal(repository, std::move(stanza), cluster);
  for (const std::string& name : names) {
    const auto segment = pg::parse_segment_name(name, cluster.wal_segment_bytes);
    if (segment) wal.segments_[segment->timeline].push_back(segment->number);
  }
  for (auto& [timeline, numbers] : wal.segments_) std::ranges::sort(numbers);
  TRY_ASSIGN(const auto timelines, list_timeline_histories(repository, wal.stanza_, cluster.number));
  for (const TimelineId timeline : timelines) {
    TRY_ASSIGN_CTX(pg::TimelineHistory history, read_history(repository, wal.stanza_, cluster.number, timeline),
                   "read " + pg::history_name(timeline));
    wal.histories_.push_back(std::move(history));
  }
  return wal;
}

bool RepositoryWal::has(const pg::WalSegment& segment) const {
  const auto found = segments_.find(segment.timeline);
  return found != segments_.end() && std::ranges::binary_search(found->second, segment.number);
}

std::vector<uint64_t> RepositoryWal::segments_of(TimelineId timeline) const {
  const auto found = segments_.find(timeline);
  return found == segments_.end() ? std::vector<uint64_t>{} : found->second;
}

std::vector<TimelineId> RepositoryWal::timelines() const {
  std::vector<TimelineId> out;
  for (const auto& [timeline, numbers] : segments_) out.push_back(timeline);
  return out;
}

Result<Buffer> RepositoryWal::read_segment(const pg::WalSegment& segment) const {
  const std::string name = pg::segment_name(segment, cluster_.wal_segment_bytes);
  return from_copies(*repository_, stanza_, cluster_.number, name, [&](const ObjectKey& key) -> Result<Buffer> {
    TRY_ASSIGN(StoredFile file, read_stored_file(*repository_, key, cluster_.wal_segment_bytes));
    TRY_CTX(pg::check_segment(file.raw, {.segment = segment,
                                         .segment_bytes = cluster_.wal_segment_bytes,
                                         .system_id = cluster_.system_identifier,
                                         .major = pg::PgMajor{cluster_.pg_major}}),
            "check " + key.value);
    return std::move(file.raw);
  });
}

Result<std::optional<pg::WalIndex>> RepositoryWal::read_index(const pg::WalSegment& segment) const {
  const std::string name = pg::segment_name(segment, cluster_.wal_segment_bytes);
  return from_copies(*repository_, stanza_, cluster_.number, name,
                     [&](const ObjectKey& key) -> Result<std::optional<pg::WalIndex>> {
                       TRY_ASSIGN(const auto raw, read_stored_index(*repository_, key));
                       if (!raw) return std::optional<pg::WalIndex>{};
                       auto index = pg::decode_wal_index(*raw);
                       // Written by another version of pgark: what the segment contains is in
                       // the segment.
                       if (!index && index.error().code() == Errc::kUnsupported) return std::optional<pg::WalIndex>{};
                       if (!index) return Error(std::move(index).error()).with_context("read " + key.value);
                       if (index->segment != segment || index->segment_bytes != cluster_.wal_segment_bytes ||
                           index->system_id != cluster_.system_identifier)
                         return Error(Errc::kCorrupt, "read " + key.value + ": its index is of another segment");
                       return std::optional<pg::WalIndex>{std::move(*index)};
                     });
}

Result<pg::WalIndex> RepositoryWal::index(const pg::WalSegment& segment, const pg::WalIndex* before) {
  const std::string context =
      fmt::format("read index of segment {}", pg::segment_name(segment, cluster_.wal_segment_bytes));
  auto stored = read_index(segment);
  if (!stored && stored.error().code() != Errc::kCorrupt) return Error(std::move(stored).error()).with_context(context);
  if (!stored) log_warn("{}: it is made from the segment instead", stored.error().message());
  std::optional<pg::WalIndex> index;
  if (stored) index = std::move(*stored);
  const auto make = [&](const pg::WalFragment* fragment) -> Result<> {
    TRY_ASSIGN(const Buffer content, read_segment(segment));
    TRY_ASSIGN(index, pg::make_wal_index(content, segment, fragment));
    return {};
  };
  if (!index) TRY_CTX(make(nullptr), context);
  if (before == nullptr) return std::move(*index);
  auto completed = pg::complete_wal_index(*before, *index);
  if (!completed && completed.error().code() == Errc::kNotFound) {
    // More of a record goes on in it than its index holds.
    TRY_CTX(make(&*before->fragment), context);
    completed = pg::complete_wal_index(*before, *index);
  }
  if (!completed) return Error(std::move(completed).error()).with_context(context);
  return std::move(*index);
}

Result<std::vector<pg::WalTransactionEnd>> RepositoryWal::transaction_ends(const pg::WalSegment& segment,
                                                                           const pg::WalIndex* before) {
  const std::string context =
      fmt::format("read transactions of segment {}", pg::segment_name(segment, cluster_.wal_segment_bytes));
  TRY_ASSIGN_CTX(const Buffer content, read_segment(segment), context);
  const pg::WalFragment* fragment = before != nullptr && before->fragment ? &*before->fragment : nullptr;
  TRY_ASSIGN_CTX(auto ends, pg::read_transaction_ends(content, segment, fragment), context);
  return ends;
}

std::optional<pg::WalSegment> find_segment_on(const WalCatalog& wal, const pg::TimelineHistory& history,
                                              uint64_t number) {
  const auto spans = history.spans();
  const Lsn start{number * wal.segment_bytes()};
  const Lsn end{(number + 1) * wal.segment_bytes()};
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    // A timeline that begins in a segment has a copy of it, with the parent's
    // WAL up to there.
    if (span->begin >= end) continue;
    // What a timeline went on to write after the history left it is another way.
    if (span->end && *span->end <= start) continue;
    const pg::WalSegment segment{span->timeline, number};
    if (wal.has(segment)) return segment;
  }
  return std::nullopt;
}

WalWalk::WalWalk(WalCatalog& wal, pg::TimelineHistory history, Lsn begin)
    : wal_(&wal), history_(std::move(history)), next_number_(begin.bytes / wal.segment_bytes()) {
  segment_ = {newest_begun(history_, next_number_, wal.segment_bytes()), next_number_};
}

Result<std::optional<pg::WalIndex>> WalWalk::next() {
  const TimelineId wanted = newest_begun(history_, next_number_, wal_->segment_bytes());
  if (current_) {
    // An ancestor's segment stood in for one that is missing: WAL of this
    // history ends in it.
    const TimelineId due = newest_begun(history_, current_->segment.number, wal_->segment_bytes());
    if (current_->segment.timeline != due) {
      segment_ = {due, current_->segment.number};
      return std::optional<pg::WalIndex>{};
    }
  }
  const auto found = find_segment_on(*wal_, history_, next_number_);
  segment_ = found.value_or(pg::WalSegment{wanted, next_number_});
  if (!found) return std::optional<pg::WalIndex>{};
  TRY_ASSIGN(pg::WalIndex index, wal_->index(*found, current_ ? &*current_ : nullptr));
  ++next_number_;
  before_ = std::exchange(current_, std::move(index));
  return current_;
}

}  // namespace pgark
