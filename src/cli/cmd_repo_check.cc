// `pgark repo-check`: what the place of a repository promises, and how fast it is.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "ops/repo_check.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

ordered_json throughput_json(const std::optional<StoreThroughput>& one) {
  if (!one) return nullptr;
  return {{"bytes", one->bytes},
          {"connections", one->connections},
          {"elapsed_us", one->elapsed.count()},
          {"bytes_per_second", one->bytes_per_second()}};
}

ordered_json report_json(const RepoCheckReport& report, unsigned repo, const std::string& prefix) {
  ordered_json promises = ordered_json::array();
  for (const CheckedPromise& one : report.promises)
    promises.push_back({{"name", one.name},
                        {"promise", one.promise},
                        {"state", promise_state_name(one.state)},
                        {"detail", one.detail}});
  ordered_json lacks = ordered_json::array();
  for (const StoreLack& one : report.lacks) lacks.push_back({{"what", one.what}, {"remedy", one.remedy}});
  ordered_json latencies = ordered_json::array();
  for (const CallLatency& one : report.latencies)
    latencies.push_back({{"call", one.call},
                         {"count", one.count},
                         {"median_us", one.median.count()},
                         {"p99_us", one.p99.count()},
                         {"max_us", one.longest.count()}});
  return {{"repo", repo},
          {"location", report.location},
          {"kind", report.caps.kind},
          {"ok", report.ok()},
          {"atomic_create_only", report.caps.atomic_create_only},
          {"removal_refused", report.removal_refused},
          {"promises", std::move(promises)},
          {"lacks", std::move(lacks)},
          {"latency", std::move(latencies)},
          {"put", throughput_json(report.put)},
          {"get", throughput_json(report.get)},
          {"prefix", prefix},
          {"left_behind_count", report.left_behind}};
}

std::string throughput_text(std::string_view name, const std::optional<StoreThroughput>& one) {
  if (!one) return "";
  return fmt::format("    {}  {}/s ({} in {}, {} connections)\n", name, format_size(one->bytes_per_second()),
                     format_size(one->bytes), format_duration(one->elapsed), one->connections);
}

std::string speed_text(const RepoCheckReport& report) {
  if (report.latencies.empty()) return "";
  TextTable table("    ");
  table.column("call");
  for (const char* title : {"median", "p99", "longest", "calls"}) table.column(title, TextTable::Align::kRight);
  const auto milliseconds = [](std::chrono::microseconds time) {
    return fmt::format("{:.1f} ms", static_cast<double>(time.count()) / 1000);
  };
  for (const CallLatency& one : report.latencies)
    table.row({one.call, milliseconds(one.median), milliseconds(one.p99), milliseconds(one.longest),
               fmt::format("{}", one.count)});
  return "  latency of one call at a time, with 4 KiB:\n" + table.to_string() + "  throughput:\n" +
         throughput_text("put", report.put) + throughput_text("get", report.get);
}

std::string report_text(const RepoCheckReport& report, const std::string& prefix) {
  std::string text = fmt::format("{} ({}):\n", report.location, report.caps.kind);
  const auto count = [&](PromiseState state) {
    return std::ranges::count(report.promises, state, &CheckedPromise::state);
  };
  text += fmt::format("  promises: {} of {} kept\n", count(PromiseState::kKept), report.promises.size());
  for (const CheckedPromise& one : report.promises) {
    if (one.state == PromiseState::kKept || one.state == PromiseState::kSkipped) continue;
    text +=
        fmt::format("    {}: {} ({})\n      {}\n", promise_state_name(one.state), one.promise, one.name, one.detail);
  }
  if (const auto skipped = count(PromiseState::kSkipped); skipped > 0)
    text += fmt::format("    {} were not looked at, since nothing may be removed\n", skipped);
  for (const StoreLack& one : report.lacks) text += fmt::format("  NOTE: {}\n    {}\n", one.what, one.remedy);
  text += speed_text(report);
  if (report.left_behind > 0)
    text += fmt::format("  {} objects of this check stay below {}\n", report.left_behind, prefix);
  text += report.ok() ? "  pgark can rely on this store\n"
                      : "  PGARK CANNOT RELY ON THIS STORE: backups in it may be lost or wrong\n";
  return text;
}

}  // namespace

Result<int> cmd_repo_check(CommandContext& context) {
  const Settings& settings = context.settings;
  const auto repo = static_cast<unsigned>(settings.integer("repo"));
  TRY_ASSIGN(const auto store, context.open_store(repo, false));
  RepoCheckOptions options;
  options.prefix = repo_check_prefix(context.rng);
  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  TRY_ASSIGN(const RepoCheckReport report, check_store(*store, context.clock, context.cancel, options));
  TRY(context.json() ? context.out.print(report_json(report, repo, options.prefix).dump(2) + "\n")
                     : context.out.print(report_text(report, options.prefix)));
  return report.ok() ? kExitOk : kExitNegative;
}

}  // namespace pgark
