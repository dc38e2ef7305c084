// Profiles of the files that AWS's own tools share: ~/.aws/credentials and ~/.aws/config.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/result.h"
#include "store/environment.h"

namespace pgark {

struct AwsProfile {
  std::string name;
  std::string origin;                           // For messages: "~/.aws/credentials [default]".
  bool found = false;                           // In either file.
  std::map<std::string, std::string> settings;  // Names in lower case.

  /// Empty if it is not set.
  std::string get(const std::string& setting) const {
    const auto at = settings.find(setting);
    return at == settings.end() ? std::string() : at->second;
  }
};

/// Read the profile that AWS_PROFILE (or AWS_DEFAULT_PROFILE) names, or "default", from the files that
/// AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name, or those in ~/.aws. What the credentials file says goes before
/// the other. A file that does not exist is as an empty one.
/// Errors: of reading a file that exists; kInvalid if a profile is named that neither has.
Result<AwsProfile> read_aws_profile(const Environment& env);

/// Settings of one section ("[default]", "[profile x]") of such a file's text. Comments begin with '#' or ';'; indented
/// lines belong to nested settings and are passed over.
/// Shape:  `found` is set if the section is there.
std::map<std::string, std::string> read_aws_section(std::string_view text, std::string_view section, bool& found);

}  // namespace pgark
