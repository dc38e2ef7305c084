#include "cli/dump_settings.h"

#include <fmt/format.h>

#include "cli/access.h"

namespace pgark {
namespace {

Result<Codec> codec_of(const std::string& name) {
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd})
    if (name == codec_name(codec)) return codec;
  return Error(Errc::kInternal, "compress-type '" + name + "' is not known");
}

DumpSplit split_of(const std::string& name) {
  if (name == "schema") return DumpSplit::kSchema;
  if (name == "partition") return DumpSplit::kPartition;
  return DumpSplit::kNone;
}

void add_words(const Settings& settings, const OptionSpec& spec, std::vector<std::string>& words) {
  const std::string name(spec.name);
  if (spec.type == OptionType::kBoolean) {
    if (settings.boolean(name)) words.push_back("--" + name);
  } else if (spec.type == OptionType::kList) {
    for (const std::string& value : settings.list(name)) words.push_back(fmt::format("--{}={}", name, value));
  } else if (!settings.has(name)) {
    return;
  } else if (spec.type == OptionType::kInteger) {
    words.push_back(fmt::format("--{}={}", name, settings.integer(name)));
  } else {
    words.push_back(fmt::format("--{}={}", name, settings.text(name)));
  }
}

}  // namespace

std::vector<std::string> passed_dump_arguments(const Settings& settings, bool selecting) {
  std::vector<std::string> words;
  for (const OptionSpec& spec : all_options()) {
    if (!spec.commands.has(settings.command()) || spec.passed == OptionSpec::Passed::kNo) continue;
    if (selecting && spec.passed != OptionSpec::Passed::kSelects) continue;
    add_words(settings, spec, words);
  }
  return words;
}

Result<DumpRequest> dump_request(const CommandContext& context) {
  const Settings& settings = context.settings;
  DumpRequest request;
  request.stanza = settings.stanza();
  request.server = server_endpoint(settings, settings.clusters().front());
  request.databases = settings.list("dbname");
  request.exclude_databases = settings.list("exclude-database");
  TRY_ASSIGN_CTX(request.format, parse_dump_format(settings.text("format")), settings.origin("format"));
  request.split = split_of(settings.text("split"));
  request.arguments = passed_dump_arguments(settings, false);
  request.selection = passed_dump_arguments(settings, true);
  request.globals = settings.boolean("globals");
  request.role_passwords = settings.boolean("role-passwords");
  request.serializable_deferrable = settings.boolean("serializable-deferrable");
  request.jobs = settings.has("jobs") ? static_cast<unsigned>(settings.integer("jobs")) : 1;
  request.name = settings.text("name");
  request.spool_path = fmt::format("{}/{}/dump", settings.text("spool-path"), settings.stanza());
  request.spool_max = settings.bytes("dump-spool-max");
  TRY_ASSIGN(request.codec, codec_of(settings.text("compress-type")));
  request.level = settings.has("compress-level") ? static_cast<int>(settings.integer("compress-level")) : 1;
  request.host = host_name();
  request.force = settings.boolean("force");
  return request;
}

}  // namespace pgark
