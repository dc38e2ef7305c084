// The examiners of check, one for each aspect. New ones are added here and to check_examiners().
#pragma once

#include "ops/check.h"

namespace pgark {

/// archive_mode, archive_command, archive_library, wal_level: does the server archive, and through pgark to this
/// stanza?
Result<> examine_archive_settings(CheckState& state);
/// Are data directory and server of one cluster?
Result<> examine_cluster_files(CheckState& state);
/// Is the stanza's cluster this one (I8)?
Result<> examine_stanza(CheckState& state);
/// Can an object be written, read back and removed?
Result<> examine_repository_probe(CheckState& state);
/// Does a segment switched now arrive in the repository within archive-timeout? On a standby nothing is switched.
Result<> examine_wal_round_trip(CheckState& state);
/// Do the histories in pg_wal say of the timelines what the repository says, or do two clusters archive to one stanza?
Result<> examine_timeline_histories(CheckState& state);
/// Is there all the WAL that the cluster's timeline needs since its oldest backup; if not, is there a newer backup?
Result<> examine_wal_coverage(CheckState& state);
/// How long do segments wait, and how far is each repository behind the server? After examine_wal_coverage().
Result<> examine_archive_lag(CheckState& state);

}  // namespace pgark
