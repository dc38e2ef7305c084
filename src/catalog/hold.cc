// Holds as write-once generations beside the manifest.
#include "catalog/hold.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "catalog/backup.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr std::string_view kHold = "/hold.";
constexpr int kAttemptsMax = 100;

std::string backup_prefix(const std::string& stanza) { return stanza + "/backup/"; }

ObjectKey hold_key(const std::string& stanza, const std::string& label, unsigned number) {
  return {fmt::format("{}{}{}{}", backup_prefix(stanza), label, kHold, number)};
}

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

/// Number of the newest hold object by label.
Result<std::map<std::string, unsigned>> newest_numbers(const Repository& repository, const std::string& stanza,
                                                       const std::string& below) {
  const std::string prefix = backup_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix + below), "list holds of stanza " + stanza);
  std::map<std::string, unsigned> newest;
  for (const ObjectInfo& object : objects) {
    const std::string_view key = std::string_view(object.key.value).substr(prefix.size());
    const size_t at = key.find(kHold);
    if (at == std::string_view::npos) continue;
    const std::string_view digits = key.substr(at + kHold.size());
    unsigned number = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (status != std::errc{} || end != digits.data() + digits.size() || number == 0) continue;
    unsigned& known = newest[std::string(key.substr(0, at))];
    known = std::max(known, number);
  }
  return newest;
}

}  // namespace

Result<> write_hold(const Repository& repository, const std::string& stanza, const std::string& label,
                    const Hold& hold) {
  const std::string context = (hold.until ? "hold backup " : "release backup ") + label;
  TRY_CTX(read_backup(repository, stanza, label), context);
  TRY_ASSIGN(const auto numbers, newest_numbers(repository, stanza, label + std::string(kHold)));
  const auto known = numbers.find(label);
  const unsigned first = known == numbers.end() ? 1 : known->second + 1;
  // Another hold may take the number at the same moment; the later number then wins, as the later command should.
  for (unsigned number = first; number < first + kAttemptsMax; ++number) {
    auto written = write_record(repository, hold_key(stanza, label, number), encode(hold));
    if (written) return {};
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error()).with_context(context);
  }
  return Error(Errc::kTransient, context + ": others keep doing so at the same time");
}

Result<std::map<std::string, Hold>> read_holds(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto numbers, newest_numbers(repository, stanza, ""));
  std::map<std::string, Hold> holds;
  for (const auto& [label, number] : numbers) {
    const ObjectKey key = hold_key(stanza, label, number);
    const std::string context = fmt::format("read hold {} of backup {}", number, label);
    auto text = read_record(repository, key);
    // Removed with its backup since the listing.
    if (!text && text.error().code() == Errc::kNotFound) continue;
    TRY_CTX(text, context);
    TRY_ASSIGN_CTX(holds[label], decode(*text), context);
  }
  return holds;
}

}  // namespace pgark
