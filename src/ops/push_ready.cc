// Listing of archive_status.
#include "ops/push_ready.h"

#include <dirent.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include "pg/wal.h"

namespace pgark {

bool ready_before(const std::string& a, const std::string& b) {
  const bool a_history = a.ends_with(".history");
  const bool b_history = b.ends_with(".history");
  return a_history != b_history ? a_history : a < b;
}

Result<ReadyFiles> list_ready_files(const std::string& wal_directory) {
  const std::string path = wal_directory + "/archive_status";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) return errno_error(errno, fmt::format("open directory '{}'", path));
  constexpr std::string_view kReady = ".ready";
  ReadyFiles found;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    std::string_view name = entry->d_name;
    if (name.ends_with(kReady)) {
      name.remove_suffix(kReady.size());
      if (const auto parsed = pg::parse_wal_file_name(name)) {
        found.names.emplace_back(name);
        if (std::holds_alternative<pg::WalSegmentName>(*parsed) || std::holds_alternative<pg::WalPartialName>(*parsed))
          ++found.segment_count;
      }
    }
    errno = 0;
  }
  if (errno != 0) return errno_error(errno, fmt::format("read directory '{}'", path));
  std::sort(found.names.begin(), found.names.end(), ready_before);
  return found;
}

}  // namespace pgark
