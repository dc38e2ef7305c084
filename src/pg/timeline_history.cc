// Timeline history files.
#include "pg/timeline_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pgark::pg {
namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";

void skip_blanks(std::string_view& text) { text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size())); }

/// Cut the next word, up to a blank, off the front of `text`.
std::string_view take_word(std::string_view& text) {
  skip_blanks(text);
  const std::string_view word = text.substr(0, std::min(text.find_first_of(kBlanks), text.size()));
  text.remove_prefix(word.size());
  return word;
}

Result<TimelineSwitch> parse_line(std::string_view line) {
  const std::string_view timeline_text = take_word(line);
  uint32_t timeline = 0;
  const char* last = timeline_text.data() + timeline_text.size();
  const auto [end, error] = std::from_chars(timeline_text.data(), last, timeline);
  if (error != std::errc{} || end != last || timeline == 0)
    return Error(Errc::kCorrupt, fmt::format("'{}' is not a timeline", timeline_text.substr(0, 40)));
  const auto position = parse_lsn(take_word(line));
  if (!position) return Error(Errc::kCorrupt, position.error().message());
  skip_blanks(line);
  return TimelineSwitch{.timeline = {timeline}, .end = *position, .reason = std::string(line)};
}

}  // namespace

std::optional<TimelineId> TimelineHistory::parent() const {
  if (ancestors_.empty()) return std::nullopt;
  return ancestors_.back().timeline;
}

std::vector<TimelineSpan> TimelineHistory::spans() const {
  std::vector<TimelineSpan> out;
  Lsn begin;
  for (const TimelineSwitch& s : ancestors_) {
    if (s.end > begin) out.push_back({.timeline = s.timeline, .begin = begin, .end = s.end});
    begin = s.end;
  }
  out.push_back({.timeline = timeline_, .begin = begin, .end = std::nullopt});
  return out;
}

TimelineId TimelineHistory::owner_of(Lsn lsn) const {
  const auto after = std::ranges::upper_bound(ancestors_, lsn, {}, &TimelineSwitch::end);
  return after == ancestors_.end() ? timeline_ : after->timeline;
}

std::optional<Lsn> TimelineHistory::end_of(TimelineId timeline) const {
  const auto found = std::ranges::find(ancestors_, timeline, &TimelineSwitch::timeline);
  if (found == ancestors_.end()) return std::nullopt;
  return found->end;
}

bool TimelineHistory::contains(TimelineId timeline) const {
  return timeline == timeline_ || end_of(timeline).has_value();
}

bool TimelineHistory::contains(TimelineId timeline, Lsn lsn) const {
  if (timeline == timeline_) return true;
  const auto end = end_of(timeline);
  return end && lsn <= *end;
}

Result<TimelineHistory> parse_timeline_history(TimelineId timeline, std::string_view content) {
  std::vector<TimelineSwitch> ancestors;
  size_t line_number = 0;
  const auto fail = [&](const std::string& message) {
    return Error(Errc::kCorrupt,
                 fmt::format("parse history of timeline {}: line {}: {}", timeline.value, line_number, message));
  };
  while (!content.empty()) {
    const size_t line_end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, line_end);
    content.remove_prefix(std::min(line_end + 1, content.size()));
    ++line_number;
    while (line.ends_with('\r')) line.remove_suffix(1);
    skip_blanks(line);
    if (line.empty() || line.front() == '#') continue;
    auto parsed = parse_line(line);
    if (!parsed) return fail(parsed.error().message());
    if (parsed->timeline >= timeline)
      return fail(fmt::format("timeline {} cannot be an ancestor of {}", parsed->timeline.value, timeline.value));
    if (!ancestors.empty() && parsed->timeline <= ancestors.back().timeline)
      return fail(fmt::format("timeline {} follows {}", parsed->timeline.value, ancestors.back().timeline.value));
    if (!ancestors.empty() && parsed->end < ancestors.back().end)
      return fail(fmt::format("position {} follows {}", to_string(parsed->end), to_string(ancestors.back().end)));
    ancestors.push_back(std::move(*parsed));
  }
  return TimelineHistory(timeline, std::move(ancestors));
}

std::string format_timeline_history(const TimelineHistory& history) {
  std::string out;
  for (const TimelineSwitch& s : history.ancestors()) {
    // PostgreSQL copies the parent's file and adds an empty line before its own.
    if (!out.empty()) out += '\n';
    out += fmt::format("{}\t{}\t{}\n", s.timeline.value, to_string(s.end), s.reason);
  }
  return out;
}

}  // namespace pgark::pg
