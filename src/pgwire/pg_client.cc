// Finding PostgreSQL's client programs, and the environment that leads them to the server a session goes to.
#include "pgwire/pg_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "core/log.h"
#include "pgwire/libpq.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

/// Ways to reach and to be known to a server, which sessions take from the environment too: programs inherit them, so
/// that both end at the same place. Everything else that begins with "PG" does not reach them.
constexpr std::array kInherited = {"PGCHANNELBINDING",
                                   "PGGSSDELEGATION",
                                   "PGGSSENCMODE",
                                   "PGGSSLIB",
                                   "PGHOST",
                                   "PGHOSTADDR",
                                   "PGKRBSRVNAME",
                                   "PGPASSFILE",
                                   "PGPASSWORD",
                                   "PGREQUIREAUTH",
                                   "PGREQUIREPEER",
                                   "PGREQUIRESSL",
                                   "PGSSLCERT",
                                   "PGSSLCERTMODE",
                                   "PGSSLCOMPRESSION",
                                   "PGSSLCRL",
                                   "PGSSLCRLDIR",
                                   "PGSSLKEY",
                                   "PGSSLMODE",
                                   "PGSSLNEGOTIATION",
                                   "PGSSLROOTCERT",
                                   "PGSSLSNI",
                                   "PGTARGETSESSIONATTRS",
                                   "PGUSER",
                                   "PGSSLMINPROTOCOLVERSION",
                                   "PGSYSCONFDIR",
                                   "PGLOCALEDIR",
                                   "PGLOADBALANCEHOSTS",
                                   "PGSSLMAXPROTOCOLVERSION"};

bool is_inherited(std::string_view name) {
  return std::find(kInherited.begin(), kInherited.end(), name) != kInherited.end();
}

bool is_program(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

/// Where the programs that `directory` offers really are; empty if it has no pg_dump of its own.
fs::path real_directory(const fs::path& directory) {
  const fs::path given = directory / "pg_dump";
  if (!is_program(given)) return {};
  std::error_code error;
  const fs::path real = fs::canonical(given, error);
  if (error) return {};
  // Alternatives systems link to the real place. Debian's pg_wrapper chooses a version by rules of its own at each
  // call: what it would run is found where it is.
  if (real.filename() == "pg_dump") return real.parent_path();
  if (real.filename() == "pg_wrapper") return {};
  return fs::canonical(directory, error);
}

/// Directories in `parent` in the order of their names.
std::vector<fs::path> subdirectories(const fs::path& parent) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(parent, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->is_directory(ignored)) found.push_back(at->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// A directory the user named: it, its "bin", or "<anything>/bin" below it.
std::vector<fs::path> places_in(const fs::path& named) {
  std::vector<fs::path> places{named, named / "bin"};
  for (const fs::path& one : subdirectories(named)) places.push_back(one / "bin");
  return places;
}

std::vector<fs::path> usual_places() {
  std::vector<fs::path> places;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::string_view rest = path;
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, rest.find(':'));
      if (one.starts_with('/')) places.emplace_back(one);  // A relative one changes with the directory we are in.
      rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    }
  }
  for (const fs::path& one : subdirectories("/usr/lib/postgresql")) places.push_back(one / "bin");
  for (const fs::path& one : subdirectories("/usr")) {
    if (one.filename().string().starts_with("pgsql-")) places.push_back(one / "bin");
  }
  places.emplace_back("/usr/local/pgsql/bin");
  for (const fs::path& one : subdirectories("/opt")) {
    places.push_back(one / "bin");
    for (const fs::path& version : subdirectories(one)) places.push_back(version / "bin");
  }
  return places;
}

bool take_number(std::string_view& text, unsigned& value) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

/// "pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", "... 19beta1".
Result<PgClientSet> parse_version(std::string directory, std::string_view said) {
  said = said.substr(0, said.find('\n'));
  const size_t at = said.find(") ");
  PgClientSet set;
  set.directory = std::move(directory);
  std::string_view rest = at == std::string_view::npos ? said : said.substr(at + 2);
  set.version = std::string(rest);
  if (!take_number(rest, set.major) || set.major == 0)
    return Error(Errc::kInvalid, fmt::format("read version of '{}': it says '{}'", set.path("pg_dump"), said));
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    take_number(rest, set.minor);
  }
  return set;
}

Result<PgClientSet> ask_version(const fs::path& directory, const CancelToken& cancel) {
  SubprocessOptions options;
  options.program = directory / "pg_dump";
  options.arguments = {"--version"};
  options.environment = {{"LC_ALL", "C"}};
  TRY_ASSIGN_CTX(const std::string said, run_program(std::move(options), cancel, 4096),
                 fmt::format("ask '{}/pg_dump' for its version", directory.string()));
  return parse_version(directory, said);
}

class Search {
 public:
  explicit Search(const CancelToken& cancel) : cancel_(cancel) {}

  /// Add the set of a place, if it has one. Returns whether it has, seen before or not.
  Result<bool> look(const fs::path& place) {
    const fs::path directory = real_directory(place);
    if (directory.empty()) return false;
    if (!seen_.insert(directory).second) return true;
    auto set = ask_version(directory, cancel_);
    if (set) {
      sets_.push_back(std::move(*set));
      return true;
    }
    if (set.error().code() == Errc::kCancelled) return Error(std::move(set).error());
    log_warn("client programs in '{}' are not used: {}", directory.string(), set.error().message());
    return true;
  }

  std::vector<PgClientSet> newest_first() && {
    std::stable_sort(sets_.begin(), sets_.end(), [](const PgClientSet& a, const PgClientSet& b) {
      return a.major != b.major ? a.major > b.major : a.minor > b.minor;
    });
    return std::move(sets_);
  }

 private:
  const CancelToken& cancel_;
  std::set<fs::path> seen_;
  std::vector<PgClientSet> sets_;
};

/// What there is, for errors: "15.20 in /usr/lib/postgresql/15/bin, 13.16 in ...".
std::string found_text(const std::vector<PgClientSet>& sets) {
  if (sets.empty()) return "none was found";
  std::vector<std::string> each;
  for (const PgClientSet& set : sets)
    each.push_back(fmt::format("{} in {}", set.version.substr(0, set.version.find(' ')), set.directory));
  return fmt::format("found {}", fmt::join(each, ", "));
}

Error no_client(const std::vector<PgClientSet>& sets, unsigned major, std::string_view what) {
  return Error(Errc::kUnsupported, fmt::format("{}: {}", what, found_text(sets)))
      .with_hint(fmt::format("install the client programs of PostgreSQL {} or newer on this machine (Debian: "
                             "postgresql-client-{}, Red Hat: postgresql{}), or name their directory with client-path",
                             major, major, major));
}

std::string upper(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c != '_') result += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return result;
}

bool has_variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

/// What a service (PGSERVICE) says: sessions follow it only as far as nothing else was given, while programs would
/// prefer it to their environment. So its settings are handed on one by one.
void spell_out_service(SubprocessOptions& options) {
  if (!has_variable("PGSERVICE") || !load_libpq()) return;
  PQconninfoOption* defaults = pq().PQconndefaults();
  for (const PQconninfoOption* one = defaults; one != nullptr && one->keyword != nullptr; ++one) {
    if (one->envvar != nullptr && one->val != nullptr && is_inherited(one->envvar))
      options.environment.emplace_back(one->envvar, one->val);
  }
  if (defaults != nullptr) pq().PQconninfoFree(defaults);
}

}  // namespace

bool PgClientSet::has(std::string_view program) const { return is_program(path(program)); }

Result<std::vector<PgClientSet>> find_client_sets(const std::vector<std::string>& client_paths,
                                                  const CancelToken& cancel) {
  Search search(cancel);
  for (const std::string& named : client_paths) {
    bool any = false;
    for (const fs::path& place : places_in(named)) {
      TRY_ASSIGN(const bool has, search.look(place));
      any = any || has;
    }
    if (!any) {
      return Error(
                 Errc::kInvalid,
                 fmt::format("find client programs in '{}': there is no pg_dump in it, nor in its bin or */bin", named))
          .with_hint("correct client-path: it names the directory that pg_dump, pg_restore and psql are in");
    }
  }
  for (const fs::path& place : usual_places()) TRY(search.look(place));
  return std::move(search).newest_first();
}

Result<PgClientSet> choose_dump_client(const std::vector<PgClientSet>& sets, unsigned server_major) {
  const PgClientSet* best = nullptr;
  for (const PgClientSet& set : sets) {  // Newest first: of one major the first is the newest minor.
    if (set.major >= server_major && (best == nullptr || set.major < best->major)) best = &set;
  }
  if (best != nullptr) return *best;
  return no_client(sets, server_major,
                   fmt::format("no pg_dump is new enough for a server of PostgreSQL {}, which needs its own major "
                               "version or a newer one",
                               server_major));
}

Result<PgClientSet> choose_load_client(const std::vector<PgClientSet>& sets, unsigned dump_major,
                                       unsigned server_major) {
  const PgClientSet* below = nullptr;  // Up to the server's version: says nothing the server does not understand.
  const PgClientSet* above = nullptr;
  for (const PgClientSet& set : sets) {
    if (set.major < dump_major) continue;
    if (set.major <= server_major) {
      if (below == nullptr || set.major > below->major) below = &set;
    } else if (above == nullptr || set.major < above->major) {
      above = &set;
    }
  }
  if (below != nullptr) return *below;
  if (above != nullptr) return *above;
  return no_client(sets, dump_major, fmt::format("no pg_restore can read what pg_dump {} wrote", dump_major));
}

void point_to(const PgEndpoint& endpoint, SubprocessOptions& options) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view variable = *entry;
    const std::string name(variable.substr(0, variable.find('=')));
    // Ours (PGARK_...) too: they may hold passphrases, which are no business of theirs.
    if (name.starts_with("PG") && !is_inherited(name)) options.unset.push_back(name);
  }
  spell_out_service(options);
  const auto set = [&](std::string name, std::string value) {
    std::erase_if(options.environment, [&](const auto& one) { return one.first == name; });
    std::erase(options.unset, name);
    options.environment.emplace_back(std::move(name), std::move(value));
  };
  const std::string& host = endpoint.host.empty() ? endpoint.socket_path : endpoint.host;
  if (!host.empty()) set("PGHOST", host);
  set("PGPORT", std::to_string(endpoint.port));
  if (!endpoint.user.empty()) set("PGUSER", endpoint.user);
  set("PGDATABASE", endpoint.database);
  set("PGAPPNAME", endpoint.application_name);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(endpoint.connect_timeout);
  set("PGCONNECT_TIMEOUT", std::to_string(std::max<int64_t>(2, seconds.count())));
  for (const auto& [name, text] : endpoint.tls) set("PG" + upper(name), text);
}

}  // namespace pgark
