#include "store/aws_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/file.h"

namespace pgark {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// "[profile  x]" and "[ profile x ]" are the same to AWS's tools.
std::string section_name(std::string_view line) {
  const std::string_view inner = trim(line.substr(1, line.find(']') - 1));
  if (!inner.starts_with("profile") || inner.size() < 8 || (inner[7] != ' ' && inner[7] != '\t')) {
    return std::string(inner);
  }
  return "profile " + std::string(trim(inner.substr(8)));
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

Result<std::string> read_if_there(const std::string& path) {
  auto text = read_file(path, 16u << 20);
  if (!text && text.error().code() == Errc::kNotFound) return std::string();
  return text;
}

std::string file_of(const Environment& env, const char* variable, std::string_view name) {
  std::string path = env(variable);
  if (!path.empty()) return path;
  const std::string home = env("HOME");
  return home.empty() ? std::string() : fmt::format("{}/.aws/{}", home, name);
}

Result<> merge(AwsProfile& profile, const std::string& path, std::string_view section) {
  if (path.empty()) return {};
  TRY_ASSIGN(const std::string text, read_if_there(path));
  bool found = false;
  auto settings = read_aws_section(text, section, found);
  if (!found) return {};
  if (!profile.found) profile.origin = fmt::format("{} [{}]", path, section);
  profile.found = true;
  profile.settings.merge(settings);  // What is there stays.
  return {};
}

}  // namespace

std::map<std::string, std::string> read_aws_section(std::string_view text, std::string_view section, bool& found) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::map<std::string, std::string> settings;
  bool inside = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = trim(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      inside = section_name(line) == section;
      found = found || inside;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == std::string_view::npos || raw[0] == ' ' || raw[0] == '\t') continue;
    const std::string name = lower(trim(line.substr(0, equals)));
    if (!name.empty()) settings[name] = std::string(trim(line.substr(equals + 1)));
  }
  return settings;
}

Result<AwsProfile> read_aws_profile(const Environment& env) {
  AwsProfile profile;
  profile.name = env("AWS_PROFILE");
  if (profile.name.empty()) profile.name = env("AWS_DEFAULT_PROFILE");
  const bool asked_for = !profile.name.empty();
  if (!asked_for) profile.name = "default";
  const std::string credentials = file_of(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
  const std::string config = file_of(env, "AWS_CONFIG_FILE", "config");
  TRY_CTX(merge(profile, credentials, profile.name), "read shared credentials of AWS");
  TRY_CTX(merge(profile, config, profile.name == "default" ? profile.name : "profile " + profile.name),
          "read shared configuration of AWS");
  if (asked_for && !profile.found) {
    return Error(Errc::kInvalid, fmt::format("find profile '{}' of AWS: neither '{}' nor '{}' has it", profile.name,
                                             credentials, config))
        .with_hint("correct AWS_PROFILE in the environment pgark runs in, or unset it");
  }
  return profile;
}

}  // namespace pgark
