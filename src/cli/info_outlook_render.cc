#include "cli/info_outlook_render.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

int64_t milliseconds(std::chrono::microseconds duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}
template <typename T>
ordered_json value_or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

/// "full=2 diff=3 daily=14": as they are written in the configuration, without repoN-retention-.
std::string rules_text(const RetentionRules& rules) {
  std::string text;
  const auto add = [&](std::string_view name, const std::optional<uint32_t>& value) {
    if (value) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, *value);
  };
  add(rules.full_type == RetentionRules::FullType::kTime ? "full (days)" : "full", rules.full);
  add("diff", rules.diff);
  add("archive", rules.archive);
  add("daily", rules.daily);
  add("weekly", rules.weekly);
  add("monthly", rules.monthly);
  add("yearly", rules.yearly);
  return text;
}

ordered_json rules_json(const RetentionRules& rules) {
  return {{"full", value_or_null(rules.full)},
          {"full_type", rules.full_type == RetentionRules::FullType::kTime ? "time" : "count"},
          {"diff", value_or_null(rules.diff)},
          {"archive", value_or_null(rules.archive)},
          {"archive_type", backup_type_name(rules.archive_type)},
          {"daily", value_or_null(rules.daily)},
          {"weekly", value_or_null(rules.weekly)},
          {"monthly", value_or_null(rules.monthly)},
          {"yearly", value_or_null(rules.yearly)},
          {"minimum", rules.minimum}};
}

std::string retention_summary(const InfoStanza& stanza) {
  if (!stanza.rules) return "";
  if (!stanza.rules->any()) return "    retention: none is configured: everything is kept\n";
  size_t kept = 0;
  for (const auto& [label, decision] : stanza.retention) kept += decision.keep ? 1u : 0u;
  return fmt::format("    retention: {} keeps {} of {} backups\n", rules_text(*stanza.rules), kept,
                     stanza.retention.size());
}

std::string wal_rate_text(const WalRate& rate, std::chrono::microseconds newest_age) {
  const auto raw = rate.raw_bytes_per_day();
  const auto stored = rate.stored_bytes_per_day();
  const std::string newest = fmt::format("newest segment {} ago", format_duration(newest_age));
  if (!raw || !stored) return fmt::format("    wal: {}\n", newest);
  return fmt::format("    wal: {} a day ({} an hour), stored as {}; {}\n", format_size(*raw), format_size(*raw / 24),
                     format_size(*stored), newest);
}

}  // namespace

std::string render_outlook_text(const InfoStanza& stanza) {
  std::string text;
  if (stanza.outlook) {
    const InfoOutlook& outlook = *stanza.outlook;
    if (!outlook.newest_label.empty()) {
      text += fmt::format("    newest backup: {}, {} ago\n", outlook.newest_label, format_duration(outlook.newest_age));
    }
    if (outlook.wal_rate) {
      text += wal_rate_text(*outlook.wal_rate, outlook.recovery_point.at_most.value_or(std::chrono::microseconds(0)));
    }
    const auto& point = outlook.recovery_point;
    text += fmt::format("    RPO (estimated): {}: {}\n",
                        point.at_most ? "at most " + format_duration(*point.at_most) : "unknown", point.how);
    const auto& time = outlook.recovery_time;
    text += fmt::format("    RTO (estimated): {}: {}\n",
                        time.total ? "about " + format_duration(*time.total) : "unknown", time.how);
  }
  return text + retention_summary(stanza);
}

std::string render_retention_text(const InfoStanza& stanza, const std::string& label) {
  const auto decision = stanza.retention.find(label);
  if (decision == stanza.retention.end() || !stanza.rules->any()) return "";
  std::string reasons;
  for (const RetentionReason& reason : decision->second.reasons) {
    reasons += fmt::format("{}{}", reasons.empty() ? "" : "; ", reason.text);
  }
  return fmt::format("        retention: {}: {}\n", decision->second.keep ? "kept" : "EXPIRES", reasons);
}

void add_outlook_json(const InfoStanza& stanza, ordered_json& document) {
  for (const char* name : {"newest_backup", "wal_rate", "rpo", "rto", "retention"}) document[name] = nullptr;
  if (stanza.rules) document["retention"] = rules_json(*stanza.rules);
  if (!stanza.outlook) return;
  const InfoOutlook& outlook = *stanza.outlook;
  if (!outlook.newest_label.empty()) {
    document["newest_backup"] = {{"label", outlook.newest_label},
                                 {"stopped_us", outlook.newest_stopped.time_since_epoch().count()},
                                 {"age_ms", milliseconds(outlook.newest_age)}};
  }
  if (const auto& rate = outlook.wal_rate) {
    document["wal_rate"] = {{"segment_count", rate->total_count},
                            {"newest_us", rate->newest.time_since_epoch().count()},
                            {"window_ms", milliseconds(rate->until - rate->since)},
                            {"window_segment_count", rate->segment_count},
                            {"bytes_per_day", value_or_null(rate->raw_bytes_per_day())},
                            {"stored_bytes_per_day", value_or_null(rate->stored_bytes_per_day())}};
  }
  const auto& point = outlook.recovery_point;
  document["rpo"] = {{"at_most_ms", point.at_most ? ordered_json(milliseconds(*point.at_most)) : ordered_json()},
                     {"how", point.how}};
  const auto& time = outlook.recovery_time;
  const bool known = time.total.has_value();
  document["rto"] = {{"total_ms", known ? ordered_json(milliseconds(*time.total)) : ordered_json()},
                     {"how", time.how},
                     {"label", time.label.empty() ? ordered_json() : ordered_json(time.label)},
                     {"copy_bytes", known ? ordered_json(time.copy_bytes) : ordered_json()},
                     {"copy_bytes_per_second", known ? ordered_json(time.copy_bytes_per_second) : ordered_json()},
                     {"wal_bytes", known ? ordered_json(time.wal_bytes) : ordered_json()},
                     {"replay_bytes_per_second", known ? ordered_json(time.replay_bytes_per_second) : ordered_json()}};
}

ordered_json retention_json(const InfoStanza& stanza, const std::string& label) {
  const auto decision = stanza.retention.find(label);
  if (decision == stanza.retention.end()) return {};
  ordered_json reasons = ordered_json::array();
  for (const RetentionReason& reason : decision->second.reasons) {
    reasons.push_back({{"rule", reason.rule}, {"text", reason.text}});
  }
  return {{"keep", decision->second.keep}, {"reasons", reasons}};
}

}  // namespace pgark
