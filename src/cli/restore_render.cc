// How a recovery plan is shown.
#include "cli/restore_render.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/output.h"

namespace pgark {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json commit_json(const std::optional<pg::WalCommit>& commit) {
  if (!commit) return {};
  return {{"xid", commit->xid.value},
          {"lsn", to_string(commit->lsn)},
          {"time_us", commit->time.time_since_epoch().count()},
          {"utc", format_timestamp_utc(commit->time)},
          {"local", format_timestamp_local(commit->time)}};
}

std::string commit_text(const std::optional<pg::WalCommit>& commit) {
  if (!commit) return "none known";
  return fmt::format("transaction {} at {}, {}", commit->xid.value, format_timestamp_both(commit->time),
                     to_string(commit->lsn));
}

std::string stop_text(const RecoveryPlan& plan) {
  switch (plan.server_target) {
    case TargetKind::kLsn:
      return fmt::format("{} {}", plan.stop->inclusive ? "just after the record at" : "just before",
                         to_string(plan.stop->lsn));
    case TargetKind::kImmediate:
      return fmt::format("at the end of the backup, {}", to_string(plan.end));
    case TargetKind::kDefault:
      return fmt::format("at the end of the archived WAL, now {}", to_string(plan.end));
    case TargetKind::kStandby:
      return fmt::format("never, archived WAL now ends at {}", to_string(plan.end));
    default:
      return "as the settings in the directory say";
  }
}

std::string path_text(const RecoveryPlan& plan) {
  std::string text;
  for (const pg::TimelineSpan& span : plan.path)
    text += fmt::format("{}{} from {}{}", text.empty() ? "" : ", then ", span.timeline.value, to_string(span.begin),
                        span.end ? " to " + to_string(*span.end) : " on");
  return text;
}

}  // namespace

Json target_json(const RestoreTarget& target) {
  Json json = {{"type", target_kind_name(target.kind)}, {"exclusive", target.exclusive}};
  const bool is_time = target.kind == TargetKind::kTime;
  json["value"] = text_or_null(is_time ? format_timestamp_utc(target.time) : target.text);
  if (is_time) json["time_us"] = target.time.time_since_epoch().count();
  if (is_time) json["local"] = format_timestamp_local(target.time);
  return json;
}

Json plan_json(const RecoveryPlan& plan) {
  Json path = Json::array();
  for (const pg::TimelineSpan& span : plan.path)
    path.push_back({{"timeline", span.timeline.value},
                    {"begin", to_string(span.begin)},
                    {"end", span.end ? Json(to_string(*span.end)) : Json()}});
  Json wal = Json::array();
  for (const PlannedWal& part : plan.wal)
    wal.push_back({{"timeline", part.timeline.value},
                   {"first", part.first},
                   {"last", part.last},
                   {"segment_count", part.segment_count}});
  Json stop;
  if (plan.stop) stop = {{"lsn", to_string(plan.stop->lsn)}, {"inclusive", plan.stop->inclusive}};
  return {{"path", std::move(path)},
          {"wal", std::move(wal)},
          {"wal_segment_count", plan.wal_segment_count()},
          {"wal_bytes", plan.wal_bytes()},
          {"server_target", target_kind_name(plan.server_target)},
          {"server_timeline", text_or_null(plan.server_timeline)},
          {"stop", std::move(stop)},
          {"clamped", plan.clamped},
          {"end_lsn", plan.end.bytes == 0 ? Json() : Json(to_string(plan.end))},
          {"last_commit", commit_json(plan.last_commit)},
          {"next_commit", commit_json(plan.next_commit)},
          {"notes", plan.notes}};
}

std::string target_text(const RestoreTarget& target) {
  return describe_target(target) + (target.exclusive ? ", exclusive" : "");
}

std::string plan_text(const RecoveryPlan& plan) {
  std::string text =
      fmt::format("  timeline: {}{}\n", plan.timeline.value, plan.path.size() > 1 ? " (" + path_text(plan) + ")" : "");
  const bool looked = plan.end.bytes != 0;
  if (looked) {
    const uint64_t count = plan.wal_segment_count();
    text += fmt::format("  WAL: {} segment{}, {}\n", count, count == 1 ? "" : "s", format_size(plan.wal_bytes()));
    for (const PlannedWal& part : plan.wal)
      text += part.segment_count == 1 ? fmt::format("    {}\n", part.first)
                                      : fmt::format("    {} to {} ({})\n", part.first, part.last, part.segment_count);
  }
  text += fmt::format("  stops: {}\n", stop_text(plan));
  // What is committed right after a backup is not looked for when recovery ends with the backup.
  const bool ends = plan.server_target == TargetKind::kLsn;
  if (looked && plan.server_target != TargetKind::kImmediate)
    text += fmt::format("  last commit kept: {}\n",
                        plan.last_commit ? commit_text(plan.last_commit) : "none after the end of the backup");
  if (ends) text += fmt::format("  first commit dropped: {}\n", commit_text(plan.next_commit));
  for (const std::string& note : plan.notes) text += fmt::format("  note: {}\n", note);
  return text;
}

}  // namespace pgark
