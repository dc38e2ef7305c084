// The stop files that `pgark stop` leaves in the lock path and every stoppable command looks for.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace pgark {

/// `<lock-path>/<stanza>.stop`; all.stop for an empty stanza.
std::string stop_file_path(const std::string& lock_path, const std::string& stanza);

/// Refuse if pgark was stopped for this stanza or for all.
/// Errors: kInvalid with the hint to run start; of looking for the files.
Result<> check_not_stopped(const std::string& lock_path, const std::string& stanza);

/// Whether the stop file of exactly this stanza ("" for all) is there.
Result<bool> stop_file_exists(const std::string& lock_path, const std::string& stanza);

}  // namespace pgark
