// Ages, estimates and retention in what `pgark info` prints. The JSON is a contract: docs/reference/json.md.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/info.h"

namespace pgark {

/// Lines below the status of a stanza; empty if nothing was asked for.
std::string render_outlook_text(const InfoStanza& stanza);
/// The line of a backup: what expire would do with it; empty if the rules are not known.
std::string render_retention_text(const InfoStanza& stanza, const std::string& label);

/// Adds the members "newest_backup", "wal_rate", "rpo", "rto" and "retention" to a stanza's document.
void add_outlook_json(const InfoStanza& stanza, nlohmann::ordered_json& document);
/// `null`, or what is decided about a backup.
nlohmann::ordered_json retention_json(const InfoStanza& stanza, const std::string& label);

}  // namespace pgark
