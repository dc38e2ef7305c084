// Text and JSON of `pgark info`. The JSON is a contract: docs/reference/json.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/info.h"

namespace pgark {

/// What one repository holds, or why that cannot be told.
struct InfoDocument {
  std::string repository;
  std::vector<InfoStanza> stanzas;
  std::optional<Error> error;
};

/// Of one repository or several, in their order.
std::string render_info_text(const std::vector<InfoDocument>& documents);
std::string render_info_json(const std::vector<InfoDocument>& documents);
std::string render_detail_text(const std::string& stanza, const InfoBackupDetail& detail);
std::string render_detail_json(const std::string& stanza, const InfoBackupDetail& detail);

}  // namespace pgark
