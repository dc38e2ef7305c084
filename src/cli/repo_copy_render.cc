#include "cli/repo_copy_render.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "catalog/dump.h"
#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

ordered_json count_json(const RepoCopyCount& count) {
  return {{"copied", count.copied}, {"present", count.present}, {"bytes", count.bytes}};
}

std::string count_text(std::string_view what, const RepoCopyCount& count) {
  return fmt::format("  {}: {} copied ({}), {} there already\n", what, count.copied, format_size(count.bytes),
                     count.present);
}

std::string_view kind_of(const std::string& label) { return is_dump_label(label) ? "dump" : "backup"; }

}  // namespace

std::string repo_copy_text(const RepoCopyReport& report) {
  std::string text = count_text("backups", report.backups) +
                     (report.dumps.copied + report.dumps.present > 0 ? count_text("dumps", report.dumps) : "") +
                     count_text("packs", report.packs) + count_text("WAL files", report.wal) +
                     count_text("records", report.records);
  for (const std::string& label : report.labels) text += fmt::format("  copied {} {}\n", kind_of(label), label);
  if (!report.expired.empty())
    text += fmt::format("  left out, because a rule removed them from the destination: {}\n",
                        fmt::join(report.expired, ", "));
  for (const std::string& label : report.incomplete)
    text += fmt::format("  NOT COPIED, because of damage: {} {}\n", kind_of(label), label);
  for (const RepoCopyDamage& damage : report.damages)
    text += fmt::format("  damaged in the source: {}: {}\n", damage.object, damage.error.message());
  return text;
}

ordered_json repo_copy_json(const RepoCopyReport& report) {
  ordered_json damages = ordered_json::array();
  for (const RepoCopyDamage& damage : report.damages)
    damages.push_back({{"object", damage.object}, {"error", error_json(damage.error)}});
  return {{"backups", count_json(report.backups)},
          {"packs", count_json(report.packs)},
          {"wal", count_json(report.wal)},
          {"dumps", count_json(report.dumps)},
          {"records", count_json(report.records)},
          {"labels", report.labels},
          {"expired", report.expired},
          {"incomplete", report.incomplete},
          {"damages", std::move(damages)}};
}

}  // namespace pgark
