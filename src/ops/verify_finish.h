// The end of a round of verify: from damaged objects to backups, moments, copies elsewhere and what to do.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "ops/verify.h"
#include "ops/verify_state.h"

namespace pgark {

struct VerifyFindings {
  const Repository& repository;
  const std::vector<OtherRepository>& others;
  const VerifyOptions& options;
  const std::vector<ClusterRecord>& clusters;
  const std::map<std::string, ManifestResult>& manifests;  // By label, of the backups in report.labels.
};

/// Complete `report`, whose damages are those of the objects that were read: add WAL that is missing, which backups are
/// hit, what can no longer be recovered, where good copies are, and the next steps.
/// Errors: of the store. What another repository cannot tell is a warning.
Result<> finish_verify_report(const VerifyFindings& findings, VerifyReport& report);

/// Pure: what to do about it. `repo`, `stanza` name the repository in commands.
std::vector<std::string> verify_next_steps(const VerifyReport& report, const std::string& stanza, unsigned repo);

/// "3 files are damaged", "its manifest is damaged", ...
std::string describe_damage(const DamagedBackup& backup);

}  // namespace pgark
