// Whether a file that the archive lacks is where its WAL ends, or a hole in it: recovery must end at the first and must
// not at the second.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "core/result.h"
#include "pg/timeline_history.h"
#include "pg/wal.h"
#include "repo/repository.h"

namespace pgark {

/// What the server of a data directory does where the WAL it can get ends.
enum class RecoveryKind : unsigned char {
  kNone,     // It is in no recovery that a settings file asked for.
  kArchive,  // It ends recovery there, and is promoted.
  kStandby,  // It waits for more, and streams.
};
/// By standby.signal, recovery.signal or recovery.conf, as the server's version has them.
/// Errors: of looking for the files or reading them.
Result<RecoveryKind> recovery_kind(const std::string& data_directory);

/// The cluster's histories in a repository; those that cannot be read are left out and logged.
/// Errors: of the store.
Result<std::vector<pg::TimelineHistory>> read_timeline_histories(const Repository& repository,
                                                                 const std::string& stanza,
                                                                 const ClusterRecord& cluster);

/// What proves that WAL of a timeline went on past a missing segment (or one that ends early), as a phrase for
/// messages: a later segment of the same timeline, or a timeline that left it later; none if the timeline merely ended
/// there.
Result<std::optional<std::string>> find_later_wal(const Repository& repository, const std::string& stanza,
                                                  const ClusterRecord& cluster, const pg::WalSegment& missing);

/// What proves that a timeline exists whose history is missing: a descendant, or segments of it.
/// Shape:  `own` is the timeline of the data directory that asks: a stanza may be younger than the timeline it began
///         with, whose history was then never archived.
Result<std::optional<std::string>> find_lost_history(const Repository& repository, const std::string& stanza,
                                                     const ClusterRecord& cluster, TimelineId missing, TimelineId own);

}  // namespace pgark
