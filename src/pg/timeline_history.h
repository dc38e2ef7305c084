// Timeline history files: where each timeline left its parent, and what follows from that.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "core/result.h"

namespace pgark::pg {

/// One line of a history file: WAL before `end` was written on `timeline`.
struct TimelineSwitch {
  TimelineId timeline;
  Lsn end;             // Where the next timeline begins.
  std::string reason;  // Free text; may be empty.
  bool operator==(const TimelineSwitch&) const = default;
};

/// A stretch of WAL on one timeline.
struct TimelineSpan {
  TimelineId timeline;
  Lsn begin;
  std::optional<Lsn> end;  // Absent for the newest timeline, which goes on.
  bool operator==(const TimelineSpan&) const = default;
};

/// The way from timeline 1 (or the oldest known) to one timeline.
class TimelineHistory {
 public:
  /// A timeline without ancestors.
  explicit TimelineHistory(TimelineId timeline) : timeline_(timeline) {}
  TimelineHistory(TimelineId timeline, std::vector<TimelineSwitch> ancestors)
      : timeline_(timeline), ancestors_(std::move(ancestors)) {}

  TimelineId timeline() const { return timeline_; }
  const std::vector<TimelineSwitch>& ancestors() const { return ancestors_; }  // Oldest first.
  std::optional<TimelineId> parent() const;
  /// Where this timeline begins; 0/0 without ancestors.
  Lsn begin() const { return ancestors_.empty() ? Lsn{} : ancestors_.back().end; }
  /// All stretches, oldest first; stretches of no length are left out, the newest never is.
  std::vector<TimelineSpan> spans() const;

  /// The timeline whose WAL holds the byte at `lsn`; a switch point belongs to the child.
  TimelineId owner_of(Lsn lsn) const;
  /// Where the part of `timeline` that belongs to this history ends; absent if it does not belong, or has no end
  /// because it is the newest.
  std::optional<Lsn> end_of(TimelineId timeline) const;
  bool contains(TimelineId timeline) const;
  /// True if a cluster at `lsn` on `timeline` can be recovered along this history: the position was not yet past the
  /// point where the history left that timeline.
  bool contains(TimelineId timeline, Lsn lsn) const;

  bool operator==(const TimelineHistory&) const = default;

 private:
  TimelineId timeline_;
  std::vector<TimelineSwitch> ancestors_;
};

/// Parse the content of `<timeline>.history`.
/// Errors: kCorrupt, naming the line, if a line is malformed, timelines do not increase, positions go back or reach
///         `timeline` itself.
/// Source: PostgreSQL src/backend/access/transam/timeline.c.
Result<TimelineHistory> parse_timeline_history(TimelineId timeline, std::string_view content);

/// Write a history as PostgreSQL does; empty for a timeline without ancestors, which has no file.
std::string format_timeline_history(const TimelineHistory& history);

}  // namespace pgark::pg
