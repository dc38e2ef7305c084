#include "ops/wal_rate.h"

#include <algorithm>
#include <vector>

#include "pg/wal.h"

namespace pgark {
namespace {

constexpr auto kWindow = std::chrono::days(1);
/// A measurement shorter than this says nothing of a day.
constexpr auto kTellingMin = std::chrono::hours(1);
constexpr uint64_t kSampleMax = 16;

/// Asks the store when segments were stored and how large they are.
class SegmentTimes {
 public:
  SegmentTimes(const Repository& repository, const std::string& stanza, const RepositoryWal& wal)
      : repository_(repository), stanza_(stanza), wal_(wal) {}

  /// None if it is gone meanwhile.
  Result<std::optional<ObjectInfo>> look(const pg::WalSegment& segment) const {
    const std::string name = pg::segment_name(segment, wal_.segment_bytes());
    TRY_ASSIGN(const ObjectKey key, wal_key(stanza_, wal_.cluster().number, name));
    TRY_ASSIGN(auto info, repository_.store().stat(key));
    if (info) return info;
    TRY_ASSIGN(const auto copies, find_wal_copies(repository_, stanza_, wal_.cluster().number, name));
    if (copies.empty()) return std::optional<ObjectInfo>{};
    return repository_.store().stat(copies.back());
  }

  /// Index of the first of `numbers` that was stored at `since` or later.
  Result<size_t> first_since(TimelineId timeline, const std::vector<uint64_t>& numbers, Timestamp since) const {
    size_t low = 0;
    size_t high = numbers.size();
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      TRY_ASSIGN(const auto info, look({timeline, numbers[middle]}));
      if (info && info->modified >= since) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

 private:
  const Repository& repository_;
  const std::string& stanza_;
  const RepositoryWal& wal_;
};

std::optional<uint64_t> per_day(const WalRate& rate, uint64_t bytes_each) {
  if (rate.until - rate.since < kTellingMin) return std::nullopt;
  return static_cast<uint64_t>(static_cast<double>(rate.segment_count) * static_cast<double>(bytes_each) / rate.days());
}

}  // namespace

std::optional<uint64_t> WalRate::raw_bytes_per_day() const { return per_day(*this, segment_bytes); }
std::optional<uint64_t> WalRate::stored_bytes_per_day() const { return per_day(*this, stored_bytes_each); }

Result<std::optional<WalRate>> measure_wal_rate(const Repository& repository, const std::string& stanza,
                                                const RepositoryWal& wal, Timestamp now) {
  const SegmentTimes times(repository, stanza, wal);
  WalRate rate{.segment_bytes = wal.segment_bytes(), .until = now};
  const Timestamp since = now - kWindow;
  std::optional<Timestamp> oldest;
  uint64_t sample_count = 0;
  uint64_t sample_bytes = 0;
  for (const TimelineId timeline : wal.timelines()) {
    const std::vector<uint64_t> numbers = wal.segments_of(timeline);
    if (numbers.empty()) continue;
    rate.total_count += numbers.size();
    TRY_ASSIGN(const auto first, times.look({timeline, numbers.front()}));
    if (first && (!oldest || first->modified < *oldest)) oldest = first->modified;
    TRY_ASSIGN(const auto last, times.look({timeline, numbers.back()}));
    if (last) rate.newest = std::max(rate.newest, last->modified);
    TRY_ASSIGN(size_t begin, times.first_since(timeline, numbers, since));
    const uint64_t count = numbers.size() - begin;
    rate.segment_count += count;
    // The last ones stand for the day if none is of the day.
    if (count == 0) begin = numbers.size() - std::min<size_t>(numbers.size(), kSampleMax);
    const uint64_t step = std::max<uint64_t>(1, (numbers.size() - begin) / kSampleMax);
    for (size_t i = begin; i < numbers.size(); i += step) {
      TRY_ASSIGN(const auto info, times.look({timeline, numbers[i]}));
      if (!info) continue;
      ++sample_count;
      sample_bytes += info->bytes;
    }
  }
  if (rate.total_count == 0 || !oldest) return std::optional<WalRate>{};
  rate.oldest = *oldest;
  rate.since = std::clamp(*oldest, since, now);
  if (sample_count > 0) rate.stored_bytes_each = sample_bytes / sample_count;
  return std::optional(rate);
}

}  // namespace pgark
