// How fast WAL arrives in a repository and how much room it takes, from the times and sizes of a few stored segments.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "catalog/wal_archive.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct WalRate {
  uint32_t segment_bytes = 0;
  uint64_t total_count = 0;  // Segments of all timelines.
  Timestamp newest{};        // When the last of them was stored.
  Timestamp oldest{};
  Timestamp since{};  // Of the measurement: a day before `until`, or later if the archive is younger.
  Timestamp until{};
  uint64_t segment_count = 0;      // Stored in that time.
  uint64_t stored_bytes_each = 0;  // Mean of a sample of these: what one takes in the repository.

  /// Length of the measurement in days.
  double days() const { return std::chrono::duration<double, std::ratio<86400>>(until - since).count(); }
  /// WAL of a day, as the server wrote it and as stored; none if the measurement is too short to tell.
  std::optional<uint64_t> raw_bytes_per_day() const;
  std::optional<uint64_t> stored_bytes_per_day() const;
};

/// Measure over the last day.
/// Shape:  none if there is no segment. The segments of that day are found by bisection, as the times of a timeline's
///         segments rise with few exceptions; so a handful of objects is asked for, whatever the size of the archive.
/// Errors: of the store.
Result<std::optional<WalRate>> measure_wal_rate(const Repository& repository, const std::string& stanza,
                                                const RepositoryWal& wal, Timestamp now);

}  // namespace pgark
