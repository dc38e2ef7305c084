// Histories of two places compared.
#include "ops/push_fork.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "catalog/wal.h"
#include "core/log.h"
#include "pg/timeline_history.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// "timeline 1 at 0/5000110 (no recovery target specified)", or what is wrong with the history.
std::string fork_point(TimelineId timeline, Bytes content) {
  const auto history = pg::parse_timeline_history(timeline, as_text(content));
  if (!history) return fmt::format("an unreadable place ({})", history.error().message());
  if (history->ancestors().empty()) return "no other timeline";
  const pg::TimelineSwitch& last = history->ancestors().back();
  return fmt::format("timeline {} at {}{}", last.timeline.value, to_string(last.end),
                     last.reason.empty() ? "" : fmt::format(" ({})", last.reason));
}

/// First copy that is not damaged; no value if a listing proves that there is none.
Result<std::optional<Buffer>> read_stored_history(const Repository& repository, const std::string& stanza,
                                                  unsigned cluster_number, const std::string& name) {
  TRY_ASSIGN(const ObjectKey first, wal_key(stanza, cluster_number, name));
  auto stored = read_stored_file(repository, first);
  if (stored) return std::optional<Buffer>(std::move(stored->raw));
  if (stored.error().code() == Errc::kNotFound) return std::optional<Buffer>();
  if (stored.error().code() != Errc::kCorrupt) return Error(std::move(stored).error());
  Error damage = std::move(stored).error();
  TRY_ASSIGN(const auto copies, find_wal_copies(repository, stanza, cluster_number, name));
  for (const ObjectKey& key : copies) {
    if (key == first) continue;
    auto copy = read_stored_file(repository, key);
    if (copy) return std::optional<Buffer>(std::move(copy->raw));
    if (copy.error().code() != Errc::kCorrupt) return Error(std::move(copy).error());
  }
  log_warn("the stored history of a timeline is damaged: {}", damage.message());
  return std::optional<Buffer>();  // A push of it stores a good copy beside the damaged one.
}

}  // namespace

Error forked_timeline(TimelineId timeline, Bytes local, Bytes stored, const std::string& stanza,
                      const std::string& repository) {
  return Error(Errc::kInvalid,
               fmt::format("timeline {} of this cluster left {}, but timeline {} in {} left {}: they are different "
                           "timelines of the same number, and only the stored one is kept",
                           timeline.value, fork_point(timeline, local), timeline.value, repository,
                           fork_point(timeline, stored)))
      .with_hint(fmt::format(
          "two clusters archive to stanza {}: give this one a stanza of its own (stanza-create with another "
          "--stanza), or set archive_mode=off if it is a copy that needs no backups",
          stanza));
}

Result<ForkGuard::Verdict> ForkGuard::check(TimelineId timeline, const std::string& wal_directory) {
  if (timeline.value <= 1) return Verdict::kSame;
  const std::string name = pg::history_name(timeline);
  const std::string path = fmt::format("{}/{}", wal_directory, name);
  const auto identity = file_identity(path);
  if (!identity && identity.error().code() != Errc::kNotFound) return Error(identity.error());
  if (identity) {
    MutexLock lock(mu_);
    const auto known = same_.find(timeline);
    if (known != same_.end() && known->second == *identity) return Verdict::kSame;
  }
  TRY_ASSIGN_CTX(const auto stored, read_stored_history(*repository_, stanza_, cluster_.number, name),
                 "compare history of timeline " + std::to_string(timeline.value));
  if (!identity && stored) {
    // A file pushed by hand from elsewhere: its bytes still have to agree with what is stored.
    log_detail("'{}' does not exist: timeline {} is taken for the one in {}", path, timeline.value,
               repository_->store().describe());
    return Verdict::kSame;
  }
  if (!identity) {
    return Error(Errc::kInvalid, fmt::format("there is no history of timeline {}: neither '{}' nor in {}",
                                             timeline.value, path, repository_->store().describe()))
        .with_hint(fmt::format("without it nothing on timeline {} can be recovered: find {} on the host that was "
                               "promoted, and push it first",
                               timeline.value, name));
  }
  if (!stored) return Verdict::kAbsent;
  TRY_ASSIGN(const PushSource local, read_push_source(path));
  const bool same = std::ranges::equal(local.content.bytes(), stored->bytes());
  if (!same) {
    return forked_timeline(timeline, local.content, *stored, stanza_, repository_->store().describe());
  }
  MutexLock lock(mu_);
  same_[timeline] = local.identity;
  return Verdict::kSame;
}

}  // namespace pgark
