#include "catalog/verify_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "catalog/backup.h"
#include "core/log.h"
#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

using nlohmann::json;

constexpr int kWriteAttemptsMax = 100;

std::string record_prefix(const std::string& stanza) { return stanza + "/verify/"; }

std::string encode(const VerifyRecord& record) {
  json damaged = json::array();
  for (const VerifyRecord::Backup& backup : record.damaged) {
    damaged.push_back({{"label", backup.label}, {"file_count", backup.file_count}, {"what", backup.what}});
  }
  const json document{{"started_us", record.started.time_since_epoch().count()},
                      {"finished_us", record.finished.time_since_epoch().count()},
                      {"pgark_version", record.pgark_version},
                      {"host", record.host},
                      {"sets", record.sets},
                      {"share", record.share},
                      {"verified", record.verified},
                      {"read_bytes", record.read_bytes},
                      {"damage_count", record.damage_count},
                      {"damaged", damaged},
                      {"objects", record.objects}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Members that are missing or of another type have their defaults: a record is of use for what it says.
class Members {
 public:
  explicit Members(const json& document) : document_(document) {}
  std::string text(const char* name) const {
    const auto found = document_.find(name);
    return found != document_.end() && found->is_string() ? found->get<std::string>() : std::string();
  }
  uint64_t number(const char* name) const {
    const auto found = document_.find(name);
    return found != document_.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
  }
  Timestamp time(const char* name) const {
    const auto found = document_.find(name);
    const bool good = found != document_.end() && found->is_number_integer();
    return Timestamp(std::chrono::microseconds(good ? found->get<int64_t>() : 0));
  }
  std::vector<std::string> texts(const char* name) const {
    std::vector<std::string> out;
    const auto found = document_.find(name);
    if (found == document_.end() || !found->is_array()) return out;
    for (const json& one : *found)
      if (one.is_string()) out.push_back(one.get<std::string>());
    return out;
  }
  const json* array(const char* name) const {
    const auto found = document_.find(name);
    return found != document_.end() && found->is_array() ? &*found : nullptr;
  }

 private:
  const json& document_;
};

Result<VerifyRecord> decode(const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Error(Errc::kCorrupt, "document is no JSON object");
  const Members members(document);
  VerifyRecord record;
  record.started = members.time("started_us");
  record.finished = members.time("finished_us");
  record.pgark_version = members.text("pgark_version");
  record.host = members.text("host");
  record.sets = members.texts("sets");
  const auto share = document.find("share");
  record.share = share != document.end() && share->is_number() ? share->get<double>() : 0;
  record.verified = members.texts("verified");
  record.read_bytes = members.number("read_bytes");
  record.damage_count = members.number("damage_count");
  record.objects = members.texts("objects");
  if (const json* damaged = members.array("damaged")) {
    for (const json& one : *damaged) {
      if (!one.is_object()) continue;
      const Members backup(one);
      record.damaged.push_back({backup.text("label"), backup.number("file_count"), backup.text("what")});
    }
  }
  return record;
}

/// A name has the form of the time in a label.
bool is_name(const std::string& name) { return parse_backup_label(name + "F").has_value(); }

Result<std::vector<std::string>> list_names(const Repository& repository, const std::string& stanza) {
  const std::string prefix = record_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list verify records of stanza " + stanza);
  std::vector<std::string> names;
  for (const ObjectInfo& object : objects) {
    std::string name = object.key.value.substr(prefix.size());
    if (is_name(name)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void remove_superseded(const Repository& repository, const std::string& stanza) {
  const auto records = list_verify_records(repository, stanza);
  if (!records || records->size() <= kVerifyRecordsMax) return;
  const auto labels = list_backup_labels(repository, stanza);
  if (!labels) return;
  for (const std::string& name : superseded_records(*records, *labels)) {
    const auto removed = repository.store().remove({record_prefix(stanza) + name});
    // Append-only credentials and object lock: it stays, and says nothing that newer ones do not.
    if (!removed) log_detail("verify record {} stays: {}", name, removed.error().message());
  }
}

}  // namespace

Result<std::vector<VerifyRecord>> list_verify_records(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto names, list_names(repository, stanza));
  std::vector<std::optional<Result<std::string>>> texts(names.size());
  TRY(for_each_call(repository.store(), names.size(), [&](size_t i) -> Result<> {
    texts[i] = read_record(repository, {record_prefix(stanza) + names[i]});
    return {};
  }));
  std::vector<VerifyRecord> records;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    const std::string key = record_prefix(stanza) + name;
    const Result<std::string>& text = *texts[i];
    if (!text && text.error().code() == Errc::kNotFound) continue;  // Removed meanwhile.
    auto record = text ? decode(*text) : Result<VerifyRecord>(text.error());
    if (!record && record.error().code() != Errc::kCorrupt && record.error().code() != Errc::kUnsupported) {
      return Error(std::move(record).error()).with_context("read " + key);
    }
    if (!record) {
      log_warn("verify record {} is passed over: {}", key, record.error().message());
      continue;
    }
    record->name = name;
    records.push_back(std::move(*record));
  }
  return records;
}

Result<std::string> write_verify_record(const Repository& repository, const std::string& stanza, VerifyRecord record) {
  if (record.objects.size() > kVerifyObjectsMax) record.objects.resize(kVerifyObjectsMax);
  TRY_ASSIGN(const auto names, list_names(repository, stanza));
  std::vector<std::string> used;
  for (const std::string& name : names) used.push_back(name + "F");
  const std::string document = encode(record);
  for (int attempt = 0; attempt < kWriteAttemptsMax; ++attempt) {
    // Later than all, also when the clock went back.
    std::string name = next_backup_label(BackupType::kFull, record.finished, "", used);
    used.push_back(name);
    name.pop_back();
    const auto written = write_record(repository, {record_prefix(stanza) + name}, document);
    if (written) {
      remove_superseded(repository, stanza);
      return name;
    }
    if (written.error().code() != Errc::kAlreadyExists) {
      return Error(written.error()).with_context("write verify record of stanza " + stanza);
    }
  }
  return Error(Errc::kTransient, "write verify record of stanza " + stanza + ": others keep writing at the same time");
}

std::map<std::string, VerifyVerdict> verify_verdicts(const std::vector<VerifyRecord>& records) {
  std::map<std::string, VerifyVerdict> verdicts;
  for (const VerifyRecord& record : records) {
    const bool whole = record.share >= 1;
    for (const std::string& label : record.verified) {
      VerifyVerdict& verdict = verdicts[label];
      if (whole) {
        verdict = {record.finished, std::nullopt, ""};
      } else {
        verdict.sampled = record.finished;
      }
    }
    for (const VerifyRecord::Backup& backup : record.damaged) verdicts[backup.label].damage = backup.what;
  }
  return verdicts;
}

std::vector<std::string> superseded_records(const std::vector<VerifyRecord>& records,
                                            const std::vector<std::string>& labels) {
  std::vector<std::string> names;
  if (records.size() <= kVerifyRecordsMax) return names;
  std::set<std::string> needed;
  for (size_t i = records.size() - kVerifyRecordsMax; i < records.size(); ++i) needed.insert(records[i].name);
  const auto whole = std::find_if(records.rbegin(), records.rend(),
                                  [](const VerifyRecord& one) { return one.share >= 1 && one.sets.empty(); });
  if (whole != records.rend()) needed.insert(whole->name);
  const auto verdicts = verify_verdicts(records);
  for (const VerifyRecord& record : records) {
    if (needed.contains(record.name)) continue;
    // The last one that says so of a backup which is damaged still.
    const bool tells = std::any_of(record.damaged.begin(), record.damaged.end(), [&](const VerifyRecord::Backup& one) {
      if (std::find(labels.begin(), labels.end(), one.label) == labels.end()) return false;
      const auto verdict = verdicts.find(one.label);
      if (verdict == verdicts.end() || verdict->second.damage.empty()) return false;
      return std::none_of(records.begin(), records.end(), [&](const VerifyRecord& other) {
        return other.name > record.name && std::any_of(other.damaged.begin(), other.damaged.end(),
                                                       [&](const auto& two) { return two.label == one.label; });
      });
    });
    if (!tells) names.push_back(record.name);
  }
  return names;
}

}  // namespace pgark
