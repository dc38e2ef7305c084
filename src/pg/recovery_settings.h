// Render the settings that make a restored cluster recover to a target, as its version wants them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "pg/version.h"

namespace pgark::pg {

/// Kinds of `restore --type`.
enum class RecoveryType : unsigned char {
  kDefault,    // To the end of the WAL.
  kImmediate,  // Until consistent.
  kTime,
  kXid,
  kLsn,
  kName,
  kStandby,   // Follow the archive, stay a standby.
  kPreserve,  // Leave the backed up recovery settings as they are.
  kNone,      // No recovery settings at all; only for tests of crash recovery.
};
std::string_view to_string(RecoveryType type);
/// Errors: kInvalid, naming what is allowed.
Result<RecoveryType> parse_recovery_type(std::string_view text);

struct RecoverySettings {
  RecoveryType type = RecoveryType::kDefault;
  std::string target;         // For time (with a numeric zone offset), xid, lsn and name.
  bool inclusive = true;      // For time, xid and lsn.
  std::string target_action;  // "pause", "promote", "shutdown"; empty: the server's default.
  std::string timeline;       // "latest", "current" or a number; empty: the version's default, made "latest" explicit.
  std::string restore_command;
  bool archive_mode_off = false;  // 12+: archive_mode = off. Before, recovery.conf cannot say it.
  std::vector<std::pair<std::string, std::string>> options;  // --recovery-option; they win over the above.
};

/// What to write into a restored data directory.
struct RecoveryFiles {
  std::string file;         // "recovery.conf" (replaces it) or "postgresql.auto.conf" (is appended); empty: none.
  std::string content;      // Whole lines.
  std::string signal_file;  // "recovery.signal", "standby.signal" or empty; an empty file.
  std::vector<std::string> remove_files;  // Of the backed up cluster, that would disturb.
};

/// Render recovery settings for `major`.
/// Errors: kInvalid if a value is missing, contradicts the type or cannot be written.
Result<RecoveryFiles> render_recovery_settings(const RecoverySettings& settings, PgMajor major);

/// Quote a value for a PostgreSQL configuration file: in apostrophes, with apostrophe and backslash doubled.
/// Errors: kInvalid if it holds a line feed, carriage return or NUL, which no escape can carry in all versions.
Result<std::string> quote_config_value(std::string_view value);

}  // namespace pgark::pg
