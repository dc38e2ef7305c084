// What a restore on another machine must know of a cluster beside its files.
#include <dirent.h>
#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>

#include "core/file.h"
#include "core/log.h"
#include "ops/backup_server.h"

namespace pgark {
namespace {

constexpr size_t kDatabasesAskedMax = 200;  // For their extensions, one connection each.
constexpr uint64_t kConfigFileBytesMax = 256u << 10;
constexpr size_t kConfigFilesMax = 100;
constexpr int kIncludeDepthMax = 10;

constexpr std::array kSettings = {"max_connections",
                                  "max_worker_processes",
                                  "max_wal_senders",
                                  "max_prepared_transactions",
                                  "max_locks_per_transaction",
                                  "shared_preload_libraries",
                                  "session_preload_libraries",
                                  "local_preload_libraries",
                                  "data_checksums",
                                  "wal_level",
                                  "wal_log_hints",
                                  "full_page_writes",
                                  "archive_mode",
                                  "archive_library",
                                  "archive_timeout",
                                  "block_size",
                                  "segment_size",
                                  "wal_block_size",
                                  "wal_segment_size",
                                  "server_version",
                                  "server_encoding",
                                  "lc_collate",
                                  "lc_ctype",
                                  "TimeZone",
                                  "log_timezone",
                                  "config_file",
                                  "hba_file",
                                  "ident_file",
                                  "port",
                                  "cluster_name",
                                  "hot_standby",
                                  "summarize_wal",
                                  "track_commit_timestamp",
                                  "default_table_access_method",
                                  "shared_buffers",
                                  "huge_pages"};

template <typename T>
T number_or(const std::optional<std::string>& text, T otherwise) {
  T value{};
  if (!text.has_value() || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc())
    return otherwise;
  return value;
}

std::string not_recorded(const std::string& database, const Error& error) {
  return fmt::format("extensions of database {} are not recorded: {}", database, error.message());
}

void collect_extensions(const std::string& database, PgSession& session, std::vector<BackupExtension>& extensions,
                        std::vector<std::string>& warnings) {
  const auto rows = session.query("SELECT extname, extversion FROM pg_extension ORDER BY extname");
  if (!rows.has_value()) {
    warnings.push_back(not_recorded(database, rows.error()));
    return;
  }
  for (const PgRow& row : *rows) extensions.push_back({database, row[0].value_or(""), row[1].value_or("")});
}

/// The databases, and the names of those whose extensions are still to be asked for.
Result<std::vector<std::string>> collect_databases(PgSession& session, const ServerInfo& server, BackupMeta& meta,
                                                   std::vector<std::string>& warnings) {
  const bool provider = server.major.value >= 15;
  // From 15 on the server no longer records it: it is always the last OID reserved for initdb.
  const std::string last_system = server.major.value >= 15 ? "16383" : "datlastsysoid";
  TRY_ASSIGN(const PgRows rows,
             session.query(fmt::format("SELECT oid, datname, {}, {}, {}, datallowconn, datname = current_database() "
                                       "FROM pg_database ORDER BY oid",
                                       last_system, provider ? "datlocprovider" : "''",
                                       provider ? "coalesce(datcollversion, '')" : "''")));
  std::vector<std::string> others;
  for (const PgRow& row : rows) {
    BackupDatabase database;
    database.oid = number_or<uint32_t>(row[0], 0);
    database.name = row[1].value_or("");
    database.last_system_oid = number_or<uint32_t>(row[2], 0);
    database.collation_provider = row[3].value_or("");
    database.collation_version = row[4].value_or("");
    if (row[6] == "t")
      collect_extensions(database.name, session, meta.extensions, warnings);
    else if (row[5] == "t")
      others.push_back(database.name);
    meta.databases.push_back(std::move(database));
  }
  return others;
}

/// Blank out what follows a word that announces a secret: primary_conninfo and pg_hba.conf may hold passwords, and no
/// manifest may.
std::string without_secrets(std::string content) {
  std::string lower = content;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view word : {"password", "ldapbindpasswd", "radiussecrets", "passphrase_command"}) {
    for (size_t at = lower.find(word); at != std::string::npos; at = lower.find(word, at + 1)) {
      size_t value = at + word.size();
      while (value < lower.size() && (lower[value] == ' ' || lower[value] == '\t')) ++value;
      if (value >= lower.size() || lower[value] != '=') continue;  // password_encryption, the method "password".
      ++value;
      while (value < lower.size() && (lower[value] == ' ' || lower[value] == '\t')) ++value;
      size_t end = value;
      const char quote = value < lower.size() && (lower[value] == '\'' || lower[value] == '"') ? lower[value] : '\0';
      if (quote != '\0') {
        end = lower.find_first_of(std::string(1, quote) + "\n", value + 1);
        if (end != std::string::npos && lower[end] == quote) ++end;
      } else {
        end = lower.find_first_of(" \t\n'\"", value);
      }
      if (end == std::string::npos) end = lower.size();
      const std::string_view replacement = "<removed>";
      content.replace(value, end - value, replacement);
      lower.replace(value, end - value, replacement);
    }
  }
  return content;
}

/// Collects configuration files that lie outside the data directory, following include directives.
class ConfigCollector {
 public:
  ConfigCollector(std::string data_directory, BackupMeta& meta, std::vector<std::string>& warnings)
      : data_directory_(std::move(data_directory)), meta_(meta), warnings_(warnings) {}

  void collect(const std::string& path, int depth) {
    if (path.empty() || depth > kIncludeDepthMax || seen_.size() >= kConfigFilesMax || !seen_.insert(path).second)
      return;
    auto content = read_file(path, kConfigFileBytesMax);
    if (!content.has_value()) {
      if (content.error().code() != Errc::kNotFound)
        warnings_.push_back("configuration file is not recorded: " + content.error().message());
      return;
    }
    if (content->find("PRIVATE KEY-----") != std::string::npos) return;
    follow_includes(path, *content, depth);
    if (!path.starts_with(data_directory_ + "/"))
      meta_.outside_files.push_back({path, without_secrets(std::move(*content))});
  }

 private:
  void follow_includes(const std::string& path, const std::string& content, int depth) {
    for (size_t at = 0; at < content.size();) {
      const size_t end = std::min(content.find('\n', at), content.size());
      const std::string_view line(content.data() + at, end - at);
      at = end + 1;
      const size_t begin = line.find_first_not_of(" \t");
      if (begin == std::string_view::npos || !line.substr(begin).starts_with("include")) continue;
      const size_t word_end = std::min(line.find_first_of(" \t='", begin), line.size());
      const std::string_view word = line.substr(begin, word_end - begin);
      std::string target = value_of(line.substr(word_end));
      if (target.empty()) continue;
      if (!target.starts_with('/')) target = parent_path(path) + "/" + target;
      if (word == "include" || word == "include_if_exists") collect(target, depth + 1);
      if (word == "include_dir") collect_directory(target, depth + 1);
    }
  }

  static std::string value_of(std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t=");
    if (begin == std::string_view::npos) return "";
    text.remove_prefix(begin);
    if (text.front() == '\'') {
      const size_t end = text.find('\'', 1);
      return end == std::string_view::npos ? std::string() : std::string(text.substr(1, end - 1));
    }
    return std::string(text.substr(0, text.find_first_of(" \t#\r")));
  }

  void collect_directory(const std::string& path, int depth) {
    struct CloseDirectory {
      void operator()(DIR* directory) const { ::closedir(directory); }
    };
    const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
    if (directory == nullptr) return;
    std::set<std::string> names;
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string name = entry->d_name;
      // As the server does: *.conf, and nothing hidden.
      if (!name.starts_with('.') && name.ends_with(".conf")) names.insert(name);
    }
    for (const std::string& name : names) collect(path + "/" + name, depth);
  }

  const std::string data_directory_;
  BackupMeta& meta_;
  std::vector<std::string>& warnings_;
  std::set<std::string> seen_;
};

}  // namespace

Result<std::vector<std::string>> collect_cluster_facts(PgSession& session, const ServerInfo& server,
                                                       const std::string& data_directory, BackupMeta& meta,
                                                       std::vector<std::string>& warnings) {
  for (const char* name : kSettings)
    if (const auto found = server.settings.find(name); found != server.settings.end())
      meta.settings.emplace(name, found->second);
  if (!server.settings.contains("shared_preload_libraries"))
    warnings.push_back(
        "the role may not see all settings: shared_preload_libraries and configuration files are not recorded "
        "(GRANT pg_read_all_settings to it)");
  meta.libc_version = ::gnu_get_libc_version();
  TRY_ASSIGN_CTX(auto others, collect_databases(session, server, meta, warnings), "list databases");
  TRY_ASSIGN_CTX(
      const PgRows tablespaces,
      session.query("SELECT oid, spcname, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname NOT IN "
                    "('pg_default', 'pg_global') ORDER BY oid"),
      "list tablespaces");
  for (const PgRow& row : tablespaces)
    meta.tablespaces.push_back({number_or<uint32_t>(row[0], 0), row[1].value_or(""), row[2].value_or("")});
  ConfigCollector collector(data_directory, meta, warnings);
  for (const char* name : {"config_file", "hba_file", "ident_file"}) collector.collect(server.setting(name), 0);
  return others;
}

ExtensionFacts extensions_of(const std::vector<std::string>& databases, const DatabaseConnector& connect,
                             const CancelToken& cancel) {
  ExtensionFacts facts;
  if (!connect) return facts;
  for (size_t i = 0; i < databases.size() && !cancel.cancelled(); ++i) {
    if (i == kDatabasesAskedMax) {
      facts.warnings.push_back(
          fmt::format("extensions of {} further databases are not recorded", databases.size() - i));
      return facts;
    }
    if (const auto session = connect(databases[i]); session.has_value())
      collect_extensions(databases[i], **session, facts.extensions, facts.warnings);
    else
      facts.warnings.push_back(not_recorded(databases[i], session.error()));
  }
  return facts;
}

}  // namespace pgark
