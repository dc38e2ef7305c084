// Text and JSON of `pgark info`. The JSON is a contract: docs/reference/json.md.
#pragma once

#include <string>
#include <vector>

#include "ops/info.h"

namespace pgark {

struct InfoDocument {
  std::string repository;
  std::vector<InfoStanza> stanzas;
};

std::string render_info_text(const InfoDocument& document);
std::string render_info_json(const InfoDocument& document);
std::string render_detail_text(const std::string& stanza, const InfoBackupDetail& detail);
std::string render_detail_json(const std::string& stanza, const InfoBackupDetail& detail);

}  // namespace pgark
