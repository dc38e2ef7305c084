// Needs of backups along the tree of timelines.
#include "catalog/wal_need.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace pgark {
namespace {

/// "name" or "name.r3": the name and 3; none if what follows the name is something else.
std::optional<unsigned> take_generation(std::string_view& name) {
  const size_t at = name.rfind(".r");
  if (at == std::string_view::npos) return 0;
  const std::string_view digits = name.substr(at + 2);
  if (digits.empty() || digits.front() < '1' || digits.front() > '9') return 0;
  unsigned generation = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  if (status != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  name = name.substr(0, at);
  return generation;
}

std::optional<pg::WalSegment> segment_of(const pg::WalSegmentName& name, uint32_t wal_segment_bytes) {
  const auto parsed = pg::parse_segment_name(name.text(), wal_segment_bytes);
  return parsed ? std::optional(*parsed) : std::nullopt;
}

}  // namespace

Result<WalUser> wal_user(TimelineId start_timeline, TimelineId stop_timeline, Lsn start_lsn,
                         const std::string& wal_start, const std::string& wal_stop, uint32_t wal_segment_bytes) {
  const auto first = pg::parse_segment_name(wal_start, wal_segment_bytes);
  const auto last = pg::parse_segment_name(wal_stop, wal_segment_bytes);
  if (!first || !last || last->number < first->number)
    return Error(Errc::kCorrupt, "WAL of the backup cannot be from " + wal_start + " to " + wal_stop);
  return WalUser{start_timeline, stop_timeline, start_lsn, first->number, last->number, true};
}

WalNeed::WalNeed(std::vector<WalUser> users, std::vector<pg::TimelineHistory> histories)
    : users_(std::move(users)), histories_(std::move(histories)) {
  for (const WalUser& user : users_) {
    if (user.whole) {
      const auto [since, added] = whole_since_.try_emplace(user.start_timeline, user.first);
      if (!added) since->second = std::min(since->second, user.first);
    }
    if (user.start_timeline == user.stop_timeline)
      own_segments_[user.start_timeline].emplace_back(user.first, user.last);
    else if (user.start_timeline < user.stop_timeline)
      spanning_.push_back(user);
  }
  for (auto& [timeline, segments] : own_segments_) {
    std::sort(segments.begin(), segments.end());
    size_t used = 0;
    for (const auto& [first, last] : segments) {
      if (used > 0 && first <= segments[used - 1].second)
        segments[used - 1].second = std::max(segments[used - 1].second, last);
      else
        segments[used++] = {first, last};
    }
    segments.resize(used);
  }
  for (const pg::TimelineHistory& history : histories_)
    whole_from_.try_emplace(history.timeline(), find_whole_from(history.timeline()));
}

const pg::TimelineHistory* WalNeed::history_of(TimelineId timeline) const {
  const auto found = std::find_if(histories_.begin(), histories_.end(),
                                  [&](const pg::TimelineHistory& one) { return one.timeline() == timeline; });
  return found == histories_.end() ? nullptr : &*found;
}

bool WalNeed::leads_to(const WalUser& user, TimelineId timeline) const {
  if (user.start_timeline == timeline) return true;
  if (user.start_timeline > timeline) return false;
  const pg::TimelineHistory* const history = history_of(timeline);
  return history == nullptr || history->contains(user.start_timeline, user.start_lsn);
}

std::optional<uint64_t> WalNeed::find_whole_from(TimelineId timeline) const {
  const pg::TimelineHistory* const history = history_of(timeline);
  std::optional<uint64_t> from;
  for (const WalUser& user : users_) {
    if (!user.whole || user.start_timeline > timeline) continue;
    if (user.start_timeline == timeline || history == nullptr || history->contains(user.start_timeline, user.start_lsn))
      from = std::min(from.value_or(user.first), user.first);
  }
  return from;
}

std::optional<uint64_t> WalNeed::whole_from(TimelineId timeline) const {
  if (const auto known = whole_from_.find(timeline); known != whole_from_.end()) return known->second;
  // Without a history every earlier timeline leads to it.
  std::optional<uint64_t> from;
  for (const auto& [since, first] : whole_since_)
    if (since <= timeline) from = std::min(from.value_or(first), first);
  return from;
}

ExpiredWal WalNeed::expired() const {
  std::set<TimelineId> timelines;
  for (const WalUser& user : users_) timelines.insert(user.start_timeline);
  for (const pg::TimelineHistory& history : histories_) timelines.insert(history.timeline());
  ExpiredWal expired;
  for (const TimelineId timeline : timelines) {
    if (std::any_of(users_.begin(), users_.end(),
                    [&](const WalUser& user) { return !user.whole && leads_to(user, timeline); }))
      expired[timeline] = whole_from(timeline);
  }
  return expired;
}

bool WalNeed::needs(TimelineId timeline, uint64_t first, uint64_t last) const {
  if (const auto from = whole_from(timeline); from && last >= *from) return true;
  if (const auto own = own_segments_.find(timeline); own != own_segments_.end()) {
    const auto& segments = own->second;
    const auto at =
        std::partition_point(segments.begin(), segments.end(), [&](const auto& one) { return one.second < first; });
    if (at != segments.end() && at->first <= last) return true;
  }
  return std::any_of(spanning_.begin(), spanning_.end(), [&](const WalUser& user) {
    return user.start_timeline <= timeline && timeline <= user.stop_timeline && first <= user.last &&
           last >= user.first;
  });
}

std::optional<ArchivedWal> parse_archived_wal(std::string_view below, uint32_t wal_segment_bytes) {
  using Kind = ArchivedWal::Kind;
  std::string_view name = below.substr(below.rfind('/') + 1);
  const std::string_view directory = below.substr(0, below.size() - name.size());
  ArchivedWal out;
  const auto generation = take_generation(name);
  if (!generation) return std::nullopt;
  out.generation = *generation;
  const auto parsed = pg::parse_wal_file_name(name);
  if (!parsed) return std::nullopt;
  if (const auto* history = std::get_if<pg::WalHistoryName>(&*parsed)) {
    if (!directory.empty()) return std::nullopt;
    out.kind = Kind::kHistory;
    out.segment.timeline = history->timeline;
    return out;
  }
  std::optional<pg::WalSegment> segment;
  if (const auto* whole = std::get_if<pg::WalSegmentName>(&*parsed)) {
    segment = segment_of(*whole, wal_segment_bytes);
    if (directory == "dropped/") {
      out.kind = Kind::kDropped;
    } else if (directory != std::string(name.substr(0, 8)) + "/" + std::string(name.substr(8, 8)) + "/") {
      return std::nullopt;
    }
  } else {
    if (!directory.empty()) return std::nullopt;
    const auto* partial = std::get_if<pg::WalPartialName>(&*parsed);
    out.kind = partial != nullptr ? Kind::kPartial : Kind::kBackup;
    segment = segment_of(partial != nullptr ? partial->segment : std::get<pg::WalBackupName>(*parsed).segment,
                         wal_segment_bytes);
  }
  if (!segment) return std::nullopt;
  out.segment = *segment;
  return out;
}

}  // namespace pgark
