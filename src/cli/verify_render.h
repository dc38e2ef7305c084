// Text and JSON of `pgark verify`. The JSON is a contract: docs/reference/json.md.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ops/verify.h"

namespace pgark {

struct VerifyDocument {
  struct Repository {
    unsigned repo = 1;
    std::string location;
    VerifyReport report;
  };
  std::string stanza;
  std::vector<Repository> repositories;

  bool ok() const {
    return std::all_of(repositories.begin(), repositories.end(), [](const auto& one) { return one.report.ok(); });
  }
};

std::string render_verify_text(const VerifyDocument& document);
std::string render_verify_json(const VerifyDocument& document);

}  // namespace pgark
