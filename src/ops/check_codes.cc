// Every code a finding of check may have. docs/guide/monitoring.md shows the same table; a test compares the two.
#include <algorithm>
#include <array>

#include "ops/check.h"

namespace pgark {
namespace {

constexpr std::array kCodes = {
    FindingCode{"archive_command_empty", "error", "archiving is on and has no command"},
    FindingCode{"archive_command_foreign", "warning", "the command does not call pgark archive-push itself"},
    FindingCode{"archive_command_hides_failure", "error",
                "the command reports success although archiving failed (`|| true`, `; exit 0`, a pipe)"},
    FindingCode{"archive_command_other_stanza", "error", "the command archives to another stanza"},
    FindingCode{"archive_command_unsafe_copy", "warning",
                "the command copies with a program that does not wait for the disk (cp, scp, rsync)"},
    FindingCode{"archive_command_without_path", "error", "the command does not hand %p to archive-push"},
    FindingCode{"archive_lag", "warning", "a file of WAL waits for the archiver for longer than check-archive-lag"},
    FindingCode{"archive_library_set", "warning", "another archive module than pgark's is loaded"},
    FindingCode{"archive_mode_off", "error", "the server does not archive"},
    FindingCode{"archive_timeout_off", "warning", "little is written and archive_timeout is 0: hours of commits wait"},
    FindingCode{"archiver_failed_lately", "info", "archiving failed within the last day and works now"},
    FindingCode{"archiver_failing", "error", "the server's last attempt to archive failed"},
    FindingCode{"backup_in_future", "warning", "the newest backup ended later than this host's clock says it is"},
    FindingCode{"backup_old", "warning or error",
                "the newest backup is older than check-backup-age; an error at three times that age"},
    FindingCode{"backup_pages_damaged", "error", "pages failed their checksum when the newest backup was made"},
    FindingCode{"backup_unreadable", "error", "a backup's manifest cannot be read"},
    FindingCode{"backup_without_wal", "warning or error", "WAL that a backup needs to become consistent is missing"},
    FindingCode{"checksums_off", "warning", "the cluster has no page checksums"},
    FindingCode{"clock_skew", "warning", "the clocks of server, this host or the repository differ"},
    FindingCode{"collation_mismatch", "warning", "a database was made with another version of its collation"},
    FindingCode{"config_outside", "info", "configuration files lie outside the data directory"},
    FindingCode{"data_directory_differs", "warning", "pg1-path is not the server's data directory"},
    FindingCode{"data_directory_unreadable", "error", "pg1-path holds no cluster that can be read"},
    FindingCode{"database_not_dumped", "info or warning", "there are dumps, and a database is in none of the newest"},
    FindingCode{"drill_failed", "error", "the last restore test failed"},
    FindingCode{"drill_none", "info", "no restore test is recorded"},
    FindingCode{"drill_old", "warning", "the last restore test is older than check-drill-age"},
    FindingCode{"dump_not_verified", "info or warning",
                "no dump of a series was ever loaded by dump-verify; a warning if the last time was longer ago than "
                "check-drill-age"},
    FindingCode{"dump_old", "info or warning",
                "the newest dump of a series is older than check-dump-age; information if it is the only one"},
    FindingCode{"dump_unreadable", "error", "a dump's manifest cannot be read"},
    FindingCode{"dump_verify_failed", "error", "dump-verify last found a dump of a series wrong"},
    FindingCode{"extension_libraries", "info", "libraries that the host of a restore needs"},
    FindingCode{"extensions_not_dumped", "info or warning",
                "there are dumps, and extensions are in none of the newest"},
    FindingCode{"fsync_off", "warning", "the server runs with fsync = off"},
    FindingCode{"full_page_writes_off", "warning", "the server runs with full_page_writes = off"},
    FindingCode{"history_conflict", "error", "two clusters of one origin archive to this stanza"},
    FindingCode{"history_missing", "error", "the history file of a timeline is not in the repository"},
    FindingCode{"key_single", "warning", "one key alone opens the data of an encrypted repository"},
    FindingCode{"key_wrong", "error", "a configured key does not open its repository"},
    FindingCode{"links_outside", "info", "symbolic links lead out of the data directory"},
    FindingCode{"no_backup", "warning", "there is no backup of the cluster"},
    FindingCode{"no_dump", "warning", "the files of the server are out of reach, and there is no dump of it"},
    FindingCode{"no_repository_elsewhere", "info", "every repository is in a file system of this host"},
    FindingCode{"recipients_differ", "warning", "repo-recipient and the recipients of the repository differ"},
    FindingCode{"repository_append_only", "info", "objects can be added and not removed"},
    FindingCode{"repository_behind", "warning", "segments the server has finished are not in the repository"},
    FindingCode{"repository_in_memory", "warning", "the repository is in a file system in memory"},
    FindingCode{"repository_not_readable", "error", "what was just written cannot be read"},
    FindingCode{"repository_not_writable", "error", "nothing can be written"},
    FindingCode{"repository_on_data_filesystem", "warning", "the repository shares a file system with the data"},
    FindingCode{"repository_returns_other_bytes", "error", "other bytes are read than were written"},
    FindingCode{"repository_unencrypted", "info", "the repository is on the network and not encrypted"},
    FindingCode{"repository_unreachable", "error", "the repository cannot be reached"},
    FindingCode{"repository_unreadable", "error", "the place holds no repository that can be read"},
    FindingCode{"retention_none", "warning", "no rule lets a backup go, ever"},
    FindingCode{"roles_not_dumped", "info or warning",
                "there are dumps and no newest one has roles; information if roles were made since"},
    FindingCode{"server_of_another_cluster", "error", "pg1-path and the server are of two clusters"},
    FindingCode{"server_unreachable", "error", "the server cannot be reached"},
    FindingCode{"server_unreadable", "error", "the server does not say what it is"},
    FindingCode{"settings_hidden", "warning", "the role may not see the settings of archiving"},
    FindingCode{"space_below_next_full", "warning", "the next full backup does not fit"},
    FindingCode{"space_forecast", "warning", "what retention keeps will not fit"},
    FindingCode{"standby_archive_mode_off", "warning", "the standby would not archive after a promotion"},
    FindingCode{"standby_archive_mode_on", "info",
                "after a promotion the standby does not archive what the old primary left unarchived"},
    FindingCode{"stanza_missing", "error", "the stanza does not exist in the repository"},
    FindingCode{"stanza_of_another_cluster", "error", "the stanza belongs to another cluster"},
    FindingCode{"tablespace_inside_data", "warning", "a tablespace lies inside the data directory"},
    FindingCode{"timeline_without_backup", "error", "no backup leads to the timeline the cluster is on"},
    FindingCode{"unlogged_tables", "info", "tables that are empty after a restore"},
    FindingCode{"verify_damage", "error", "verify found a backup damaged"},
    FindingCode{"verify_none", "info", "no run of verify is recorded"},
    FindingCode{"verify_old", "warning", "the last run of verify is older than check-verify-age"},
    FindingCode{"wal_damaged", "warning or error",
                "a stored segment cannot be used; a warning once a backup lies behind"},
    FindingCode{"wal_dropped", "warning or error", "WAL was given up; a warning once a backup lies behind"},
    FindingCode{"wal_gap", "warning or error", "segments are missing; a warning once a backup lies behind"},
    FindingCode{"wal_level_minimal", "error", "the WAL lacks what recovery needs"},
    FindingCode{"wal_not_archived", "error", "the segment that was just ended did not arrive"},
    FindingCode{"wal_not_readable", "error", "the segment arrived and recovery could not use it"},
    FindingCode{"wal_not_switched", "error", "no segment could be ended to try archiving with"},
};

constexpr bool sorted() {
  for (size_t i = 1; i < kCodes.size(); ++i) {
    if (kCodes[i - 1].code >= kCodes[i].code) return false;
  }
  return true;
}
static_assert(sorted());

}  // namespace

std::span<const FindingCode> finding_codes() { return kCodes; }

const FindingCode* find_finding_code(std::string_view code) {
  const auto found =
      std::lower_bound(kCodes.begin(), kCodes.end(), code,
                       [](const FindingCode& one, std::string_view wanted) { return one.code < wanted; });
  return found == kCodes.end() || found->code != code ? nullptr : &*found;
}

}  // namespace pgark
