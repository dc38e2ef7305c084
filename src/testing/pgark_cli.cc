// Configuration files and commands for the binary under test.
#include "testing/pgark_cli.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/file.h"

namespace pgark::testing {
namespace {

ProcessOptions for_pgark(ProcessOptions options) {
  const std::vector<std::string> changes = without_test_settings();
  options.env.insert(options.env.begin(), changes.begin(), changes.end());
  return options;
}

}  // namespace

std::string pgark_binary() {
  if (const char* binary = std::getenv("PGARK_BINARY"); binary != nullptr && *binary != '\0') return binary;
#ifdef PGARK_SOURCE_DIR
  return PGARK_SOURCE_DIR "/build/pgark";
#else
  return "build/pgark";
#endif
}

Result<PgarkCli> PgarkCli::create(std::string directory, std::string stanza) {
  PgarkCli cli(std::move(directory), std::move(stanza));
  TRY(make_directories(cli.directory_));
  auto& global = cli.sections_["global"];
  global["repo1-path"] = cli.repo_path();
  for (const char* kind : {"log", "lock", "spool"}) {
    global[fmt::format("{}-path", kind)] = fmt::format("{}/{}", cli.directory_, kind);
    TRY(make_directories(fmt::format("{}/{}", cli.directory_, kind)));
  }
  global["process-max"] = "2";
  // What test clusters are: on one disk, not synced to it, small, and soon gone.
  global["check-ignore"] =
      "checksums_off,fsync_off,no_backup,repository_in_memory,repository_on_data_filesystem,"
      "retention_none";
  cli.sections_[cli.stanza_];
  TRY(cli.write());
  return cli;
}

Result<> PgarkCli::write() const {
  std::string text;
  for (const auto& [section, options] : sections_) {
    text += fmt::format("[{}]\n", section);
    for (const auto& [option, value] : options) text += fmt::format("{}={}\n", option, value);
    text += "\n";
  }
  return write_file_durable(config_path(), text);
}

Result<> PgarkCli::set(const std::string& section, const std::string& option, const std::string& value) {
  if (value.empty()) {
    sections_[section].erase(option);
  } else {
    sections_[section][option] = value;
  }
  return write();
}

Result<> PgarkCli::use_cluster(const PgServer& server) {
  auto& options = sections_[stanza_];
  options["pg1-path"] = server.data_dir();
  options["pg1-port"] = fmt::format("{}", server.port());
  options["pg1-socket-path"] = server.socket_dir();
  options["pg1-user"] = "postgres";
  options["pg1-database"] = "postgres";
  return write();
}

Result<> PgarkCli::archive_from(PgServer& server) {
  TRY(use_cluster(server));
  TRY(server.configure("archive_mode = on"));
  return server.configure("archive_command = " + sql_literal(archive_command()));
}

std::string PgarkCli::archive_command() const {
  return fmt::format("{} --config={} --stanza={} archive-push %p", pgark_binary(), config_path(), stanza_);
}

std::vector<std::string> PgarkCli::command(const std::vector<std::string>& args) const {
  std::vector<std::string> argv{pgark_binary(), "--config=" + config_path(), "--stanza=" + stanza_};
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

Result<ProcessResult> PgarkCli::run(const std::vector<std::string>& args, const ProcessOptions& options,
                                    std::chrono::milliseconds bound) const {
  return testing::run(command(args), for_pgark(options), bound);
}

Result<std::string> PgarkCli::run_ok(const std::vector<std::string>& args) const {
  return testing::run_ok(command(args), for_pgark({}), std::chrono::seconds(300));
}

Result<nlohmann::json> PgarkCli::run_json(const std::vector<std::string>& args) const {
  std::vector<std::string> with_json = args;
  with_json.emplace_back("--output=json");
  TRY_ASSIGN(const std::string text, run_ok(with_json));
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return Error(Errc::kInternal, fmt::format("parse JSON of {}: {}", args.front(), text));
  return parsed;
}

Result<Process> PgarkCli::start(const std::vector<std::string>& args, const ProcessOptions& options) const {
  return Process::start(command(args), for_pgark(options));
}

std::vector<std::string> check_problems(const nlohmann::json& checked) {
  std::vector<std::string> problems;
  for (const nlohmann::json& finding : checked.value("findings", nlohmann::json::array())) {
    const auto severity = finding["severity"].get<std::string>();
    if (severity != "info") problems.push_back(severity + " " + finding["code"].get<std::string>());
  }
  return problems;
}

}  // namespace pgark::testing
