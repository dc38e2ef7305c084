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
  std::string timeline;       // "latest", "current" or a number; empty: "latest", but "current" for kImmediate.
  std::string comment;        // A line above the target, for who reads the file; may be empty.
  std::string restore_command;
  bool archive_mode_off = false;
  std::vector<std::pair<std::string, std::string>> options;  // --recovery-option; they win over the above.
};

/// Text to put into one file of a restored data directory.
struct RecoveryFileText {
  std::string file;     // "recovery.conf" or "postgresql.auto.conf".
  std::string content;  // Whole lines.
  bool append = false;  // After what the backed up file holds; else in its place.
};

/// What to do to a restored data directory, apart from backup_label and tablespace_map.
struct RecoveryFiles {
  std::vector<RecoveryFileText> texts;
  std::string signal_file;                // "recovery.signal", "standby.signal" (both empty files) or none.
  std::vector<std::string> remove_files;  // Left by the backed up cluster or a previous restore; absent is fine.
};

/// Render recovery settings for `major`.
/// Errors: kInvalid if a value is missing, contradicts the type or cannot be written.
Result<RecoveryFiles> render_recovery_settings(const RecoverySettings& settings, PgMajor major);

/// Quote a value for a PostgreSQL configuration file: in apostrophes, with apostrophe and backslash doubled.
/// Errors: kInvalid if it holds a line feed, carriage return or NUL, which a later ALTER SYSTEM would write
///         back unescaped.
Result<std::string> quote_config_value(std::string_view value);

}  // namespace pgark::pg
