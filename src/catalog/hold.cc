// Holds as write-once generations beside the manifest.
#include "catalog/hold.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/backup.h"
#include "catalog/dump.h"
#include "catalog/generation.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;

NotePlace backup_holds(const std::string& stanza) { return {stanza + "/backup/", "hold"}; }
NotePlace dump_holds(const std::string& stanza) { return {stanza + "/dump/", "hold"}; }

std::string encode(const Hold& hold) {
  json document{{"held", hold.until.has_value()},
                {"reason", hold.reason},
                {"set_us", hold.set.time_since_epoch().count()},
                {"until_us", nullptr}};
  if (hold.until && *hold.until != Timestamp::max()) document["until_us"] = hold.until->time_since_epoch().count();
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Hold> decode(const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Error(Errc::kCorrupt, "document is no JSON object");
  const auto member = [&](const char* name) { return document.value(name, json()); };
  if (!member("held").is_boolean()) return Error(Errc::kCorrupt, "member 'held' is missing or no boolean");
  const json until = member("until_us");
  if (!until.is_null() && !until.is_number_integer()) return Error(Errc::kCorrupt, "member 'until_us' is no integer");
  Hold hold;
  if (member("held").get<bool>())
    hold.until = until.is_null() ? Timestamp::max() : Timestamp(std::chrono::microseconds(until.get<int64_t>()));
  if (member("reason").is_string()) hold.reason = member("reason").get<std::string>();
  if (member("set_us").is_number_integer())
    hold.set = Timestamp(std::chrono::microseconds(member("set_us").get<int64_t>()));
  return hold;
}

/// The newest of each backup or dump.
Result<std::map<std::string, Hold>> read_all(const Repository& repository, const std::string& stanza,
                                             const NotePlace& place, std::string_view what) {
  TRY_ASSIGN_CTX(const auto numbers, newest_notes(repository, place), "list holds of stanza " + stanza);
  std::map<std::string, Hold> holds;
  for (const auto& [label, number] : numbers) {
    const std::string context = fmt::format("read hold {} of {} {}", number, what, label);
    auto text = read_record(repository, place.key(label, number));
    // Removed with its backup since the listing.
    if (!text && text.error().code() == Errc::kNotFound) continue;
    TRY_CTX(text, context);
    TRY_ASSIGN_CTX(holds[label], decode(*text), context);
  }
  return holds;
}

}  // namespace

Result<> write_hold(const Repository& repository, const std::string& stanza, const std::string& label,
                    const Hold& hold) {
  const bool is_dump = is_dump_label(label);
  const std::string context =
      fmt::format("{} {} {}", hold.until ? "hold" : "release", is_dump ? "dump" : "backup", label);
  if (is_dump)
    TRY_CTX(read_dump_meta(repository, stanza, label), context);
  else
    TRY_CTX(read_backup(repository, stanza, label), context);
  TRY_CTX(write_note(repository, is_dump ? dump_holds(stanza) : backup_holds(stanza), label, encode(hold)), context);
  return {};
}

Result<std::map<std::string, Hold>> read_holds(const Repository& repository, const std::string& stanza) {
  return read_all(repository, stanza, backup_holds(stanza), "backup");
}

Result<std::map<std::string, Hold>> read_dump_holds(const Repository& repository, const std::string& stanza) {
  return read_all(repository, stanza, dump_holds(stanza), "dump");
}

}  // namespace pgark
