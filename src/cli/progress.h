// Display of a core Progress: a bar with rate and time left on a terminal, log lines at intervals otherwise.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "cli/settings.h"
#include "core/clock.h"
#include "core/progress.h"

namespace pgark {

/// Shows `progress` from a thread of its own until destroyed. The option `progress` decides: y, n, or by default a bar
/// if standard error is a terminal. Without a bar: a line at detail level for every 10 % and at least every 60 s.
class ProgressDisplay {
 public:
  ProgressDisplay(const Settings& settings, const Progress& progress, Clock& clock);
  ~ProgressDisplay();  // Clears the bar.
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// What was seen of a Progress at one moment.
struct ProgressSample {
  std::chrono::steady_clock::duration elapsed{};
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  std::string phase;
};

/// "copy files [#######.....]  58% 1.2GB/2.1GB 310MB/s 3s left", not longer than `width` cells.
std::string render_progress_bar(const ProgressSample& sample, double bytes_per_second, size_t width);

/// Decides which samples become log lines.
class ProgressLines {
 public:
  /// The line to log, if this sample calls for one.
  std::optional<std::string> feed(const ProgressSample& sample);

 private:
  std::string phase_;
  uint64_t tenths_ = 0;
  std::chrono::steady_clock::duration last_{};
};

}  // namespace pgark
