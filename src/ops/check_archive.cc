// Examiners of check that try it: write to the repository, and send a segment of WAL through the server's archiver.
#include <fmt/format.h>

#include <algorithm>

#include "catalog/wal.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/check_examiners.h"
#include "pg/wal.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// Failures of the archiver during the wait after which it is not going to succeed: PostgreSQL pauses for a minute
/// then.
constexpr uint64_t kArchiverFailuresMax = 3;
constexpr auto kPoll = std::chrono::milliseconds(100);

struct ArchiverState {
  uint64_t failed_count = 0;
  std::string last_failed_wal;
  std::string last_failed_time;
  std::string last_archived_wal;
};

Result<ArchiverState> read_archiver(PgSession& session) {
  TRY_ASSIGN(
      const PgRows rows,
      session.query("SELECT failed_count, last_failed_wal, last_failed_time, last_archived_wal FROM pg_stat_archiver"));
  if (rows.size() != 1 || rows.front().size() != 4) {
    return Error(Errc::kInternal, "read pg_stat_archiver: answer is not one row of four values");
  }
  const PgRow& row = rows.front();
  return ArchiverState{std::strtoull(row[0].value_or("0").c_str(), nullptr, 10), row[1].value_or(""),
                       row[2].value_or(""), row[3].value_or("")};
}

/// Write something, so that there is a segment to switch, and end it; the segment's name.
Result<std::string> switch_segment(PgSession& session, const ServerInfo& server) {
  const auto marked = session.exec("SELECT pg_create_restore_point('pgark check')");
  if (!marked && marked.error().code() != Errc::kPermission) return Error(marked.error());
  TRY_ASSIGN(const std::string text, session.query_value("SELECT pg_switch_wal()"));
  TRY_ASSIGN(const Lsn end, parse_lsn(text));
  return pg::segment_name(pg::segment_before(server.timeline, end, server.wal_segment_bytes), server.wal_segment_bytes);
}

/// Wait until the segment is in the repository. False if the time is up or the archiver gave up.
Result<bool> wait_for_segment(CheckState& state, const CheckedRepository& one, const std::string& segment,
                              uint64_t failed_before, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    TRY(state.cancel.check());
    TRY_ASSIGN(const auto copies, find_wal_copies(*one.repository, state.options.stanza, one.cluster->number, segment));
    if (!copies.empty()) return true;
    if (state.clock.steady() >= deadline) return false;
    TRY_ASSIGN(const ArchiverState archiver, read_archiver(*state.session));
    if (archiver.failed_count >= failed_before + kArchiverFailuresMax) return false;
    state.clock.sleep_for(kPoll);
  }
}

void add_not_archived(CheckState& state, const CheckedRepository& one, const std::string& segment,
                      uint64_t failed_before) {
  const auto archiver = read_archiver(*state.session);
  const bool failing = archiver && archiver->failed_count > failed_before;
  std::string what = fmt::format("segment {} did not reach the repository", segment);
  std::string mend;
  if (failing) {
    what += fmt::format(": archive_command failed {} times meanwhile, last for {} at {}",
                        archiver->failed_count - failed_before, archiver->last_failed_wal, archiver->last_failed_time);
    mend = "read why in the server's log, or run archive_command by hand as the server's user";
  } else if (archiver) {
    what += fmt::format(" within {} s and archive_command did not fail: the last segment archived is {}",
                        state.options.archive_timeout.count() / 1000,
                        archiver->last_archived_wal.empty() ? "none" : archiver->last_archived_wal);
    mend =
        "if many segments wait (pg_wal/archive_status/*.ready), raise archive-timeout; else see that archive_command "
        "has the same configuration and repository as this check";
  }
  state.add({Severity::kError, "wal_not_archived", std::move(what),
             "a backup would wait for its WAL in vain, and pg_wal grows until the disk is full", std::move(mend),
             one.number});
}

Result<> verify_segment(const CheckState& state, const CheckedRepository& one, const std::string& segment) {
  TRY_ASSIGN(const auto copies, find_wal_copies(*one.repository, state.options.stanza, one.cluster->number, segment));
  if (copies.empty()) return Error(Errc::kNotFound, "the segment is gone again");
  if (!one.repository->can_open_data()) {
    // This host may not read the WAL it archives; what describes it is there.
    TRY(read_stored_document(*one.repository, copies.back()));
    return {};
  }
  TRY_ASSIGN(const StoredFile stored, read_stored_file(*one.repository, copies.back()));
  TRY_ASSIGN(const auto name, pg::parse_wal_file_name(segment));
  return check_archive_file(name, stored.raw, *one.cluster);
}

/// Times of the store that lie outside the call are of another clock. A file system's may lag by a tick.
void compare_clocks(CheckedRepository& one, Timestamp before, Timestamp stored, Timestamp after) {
  if (stored < before) one.store_ahead = stored - before;
  if (stored > after) one.store_ahead = stored - after;
}

Result<> probe(CheckState& state, CheckedRepository& one) {
  ObjectStore& store = *one.store;
  const std::string content = fmt::format("pgark check {:016x}", state.rng.next());
  TRY_ASSIGN(const ObjectKey key,
             make_object_key(fmt::format("{}/probe/{:016x}", state.options.stanza, state.rng.next())));
  const Timestamp before = state.clock.now();
  const auto written = store.put(key, as_bytes(content));
  if (!written) {
    state.add_error("repository_not_writable", written.error(), "neither WAL nor backups can be stored", one.number);
    return {};
  }
  compare_clocks(one, before, written->modified, state.clock.now());
  auto read = store.get(key, content.size());
  if (!read) {
    state.add_error("repository_not_readable", read.error(), "what is stored could not be restored", one.number);
  } else if (as_text(*read) != content) {
    state.add({Severity::kError, "repository_returns_other_bytes",
               fmt::format("{} returned other bytes for {} than were written", store.describe(), key.value),
               "what is stored could not be restored", "check the storage and the file system below it", one.number});
  }
  if (auto removed = store.remove(key); !removed) {
    state.add({Severity::kInfo, "repository_append_only", removed.error().message(),
               "objects can be added but not removed: fine for archive-push and backup", "", one.number});
  }
  return {};
}

}  // namespace

Result<> examine_repository_probe(CheckState& state) {
  for (CheckedRepository& one : state.repositories)
    if (one.repository) TRY(probe(state, one));
  return {};
}

Result<> examine_wal_round_trip(CheckState& state) {
  if (!state.server || state.server->in_recovery) return {};
  // With an error found already the outcome is known, or the segment would be looked for in the wrong place.
  std::vector<CheckedRepository*> expecting;
  for (CheckedRepository& one : state.repositories)
    if (one.cluster && !state.failed(one)) expecting.push_back(&one);
  if (expecting.empty()) return {};
  TRY_ASSIGN(const ArchiverState before, read_archiver(*state.session));
  const auto begin = state.clock.steady();
  auto segment = switch_segment(*state.session, *state.server);
  if (!segment) {
    state.add_error("wal_not_switched", segment.error(), "whether WAL arrives could not be tried");
    return {};
  }
  state.archived_segment = *segment;
  for (CheckedRepository* one : expecting) {
    TRY_ASSIGN(const bool arrived,
               wait_for_segment(state, *one, *segment, before.failed_count, begin + state.options.archive_timeout));
    if (!arrived) {
      add_not_archived(state, *one, *segment, before.failed_count);
    } else if (auto verified = verify_segment(state, *one, *segment); !verified) {
      state.add_error("wal_not_readable", verified.error(), "recovery could not use it", one->number);
    } else {
      one->archived_after = std::chrono::duration_cast<std::chrono::milliseconds>(state.clock.steady() - begin);
    }
  }
  return {};
}

}  // namespace pgark
