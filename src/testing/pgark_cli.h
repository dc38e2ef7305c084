// The pgark binary as a user runs it: a configuration file, commands, exit codes.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "testing/pg_server.h"
#include "testing/process.h"

namespace pgark::testing {

/// Path of the binary under test: $PGARK_BINARY, else build/pgark of the source tree.
std::string pgark_binary();

/// One configuration file with a stanza and a posix repository in a directory, and the commands run with it.
class PgarkCli {
 public:
  /// Write "<directory>/pgark.conf": repository, log, lock and spool paths inside `directory`, process-max 2.
  static Result<PgarkCli> create(std::string directory, std::string stanza = "main");

  const std::string& stanza() const { return stanza_; }
  const std::string& directory() const { return directory_; }
  std::string config_path() const { return directory_ + "/pgark.conf"; }
  std::string repo_path() const { return directory_ + "/repo"; }

  /// Set an option of a section and write the file; "global" and "main" are sections. An empty value removes it.
  Result<> set(const std::string& section, const std::string& option, const std::string& value);
  /// Point the stanza at a cluster: pg1-path, pg1-port, pg1-socket-path, pg1-user, pg1-database.
  Result<> use_cluster(const PgServer& server);
  /// use_cluster(), and have the server archive with pgark: archive_mode=on and archive_command. Before its start.
  Result<> archive_from(PgServer& server);

  /// archive_command as postgresql.conf wants it.
  std::string archive_command() const;
  /// "pgark --config=... --stanza=main" and `args`, which begin with the command.
  std::vector<std::string> command(const std::vector<std::string>& args) const;

  /// Run a command to its end.
  Result<ProcessResult> run(const std::vector<std::string>& args, const ProcessOptions& options = {},
                            std::chrono::milliseconds bound = std::chrono::seconds(300)) const;
  /// Run a command that must exit 0; its standard output.
  Result<std::string> run_ok(const std::vector<std::string>& args) const;
  /// Run a command with --output=json that must exit 0; what it printed.
  Result<nlohmann::json> run_json(const std::vector<std::string>& args) const;
  /// Start a command in the background, for example to kill it.
  Result<Process> start(const std::vector<std::string>& args, const ProcessOptions& options = {}) const;

 private:
  PgarkCli(std::string directory, std::string stanza) : directory_(std::move(directory)), stanza_(std::move(stanza)) {}
  Result<> write() const;

  std::string directory_;
  std::string stanza_;
  std::map<std::string, std::map<std::string, std::string>> sections_;
};

/// "severity code" of the findings in a document of `check` that are more than information.
std::vector<std::string> check_problems(const nlohmann::json& checked);

}  // namespace pgark::testing
