#include "cli/verify_render.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

/// Entries of one kind that text shows; JSON has them all.
constexpr size_t kShownMax = 20;

int64_t microseconds(Timestamp time) { return time.time_since_epoch().count(); }

ordered_json time_json(const std::optional<Timestamp>& time) {
  return time ? ordered_json(microseconds(*time)) : ordered_json();
}

ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }

ordered_json file_json(const DamagedFile& file) {
  ordered_json blocks = ordered_json::array();
  for (const DamagedRange& range : file.blocks) blocks.push_back({{"min", range.first}, {"max", range.last}});
  ordered_json packs = ordered_json::array();
  for (const PackName& pack : file.packs) packs.push_back(fmt::format("{}/{:06}", pack.label, pack.number));
  return {{"path", file.path}, {"blocks", blocks}, {"block_count", file.block_count}, {"packs", packs}};
}

ordered_json damage_json(const VerifyDamage& damage) {
  ordered_json places = ordered_json::array();
  for (const DamagedPlace& place : damage.places) places.push_back({{"offset", place.offset}, {"bytes", place.bytes}});
  return {{"kind", damage_kind_name(damage.kind)},
          {"object", damage.object},
          {"name", damage.name},
          {"count", damage.count},
          {"missing", damage.missing},
          {"harmless", damage.harmless},
          {"cause", damage.cause},
          {"places", places},
          {"backups", damage.backups},
          {"good_copies", damage.good_copies}};
}

ordered_json backup_json(const DamagedBackup& backup) {
  ordered_json files = ordered_json::array();
  for (const DamagedFile& file : backup.files) files.push_back(file_json(file));
  ordered_json copies = ordered_json::array();
  for (const BackupCopy& copy : backup.copies) {
    copies.push_back({{"repo", copy.repo}, {"verified_us", time_json(copy.verified)}});
  }
  return {{"label", backup.label},
          {"manifest", backup.manifest},
          {"wal", text_or_null(backup.wal)},
          {"file_count", backup.file_count},
          {"files", files},
          {"copies", copies}};
}

ordered_json dump_json(const DamagedDump& dump) {
  return {{"label", dump.label},
          {"manifest", dump.manifest},
          {"stream_count", dump.stream_count},
          {"streams", dump.streams},
          {"good_copies", dump.good_copies}};
}

ordered_json lost_json(const LostRange& lost) {
  return {{"timeline", lost.timeline.value},     {"min_us", time_json(lost.from)},    {"max_us", time_json(lost.to)},
          {"min_lsn", to_string(lost.from_lsn)}, {"max_lsn", to_string(lost.to_lsn)}, {"ends", lost.ends}};
}

template <typename T, typename Encode>
ordered_json list_json(const std::vector<T>& items, Encode encode) {
  ordered_json list = ordered_json::array();
  for (const T& item : items) list.push_back(encode(item));
  return list;
}

ordered_json bad_json(const VerifiedBadPages& bad) {
  return {{"backup", bad.label}, {"path", bad.path}, {"blocks", bad.blocks}, {"block_count", bad.count}};
}

ordered_json repository_json(const VerifyDocument::Repository& one) {
  const VerifyReport& report = one.report;
  return {
      {"repo", one.repo},
      {"location", one.location},
      {"ok", report.ok()},
      {"finished", report.finished},
      {"resumed", report.resumed},
      {"started_us", microseconds(report.started)},
      {"ended_us", microseconds(report.ended)},
      {"sample", report.share >= 1 ? ordered_json()
                                   : ordered_json({{"share", report.share}, {"seed", std::to_string(report.seed)}})},
      {"backups_verified", report.labels},
      {"dumps_verified", report.dump_labels},
      {"packs", {{"count", report.pack_count}, {"total", report.pack_total}, {"extents", report.extent_count}}},
      {"segments", {{"count", report.segment_count}, {"total", report.segment_total}}},
      {"dump_packs",
       {{"count", report.dump_pack_count}, {"total", report.dump_pack_total}, {"frames", report.dump_frame_count}}},
      {"records", report.record_count},
      {"read_bytes", report.read_bytes},
      {"run_read_bytes", report.run_read_bytes},
      {"unreferenced_packs", {{"count", report.unreferenced_pack_count}, {"bytes", report.unreferenced_bytes}}},
      {"damage_count", report.damage_count},
      {"damages", list_json(report.damages, damage_json)},
      {"backups", list_json(report.backups, backup_json)},
      {"dumps", list_json(report.dumps, dump_json)},
      {"lost", list_json(report.lost, lost_json)},
      {"bad_page_count", report.bad_page_count},
      {"bad_pages", list_json(report.bad_pages, bad_json)},
      {"next_steps", report.next_steps},
      {"warnings", report.warnings},
      {"record", text_or_null(report.record)}};
}

std::string blocks_text(const DamagedFile& file) {
  std::string text;
  for (size_t i = 0; i < file.blocks.size() && i < kShownMax; ++i) {
    const DamagedRange& range = file.blocks[i];
    text += i == 0 ? "" : ", ";
    text += range.first == range.last ? std::to_string(range.first) : fmt::format("{}-{}", range.first, range.last);
  }
  if (file.blocks.size() > kShownMax) text += " and more";
  return fmt::format("{} {}", file.block_count == 1 ? "block" : "blocks", text);
}

std::string more_text(std::string_view indent, uint64_t count, size_t shown) {
  return count > shown ? fmt::format("{}and {} more\n", indent, count - shown) : std::string();
}

std::string kind_text(DamageKind kind) {
  switch (kind) {
    case DamageKind::kWalFile:
      return "WAL file";
    case DamageKind::kSegment:
      return "WAL segment";
    case DamageKind::kDumpManifest:
      return "manifest of dump";
    case DamageKind::kDumpPack:
      return "pack of dump";
    default:
      return std::string(damage_kind_name(kind));
  }
}

std::string damage_text(const VerifyDamage& damage) {
  std::string text =
      fmt::format("    {} {}: {}\n", damage.missing ? "MISSING" : "DAMAGED", kind_text(damage.kind), damage.name);
  text += fmt::format("        {}\n", damage.cause);
  if (damage.places.size() > 1) {
    uint64_t bytes = 0;
    for (const DamagedPlace& place : damage.places) bytes += place.bytes;
    text += fmt::format("        {} places, {} in all, the first at {}\n", damage.places.size(), format_size(bytes),
                        damage.places.front().offset);
  }
  if (damage.harmless) text += "        nothing that is restored depends on it\n";
  const bool is_of_dump = damage.kind == DamageKind::kDumpManifest || damage.kind == DamageKind::kDumpPack;
  if (!damage.backups.empty())
    text += fmt::format("        hits {} {}\n", is_of_dump ? "dump" : "backup", fmt::join(damage.backups, ", "));
  for (const unsigned repo : damage.good_copies) text += fmt::format("        repo{} has a good copy\n", repo);
  return text;
}

/// As info prints it: in UTC, with local time beside it where that differs.
std::string moment(const std::optional<Timestamp>& time) {
  if (!time) return "an unknown time";
  const std::string utc = format_utc(*time);
  const std::string local = format_timestamp_local(std::chrono::floor<std::chrono::seconds>(*time));
  return local == utc ? utc : fmt::format("{} ({})", utc, local);
}

std::string backup_text(const DamagedBackup& backup) {
  std::string text = fmt::format("    BACKUP {} CANNOT BE RESTORED WHOLE\n", backup.label);
  if (backup.manifest) text += "        its manifest is damaged: nothing of it can be restored\n";
  if (!backup.wal.empty()) text += fmt::format("        it needs WAL segment {}\n", backup.wal);
  for (size_t i = 0; i < backup.files.size() && i < kShownMax; ++i) {
    text += fmt::format("        {}: {}\n", backup.files[i].path, blocks_text(backup.files[i]));
  }
  text += more_text("        ", backup.file_count, std::min(backup.files.size(), kShownMax));
  for (const BackupCopy& copy : backup.copies) {
    text +=
        fmt::format("        repo{} has this backup{}\n", copy.repo,
                    copy.verified ? ", verified whole at " + moment(copy.verified) : ", which was not verified there");
  }
  return text;
}

std::string dump_text(const DamagedDump& dump) {
  std::string text = fmt::format("    DUMP {} CANNOT BE LOADED WHOLE\n", dump.label);
  if (dump.manifest) text += "        its manifest is damaged: nothing of it can be loaded\n";
  for (size_t i = 0; i < dump.streams.size() && i < kShownMax; ++i)
    text += fmt::format("        {}\n", dump.streams[i]);
  text += more_text("        ", dump.stream_count, std::min(dump.streams.size(), kShownMax));
  for (const unsigned repo : dump.good_copies) text += fmt::format("        repo{} has a good copy\n", repo);
  return text;
}

std::string lost_text(const LostRange& lost) {
  if (lost.ends) {
    return fmt::format("    CANNOT BE RECOVERED: timeline {} from {} (LSN {}) on\n", lost.timeline.value,
                       moment(lost.from), to_string(lost.from_lsn));
  }
  return fmt::format("    CANNOT BE RECOVERED: timeline {} from {} (LSN {}) to {} (LSN {})\n", lost.timeline.value,
                     moment(lost.from), to_string(lost.from_lsn), moment(lost.to), to_string(lost.to_lsn));
}

std::string bad_text(const VerifiedBadPages& bad) {
  std::string blocks;
  for (size_t i = 0; i < bad.blocks.size() && i < kShownMax; ++i) {
    blocks += fmt::format("{}{}", i == 0 ? "" : ", ", bad.blocks[i]);
  }
  if (bad.count > kShownMax) blocks += fmt::format(" and {} more", bad.count - kShownMax);
  return fmt::format("        backup {}: {}: blocks {}\n", bad.label, bad.path, blocks);
}

template <typename T, typename Text>
std::string list_text(const std::vector<T>& items, uint64_t count, Text text_of) {
  std::string text;
  for (size_t i = 0; i < items.size() && i < kShownMax; ++i) text += text_of(items[i]);
  return text + more_text("    ", count, std::min(items.size(), kShownMax));
}

std::string result_text(const VerifyReport& report) {
  if (report.damage_count > 0) {
    return fmt::format("{} {}", report.damage_count,
                       report.damage_count == 1 ? "object is damaged or missing" : "objects are damaged or missing");
  }
  if (!report.finished) return "nothing is damaged so far";
  return report.share >= 1 ? "nothing is damaged" : "nothing is damaged in the sample";
}

std::string repository_text(const VerifyDocument::Repository& one) {
  const VerifyReport& report = one.report;
  std::string text = fmt::format("{}: {}\n", one.location, result_text(report));
  text += fmt::format(
      "    {} backups, {} of {} packs, {} extents, {} of {} WAL segments, {} records; {} read{}\n",
      report.labels.size(), report.pack_count, report.pack_total, report.extent_count, report.segment_count,
      report.segment_total, report.record_count, format_size(report.run_read_bytes),
      report.resumed
          ? fmt::format(", {} since the round began at {}", format_size(report.read_bytes), moment(report.started))
          : std::string());
  if (!report.dump_labels.empty())
    text += fmt::format("    {} dumps, {} of {} packs, {} frames\n", report.dump_labels.size(), report.dump_pack_count,
                        report.dump_pack_total, report.dump_frame_count);
  if (report.share < 1) {
    text +=
        fmt::format("    a random sample: {:g}% of extents and segments, seed {}\n", report.share * 100, report.seed);
  }
  text += list_text(report.damages, report.damages.size(), damage_text);
  text += list_text(report.backups, report.backups.size(), backup_text);
  text += list_text(report.dumps, report.dumps.size(), dump_text);
  text += list_text(report.lost, report.lost.size(), lost_text);
  if (report.bad_page_count > 0) {
    text +=
        "    pages that failed their checksum when they were backed up (damage of the cluster, not of the "
        "repository):\n";
    text += list_text(report.bad_pages, report.bad_pages.size(), bad_text);
  }
  if (report.unreferenced_pack_count > 0) {
    text +=
        fmt::format("    {} packs ({}) belong to no backup: of an interrupted or running one, or about to be removed\n",
                    report.unreferenced_pack_count, format_size(report.unreferenced_bytes));
  }
  for (const std::string& warning : report.warnings) text += fmt::format("    warning: {}\n", warning);
  for (const std::string& step : report.next_steps) text += fmt::format("    next: {}\n", step);
  return text;
}

}  // namespace

std::string render_verify_json(const VerifyDocument& document) {
  const bool finished = std::all_of(document.repositories.begin(), document.repositories.end(),
                                    [](const auto& one) { return one.report.finished; });
  const ordered_json json{{"stanza", document.stanza},
                          {"ok", document.ok()},
                          {"finished", finished},
                          {"repositories", list_json(document.repositories, repository_json)}};
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string render_verify_text(const VerifyDocument& document) {
  std::string text;
  for (const auto& one : document.repositories) text += repository_text(one);
  return text;
}

}  // namespace pgark
