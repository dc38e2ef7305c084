#include "ops/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/log.h"
#include "ops/check_examiners.h"

namespace pgark {

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "error";
}

void CheckState::add(Finding finding) {
  if (finding.severity == Severity::kWarning && options.ignored.contains(finding.code)) {
    finding.severity = Severity::kInfo;
    finding.ignored = true;
  }
  findings.push_back(std::move(finding));
}

void CheckState::add_error(std::string code, const Error& error, std::string why, unsigned repo) {
  std::string mend;
  for (const std::string& hint : error.hints()) mend += (mend.empty() ? "" : "; ") + hint;
  add({Severity::kError, std::move(code), error.message(), std::move(why), std::move(mend), repo});
}

bool CheckState::failed() const {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

Severity CheckState::worst() const {
  Severity worst = Severity::kInfo;
  for (const Finding& finding : findings) worst = std::max(worst, finding.severity);
  return worst;
}

bool CheckState::failed(const CheckedRepository& one) const {
  return std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
    return finding.severity == Severity::kError && (finding.repo == 0 || finding.repo == one.number);
  });
}

std::vector<Examiner> check_examiners() {
  // The proof first: an error before it would keep it from being tried.
  return {{"archive_settings", examine_archive_settings},
          {"cluster_files", examine_cluster_files},
          {"stanza", examine_stanza},
          {"keys", examine_keys, true},
          {"repository_probe", examine_repository_probe, true},
          {"wal_round_trip", examine_wal_round_trip},
          {"timeline_histories", examine_timeline_histories},
          {"wal_coverage", examine_wal_coverage},
          {"archive_lag", examine_archive_lag},
          {"wal_rate", examine_wal_rate},
          {"archive_safety", examine_archive_safety},
          {"archiver", examine_archiver},
          {"backups", examine_backups},
          {"verify", examine_verify},
          {"drills", examine_drills},
          {"dumps", examine_dumps, true},
          {"places", examine_places, true},
          {"space", examine_space},
          {"durability", examine_durability},
          {"clocks", examine_clocks, true},
          {"links", examine_links},
          {"configuration_files", examine_configuration_files},
          {"databases", examine_databases}};
}

namespace {

void open_server(CheckState& state, const CheckAccess& access) {
  auto session = access.open_session();
  if (!session)
    return state.add_error(
        "server_unreachable", session.error(),
        fmt::format("{} need a connection to the server", state.options.dumps_only ? "dumps" : "backups"));
  state.session = std::move(*session);
  auto server = read_server_info(*state.session);
  if (!server && state.options.dumps_only) return;  // What a managed server hides, dumps do not need.
  if (!server) return state.add_error("server_unreadable", server.error());
  state.server = std::move(*server);
}

void open_repository(CheckState& state, const CheckAccess& access, CheckedRepository& one) {
  auto store = access.open_store(one.number);
  if (!store) {
    return state.add_error("repository_unreachable", store.error(), "neither WAL nor backups can be stored",
                           one.number);
  }
  one.store = std::move(*store);
  auto repository = access.open_repository(one.number, *one.store);
  if (!repository) return state.add_error("repository_unreadable", repository.error(), "", one.number);
  one.repository = std::move(*repository);
  auto cluster = current_cluster(*one.repository, state.options.stanza);
  if (!cluster && state.options.dumps_only) return;
  if (!cluster) return state.add_error("stanza_missing", cluster.error(), "", one.number);
  one.cluster = *cluster;
}

}  // namespace

Result<> run_check(CheckState& state, const CheckAccess& access) {
  state.access = &access;
  if (state.options.online) open_server(state, access);
  for (const unsigned number : state.options.repositories) {
    state.repositories.emplace_back();
    state.repositories.back().number = number;
    open_repository(state, access, state.repositories.back());
  }
  if (!state.options.data_directory.empty()) {
    auto files = read_cluster_files(state.options.data_directory, state.clock);
    if (files) {
      state.files = std::move(*files);
    } else {
      state.add_error("data_directory_unreadable", files.error());
    }
  }
  for (const Examiner& examiner : check_examiners()) {
    TRY(state.cancel.check());
    if (state.options.dumps_only && !examiner.of_dumps) continue;
    log_detail("check {}", examiner.name);
    auto examined = examiner.examine(state);
    if (examined) continue;
    if (examined.error().code() == Errc::kCancelled) return examined;
    state.add_error(std::string(examiner.name) + "_failed", examined.error());
  }
  // What matters most first, and else in the order it was found.
  std::stable_sort(state.findings.begin(), state.findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  state.access = nullptr;
  return {};
}

}  // namespace pgark
