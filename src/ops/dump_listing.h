// The dumps of a stanza with all that is known of them: what dump-verify found, holds, and what retention would do.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "catalog/hold.h"
#include "catalog/retention.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct DumpListing {
  std::vector<ListedDump> dumps;                       // Oldest first.
  std::map<std::string, DumpVerdict> verdicts;         // By label, as are the next two.
  std::map<std::string, Hold> holds;                   // Released ones included.
  std::map<std::string, RetentionDecision> retention;  // Empty if the rules are not known, or a hold cannot be read.
  std::vector<Error> errors;                           // Of what is damaged, dumps apart.

  const DumpVerdict* verdict(const std::string& label) const;
  /// A hold that counts; null if there is none.
  const Hold* hold(const std::string& label, Timestamp now) const;
  const RetentionDecision* decision(const std::string& label) const;
};

/// `rules` and `now`: for retention; none: it is left out. Errors: of reaching the repository; damage is in the result.
Result<DumpListing> read_dump_listing(const Repository& repository, const std::string& stanza,
                                      const std::optional<RetentionRules>& rules, std::optional<Timestamp> now);

}  // namespace pgark
