// Recovery settings as text: recovery.conf up to 11, postgresql.auto.conf and a signal file from 12 on.
#include "pg/recovery_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/ids.h"

namespace pgark::pg {
namespace {

constexpr std::string_view kRecoveryConf = "recovery.conf";
constexpr std::string_view kAutoConf = "postgresql.auto.conf";
constexpr std::string_view kRecoverySignal = "recovery.signal";
constexpr std::string_view kStandbySignal = "standby.signal";
constexpr size_t kRestorePointNameBytesMax = 63;  // MAXFNAMELEN - 1.

struct TypeRow {
  RecoveryType type;
  std::string_view name;
  std::string_view setting;  // That carries the target; empty: none does.
  bool takes_target;         // From the user.
  bool takes_inclusive;
};
constexpr std::array<TypeRow, 9> kTypes = {{
    {RecoveryType::kDefault, "default", "", false, false},
    {RecoveryType::kImmediate, "immediate", "recovery_target", false, false},
    {RecoveryType::kTime, "time", "recovery_target_time", true, true},
    {RecoveryType::kXid, "xid", "recovery_target_xid", true, true},
    {RecoveryType::kLsn, "lsn", "recovery_target_lsn", true, true},
    {RecoveryType::kName, "name", "recovery_target_name", true, false},
    {RecoveryType::kStandby, "standby", "", false, false},
    {RecoveryType::kPreserve, "preserve", "", false, false},
    {RecoveryType::kNone, "none", "", false, false},
}};

const TypeRow& row_of(RecoveryType type) { return *std::ranges::find(kTypes, type, &TypeRow::type); }

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// True if `text` ends in a numeric zone offset: "+00", "-05:30", "+0530".
bool has_zone_offset(std::string_view text) {
  const size_t sign = text.find_last_of("+-");
  // A date has its minus signs in the first ten characters.
  if (sign == std::string_view::npos || sign < 10) return false;
  std::string offset(text.substr(sign + 1));
  std::erase(offset, ':');
  return is_digits(offset) && offset.size() >= 2 && offset.size() <= 6 && offset.size() % 2 == 0;
}

/// The target as the server shall read it.
Result<std::string> check_target(const RecoverySettings& settings) {
  const std::string& target = settings.target;
  const auto fail = [&](std::string_view what) {
    return Error(Errc::kInvalid, fmt::format("recovery target '{}' {}", target, what));
  };
  switch (settings.type) {
    case RecoveryType::kTime:
      // Without one the server reads it in a zone of its own choice, unknown here.
      if (!has_zone_offset(target)) return fail("has no numeric time zone offset");
      return target;
    case RecoveryType::kXid:
      if (!is_digits(target)) return fail("is not a transaction id");
      return target;
    case RecoveryType::kLsn: {
      TRY_ASSIGN(const Lsn lsn, parse_lsn(target));
      return to_string(lsn);
    }
    case RecoveryType::kName:
      if (target.empty()) return fail("is no name");
      if (target.size() > kRestorePointNameBytesMax) return fail("is longer than 63 bytes");
      return target;
    default:
      return std::string{};
  }
}

Result<> check_settings(const RecoverySettings& settings) {
  const TypeRow& row = row_of(settings.type);
  if (!row.takes_target && !settings.target.empty())
    return Error(Errc::kInvalid, fmt::format("type {} takes no recovery target", row.name));
  if (!row.takes_inclusive && !settings.inclusive)
    return Error(Errc::kInvalid, fmt::format("type {} cannot exclude its target", row.name));
  if (!settings.target_action.empty()) {
    if (row.setting.empty()) return Error(Errc::kInvalid, fmt::format("type {} takes no target action", row.name));
    if (settings.target_action != "pause" && settings.target_action != "promote" &&
        settings.target_action != "shutdown")
      return Error(Errc::kInvalid, fmt::format("target action '{}' is not known", settings.target_action))
          .with_hint("allowed: pause, promote, shutdown");
  }
  const std::string& timeline = settings.timeline;
  if (!timeline.empty() && timeline != "latest" && timeline != "current" &&
      (!is_digits(timeline) || timeline.find_first_not_of('0') == std::string::npos))
    return Error(Errc::kInvalid, fmt::format("target timeline '{}' is no timeline", timeline))
        .with_hint("allowed: latest, current or a number");
  return {};
}

/// Settings in the order they are written; a user's option replaces what would be written under its name.
class Lines {
 public:
  explicit Lines(const std::vector<std::pair<std::string, std::string>>& options) : options_(options) {}

  bool has_option(std::string_view name) const {
    return std::ranges::any_of(options_, [name](const auto& option) { return option.first == name; });
  }
  Result<> add(std::string_view name, std::string_view value) {
    if (has_option(name)) return {};
    return append(name, value);
  }
  void add_comment(std::string_view text) {
    if (text.empty()) return;
    text_ += "# ";
    for (const char c : text) text_ += c == '\n' || c == '\r' || c == '\0' ? '?' : c;
    text_ += '\n';
  }
  Result<> add_options() {
    for (const auto& [name, value] : options_) {
      const bool valid =
          !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.") == std::string::npos;
      if (!valid) return Error(Errc::kInvalid, fmt::format("'{}' is not the name of a setting", name));
      TRY(append(name, value));
    }
    return {};
  }
  std::string take() && { return std::move(text_); }

 private:
  Result<> append(std::string_view name, std::string_view value) {
    TRY_ASSIGN_CTX(const std::string quoted, quote_config_value(value), fmt::format("write setting {}", name));
    text_ += fmt::format("{} = {}\n", name, quoted);
    return {};
  }

  const std::vector<std::pair<std::string, std::string>>& options_;
  std::string text_;
};

Result<> add_target(Lines& lines, const RecoverySettings& settings, PgMajor major) {
  const TypeRow& row = row_of(settings.type);
  // From 12 on targets are settings like others, and one left in the backed up configuration would make two, which the
  // server refuses. Empty means unset; the chosen one must come last.
  if (major.value >= 12)
    for (const TypeRow& other : kTypes)
      if (!other.setting.empty() && other.setting != row.setting) TRY(lines.add(other.setting, ""));
  if (row.setting.empty()) return {};
  TRY_ASSIGN(std::string target, check_target(settings));
  if (settings.type == RecoveryType::kImmediate) target = "immediate";
  lines.add_comment(settings.comment);
  TRY(lines.add(row.setting, target));
  if (row.takes_inclusive) TRY(lines.add("recovery_target_inclusive", settings.inclusive ? "true" : "false"));
  if (!settings.target_action.empty()) TRY(lines.add("recovery_target_action", settings.target_action));
  return {};
}

Result<> add_timeline(Lines& lines, const RecoverySettings& settings, PgMajor major) {
  std::string timeline = settings.timeline;
  // The end of the backup lies on the backup's own timeline, wherever the newest one went.
  if (timeline.empty()) timeline = settings.type == RecoveryType::kImmediate ? "current" : "latest";
  // Up to 11 the current timeline is what is followed unless told otherwise, and has no word of its own.
  if (timeline == "current" && major.value < 12) return {};
  return lines.add("recovery_target_timeline", timeline);
}

Result<std::string> recovery_lines(const RecoverySettings& settings, PgMajor major) {
  const bool standby = settings.type == RecoveryType::kStandby;
  Lines lines(settings.options);
  if (!settings.restore_command.empty()) {
    TRY(lines.add("restore_command", settings.restore_command));
  } else if (!standby && !lines.has_option("restore_command")) {
    return Error(Errc::kInvalid, "recovery needs a restore_command");
  }
  if (standby && major.value < 12) TRY(lines.add("standby_mode", "on"));
  TRY(add_timeline(lines, settings, major));
  TRY(add_target(lines, settings, major));
  TRY(lines.add_options());
  return std::move(lines).take();
}

}  // namespace

std::string_view to_string(RecoveryType type) { return row_of(type).name; }

Result<RecoveryType> parse_recovery_type(std::string_view text) {
  const auto found = std::ranges::find(kTypes, text, &TypeRow::name);
  if (found != kTypes.end()) return found->type;
  return Error(Errc::kInvalid, fmt::format("recovery type '{}' is not known", text))
      .with_hint("allowed: default, immediate, time, xid, lsn, name, standby, preserve, none");
}

Result<std::string> quote_config_value(std::string_view value) {
  std::string out = "'";
  for (const char c : value) {
    if (c == '\n' || c == '\r' || c == '\0')
      return Error(Errc::kInvalid, "a setting's value cannot hold a line end or a NUL");
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

Result<RecoveryFiles> render_recovery_settings(const RecoverySettings& settings, PgMajor major) {
  TRY_ASSIGN(const PgVersionFacts* facts, pg_version_facts(major));
  TRY(check_settings(settings));
  RecoveryFiles out;
  std::string auto_conf;
  const bool recovers = settings.type != RecoveryType::kNone && settings.type != RecoveryType::kPreserve;
  if (recovers) {
    TRY_ASSIGN(auto_conf, recovery_lines(settings, major));
    if (facts->recovery_conf) {
      out.texts.push_back({.file = std::string(kRecoveryConf), .content = std::move(auto_conf), .append = false});
      auto_conf.clear();
    } else {
      out.signal_file = settings.type == RecoveryType::kStandby ? kStandbySignal : kRecoverySignal;
    }
  }
  if (settings.type != RecoveryType::kPreserve) {
    // With both signal files a server becomes a standby; from 12 on one with a recovery.conf does not start.
    for (const std::string_view file : {kRecoverySignal, kStandbySignal, kRecoveryConf})
      if (file != out.signal_file && !(file == kRecoveryConf && facts->recovery_conf && recovers))
        out.remove_files.emplace_back(file);
  }
  if (settings.archive_mode_off) auto_conf += "archive_mode = 'off'\n";
  if (!auto_conf.empty())
    out.texts.push_back({.file = std::string(kAutoConf), .content = std::move(auto_conf), .append = true});
  return out;
}

}  // namespace pgark::pg
