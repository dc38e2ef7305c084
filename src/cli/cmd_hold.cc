// `pgark hold`: keep a backup or a dump whatever the rules say, until a time or until it is released.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "catalog/backup.h"
#include "catalog/dump.h"
#include "catalog/hold.h"
#include "catalog/target.h"
#include "cli/access.h"
#include "cli/command.h"

namespace pgark {
namespace {

/// "2027-01-01": the day's beginning is meant.
bool is_date(const std::string& text) {
  return text.size() == 10 && text[4] == '-' && text[7] == '-' &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '-'; });
}

Result<std::optional<Timestamp>> wanted_until(const CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& text = settings.text("until");
  if (settings.boolean("release")) {
    if (settings.given("until")) return Error(Errc::kInvalid, "--release and --until exclude each other");
    return std::optional<Timestamp>();
  }
  if (text == "forever") return std::optional(Timestamp::max());
  TRY_ASSIGN_CTX(const RestoreTarget parsed,
                 parse_restore_target("time", is_date(text) ? text + " 00:00:00" : text, false), "--until");
  if (parsed.time <= context.clock.now())
    return Error(Errc::kInvalid, fmt::format("--until: {} is in the past", format_timestamp_both(parsed.time)))
        .with_hint("to end a hold use --release");
  return std::optional(parsed.time);
}

}  // namespace

Result<int> cmd_hold(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& label = settings.text("set");
  const bool is_dump = is_dump_label(label);
  if (!is_dump) TRY(parse_backup_label(label));
  Hold hold;
  TRY_ASSIGN(hold.until, wanted_until(context));
  hold.reason = settings.text("reason");
  hold.set = context.clock.now();
  // Without --repo in every repository that has it.
  std::optional<unsigned> found;
  std::optional<Error> failed;
  for (const unsigned repo : settings.chosen_repositories()) {
    const auto opened = open_repository(context, repo);
    const auto written =
        opened ? write_hold(*opened->repository, settings.stanza(), label, hold) : Result<>(opened.error());
    if (written) {
      found = found.value_or(repo);
    } else if (!failed || failed->code() == Errc::kNotFound) {
      failed = written.error();
    }
  }
  if (!found || (failed && failed->code() != Errc::kNotFound)) return std::move(*failed);
  if (context.json()) {
    nlohmann::ordered_json until;
    if (hold.until && *hold.until != Timestamp::max()) until = hold.until->time_since_epoch().count();
    TRY(context.out.print_json({{"stanza", settings.stanza()},
                                {"repo", *found},
                                {"label", label},
                                {"held", hold.until.has_value()},
                                {"until_us", until},
                                {"reason", hold.reason}}));
    return kExitOk;
  }
  const std::string text = !hold.until                       ? "is released: the rules decide about it again"
                           : *hold.until == Timestamp::max() ? "is held until it is released"
                                                             : "is held until " + format_timestamp_both(*hold.until);
  TRY(context.out.print(fmt::format("{} {} {}\n", is_dump ? "dump" : "backup", label, text)));
  return kExitOk;
}

}  // namespace pgark
