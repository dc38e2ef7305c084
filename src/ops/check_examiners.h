// The examiners of check, one for each aspect. New ones are added here and to check_examiners().
#pragma once

#include "ops/check.h"

namespace pgark {

/// archive_mode, archive_command, archive_library, wal_level: does the server archive, and through pgark to this
/// stanza?
Result<> examine_archive_settings(CheckState& state);
/// Does archive_command say it when archiving failed? How much waits for archive_timeout? After examine_wal_rate().
Result<> examine_archive_safety(CheckState& state);
/// Did the archiver's last attempt fail? After examine_wal_round_trip(), which makes it try.
Result<> examine_archiver(CheckState& state);
/// fsync, full_page_writes, page checksums.
Result<> examine_durability(CheckState& state);
/// Collation versions, unlogged tables, libraries of extensions, database by database.
Result<> examine_databases(CheckState& state);
/// Do server, this host and the stores agree on the time? After examine_repository_probe().
Result<> examine_clocks(CheckState& state);
/// Are data directory and server of one cluster?
Result<> examine_cluster_files(CheckState& state);
/// Tablespaces inside the data directory, links out of it.
Result<> examine_links(CheckState& state);
/// Configuration that restore does not write.
Result<> examine_configuration_files(CheckState& state);
/// Is the stanza's cluster this one (I8)?
Result<> examine_stanza(CheckState& state);
/// Does every configured key open its repository, and is there more than one?
Result<> examine_keys(CheckState& state);
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
/// How fast does WAL arrive? Adds no finding of its own. After examine_wal_coverage().
Result<> examine_wal_rate(CheckState& state);
/// Is the newest backup young enough, and clean? After examine_wal_coverage(), which lists the backups.
Result<> examine_backups(CheckState& state);
/// Was restoring tried, lately and with success? After examine_wal_coverage().
Result<> examine_drills(CheckState& state);
/// Was what is stored read, lately, and found whole? After examine_wal_coverage().
Result<> examine_verify(CheckState& state);
/// Of dumps, where there are any: are they young, was one ever loaded, and what of the server is in none of them? After
/// examine_wal_coverage(), which lists the backups.
Result<> examine_dumps(CheckState& state);
/// Is a repository on the disk of the data, in memory, in clear on the network; is any of them elsewhere?
Result<> examine_places(CheckState& state);
/// Is there retention, and room for what it keeps? After examine_places() and examine_wal_rate().
Result<> examine_space(CheckState& state);

}  // namespace pgark
