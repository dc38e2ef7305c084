#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <thread>

#include "cli/output.h"
#include "core/log.h"
#include "core/thread_annotations.h"

namespace pgark {
namespace {

using Steady = std::chrono::steady_clock;

double seconds_of(Steady::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string rate_text(double bytes_per_second) {
  return format_size(static_cast<uint64_t>(std::max(0.0, bytes_per_second))) + "/s";
}

std::string left_text(const ProgressSample& sample, double bytes_per_second) {
  if (bytes_per_second < 1 || sample.bytes_done >= sample.bytes_total) return "";
  const double seconds = static_cast<double>(sample.bytes_total - sample.bytes_done) / bytes_per_second;
  // Past a month it is a guess nobody can use.
  if (seconds > 30 * 86400.0) return "";
  return format_duration(std::chrono::microseconds(static_cast<int64_t>(std::ceil(seconds)) * 1'000'000)) + " left";
}

size_t terminal_width(int fd) {
  struct winsize size {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

/// Rate over the last seconds, so that "time left" follows what happens now.
class RateMeter {
 public:
  double feed(const ProgressSample& sample) {
    samples_.emplace_back(sample.elapsed, sample.bytes_done);
    while (samples_.size() > 2 && sample.elapsed - samples_.front().first > std::chrono::seconds(10))
      samples_.pop_front();
    const double seconds = seconds_of(samples_.back().first - samples_.front().first);
    if (seconds <= 0 || samples_.back().second < samples_.front().second) return 0;
    return static_cast<double>(samples_.back().second - samples_.front().second) / seconds;
  }

 private:
  std::deque<std::pair<Steady::duration, uint64_t>> samples_;
};

}  // namespace

std::string render_progress_bar(const ProgressSample& sample, double bytes_per_second, size_t width) {
  std::string head = sample.phase;
  std::string tail;
  double share = 0;
  if (sample.bytes_total > 0) {
    share = std::min(1.0, static_cast<double>(sample.bytes_done) / static_cast<double>(sample.bytes_total));
    tail = fmt::format("{:3}% {}/{} {}", static_cast<int>(share * 100), format_size(sample.bytes_done),
                       format_size(sample.bytes_total), rate_text(bytes_per_second));
    if (const std::string left = left_text(sample, bytes_per_second); !left.empty()) tail += " " + left;
  } else if (sample.bytes_done > 0) {
    tail = fmt::format("{} {}", format_size(sample.bytes_done), rate_text(bytes_per_second));
  } else {
    tail = format_duration(std::chrono::duration_cast<std::chrono::microseconds>(sample.elapsed));
  }
  std::string line = head + " ";
  const size_t used = display_width(line) + display_width(tail) + 3;
  if (sample.bytes_total > 0 && used + 10 <= width) {
    const size_t cells = std::min<size_t>(30, width - used);
    const auto full = static_cast<size_t>(share * static_cast<double>(cells));
    line += "[" + std::string(full, '#') + std::string(cells - full, '.') + "] ";
  }
  line += tail;
  if (line.size() > width) line.resize(width);
  return line;
}

std::optional<std::string> ProgressLines::feed(const ProgressSample& sample) {
  const uint64_t tenths =
      sample.bytes_total == 0
          ? 0
          : std::min<uint64_t>(10, static_cast<uint64_t>(10.0 * static_cast<double>(sample.bytes_done) /
                                                         static_cast<double>(sample.bytes_total)));
  const bool new_phase = sample.phase != phase_;
  const bool new_tenth = tenths > tenths_;
  const bool long_ago = sample.elapsed - last_ >= std::chrono::seconds(60);
  if (!new_phase && !new_tenth && !long_ago) return std::nullopt;
  phase_ = sample.phase;
  tenths_ = tenths;
  last_ = sample.elapsed;
  if (sample.bytes_total == 0) return phase_.empty() ? std::nullopt : std::optional(phase_);
  const double seconds = seconds_of(sample.elapsed);
  const double rate = seconds > 0 ? static_cast<double>(sample.bytes_done) / seconds : 0;
  const std::string left = left_text(sample, rate);
  return fmt::format(
      "{}: {}%, {} of {}, {}{}{}", phase_,
      static_cast<int>(100.0 * static_cast<double>(sample.bytes_done) / static_cast<double>(sample.bytes_total)),
      format_size(sample.bytes_done), format_size(sample.bytes_total), rate_text(rate), left.empty() ? "" : ", ", left);
}

class ProgressDisplay::Impl {
 public:
  Impl(bool bar, const Progress& progress, Clock& clock)
      : bar_(bar), progress_(progress), clock_(clock), began_(clock.steady()) {
    if (bar_) set_log_console_hook(clear);
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    {
      const MutexLock lock(mu_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
    if (!bar_) return;
    set_log_console_hook({});
    clear();
  }

 private:
  ProgressSample sample() const {
    ProgressSample now;
    now.elapsed = clock_.steady() - began_;
    now.bytes_done = progress_.bytes_done;
    now.bytes_total = progress_.bytes_total;
    now.phase = progress_.phase.load();
    return now;
  }

  void run() {
    MutexLock lock(mu_);
    while (!stop_) {
      // Unlocked: logging calls clear(), and a slow terminal must not hold up the destructor's signal.
      lock.unlock();
      show();
      lock.lock();
      if (!stop_) changed_.wait_for(mu_, std::chrono::milliseconds(bar_ ? 200 : 1000));
    }
  }

  void show() {
    const ProgressSample now = sample();
    if (bar_) {
      const std::string line =
          "\r" + render_progress_bar(now, meter_.feed(now), terminal_width(STDERR_FILENO) - 1) + "\033[K";
      (void)!::write(STDERR_FILENO, line.data(), line.size());
    } else if (const auto line = lines_.feed(now)) {
      log_detail("{}", *line);
    }
  }

  static void clear() {
    constexpr std::string_view kClear = "\r\033[K";
    (void)!::write(STDERR_FILENO, kClear.data(), kClear.size());
  }

  const bool bar_;
  const Progress& progress_;
  Clock& clock_;
  const Steady::time_point began_;
  RateMeter meter_;
  ProgressLines lines_;
  Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

ProgressDisplay::ProgressDisplay(const Settings& settings, const Progress& progress, Clock& clock) {
  const bool bar = settings.has("progress") ? settings.boolean("progress") : ::isatty(STDERR_FILENO) == 1;
  impl_ = std::make_unique<Impl>(bar, progress, clock);
}

ProgressDisplay::~ProgressDisplay() = default;

}  // namespace pgark
