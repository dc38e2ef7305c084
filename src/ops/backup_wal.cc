// Looking for segments in repositories, bringing those that do not come, and giving up in words that help.
#include "ops/backup_wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "catalog/wal.h"
#include "core/log.h"
#include "ops/archive_push.h"

namespace pgark {
namespace {

// A look at a directory costs nothing, and a segment is archived in some 20 ms if nothing is in its way.
constexpr std::chrono::milliseconds kPollFirst{2};
constexpr std::chrono::milliseconds kPollMax{1000};
// A backup that is shorter has its own WAL to wait for before anything is known of that before it.
constexpr std::chrono::milliseconds kCheckAfter{1000};
// What comes by itself is there by then.
constexpr std::chrono::milliseconds kBringAfter{1500};

/// What the archiver says of itself, for an error text.
std::string archiver_state(PgSession& session) {
  const auto rows = session.query(
      "SELECT coalesce(last_archived_wal, 'none'), coalesce(last_archived_time::text, 'never'), "
      "coalesce(last_failed_wal, 'none'), coalesce(last_failed_time::text, 'never'), failed_count FROM "
      "pg_stat_archiver");
  if (!rows.has_value() || rows->size() != 1 || rows->front().size() != 5) return "the archiver's state is not known";
  const PgRow& row = rows->front();
  return fmt::format("the server last archived {} at {}, and last failed with {} at {} ({} failures)", *row[0], *row[1],
                     *row[2], *row[3], row[4].value_or("?"));
}

}  // namespace

SegmentArrival::SegmentArrival(ArchiveWait wait, std::vector<std::string> segments, PgSession* session)
    : wait_(std::move(wait)),
      segments_(std::move(segments)),
      session_(session),
      deadline_(wait_.clock.steady() + wait_.timeout),
      bring_from_(wait_.clock.steady() + kBringAfter),
      next_look_(wait_.clock.steady()),
      pause_(kPollFirst) {}

Result<bool> SegmentArrival::look() {
  const Time now = wait_.clock.steady();
  if (now < next_look_) return false;
  for (; arrived_ < segments_.size(); ++arrived_) {
    TRY_ASSIGN(const auto copies,
               find_wal_copies(wait_.repository, wait_.stanza, wait_.cluster_number, segments_[arrived_]));
    if (copies.empty()) break;
    pause_ = kPollFirst;
  }
  if (arrived_ == segments_.size()) return true;
  if (now >= deadline_) return late();
  if (wait_.bring && now >= bring_from_) {
    wait_.bring(segments_[arrived_]);
    bring_from_ = now + kPollMax;
  }
  next_look_ = wait_.clock.steady() + pause_;
  pause_ = std::min(pause_ * 3 / 2, kPollMax);
  return false;
}

Result<> SegmentArrival::wait() {
  for (;;) {
    TRY(wait_.cancel.check());
    TRY_ASSIGN(const bool arrived, look());
    if (arrived) return {};
    wait_.clock.sleep_for(std::chrono::ceil<std::chrono::milliseconds>(next_look_ - wait_.clock.steady()));
  }
}

Error SegmentArrival::late() const {
  const std::string state = session_ == nullptr ? std::string() : ": " + archiver_state(*session_);
  return Error(Errc::kTransient, fmt::format("WAL segment {} did not reach {} within {} s{}", segments_[arrived_],
                                             wait_.repository.store().describe(),
                                             std::chrono::duration<double>(wait_.timeout).count(), state))
      .with_hint(
          "look into the server's log for messages of archive_command, and check that it names this repository and "
          "stanza " +
          wait_.stanza)
      .with_hint("raise archive-timeout if archiving is only slow");
}

ArchivingCheck::ArchivingCheck(ArchiveWait wait, TimelineId timeline, Lsn start, uint32_t wal_segment_bytes,
                               PgSession& session)
    : wait_(std::move(wait)),
      timeline_(timeline),
      start_(start),
      wal_segment_bytes_(wal_segment_bytes),
      session_(session) {}

Result<> ArchivingCheck::begin() {
  if (sure_ || awaited_.has_value()) return {};
  const pg::WalSegment first = pg::segment_at(timeline_, start_, wal_segment_bytes_);
  sure_ = first.number == 0;
  if (sure_) return {};
  const std::string before = pg::segment_name({timeline_, first.number - 1}, wal_segment_bytes_);
  const auto find = [&] { return find_wal_copies(wait_.repository, wait_.stanza, wait_.cluster_number, before); };
  TRY_ASSIGN(const auto copies, find());
  sure_ = !copies.empty();
  if (sure_) return {};
  // If nothing was written since the last switch, the start finished no segment: the one before was archived earlier,
  // perhaps when archive_command was another. Only a segment finished now tells where WAL goes now.
  TRY_ASSIGN(const auto state,
             session_.query_value("SELECT CASE WHEN last_archived_wal >= $1 AND length(last_archived_wal) = 24 "
                                  "THEN 'past' ELSE '' END FROM pg_stat_archiver",
                                  {before}));
  if (state != "past") {
    awaited_.emplace(wait_, std::vector{before}, &session_);
    return {};
  }
  const auto found = find();
  sure_ = found.has_value() && !found->empty();  // It arrived between the two questions.
  if (sure_) return {};
  TRY_CTX(session_.exec("SELECT pg_create_restore_point('pgark archive check')"), "write a record to archive");
  TRY_ASSIGN_CTX(const std::string probe, session_.query_value("SELECT pg_walfile_name(pg_switch_wal())"),
                 "switch WAL segment");
  awaited_.emplace(wait_, std::vector{probe}, &session_);
  return {};
}

Result<bool> ArchivingCheck::look() {
  TRY(begin());
  if (sure_) return true;
  return awaited_->look();
}

Result<> BackupWal::begin_check(TimelineId timeline, Lsn start, PgSession& session) {
  check_from_ = clock_.steady() + kCheckAfter;
  return targets_.for_each([&](const Repository& repository) -> Result<> {
    checks_.try_emplace(&repository, wait_for(repository), timeline, start, options_.segment_bytes, session);
    return {};
  });
}

Result<> BackupWal::look() {
  if (checks_.empty() || clock_.steady() < check_from_) return {};
  TRY_CTX(targets_.for_each([&](const Repository& repository) -> Result<> {
    const auto check = checks_.find(&repository);
    if (check == checks_.end()) return {};
    TRY_ASSIGN(const bool sure, check->second.look());
    if (sure) checks_.erase(check);
    return {};
  }),
          "check that WAL reaches the repository");
  return {};
}

Result<> BackupWal::wait(const pg::WalSegment& first, const pg::WalSegment& last, PgSession* session) {
  std::vector<std::string> segments;
  for (pg::WalSegment segment = first; segment <= last; segment = segment.next())
    segments.push_back(pg::segment_name(segment, options_.segment_bytes));
  TRY(targets_.for_each(
      [&](const Repository& repository) { return SegmentArrival(wait_for(repository), segments, session).wait(); }));
  return targets_.for_each([&](const Repository& repository) { return bring_history(repository, first.timeline); });
}

ArchiveWait BackupWal::wait_for(const Repository& repository) const {
  ArchiveWait wait{repository, options_.stanza, options_.cluster_number, options_.timeout, clock_, cancel_};
  if (options_.repository_is_away || targets_.any_failed())
    wait.bring = [this, &repository](const std::string& segment) { bring_segment(repository, segment); };
  return wait;
}

/// Push a file of pg_wal, as archive_command would.
Result<ArchivePushResult> BackupWal::push(const Repository& repository, const std::string& name) const {
  return archive_push(repository, clock_,
                      {.stanza = options_.stanza,
                       .source_path = options_.data_directory + "/pg_wal/" + name,
                       .data_directory = options_.data_directory,
                       .host = ""});
}

/// Push a segment that is finished and waits for archive_command. The server pushes it again, to all, once it can.
void BackupWal::bring_segment(const Repository& repository, const std::string& segment) const {
  std::error_code error;
  const std::string ready = options_.data_directory + "/pg_wal/archive_status/" + segment + ".ready";
  if (!std::filesystem::exists(ready, error)) return;
  const auto pushed = push(repository, segment);
  if (pushed) {
    log_info("{} is brought to {} from pg_wal: archiving waits for a repository that is away", segment,
             repository.store().describe());
  } else {
    log_warn("bring {} to {}: {}", segment, repository.store().describe(), pushed.error().message());
  }
}

/// See that the history of the backup's timeline is in the repository. A cluster that was promoted before it got its
/// stanza archived it elsewhere, and will never archive it again.
Result<> BackupWal::bring_history(const Repository& repository, TimelineId timeline) {
  if (timeline.value <= 1) return {};
  const std::string name = pg::history_name(timeline);
  TRY_ASSIGN(const auto copies, find_wal_copies(repository, options_.stanza, options_.cluster_number, name));
  if (!copies.empty()) return {};
  auto pushed = push(repository, name);
  if (pushed.has_value()) return {};
  if (pushed.error().code() != Errc::kNotFound)
    return Error(std::move(pushed).error()).with_context("archive timeline history");
  // Recovery can do without: it starts on this very timeline.
  warnings_.push_back(
      fmt::format("the history of timeline {} is neither in the repository nor in pg_wal", timeline.value));
  log_warn("{}", warnings_.back());
  return {};
}

}  // namespace pgark
