#include "cli/table_progress.h"

#include <fmt/format.h>

#include "cli/output.h"
#include "core/log.h"

namespace pgark {
namespace {

constexpr size_t kPhasesMax = 10'000;  // Texts a display may still be reading live as long as this.

}  // namespace

TableProgress::TableProgress(DumpProgress& progress, const TableWords& words) : progress_(progress), words_(words) {
  progress_.on_table = [this](const std::string& what, uint64_t bytes, bool ended) { tell(what, bytes, ended); };
}

TableProgress::~TableProgress() { progress_.totals.phase = words_.verb; }

void TableProgress::tell(const std::string& what, uint64_t bytes, bool ended) {
  const uint64_t total = progress_.totals.bytes_total;
  const double share = total == 0 ? 0 : 100.0 * static_cast<double>(bytes) / static_cast<double>(total);
  log_detail("{} {}, {} ({:.1f} % of all)", ended ? words_.done : words_.doing, what, format_size(bytes), share);
  const MutexLock lock(mu_);
  if (ended || phases_.size() >= kPhasesMax) return;
  phases_.push_back(fmt::format("{} {} {} ({:.0f}%)", words_.verb, what, format_size(bytes), share));
  progress_.totals.phase = phases_.back().c_str();
}

}  // namespace pgark
