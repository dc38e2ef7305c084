#include "cli/program.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/log.h"

namespace pgark {
namespace {

LogLevel level_of(const Settings& settings, std::string_view option) {
  return parse_log_level(settings.text(option)).value_or(LogLevel::kWarn);  // The table allows only levels.
}

/// Where the log file goes; an error if the directory that was asked for cannot be made.
Result<std::string> log_file_path(const Settings& settings) {
  const std::string& directory = settings.text("log-path");
  if (settings.given("log-path")) TRY(make_directories(directory, 0770));
  return fmt::format("{}/{}-{}.log", directory, settings.stanza().empty() ? "all" : settings.stanza(),
                     settings.command_name());
}

void set_up_log(const Settings& settings) {
  const CommandSpec& spec = command_spec(settings.command());
  if (spec.id == Command::kHelp || spec.id == Command::kVersion) return;
  LogConfig config;
  config.console = level_of(settings, "log-level-console");
  config.standard_error = level_of(settings, "log-level-stderr");
  config.file = level_of(settings, "log-level-file");
  config.timestamps = settings.boolean("log-timestamp");
  config.console_to_stderr = spec.prints_result || settings.text("output") != "text";
  Result<std::string> path = log_file_path(settings);
  Result<> configured;
  if (path.has_value() && config.file != LogLevel::kOff) config.file_path = *path;
  configured = configure_log(config);
  if (!path.has_value()) configured = Error(std::move(path).error()).with_context("create log path");
  if (configured.has_value()) return;
  // Nobody asked for the default directory, and without it the console still tells everything.
  log(settings.given("log-path") ? LogLevel::kWarn : LogLevel::kDetail, "no log file is written: {}",
      configured.error().message());
}

void log_warnings(const Settings& settings) {
  // PostgreSQL runs these two for every segment; its log must not fill with what `check` says once.
  const bool every_segment = settings.command() == Command::kArchiveGet || settings.command() == Command::kArchivePush;
  for (const std::string& warning : settings.warnings()) {
    log(every_segment ? LogLevel::kDetail : LogLevel::kWarn, "{}", warning);
  }
}

Result<int> resolve_and_run(const Program& program) {
  TRY_ASSIGN(const Settings settings, resolve_settings(program.input));
  set_up_log(settings);
  log_warnings(settings);
  Rng rng(random_seed());
  CommandContext context{
      .settings = settings,
      .cancel = program.cancel,
      .clock = program.clock,
      .rng = rng,
      .out = program.out,
      .open_store = [&](unsigned repo, bool create) { return program.open_store(settings, repo, create); },
      .program = program.executable};
  return run_command(context);
}

}  // namespace

void report_error(const Error& error, bool json, Output& out, Output& err) {
  const std::string text = fmt::format("[{}]: {}", errc_name(error.code()), error.to_string());
  // Nothing can be done about a standard stream that does not take the report.
  (void)err.print(fmt::format("ERROR {}\n", text)).has_value();
  log_line_to_file(LogLevel::kError, text);
  if (!json) return;
  const nlohmann::json document = {{"error", error_json(error)}};
  (void)out.print_json(document).has_value();
}

int run_program(const Program& program) {
  const CommandLineGuess guess = guess_command_line(program.input);
  Result<int> result = kExitOk;
  try {
    result = resolve_and_run(program);
  } catch (const std::exception& failure) {
    result = Error(Errc::kInternal, fmt::format("unexpected exception: {}", failure.what()));
  } catch (...) {
    result = Error(Errc::kInternal, "unexpected exception");
  }
  if (result.has_value()) return *result;
  report_error(result.error(), guess.json, program.out, program.err);
  if (guess.nagios) {
    // Whoever asked reads one line and knows four exit codes: this is UNKNOWN.
    std::string line = result.error().message();
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '\n' || c == '|'; }, ' ');
    (void)program.out.print(fmt::format("PGARK UNKNOWN - {}\n", line)).has_value();
    return 3;
  }
  return exit_code_of(guess.command, result.error().code(), program.received_signal());
}

}  // namespace pgark
