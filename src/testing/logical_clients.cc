// Where client programs of each major are.
#include "testing/logical_clients.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/file.h"
#include "testing/pg_server.h"

namespace pgark::testing {
namespace {

bool is_complete(const std::string& dir) {
  const auto has = [&](const char* name) { return ::access((dir + "/" + name).c_str(), X_OK) == 0; };
  return has("pg_dump") && has("pg_dumpall") && has("pg_restore") && has("psql");
}

}  // namespace

Result<std::string> client_bin_dir(int major) {
  const std::string cache = servers_dir();
  for (auto dir : {fmt::format("/usr/lib/postgresql/{}/bin", major), fmt::format("{}/clients/{}/bin", cache, major),
                   fmt::format("{}/{}/bin", cache, major)}) {
    if (is_complete(dir)) return dir;
  }
  std::string reason = "no pg_dump in " + cache + "/clients";
  if (auto noted = read_file(fmt::format("{}/clients/{}.missing", cache, major)); noted) {
    reason = noted->substr(0, noted->find('\n'));
  }
  return Error(Errc::kNotFound, fmt::format("find clients of PostgreSQL {}: {}", major, reason))
      .with_hint("run tools/servers.sh");
}

const std::vector<int>& client_majors() {
  static const std::vector<int> found = [] {
    std::vector<int> majors = supported_majors();
    std::erase_if(majors, [](int major) { return !client_bin_dir(major); });
    std::sort(majors.begin(), majors.end());
    return majors;
  }();
  return found;
}

Result<int> client_major_for(int server_major) {
  for (const int major : client_majors()) {
    if (major >= server_major) return major;
  }
  return Error(Errc::kNotFound, fmt::format("find a client for PostgreSQL {}: none as new is installed", server_major))
      .with_hint("run tools/servers.sh");
}

}  // namespace pgark::testing
