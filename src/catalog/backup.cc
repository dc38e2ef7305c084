// Labels of backups, the backups a repository holds, and the annotations beside their manifests.
#include "catalog/backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "catalog/label.h"
#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr std::string_view kManifest = "/manifest";
constexpr std::string_view kAnnotation = "/annotation.";
constexpr int kAnnotateAttemptsMax = 100;

struct ParsedLabel {
  BackupLabel label;
  Timestamp time;  // Of the last part.
};

std::optional<ParsedLabel> parse_label(std::string_view text) {
  if (text.size() < kLabelStampBytes + 1 || text[kLabelStampBytes] != 'F') return std::nullopt;
  const auto full = parse_label_stamp(text.substr(0, kLabelStampBytes));
  if (!full.has_value()) return std::nullopt;
  const std::string full_label(text.substr(0, kLabelStampBytes + 1));
  if (text.size() == full_label.size()) return ParsedLabel{{BackupType::kFull, full_label}, *full};
  if (text.size() != 2 * (kLabelStampBytes + 1) + 1 || text[full_label.size()] != '_') return std::nullopt;
  const auto own = parse_label_stamp(text.substr(full_label.size() + 1, kLabelStampBytes));
  const char kind = text.back();
  if (!own.has_value() || (kind != 'D' && kind != 'I')) return std::nullopt;
  return ParsedLabel{{kind == 'D' ? BackupType::kDiff : BackupType::kIncr, full_label}, *own};
}

void sort_by_time(std::vector<std::string>& labels) {
  const auto key = [](const std::string& label) {
    const auto parsed = parse_label(label);
    return std::pair(parsed.has_value() ? parsed->time : Timestamp{}, std::string_view(label));
  };
  std::sort(labels.begin(), labels.end(), [&](const std::string& a, const std::string& b) { return key(a) < key(b); });
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
}

std::string backup_prefix(const std::string& stanza) { return stanza + "/backup/"; }

ObjectKey annotation_key(const std::string& stanza, const std::string& label, unsigned number) {
  return {fmt::format("{}{}{}{}", backup_prefix(stanza), label, kAnnotation, number)};
}

/// Numbers of the annotation objects of a backup, ascending.
Result<std::vector<unsigned>> list_annotations(const Repository& repository, const std::string& stanza,
                                               const std::string& label) {
  const std::string prefix = backup_prefix(stanza) + label + std::string(kAnnotation);
  TRY_ASSIGN(const auto objects, repository.store().list_all(prefix));
  std::vector<unsigned> numbers;
  for (const ObjectInfo& object : objects)
    if (const auto number = parse_generation(std::string_view(object.key.value).substr(prefix.size())))
      numbers.push_back(*number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// What one listing tells of the backups of a stanza.
struct BackupListing {
  std::vector<std::string> labels;                           // Of those with a manifest, by time.
  std::map<std::string, uint64_t> manifest_bytes;            // By label.
  std::map<std::string, std::vector<unsigned>> annotations;  // Numbers by label, ascending.
};

Result<BackupListing> list_backup_objects(const Repository& repository, const std::string& stanza) {
  const std::string prefix = backup_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, repository.store().list_all(prefix), "list backups of stanza " + stanza);
  BackupListing listing;
  for (const ObjectInfo& object : objects) {
    const std::string_view name = std::string_view(object.key.value).substr(prefix.size());
    const std::string_view label = name.substr(0, name.find('/'));
    if (!parse_label(label).has_value()) continue;
    const std::string_view rest = name.substr(label.size());
    if (rest == kManifest) {
      listing.labels.emplace_back(label);
      listing.manifest_bytes[std::string(label)] = object.bytes;
    }
    if (!rest.starts_with(kAnnotation)) continue;
    if (const auto number = parse_generation(rest.substr(kAnnotation.size())))
      listing.annotations[std::string(label)].push_back(*number);
  }
  for (auto& [label, numbers] : listing.annotations) std::sort(numbers.begin(), numbers.end());
  sort_by_time(listing.labels);
  return listing;
}

void apply_changes(const std::map<std::string, std::string>& changes, std::map<std::string, std::string>& annotations) {
  for (const auto& [name, value] : changes) {
    if (value.empty())
      annotations.erase(name);
    else
      annotations[name] = value;
  }
}

Result<std::map<std::string, std::string>> decode_changes(const std::string& document) {
  const json parsed = json::parse(document, nullptr, false);
  if (!parsed.is_object()) return Error(Errc::kCorrupt, "document is no JSON object");
  std::map<std::string, std::string> changes;
  for (const auto& [name, value] : parsed.items()) {
    if (!value.is_string()) return Error(Errc::kCorrupt, "member '" + name + "' is no text");
    changes[name] = value.get<std::string>();
  }
  return changes;
}

Result<BackupMeta> read_manifest_document(const Repository& repository, const std::string& stanza,
                                          const std::string& label, uint64_t manifest_bytes = 0,
                                          const TakePacks& take_packs = {}) {
  TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository, stanza, label, manifest_bytes));
  const std::string context = "read manifest of backup " + label;
  TRY_ASSIGN_CTX(const std::string document, manifest.document(), context);
  TRY_ASSIGN_CTX(BackupMeta meta, decode_backup_meta(document), context);
  if (meta.label != label)
    return Error(Errc::kCorrupt, fmt::format("{}: it says it is of backup {}", context, meta.label));
  if (take_packs) take_packs(label, manifest.packs());
  return meta;
}

Result<> read_annotations(const Repository& repository, const std::string& stanza, const std::string& label,
                          const std::vector<unsigned>& numbers, BackupMeta& meta) {
  for (const unsigned number : numbers) {
    const std::string context = fmt::format("read annotation {} of backup {}", number, label);
    TRY_ASSIGN_CTX(const std::string document, read_record(repository, annotation_key(stanza, label, number)), context);
    TRY_ASSIGN_CTX(const auto changes, decode_changes(document), context);
    apply_changes(changes, meta.annotations);
  }
  return {};
}

/// The document of a backup, with its annotations.
Result<BackupMeta> read_listed(const Repository& repository, const std::string& stanza, const std::string& label,
                               uint64_t manifest_bytes, const std::vector<unsigned>& annotations,
                               const TakePacks& take_packs) {
  TRY_ASSIGN(BackupMeta meta, read_manifest_document(repository, stanza, label, manifest_bytes, take_packs));
  TRY(read_annotations(repository, stanza, label, annotations, meta));
  return meta;
}

}  // namespace

std::string_view backup_type_name(BackupType type) {
  switch (type) {
    case BackupType::kFull:
      return "full";
    case BackupType::kDiff:
      return "diff";
    case BackupType::kIncr:
      return "incr";
  }
  return "";
}

std::string make_backup_label(BackupType type, Timestamp started, const std::string& full_label) {
  const std::string stamp = format_label_stamp(started);
  if (type == BackupType::kFull) return stamp + "F";
  return full_label + "_" + stamp + (type == BackupType::kDiff ? "D" : "I");
}

Result<BackupLabel> parse_backup_label(std::string_view label) {
  if (auto parsed = parse_label(label); parsed.has_value()) return std::move(parsed->label);
  return Error(Errc::kInvalid, fmt::format("'{}' is no backup label", label))
      .with_hint("a label looks like 20261122-101500F or 20261122-101500F_20261123-101500I; info lists them");
}

std::string next_backup_label(BackupType type, Timestamp started, const std::string& full_label,
                              const std::vector<std::string>& used) {
  Timestamp time = std::chrono::floor<seconds>(started);
  for (const std::string& label : used)
    if (const auto parsed = parse_label(label); parsed.has_value()) time = std::max(time, parsed->time + seconds(1));
  return make_backup_label(type, time, full_label);
}

Result<std::vector<std::string>> list_backup_labels(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(BackupListing listing, list_backup_objects(repository, stanza));
  return std::move(listing.labels);
}

Result<std::vector<std::string>> list_used_labels(const Repository& repository, const std::string& stanza) {
  const std::array<std::string, 3> prefixes{backup_prefix(stanza), stanza + "/pack/", stanza + "/expire/"};
  std::array<std::vector<std::string>, 3> found;
  TRY_CTX(for_each_call(repository.store(), prefixes.size(),
                        [&](size_t i) { return append_components(repository.store(), prefixes[i], found[i]); }),
          "list backups of stanza " + stanza);
  std::vector<std::string> labels;
  for (const auto& some : found) labels.insert(labels.end(), some.begin(), some.end());
  // A later tombstone of a label has ".r1" behind it.
  std::erase_if(labels, [](const std::string& label) { return !parse_label(label).has_value(); });
  sort_by_time(labels);
  return labels;
}

Result<BackupMeta> read_backup(const Repository& repository, const std::string& stanza, const std::string& label) {
  auto read = read_manifest_document(repository, stanza, label);
  if (!read.has_value()) {
    if (read.error().code() != Errc::kNotFound) return Error(std::move(read).error());
    return Error(Errc::kNotFound, fmt::format("backup {} of stanza {} does not exist in {}", label, stanza,
                                              repository.store().describe()))
        .with_hint(fmt::format("run 'pgark --stanza={} info' to see the backups there are", stanza));
  }
  TRY_ASSIGN_CTX(const auto numbers, list_annotations(repository, stanza, label),
                 "list annotations of backup " + label);
  TRY(read_annotations(repository, stanza, label, numbers, *read));
  return std::move(*read);
}

Result<std::vector<ListedBackup>> list_backups(const Repository& repository, const std::string& stanza,
                                               const TakePacks& take_packs) {
  TRY_ASSIGN(BackupListing listing, list_backup_objects(repository, stanza));
  const auto& labels = listing.labels;
  for (const std::string& label : labels) listing.annotations[label];  // None is added by several threads at once.
  std::vector<std::optional<ListedBackup>> read(labels.size());
  TRY(for_each_call(repository.store(), labels.size(), [&](size_t i) -> Result<> {
    auto meta = read_listed(repository, stanza, labels[i], listing.manifest_bytes.at(labels[i]),
                            listing.annotations.at(labels[i]), take_packs);
    if (meta.has_value())
      read[i] = {labels[i], std::move(*meta), std::nullopt};
    else if (meta.error().code() != Errc::kNotFound)  // Else it was removed since the listing.
      read[i] = {labels[i], std::nullopt, std::move(meta).error()};
    return {};
  }));
  std::vector<ListedBackup> backups;
  for (auto& backup : read)
    if (backup.has_value()) backups.push_back(std::move(*backup));
  return backups;
}

Result<> annotate_backup(const Repository& repository, const std::string& stanza, const std::string& label,
                         const std::map<std::string, std::string>& changes) {
  TRY(read_backup(repository, stanza, label));
  TRY_ASSIGN(const auto numbers, list_annotations(repository, stanza, label));
  const std::string document = json(changes).dump(-1, ' ', false, json::error_handler_t::replace);
  const unsigned first = numbers.empty() ? 1 : numbers.back() + 1;
  // Another annotate may take the number at the same moment; the later number then wins, as the later command should.
  for (unsigned number = first; number < first + kAnnotateAttemptsMax; ++number) {
    auto written = write_record(repository, annotation_key(stanza, label, number), document);
    if (written.has_value()) return {};
    if (written.error().code() != Errc::kAlreadyExists)
      return Error(std::move(written).error()).with_context("annotate backup " + label);
  }
  return Error(Errc::kTransient, "annotate backup " + label + ": others keep annotating it at the same time");
}

}  // namespace pgark
