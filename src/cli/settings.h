// Resolution of every option of one run from command line, environment, configuration files and defaults, keeping
// where each value came from.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/config_files.h"
#include "cli/option_table.h"
#include "core/result.h"

namespace pgark {

enum class ValueSource : unsigned char { kDefault, kFile, kEnvironment, kCommandLine };

/// The settings of one command. Names are written in full: "repo1-path", "process-max". A getter of an option that the
/// command does not take, or that has another type, is a defect and ends the process (CHECK).
class Settings {
 public:
  Command command() const { return command_; }
  std::string_view command_name() const { return command_spec(command_).name; }
  /// Empty if none was given (commands that require one never see that).
  const std::string& stanza() const { return stanza_; }
  /// Positional arguments after the command.
  const std::vector<std::string>& arguments() const { return arguments_; }

  /// Whether there is a value: given, or a default.
  bool has(std::string_view name) const;
  /// Whether somebody gave it, so that it is not the default.
  bool given(std::string_view name) const;

  bool boolean(std::string_view name) const;
  int64_t integer(std::string_view name) const;
  uint64_t bytes(std::string_view name) const;
  std::chrono::milliseconds duration(std::string_view name) const;
  /// kString, kPath, kEnum; empty if there is no value. Not of a passphrase.
  const std::string& text(std::string_view name) const;
  /// A passphrase (cipher-pass), which is kept out of core files. There must be a value.
  const Secret& passphrase(std::string_view name) const;
  /// kList, in the order given; empty if none.
  std::vector<std::string> list(std::string_view name) const;
  /// kMap, in the order given; a key given twice keeps its last value.
  std::vector<std::pair<std::string, std::string>> map(std::string_view name) const;

  /// Where a value came from, for error texts: "repo1-path in /etc/pgark/pgark.conf [main]", "--repo1-path",
  /// "PGARK_REPO1_PATH", "default of repo1-path".
  std::string origin(std::string_view name) const;

  /// Things to tell the user once logging is set up.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Options that were given, as one line for the log, secrets hidden and internal ones left out: "--process-max=2
  /// --repo1-path=/var/lib/pgark".
  std::string dump() const;
  /// Options given on this command line or in the environment that `other` takes too, as words of a command line, so
  /// that a restore_command works with the same repository from the environment of the server. Without stanza, secrets,
  /// and what concerns only the run at hand (log levels, output, process-max).
  std::vector<std::string> words_for(Command other) const;
  /// The file the settings were read from, empty if none was.
  const std::string& config_file() const { return config_file_; }
  /// What was read for them, or would have been had it been there: who runs on asks whether it changed since.
  const ConfigFiles& config_files() const { return config_files_; }

  /// Numbers of the repositories of which some option is given, in order; 1 alone if none is.
  const std::vector<unsigned>& repositories() const { return repositories_; }
  /// The repository that was chosen with --repo, or all that are configured.
  std::vector<unsigned> chosen_repositories() const;
  /// Numbers of the clusters (pg1-path, pg2-path, ...) of which some option is given, in order; 1 alone if none is.
  const std::vector<unsigned>& clusters() const { return clusters_; }

 private:
  friend class SettingsResolver;
  struct Value {
    const OptionSpec* spec = nullptr;
    unsigned index = 1;
    std::vector<std::string> texts;  // One; several for kList and kMap; none if there is no value.
    // A passphrase instead of its text: whoever has it can read every backup. Shared among copies of the settings.
    std::shared_ptr<const Secret> passphrase{};
    ValueSource source = ValueSource::kDefault;
    std::string where;
    int64_t number = 0;
  };
  const Value& find(std::string_view name) const;
  const Value& find(std::string_view name, OptionType type) const;

  Command command_ = Command::kHelp;
  std::string stanza_;
  std::vector<std::string> arguments_;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<std::string> warnings_;
  std::string config_file_;
  ConfigFiles config_files_;
  std::vector<unsigned> repositories_;
  std::vector<unsigned> clusters_;
};

/// What a run is told. Tests fill it by hand.
struct SettingsInput {
  std::vector<std::string> arguments;                            // Without the program's name.
  std::vector<std::pair<std::string, std::string>> environment;  // Variables that begin with PGARK_.
  std::string default_config = "/etc/pgark/pgark.conf";
  std::string default_include_path = "/etc/pgark/conf.d";
  std::vector<std::string> foreign_configs = {"/etc/pgbackrest/pgbackrest.conf",
                                              "/etc/pgbackrest.conf"};  // For a hint.
};

/// Parse the command line, read environment and files, apply precedence, check every value.
/// Errors: kInvalid (wrong option, value, argument, file; missing requirement), kUnsupported (option, value or command
///         that this version does not provide), of reading files. Texts name the option and where it was given.
Result<Settings> resolve_settings(const SettingsInput& input);

/// What can be told of a command line that may be wrong: how its failure must be reported.
struct CommandLineGuess {
  std::string command;  // The first word that names a command; empty if none does.
  bool json = false;    // JSON output was asked for.
  bool nagios = false;  // A line for Nagios was.
};
CommandLineGuess guess_command_line(const SettingsInput& input);

}  // namespace pgark
