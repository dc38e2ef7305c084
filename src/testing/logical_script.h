// SQL of the tests of dumps, kept in files of sections that say for which versions they are.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace pgark::testing {

/// What follows a line "--- name [from MAJOR] [until MAJOR] [each]".
struct SqlSection {
  std::string name;
  int from_major = 0;
  int until_major = 1000;
  bool each = false;  // Statements, each ended by a semicolon at the end of a line, run one by one.
  std::string sql;

  bool applies_to(int major) const { return from_major <= major && major <= until_major; }
};

/// Split the text of such a file; what precedes the first section is left out.
/// Errors: kInvalid with the line of a heading that is not understood.
Result<std::vector<SqlSection>> parse_sql_sections(const std::string& text);

/// A file of src/testing.
Result<std::vector<SqlSection>> read_sql_sections(const std::string& file_name);

/// Statements of a section that run one at a time.
std::vector<std::string> sql_statements(const SqlSection& section);

}  // namespace pgark::testing
