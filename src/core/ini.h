// Reader of pgBackRest-style configuration files: sections, key=value lines, repeated keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace pgark {

/// One key=value line. Repeated keys are separate entries, in the order of the file.
struct IniEntry {
  std::string section;
  std::string key;
  std::string value;  // To the end of the line, without the spaces around it.
  std::string file;
  int line = 0;
};

/// Split the text of a configuration file.
/// Shape:  "[section]" lines, "key=value" lines, lines that begin with '#', empty lines; spaces around keys and values
///         do not count; a value may hold anything, '#' and '=' too.
/// Errors: kInvalid as "FILE:LINE: what is wrong".
Result<std::vector<IniEntry>> parse_ini(std::string_view text, const std::string& file);

}  // namespace pgark
