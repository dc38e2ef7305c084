#include "cli/settings.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <set>
#include <thread>

#include "cli/option_sources.h"
#include "codec/secret.h"
#include "core/check.h"
#include "core/ini.h"

namespace pgark {
namespace {

bool file_exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

/// Whether `value` is one of the words of a '|' list.
bool is_one_of(std::string_view list, std::string_view value) {
  for (size_t at = 0; at <= list.size() && !list.empty();) {
    const size_t bar = std::min(list.find('|', at), list.size());
    if (list.substr(at, bar - at) == value) return true;
    at = bar + 1;
  }
  return false;
}

Result<> check_stanza_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (name.empty() || name[0] == '.' || !std::ranges::all_of(name, allowed)) {
    return Error(Errc::kInvalid, fmt::format("'{}' is not a stanza name", name))
        .with_hint("use letters, digits, '.', '_' and '-', and no '.' at the beginning");
  }
  // Both would collide: with the sections for all stanzas and with the stop file for all stanzas.
  if (name == "global" || name == "all")
    return Error(Errc::kInvalid, fmt::format("stanza name '{}' is reserved", name));
  return {};
}

}  // namespace

/// Puts the sources of one run together; finish() moves the result out.
class SettingsResolver {
 public:
  explicit SettingsResolver(const SettingsInput& input) : input_(input) {}

  Result<Settings> resolve() {
    TRY_ASSIGN(CommandLine line, parse_command_line(input_.arguments));
    settings_.command_ = line.command;
    settings_.arguments_ = std::move(line.arguments);
    const bool bare = line.command == Command::kHelp || line.command == Command::kVersion;
    std::vector<std::string> environment_warnings;
    TRY(apply(std::move(line.options), ValueSource::kCommandLine));
    TRY(apply(environment_options(input_, environment_warnings), ValueSource::kEnvironment));
    if (!bare) {
      settings_.warnings_ = std::move(environment_warnings);
      TRY(take_stanza());
      TRY(read_files());
    }
    fill_defaults();
    warn_of_ignored();
    if (!bare) {
      TRY(check_required());
      TRY(check_together());
    }
    return std::move(settings_);
  }

 private:
  using Value = Settings::Value;

  /// Take over what no source before this one has given.
  Result<> apply(std::vector<GivenOption> options, ValueSource source) {
    for (GivenOption& given : options) {
      const OptionSpec* spec = find_option(given.base, settings_.command_);
      if (spec == nullptr || settled_.contains(given.name)) continue;
      settled_.emplace(given.name, given.reset);
      if (given.reset) continue;
      Value value;
      value.spec = spec;
      value.index = given.index;
      value.texts = std::move(given.texts);
      value.source = source;
      value.where = std::move(given.where);
      TRY(accept(given.name, std::move(value)));
    }
    return {};
  }

  Result<> accept(const std::string& name, Value value) {
    const OptionSpec& spec = *value.spec;
    if (spec.state != OptionState::kActive) {
      const bool harmless =
          std::ranges::all_of(value.texts, [&](auto& text) { return is_one_of(spec.harmless, text); });
      if (harmless) return {};
      if (spec.state == OptionState::kRefused) {
        return Error(Errc::kUnsupported, fmt::format("{}: not provided in this version", value.where))
            .with_hint(std::string(spec.state_note));
      }
      ignored_[std::string(spec.state_note)].push_back(value.where);
      return {};
    }
    for (std::string& text : value.texts) {
      if (spec.type == OptionType::kPath) {
        while (text.size() > 1 && text.ends_with('/')) text.pop_back();
      }
      Result<> checked = check_option_value(spec, settings_.command_, text);
      if (checked.has_value()) continue;
      // The text of the check quotes the value.
      if (spec.secret) return Error(Errc::kInvalid, fmt::format("{}: the value is not allowed", value.where));
      return std::move(checked).error().with_context(value.where);
    }
    set_number(value);
    if (spec.secret && spec.name.ends_with("cipher-pass") && !value.texts.empty()) {
      value.passphrase = std::make_shared<const Secret>(Secret::from_text(std::move(value.texts.front())));
      value.texts.clear();
    }
    settings_.values_.emplace(name, std::move(value));
    return {};
  }

  /// `value` passed check_option_value().
  static void set_number(Value& value) {
    if (value.texts.empty()) return;
    const std::string& text = value.texts.front();
    switch (value.spec->type) {
      case OptionType::kBoolean:
        value.number = parse_boolean(text).value() ? 1 : 0;
        break;
      case OptionType::kInteger:
        value.number = parse_integer(text).value();
        break;
      case OptionType::kSize:
        value.number = static_cast<int64_t>(parse_size(text).value());
        break;
      case OptionType::kTime:
        value.number = parse_time_ms(text).value();
        break;
      default:
        break;
    }
  }

  const Value* value_of(std::string_view name) const {
    const auto found = settings_.values_.find(name);
    return found == settings_.values_.end() ? nullptr : &found->second;
  }
  std::string given_text(std::string_view name) const {
    const Value* value = value_of(name);
    return value == nullptr || value->texts.empty() ? "" : value->texts.front();
  }

  Result<> take_stanza() {
    const Value* stanza = value_of("stanza");
    if (stanza == nullptr) return {};
    TRY_CTX(check_stanza_name(stanza->texts.front()), stanza->where);
    settings_.stanza_ = stanza->texts.front();
    return {};
  }

  /// Read what --config, --config-path, --config-include-path say, as pgBackRest does: a file that is named stands
  /// alone; a path that is named has to exist.
  Result<> read_files() {
    const Value* config = value_of("config");
    if (config != nullptr && config->texts.empty()) return {};  // --no-config.
    const std::string base = given_text("config-path");
    config_path_ = config != nullptr ? config->texts.front()
                   : base.empty()    ? input_.default_config
                                     : base + "/pgark.conf";
    ConfigFiles& sources = settings_.config_files_;
    TRY_ASSIGN_CTX(std::vector<IniEntry> entries, sources.read(config_path_, config != nullptr), "read configuration");
    if (sources.found(config_path_)) settings_.config_file_ = config_path_;
    const Value* include = value_of("config-include-path");
    const std::string include_path = include != nullptr ? include->texts.front()
                                     : !base.empty()    ? base + "/conf.d"
                                                        : input_.default_include_path;
    if (include != nullptr || config == nullptr) {
      TRY_ASSIGN_CTX(const std::vector<std::string> files, sources.list(include_path, include != nullptr),
                     "read configuration");
      for (const std::string& file : files) {
        TRY_ASSIGN_CTX(std::vector<IniEntry> more, sources.read(file, true), "read configuration");
        entries.insert(entries.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
      }
    }
    note_sections(entries);
    TRY_ASSIGN(std::vector<GivenOption> options,
               file_options(entries, settings_.stanza_, settings_.command_, settings_.warnings_));
    for (IniEntry& entry : entries) wipe(entry.value);  // Secrets among them, copies of which were taken.
    return apply(std::move(options), ValueSource::kFile);
  }

  void note_sections(const std::vector<IniEntry>& entries) {
    for (const IniEntry& entry : entries) {
      const std::string name = entry.section.substr(0, entry.section.find(':'));
      if (name != "global" && std::ranges::find(stanza_sections_, name) == stanza_sections_.end()) {
        stanza_sections_.push_back(name);
      }
    }
  }

  void fill_defaults() {
    settings_.repositories_ = configured_indexes(OptionFamily::kRepo);
    settings_.clusters_ = configured_indexes(OptionFamily::kPg);
    for (const OptionSpec& spec : all_options()) {
      if (spec.state != OptionState::kActive || !spec.commands.has(settings_.command_)) continue;
      fill_default(spec, 1);
      if (spec.family == OptionFamily::kNone) continue;
      for (const unsigned index : spec.family == OptionFamily::kRepo ? settings_.repositories_ : settings_.clusters_) {
        fill_default(spec, index);
      }
    }
  }

  /// Numbers of a family of which some option is given; 1 if none is.
  std::vector<unsigned> configured_indexes(OptionFamily family) const {
    std::set<unsigned> indexes;
    for (const auto& [name, value] : settings_.values_) {
      if (value.spec->family == family) indexes.insert(value.index);
    }
    if (indexes.empty()) indexes.insert(1);
    return {indexes.begin(), indexes.end()};
  }

  void fill_default(const OptionSpec& spec, unsigned index) {
    const std::string name = option_full_name(spec, index);
    if (settings_.values_.contains(name)) return;
    Value value;
    value.spec = &spec;
    value.index = index;
    value.where = "default of " + name;
    std::string text = spec.value_default.empty() ? computed_default(spec) : std::string(spec.value_default);
    // The default of a path is one place: a second repository there would be the first again. In a bucket of its own it
    // is not.
    if (index != 1 && spec.type == OptionType::kPath && !(spec.name == "repo-path" && in_bucket(index))) text.clear();
    if (!text.empty()) {
      CHECK(check_option_value(spec, settings_.command_, text).has_value());
      value.texts.push_back(std::move(text));
    }
    set_number(value);
    settings_.values_.emplace(name, std::move(value));
  }

  /// Value of an option of repository `index`, given or default; empty if there is none.
  std::string repository_text(unsigned index, std::string_view option) const {
    const Value* value = value_of(fmt::format("repo{}-{}", index, option));
    if (value != nullptr) return value->texts.empty() ? "" : value->texts.front();
    const OptionSpec* spec = find_option(fmt::format("repo-{}", option), settings_.command_);
    return spec == nullptr ? "" : std::string(spec->value_default);
  }

  bool in_bucket(unsigned index) const {
    const std::string type = repository_text(index, "type");
    return type == "s3" || type == "azure" || type == "gcs";
  }

  /// The same text for two repositories means that they are one place.
  std::string place_of(unsigned index) const {
    const std::string type = repository_text(index, "type");
    std::string place = repository_text(index, "path");
    if (type == "s3" || type == "gcs") {
      place = fmt::format("{}:{}/{}{}", type, repository_text(index, type + "-endpoint"),
                          repository_text(index, type + "-bucket"), place);
    } else if (type == "azure") {
      place = fmt::format("azure:{}.{}/{}{}", repository_text(index, "azure-account"),
                          repository_text(index, "azure-endpoint"), repository_text(index, "azure-container"), place);
    } else if (type == "sftp") {
      place = fmt::format("sftp:{}:{}{}", repository_text(index, "sftp-host"), repository_text(index, "sftp-host-port"),
                          place);
    }
    return place;
  }

  std::string computed_default(const OptionSpec& spec) const {
    if (spec.name == "process-max") return std::to_string(std::clamp(std::thread::hardware_concurrency(), 1u, 8u));
    if (spec.name == "compress-level") return "1";
    if (spec.name == "repo") return std::to_string(settings_.repositories_.front());
    if (spec.name == "config") return settings_.config_file_;
    return "";
  }

  void warn_of_ignored() {
    for (const auto& [note, places] : ignored_) {
      settings_.warnings_.push_back(fmt::format("ignored: {}: {}", fmt::join(places, ", "), note));
    }
  }

  /// Where a missing option could be put, or which file was perhaps meant to be read.
  std::string where_to_set(const std::string& name) const {
    if (settings_.config_file_.empty() && !settings_.given("config")) {
      const auto foreign = std::ranges::find_if(input_.foreign_configs, file_exists);
      if (foreign != input_.foreign_configs.end()) {
        return fmt::format("{} does not exist, but {} does: use it with --config={}", config_path_, *foreign, *foreign);
      }
    }
    const std::string section = settings_.stanza_.empty() ? "global" : settings_.stanza_;
    std::string hint = fmt::format("give --{} or set {} in [{}] of {}", name, name, section,
                                   config_path_.empty() ? input_.default_config : config_path_);
    const bool known = std::ranges::find(stanza_sections_, settings_.stanza_) != stanza_sections_.end();
    if (!known && !stanza_sections_.empty()) {
      hint += fmt::format(", which has stanzas {}", fmt::join(stanza_sections_, ", "));
    }
    return hint;
  }

  Result<> check_required() const {
    const std::string_view command = settings_.command_name();
    if (command_spec(settings_.command_).stanza_required && settings_.stanza_.empty()) {
      Error error(Errc::kInvalid, fmt::format("stanza is required for {}", command));
      if (stanza_sections_.empty()) return std::move(error).with_hint("give --stanza=NAME or set PGARK_STANZA");
      return std::move(error).with_hint(
          fmt::format("give --stanza=NAME; {} has {}", config_path_, fmt::join(stanza_sections_, ", ")));
    }
    for (const auto& [name, value] : settings_.values_) {
      if (!value.spec->required.has(settings_.command_) || !value.texts.empty()) continue;
      Error error(Errc::kInvalid, fmt::format("{} is required for {}", name, command));
      if (value.spec->source == OptionSource::kCommandLine) {
        return std::move(error).with_hint(fmt::format("give --{}={}", name, option_type_name(value.spec->type)));
      }
      return std::move(error).with_hint(where_to_set(name));
    }
    return {};
  }

  /// Rules between options.
  Result<> check_together() const {
    TRY(check_repositories());
    if (const Value* level = value_of("compress-level");
        level != nullptr && given_text("compress-type") == "lz4" && level->number > 12) {
      return Error(Errc::kInvalid,
                   fmt::format("{}: '{}' is out of range: allowed for lz4 are 1 to 12", level->where, level->number));
    }
    if (const Value* exclude = value_of("exclude")) {
      for (const std::string& path : exclude->texts) {
        if (path[0] == '/') {
          return Error(Errc::kInvalid,
                       fmt::format("{}: '{}' must be relative to the data directory", exclude->where, path));
        }
      }
    }
    TRY(check_tablespace_map());
    return settings_.command_ == Command::kRestore ? check_target() : Result<>{};
  }

  Result<> check_repositories() const {
    const Value* repo = value_of("repo");
    if (repo == nullptr) return {};
    const auto& configured = settings_.repositories_;
    const auto number = static_cast<unsigned>(repo->number);
    if (std::ranges::find(configured, number) == configured.end()) {
      return Error(Errc::kInvalid, fmt::format("{}: repository {} is not configured", repo->where, number))
          .with_hint(fmt::format("set repo{0}-path or repo{0}-type, or use one of those configured: {1}", number,
                                 fmt::join(configured, ", ")));
    }
    std::map<std::string, std::string> paths;
    for (const unsigned index : configured) {
      const std::string name = fmt::format("repo{}-path", index);
      const Value* path = value_of(name);
      if (path == nullptr) continue;
      if (path->texts.empty()) {
        return Error(Errc::kInvalid,
                     fmt::format("{} is required: other options of repository {} are given", name, index))
            .with_hint(where_to_set(name));
      }
      const auto [same, first] = paths.emplace(place_of(index), path->where);
      if (first) continue;
      return Error(Errc::kInvalid,
                   fmt::format("{}: '{}' is the repository of {} already", path->where, same->first, same->second))
          .with_hint("each repository needs a place of its own, so that no backup is believed to be in two");
    }
    return {};
  }

  Result<> check_tablespace_map() const {
    const Value* map = value_of("tablespace-map");
    if (map == nullptr) return {};
    for (const std::string& pair : map->texts) {
      const std::string path = pair.substr(pair.find('=') + 1);
      if (path.empty() || path[0] != '/') {
        return Error(Errc::kInvalid, fmt::format("{}: '{}' is not an absolute path", map->where, path));
      }
    }
    return {};
  }

  Result<> check_target() const {
    const std::string type = given_text("type");
    const bool needs_target = type == "time" || type == "xid" || type == "lsn" || type == "name";
    if (needs_target && given_text("target").empty()) {
      return Error(Errc::kInvalid, fmt::format("target is required for --type={}", type))
          .with_hint("give --target, for example --type=time --target='2026-11-22 10:15:00+00'");
    }
    if (!needs_target && !given_text("target").empty()) {
      return Error(Errc::kInvalid, fmt::format("--target is not valid with --type={}", type))
          .with_hint("use --type=time, xid, lsn or name");
    }
    const bool stops = needs_target || type == "immediate" || settings_.given("before-xid");
    if (settings_.given("target-action") && !stops) {
      return Error(Errc::kInvalid, fmt::format("--target-action is not valid with --type={}", type))
          .with_hint("use --type=immediate, time, xid, lsn or name");
    }
    if (settings_.boolean("target-exclusive") && (!needs_target || type == "name")) {
      return Error(Errc::kInvalid, fmt::format("--target-exclusive is not valid with --type={}", type))
          .with_hint("use --type=time, xid or lsn");
    }
    return {};
  }

  const SettingsInput& input_;
  Settings settings_;
  std::map<std::string, bool> settled_;                      // Names some source has decided, also by --reset-NAME.
  std::map<std::string, std::vector<std::string>> ignored_;  // By reason: places.
  std::string config_path_;
  std::vector<std::string> stanza_sections_;
};

Result<Settings> resolve_settings(const SettingsInput& input) { return SettingsResolver(input).resolve(); }

CommandLineGuess guess_command_line(const SettingsInput& input) {
  CommandLineGuess guess;
  std::string output;
  for (const auto& [variable, value] : input.environment) {
    if (variable == "PGARK_OUTPUT") output = value;
  }
  for (size_t i = 0; i < input.arguments.size(); ++i) {
    const std::string& word = input.arguments[i];
    if (guess.command.empty() && find_command(word) != nullptr) guess.command = word;
    if (word.starts_with("--output=")) output = word.substr(std::string_view("--output=").size());
    if (word == "--output" && i + 1 < input.arguments.size()) output = input.arguments[i + 1];
  }
  guess.json = output == "json";
  guess.nagios = output == "nagios";
  return guess;
}

const Settings::Value& Settings::find(std::string_view name) const {
  const auto found = values_.find(name);
  CHECK(found != values_.end());
  return found->second;
}

const Settings::Value& Settings::find(std::string_view name, OptionType type) const {
  const Value& value = find(name);
  CHECK(value.spec->type == type);
  return value;
}

bool Settings::has(std::string_view name) const {
  const Value& value = find(name);
  return !value.texts.empty() || value.passphrase != nullptr;
}
bool Settings::given(std::string_view name) const { return find(name).source != ValueSource::kDefault; }
bool Settings::boolean(std::string_view name) const { return find(name, OptionType::kBoolean).number != 0; }
int64_t Settings::integer(std::string_view name) const { return find(name, OptionType::kInteger).number; }
uint64_t Settings::bytes(std::string_view name) const {
  return static_cast<uint64_t>(find(name, OptionType::kSize).number);
}
std::chrono::milliseconds Settings::duration(std::string_view name) const {
  return std::chrono::milliseconds(find(name, OptionType::kTime).number);
}

const std::string& Settings::text(std::string_view name) const {
  static const std::string none;
  const Value& value = find(name);
  CHECK(value.spec->type == OptionType::kString || value.spec->type == OptionType::kPath ||
        value.spec->type == OptionType::kEnum);
  CHECK(value.passphrase == nullptr);
  return value.texts.empty() ? none : value.texts.front();
}

const Secret& Settings::passphrase(std::string_view name) const {
  const Value& value = find(name);
  CHECK(value.passphrase != nullptr);
  return *value.passphrase;
}

std::vector<std::string> Settings::list(std::string_view name) const { return find(name, OptionType::kList).texts; }

std::vector<std::pair<std::string, std::string>> Settings::map(std::string_view name) const {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& text : find(name, OptionType::kMap).texts) {
    const size_t equals = text.find('=');
    const std::string key = text.substr(0, equals);
    const auto known = std::ranges::find(pairs, key, &std::pair<std::string, std::string>::first);
    if (known != pairs.end()) {
      known->second = text.substr(equals + 1);
    } else {
      pairs.emplace_back(key, text.substr(equals + 1));
    }
  }
  return pairs;
}

std::vector<unsigned> Settings::chosen_repositories() const {
  if (given("repo")) return {static_cast<unsigned>(integer("repo"))};
  return repositories_;
}

std::string Settings::origin(std::string_view name) const { return find(name).where; }

std::vector<std::string> Settings::words_for(Command other) const {
  std::vector<std::string> words;
  for (const auto& [name, value] : values_) {
    if (value.source != ValueSource::kCommandLine && value.source != ValueSource::kEnvironment) continue;
    const bool only_this_run = value.spec->group == OptionGroup::kLog || name == "stanza" || name == "output" ||
                               name == "process-max" || name == "progress";
    const OptionSpec* taken = find_option(value.spec->name, other);
    if (only_this_run || value.spec->secret || taken == nullptr || taken->type != value.spec->type) continue;
    for (const std::string& text : value.texts) words.push_back(fmt::format("--{}={}", name, text));
  }
  return words;
}

std::string Settings::dump() const {
  std::vector<std::string> parts;
  for (const auto& [name, value] : values_) {
    if (value.source == ValueSource::kDefault || value.spec->internal) continue;
    if (value.passphrase != nullptr) parts.push_back(fmt::format("--{}=<redacted>", name));
    for (const std::string& text : value.texts) {
      const bool quote = text.find_first_of(" '\"") != std::string::npos;
      parts.push_back(value.spec->secret ? fmt::format("--{}=<redacted>", name)
                      : quote            ? fmt::format("--{}=\"{}\"", name, text)
                                         : fmt::format("--{}={}", name, text));
    }
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

}  // namespace pgark
