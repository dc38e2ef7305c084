// Examiners of check that look at the data directory alone: what in it leads elsewhere, and comes back in another place
// or not at all.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "ops/check_examiners.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

constexpr size_t kShownMax = 5;
constexpr size_t kLinksMax = 1000;

bool is_below(const fs::path& path, const fs::path& directory) {
  const auto relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

struct Link {
  std::string name;  // Relative to the data directory.
  fs::path target;   // Canonical as far as it exists.
};

/// Links right in `directory`, which is relative to the data directory. What cannot be read is not told of: the backup
/// will say so.
std::vector<Link> links_in(const fs::path& data, const std::string& directory) {
  std::vector<Link> links;
  std::error_code error;
  const fs::path at = directory.empty() ? data : data / directory;
  for (fs::directory_iterator entry(at, error), end; !error && entry != end && links.size() < kLinksMax;
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_symlink(ignored)) continue;
    const fs::path target = fs::weakly_canonical(entry->path(), ignored);
    const std::string name = entry->path().filename().string();
    links.push_back({directory.empty() ? name : directory + "/" + name, target});
  }
  std::sort(links.begin(), links.end(), [](const Link& a, const Link& b) { return a.name < b.name; });
  return links;
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string list;
  for (size_t i = 0; i < texts.size() && i < kShownMax; ++i) list += (i == 0 ? "" : ", ") + texts[i];
  if (texts.size() > kShownMax) list += fmt::format(" and {} more", texts.size() - kShownMax);
  return list;
}

void examine_tablespaces(CheckState& state, const fs::path& data) {
  std::vector<std::string> inside;
  for (const Link& link : links_in(data, "pg_tblspc")) {
    if (is_below(link.target, data)) inside.push_back(fmt::format("{} ({})", link.target.string(), link.name));
  }
  if (inside.empty()) return;
  state.add({.severity = Severity::kWarning,
             .code = "tablespace_inside_data",
             .what = fmt::format("tablespaces inside the data directory: {}", list_of(inside)),
             .why = "PostgreSQL advises against it: other tools copy such a tablespace twice or not at all",
             .mend = "ALTER TABLE and ALTER INDEX ... SET TABLESPACE to one outside, then drop it"});
}

}  // namespace

Result<> examine_links(CheckState& state) {
  if (state.options.data_directory.empty() || !state.files) return {};
  std::error_code error;
  const fs::path data = fs::canonical(state.options.data_directory, error);
  if (error) return {};
  examine_tablespaces(state, data);
  std::vector<std::string> outside;
  for (const char* directory : {"", "base", "global", "pg_wal"}) {
    for (const Link& link : links_in(data, directory)) {
      if (!is_below(link.target, data)) outside.push_back(fmt::format("{} to {}", link.name, link.target.string()));
    }
  }
  if (outside.empty()) return {};
  state.add({.severity = Severity::kInfo,
             .code = "links_outside",
             .what = fmt::format("symbolic links lead out of the data directory: {}", list_of(outside)),
             .why = "backups hold what is behind them; restore puts it inside the data directory unless told otherwise",
             .mend = "note where they lead: restore with --link-all or --link-map=LINK=PATH makes them again"});
  return {};
}

Result<> examine_configuration_files(CheckState& state) {
  if (!state.server || state.server->data_directory.empty()) return {};
  std::error_code error;
  const fs::path data = fs::weakly_canonical(state.server->data_directory, error);
  std::vector<std::string> outside;
  for (const char* name : {"config_file", "hba_file", "ident_file"}) {
    const std::string path = state.server->setting(name);
    if (path.empty()) continue;
    // A link is judged by where it is: the file behind one inside the data directory is found again there.
    const fs::path place = fs::weakly_canonical(fs::path(path).parent_path(), error) / fs::path(path).filename();
    if (!is_below(place, data)) outside.push_back(path);
  }
  if (outside.empty()) return {};
  state.add({.severity = Severity::kInfo,
             .code = "config_outside",
             .what = fmt::format("configuration files lie outside the data directory: {}", list_of(outside)),
             .why = "backups record them, with passwords taken out; restore does not write them",
             .mend = "keep them under version control; `info --set=LABEL` lists what a backup recorded"});
  return {};
}

}  // namespace pgark
