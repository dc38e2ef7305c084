// The content of the table: every command and option, with pgBackRest's names, units and meanings. Those that say where
// a repository lives are in repo_option_specs.cc,
// those of dumps in dump_option_specs.cc.
#include "cli/option_specs.h"

#include <algorithm>

namespace pgark {
namespace {

using enum Command;
using enum OptionType;
using enum OptionGroup;
using enum OptionFamily;

// Sets that recur. An option that a command does not take is an error on its command line and silence in a file.
using option_specs::kWithRepo;
constexpr CommandSet kWork = kWithRepo | kStart | kStop;
constexpr CommandSet kEvery = kWork | kHelp | kVersion;
constexpr CommandSet kWithServer =
    kArchiveHeal | kBackup | kCheck | kDump | kDumpVerify | kLoad | kStanzaCreate | kStanzaDelete | kTimeline;
constexpr CommandSet kWithDataDirectory = kWithServer | kArchiveGet | kArchivePush | kRestore;
constexpr CommandSet kWithRetention = kBackup | kCheck | kDump | kDumpExpire | kDumpLs | kExpire | kInfo;
constexpr CommandSet kArchiving = kArchiveGet | kArchivePush;

constexpr int64_t kSecond = 1000;
constexpr int64_t kDay = 86400 * kSecond;

constexpr CommandSpec kCommands[] = {
    {kAnnotate, "annotate", "Add, change or remove annotations of a backup",
     "Annotations are key/value pairs that `info` shows with a backup. Give the backup with --set and each pair with "
     "--annotation=KEY=VALUE; an empty value removes the key.",
     "", 0, 0, true, true, false},
    {kArchiveGet, "archive-get", "Fetch a WAL file from the repository",
     "Meant for PostgreSQL's restore_command, which `restore` sets up:\n\n"
     "  restore_command = 'pgark --stanza=main archive-get %f \"%p\"'\n\n"
     "Exits with 0 when the file is in place, with 1 when every repository was searched and none holds it, and above "
     "125 for "
     "every other failure, so that recovery stops instead of ending early. A segment that is missing while WAL of its "
     "timeline goes on is such a failure, except for a standby, which can stream.",
     "WAL-FILE DESTINATION", 2, 2, true, true, false},
    {kArchiveHeal, "archive-heal", "Fetch missing or damaged WAL from where it still is",
     "Looks for gaps and damaged segments in the archive since the oldest backup, and for each missing file in pg_wal "
     "of "
     "every node that is known: pg1-path, pg2-path, ... on this machine; the server, where pg1-socket-path or pg1-port "
     "is "
     "given and the role may call pg_read_binary_file(); and the other repositories. What is found is stored only if "
     "it is "
     "a whole segment of this cluster that joins its neighbours. Exits with 0 when nothing is missing, with 1 when "
     "something still is: then a new backup is needed.",
     "", 0, 0, true, true, true},
    {kArchivePush, "archive-push", "Store a WAL segment in the repository",
     "Meant for PostgreSQL's archive_command:\n\n"
     "  archive_command = 'pgark --stanza=main archive-push %p'\n\n"
     "Success means that the segment is durable in the repository. The same segment again is success; other content "
     "under a name that exists is an error, and the first stays. A relative path is taken from pg1-path.",
     "WAL-PATH", 1, 1, true, true, false},
    {kBackup, "backup", "Back up the cluster",
     "Copies the data directory and tablespaces of a running cluster, waits until the WAL the copy needs is in the "
     "repository, and only then makes the backup visible. A backup that `info` lists can be restored.",
     "", 0, 0, true, true, false},
    {kCheck, "check", "Check configuration, archiving and the repository",
     "Switches to a new WAL segment and waits until it has arrived in the repository, after checking that the "
     "repository belongs to this cluster. Then looks for what keeps it from being recovered: gaps and damage in the "
     "WAL since the oldest backup, histories that conflict, archiving that lags; and for the usual mistakes: backups, "
     "restore tests and runs of verify that are too long ago, an archive_command that hides failure, a repository "
     "beside the data or without room for what retention keeps, clocks that differ, settings that risk the data. "
     "Without a server, what the files and the repository tell is still checked. Every repository is checked, or the "
     "one given with --repo.\n\n"
     "Each finding says what is the case, why it matters and how to mend it. Exits with 1 when one is an error; with "
     "--output=nagios as Nagios expects it. Warnings that are accepted are named with check-ignore.",
     "", 0, 0, true, false, false},
    {kDump, "dump", "Dump databases into the repository",
     "Runs the pg_dump that suits the server for every database, or those given with --dbname, and streams what it "
     "writes into the repositories: compressed, encrypted where the repository is, checked when it is read. With it "
     "goes "
     "what a dump forgets: roles, memberships and tablespaces, settings and privileges of databases, extensions with "
     "their versions, and the rows of every table as of the dump's snapshot, to compare with after a load. Only a "
     "connection to the server is needed (pg1-host), no access to its machine.\n\n"
     "Options of pg_dump are taken under their own names. --split=schema makes a dump of each schema and "
     "--split=partition keeps the data of each partition apart, all from one snapshot, so that one tenant or one month "
     "can be loaded without the rest. A dump that did not end is not listed. --stdin takes a dump made elsewhere.",
     "", 0, 0, true, true, false},
    {kDumpExpire, "dump-expire", "Remove the dumps that no rule keeps",
     "Removes every dump that neither a retention rule nor a hold keeps, and what dumps that never ended left behind. "
     "A dump counts as a full backup; dumps of the same databases and selection (or the same --name) are a series, "
     "which "
     "is decided on its own. Runs by itself after each dump (expire-auto). --dry-run prints each dump with the rule "
     "that "
     "keeps it or lets it go.",
     "", 0, 0, true, true, true},
    {kDumpGet, "dump-get", "Hand a dump back as files that pg_restore or psql read",
     "Writes a dump to DESTINATION: a directory, which gets a file or directory for each part; or a file, or - for "
     "standard output, for one part alone. With --gpg or --age encrypted for somebody else.",
     "DESTINATION", 1, 1, true, false, true},
    {kDumpLs, "dump-ls", "List dumps", "Lists the dumps of a stanza, or shows one in detail with --set.", "", 0, 0,
     true, false, true},
    {kDumpVerify, "dump-verify", "Prove that a dump can be loaded",
     "Loads a dump into a scratch cluster on this machine, or into scratch databases on the server (--scratch), "
     "compares "
     "the rows of every table with those recorded when it was made, runs the SQL checks of the configuration "
     "(dump-check), and drops everything again. The result is kept with the dump. Exits with 1 when something differs.",
     "", 0, 0, true, false, true},
    {kExpire, "expire", "Remove the backups that no rule keeps, and what only they needed",
     "Removes every backup that neither a retention rule nor a hold keeps, then the WAL and the stored data that no "
     "remaining backup needs. Both stay for the grace period (expire-grace) after their backup went, so that a restore "
     "that reads it can end. Runs by itself after each backup (expire-auto). --dry-run prints each backup with the "
     "rule "
     "that keeps it or lets it go. Every repository is expired, or the one given with --repo.",
     "", 0, 0, true, true, true},
    {kHelp, "help", "Explain commands and options",
     "`pgark help` lists the commands, `pgark help COMMAND` its options, `pgark help COMMAND OPTION` one of them.",
     "[COMMAND [OPTION]]", 0, 2, false, false, true},
    {kHold, "hold", "Keep a backup whatever the rules say",
     "A held backup is not removed by any rule, nor by `expire --set`, until the hold ends or is released. The newest "
     "hold "
     "of a backup counts.",
     "", 0, 0, true, true, false},
    {kInfo, "info", "List backups and the WAL that is there",
     "Shows every stanza of the repository, or one with --stanza; one backup in detail with --set. For each timeline: "
     "where "
     "it left its parent, its WAL with the gaps, and from when to when the cluster can be recovered along it.",
     "", 0, 0, false, false, true},
    {kKey, "key", "Make, list and change the keys of an encrypted repository",
     "ACTION is one of generate, list, rotate, add-recipient, remove-recipient.\n\n"
     "generate makes a key pair for a recipient, as age-keygen does, and prints it, or writes it to --output-file and "
     "prints the public key; it touches no repository. list shows the keys that open a repository, and tries each one "
     "that is configured here: exit code 1 if one does not open it. rotate gives the repository another passphrase "
     "(--new-cipher-pass-file or -command). add-recipient and remove-recipient take a public key (age1...).\n\n"
     "Changes are made at once and rewrite no data. Of several repositories, --repo chooses the one to change.",
     "ACTION [RECIPIENT]", 1, 2, false, false, true},
    {kLoad, "load", "Load a dump, or a part of one, into a server",
     "Brings back what a dump holds, into the same server or another one: whole databases (--create), schemas, tables, "
     "partitions, with roles before them (--globals), under other names where wanted (--db-map, --schema-map, "
     "--role-map). Only what is chosen is fetched. Before anything is changed, what is missing on the server is told: "
     "roles, extensions, tablespaces, collations, versions; --dry-run stops there. Afterwards the rows of every table "
     "are "
     "compared with those recorded when the dump was made; exits with 1 when they differ.",
     "", 0, 0, true, false, false},
    {kRepoCheck, "repo-check", "Try whether a repository's storage keeps its promises",
     "Runs the checks that every kind of storage has to pass against this one, over several connections (process-max): "
     "that no name is ever overwritten, that objects are seen whole or not at all, that what was written is found by "
     "every "
     "call, and many more. Then measures how long calls take and how fast data goes there and back. Everything happens "
     "below a path of its own, pgark-check-..., and is removed again. No stanza has to exist yet, only the directory "
     "or "
     "bucket.\n\n"
     "Says what the storage lacks and what pgark does about that. Exits with 1 when a promise is broken.",
     "", 0, 0, false, false, true},
    {kRepoCopy, "repo-copy", "Copy a stanza from one repository to another",
     "Copies what --to lacks from --from: cluster records, WAL, and backup after backup, for a new region or a "
     "repository "
     "that was moved or down. Every byte is checked on its way, and encrypted anew where the repositories have keys of "
     "their own. What is there already is not read again, so a run that was ended goes on where it was. Backups that a "
     "retention rule removed from --to stay away unless named with --set.\n\n"
     "Exits with 1 if something was damaged in --from and could not be copied.",
     "", 0, 0, true, false, true},
    {kRepoGet, "repo-get", "Print one object of the repository",
     "Writes what an object holds to standard output: a WAL file as PostgreSQL gave it, what else pgark keeps as JSON, "
     "what `repo-put` stored as it is; with --raw the bytes as they are stored. The name is the one `repo-ls` shows.",
     "NAME", 1, 1, false, false, true},
    {kRepoLs, "repo-ls", "List objects of the repository",
     "Lists what lies directly under PATH, or everything below it with --recurse.", "[PATH]", 0, 1, false, false, true},
    {kRepoPut, "repo-put", "Store an object of your own in the repository",
     "Stores a file, or standard input, under a name beside what pgark keeps: notes, keys of something else, a copy of "
     "a "
     "configuration. The bytes are stored as they are, also in an encrypted repository; `repo-get` prints them. A "
     "name that exists is never overwritten. Names that pgark itself writes are refused without --force.",
     "NAME [FILE]", 1, 2, false, true, false},
    {kRepoRm, "repo-rm", "Remove objects from the repository",
     "Removes one object, or with --recurse everything below a path. What belongs to pgark, anything of a stanza among "
     "it, "
     "is refused without --force: `expire` and `stanza-delete` remove that, in an order in which every backup that is "
     "listed can be restored.",
     "NAME", 1, 1, false, true, false},
    {kRestore, "restore", "Restore the cluster, also to a moment in its past",
     "Copies a backup into an empty pg1-path, or makes what is there match it with --delta, and sets up recovery, so "
     "that "
     "starting PostgreSQL replays WAL to the target. "
     "The target is checked against the WAL in the repository before a byte is copied.",
     "", 0, 0, true, false, false},
    {kStanzaCreate, "stanza-create", "Create a stanza in the repository",
     "Records which cluster the stanza is (system identifier, version, WAL segment size). To run once, before "
     "archiving "
     "begins. Running it again changes nothing.",
     "", 0, 0, true, true, false},
    {kStanzaDelete, "stanza-delete", "Delete a stanza with all its backups and WAL",
     "Refuses while PostgreSQL runs unless --force is given. An interrupted run can be repeated.", "", 0, 0, true,
     false, false},
    {kStart, "start", "Allow pgark to run again after stop",
     "Removes the stop file of the stanza, or the one for all stanzas when none is given.", "", 0, 0, false, false,
     false},
    {kStop, "stop", "Keep pgark from running on this machine",
     "New backups, archiving and other changes are refused for the stanza, or for all without --stanza, until `start`. "
     "What runs is left to finish, unless --force ends it.",
     "", 0, 0, false, false, false},
    {kTimeline, "timeline", "Show what happened when, to find the moment to restore to",
     "Tells from the archived WAL, without reading backups: commits of each minute, restore points, and what removed "
     "data "
     "(drops, truncates, rewrites, large deletes), each with its time, transaction and position. `restore "
     "--before-xid` goes "
     "back to just before one of them. Relations are named by the running server where it can be reached; one that was "
     "dropped is told by the number of its file.",
     "", 0, 0, true, false, true},
    {kVerify, "verify", "Read what the repository holds and check every byte",
     "Reads the packs, manifests, WAL and records of all backups, or of those given with --set, in every repository or "
     "the one "
     "given with --repo, and checks them as a restore would, with all hashes. Tells what is damaged or missing, which "
     "backups, files and moments that hits, whether another repository has a good copy, and what to do. With --sample "
     "it "
     "reads "
     "a random share.\n\n"
     "A run that was interrupted, or ended by --time-limit, goes on where it was when the same command is run again. "
     "Exits "
     "with 0 when nothing was found to be damaged, with 1 when something is.",
     "", 0, 0, true, false, true},
    {kVersion, "version", "Print the version", "", "", 0, 0, false, false, true},
};
static_assert(std::size(kCommands) == kCommandCount);

constexpr OptionSpec ignored(std::string_view name, CommandSet commands, std::string_view note,
                             OptionFamily family = kNone, std::string_view harmless = "") {
  return {.name = name,
          .type = kString,
          .commands = commands,
          .group = family == kRepo ? kRepository
                   : family == kPg ? kStanza
                                   : kGeneral,
          .family = family,
          .state = OptionState::kIgnored,
          .harmless = harmless,
          .state_note = note};
}

/// A boolean of pgBackRest, which a command line may hold without a value.
constexpr OptionSpec ignored_flag(std::string_view name, CommandSet commands, std::string_view note,
                                  OptionFamily family = kNone, std::string_view harmless = "") {
  OptionSpec spec = ignored(name, commands, note, family, harmless);
  spec.type = kBoolean;
  return spec;
}

constexpr OptionSpec refused(std::string_view name, CommandSet commands, std::string_view note,
                             OptionFamily family = kNone, std::string_view harmless = "") {
  OptionSpec spec = ignored(name, commands, note, family, harmless);
  spec.state = OptionState::kRefused;
  return spec;
}

constexpr OptionSpec log_level(std::string_view name, std::string_view value, std::string_view summary) {
  return {.name = name,
          .type = kEnum,
          .commands = kWork,
          .group = kLog,
          .value_default = value,
          .allowed = "off|error|warn|info|detail|debug|trace",
          .summary = summary};
}

constexpr std::string_view kNoRemote = "only meant for hosts reached over the network, which this version does not use";
constexpr std::string_view kOwnFormat = "pgark's format always bundles small files and stores blocks";
constexpr std::string_view kNoServer = "pgark runs no TLS server";

constexpr OptionSpec refused_flag(std::string_view name, CommandSet commands, std::string_view note,
                                  OptionFamily family = kNone, std::string_view harmless = "") {
  OptionSpec spec = refused(name, commands, note, family, harmless);
  spec.type = kBoolean;
  return spec;
}

// clang-format off
constexpr OptionSpec kOptions[] = {
    // -- Commands' own.
    {.name = "annotation", .type = kMap, .commands = kAnnotate | kBackup, .source = OptionSource::kCommandLine,
     .required = kAnnotate,
     .summary = "key/value pair to attach to the backup",
     .description = "Repeat the option for several pairs. With annotate, an empty value removes the key."},
    {.name = "archive-async", .type = kBoolean, .commands = kArchiveGet, .value_default = "n",
     .summary = "fetch in the background what recovery will ask for next",
     .description = "Segments ahead of recovery are fetched in parallel (process-max) into spool-path and verified there, "
                    "so that archive-get only has to move the one it is asked for. Whatever hinders that, archive-get "
                    "fetches the segment itself."},
    {.name = "archive-async", .type = kBoolean, .commands = kArchivePush, .value_default = "n",
     .summary = "archive in the background, ahead of what PostgreSQL asks for",
     .description = "A worker of the stanza pushes what is ready in pg_wal, in parallel, and archive-push waits only for "
                    "the segment it was given: until that is durable in every repository."},
    {.name = "archive-check", .type = kBoolean, .commands = kBackup, .value_default = "y",
     .summary = "wait until the WAL of the backup is in the repository",
     .description = "Without the check, a backup may be listed whose WAL never arrived, and which therefore cannot be "
                    "restored. Leave it on."},
    {.name = "archive-get-queue-max", .type = kSize, .commands = kArchiveGet, .value_default = "128MiB",
     .max = int64_t{1} << 50,
     .summary = "WAL that may wait in the spool for recovery",
     .description = "With archive-async. Below the size of a WAL segment, nothing is fetched ahead."},
    {.name = "archive-mode", .type = kEnum, .commands = kRestore, .value_default = "preserve", .allowed = "off|preserve",
     .summary = "archiving of the restored cluster",
     .description = "off sets archive_mode=off, so that a copy never archives into the stanza of its original. preserve "
                    "keeps the settings of the backup."},
    {.name = "archive-mode-check", .type = kBoolean, .commands = kBackup | kCheck | kArchivePush, .value_default = "y",
     .summary = "check that PostgreSQL's archive_command calls pgark",
     .description = "With n, backup accepts an archive_command that does not call `pgark archive-push` itself, such as a "
                    "script that does. That WAL arrives in the repository is checked in any case."},
    {.name = "archive-push-queue-max", .type = kSize, .commands = kArchivePush,
     .default_note = "none: WAL is never given up", .min = 1, .max = int64_t{1} << 60,
     .summary = "WAL that may wait in pg_wal before segments are given up",
     .description = "When more waits than this, archive-push tells PostgreSQL that a segment is archived WITHOUT STORING "
                    "IT, so that pg_wal does not fill the disk. Recovery past that segment is then impossible until a new "
                    "backup is made; info and check say so, and each one is logged as a warning."},
    {.name = "archive-timeout", .type = kTime, .commands = kBackup | kCheck | kArchiveGet | kArchivePush,
     .value_default = "60", .min = 100, .max = kDay,
     .summary = "how long to wait for a WAL segment to reach the repository"},
    {.name = "before-xid", .type = kString, .commands = kRestore, .source = OptionSource::kCommandLine,
     .summary = "recover to just before this transaction committed",
     .description = "`pgark timeline` shows which transaction dropped or deleted what. Short for --type=xid --target=N "
                    "--target-exclusive."},
    {.name = "check-archive-lag", .type = kTime, .commands = kCheck, .value_default = "10m", .min = kSecond,
     .max = 3650 * kDay, .summary = "how long WAL may wait to be archived without a warning"},
    {.name = "check-backup-age", .type = kTime, .commands = kCheck, .value_default = "26h", .min = kSecond,
     .max = 3650 * kDay, .summary = "how old the newest backup may be without a warning",
     .description = "Three times as old, it is an error. The default suits a backup a day."},
    {.name = "check-drill-age", .type = kTime, .commands = kCheck, .value_default = "90d", .min = kSecond,
     .max = 3650 * kDay, .summary = "how long ago the last restore test may be without a warning"},
    {.name = "check-dump-age", .type = kTime, .commands = kCheck, .value_default = "8d", .min = kSecond,
     .max = 3650 * kDay, .summary = "how old the newest dump of a series may be without a warning",
     .description = "Where there are dumps. The default suits a dump a week."},
    {.name = "check-ignore", .type = kList, .commands = kCheck,
     .summary = "code of a finding whose warning is accepted",
     .description = "Repeatable, or several separated by commas: check-ignore=checksums_off,fsync_off. The finding is "
                    "still shown, as information. Errors cannot be ignored."},
    {.name = "check-verify-age", .type = kTime, .commands = kCheck, .value_default = "35d", .min = kSecond,
     .max = 3650 * kDay, .summary = "how long ago verify may have run last without a warning"},
    {.name = "backup-standby", .type = kEnum, .commands = kBackup, .value_default = "n", .allowed = "n|y|prefer",
     .summary = "back up a standby instead of the primary",
     .description = "n: the primary is backed up. y: a standby has to be; prefer: the primary if there is none. All nodes "
                    "of the stanza are asked (pg1-*, pg2-*, ...); the one that is backed up runs on this machine, of the "
                    "others only a connection is needed. The primary is asked to finish the last WAL segment; without a "
                    "connection to it the backup waits until that is archived by itself."},
    {.name = "checksum-page", .type = kBoolean, .commands = kBackup, .default_note = "y if the cluster has checksums",
     .summary = "verify the checksum of every page that is copied",
     .description = "A page that fails is reported by file and block and recorded in the backup, which is finished all "
                    "the same. Without checksums in the cluster the option has no effect."},
    {.name = "db-exclude", .type = kList, .commands = kRestore,
     .summary = "database, by name or OID, to restore as zeros; may be repeated",
     .description = "Takes no space, cannot be connected to, and is dropped after recovery with the statement that restore "
                    "prints. template0, template1 and postgres are always restored."},
    {.name = "db-include", .type = kList, .commands = kRestore,
     .summary = "restore only this database, by name or OID; may be repeated",
     .description = "All others but template0, template1 and postgres are restored as db-exclude says."},
    {.name = "delta", .type = kBoolean, .commands = kRestore, .value_default = "n",
     .summary = "keep what matches the backup, fetch what differs, remove what does not belong",
     .description = "Compares every block by its hash, never by times. Takes a data directory of the cluster that was "
                    "backed up, stopped, or one whose restore did not end; with --force also that of another cluster, or "
                    "one whose pg_wal has files that were never archived. Into an empty directory everything is "
                    "restored."},
    {.name = "dry-run", .type = kBoolean, .commands = kRestore, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "show what would be restored and where recovery would end, and change nothing",
     .description = "Prints the backup, the way through the timelines, the WAL that is read, the exact position where "
                    "recovery stops, and the last commit kept and the first one dropped."},
    {.name = "dry-run", .type = kBoolean, .commands = kArchiveHeal, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "find and check what could be fetched, store nothing"},
    {.name = "dry-run", .type = kBoolean, .commands = kExpire, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "show what would be removed, and why, and change nothing"},
    {.name = "exclude", .type = kList, .commands = kBackup,
     .summary = "path, relative to the data directory, to leave out of the backup",
     .description = "Repeatable. A path that ends with a slash leaves out what is in a directory and keeps the directory "
                    "itself. What PostgreSQL needs in order to start must not be excluded."},
    {.name = "expire-auto", .type = kBoolean, .commands = kBackup | kDump, .value_default = "y",
     .summary = "expire after the backup",
     .description = "In the repository of the backup, if a retention rule is set for it. When that fails the backup is "
                    "complete all the same; the command then ends with the error of expire."},
    {.name = "expire-grace", .type = kTime, .commands = kBackup | kDump | kDumpExpire | kExpire, .value_default = "1d", .min = 0,
     .max = 366 * kDay,
     .summary = "how long WAL and data of a removed backup stay",
     .description = "Longer than the longest restore: one that reads a backup while it is removed can end in that time, and "
                    "so can a backup that runs on another machine. Data of interrupted backups stays as long. 0 frees "
                    "space at once, also from under them."},
    {.name = "filter", .type = kString, .commands = kRepoLs, .source = OptionSource::kCommandLine,
     .summary = "regular expression that listed names have to match"},
    {.name = "force", .type = kBoolean, .commands = kRepoPut, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "store also under a name that pgark itself writes",
     .description = "To put back an object from a copy of the repository. A name that exists stays as it is."},
    {.name = "force", .type = kBoolean, .commands = kRepoRm, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "remove also what belongs to pgark",
     .description = "Backups that need what is removed can then not be restored."},
    {.name = "force", .type = kBoolean, .commands = kStop, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "end pgark processes that are running",
     .description = "Sends SIGTERM to the processes of the stanza that hold a lock on this machine; they stop cleanly."},
    {.name = "force", .type = kBoolean, .commands = kStanzaDelete, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "delete the stanza even while its cluster is running"},
    {.name = "force", .type = kBoolean, .commands = kRestore, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "restore over what is in the data directory",
     .description = "Removes what is there first. Only a directory with a PG_VERSION, or one in which a restore did not "
                    "end, is cleared, and never while a server runs in it; tablespaces and links only if that directory "
                    "led to them."},
    {.name = "ignore-missing", .type = kBoolean, .commands = kRepoGet, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "exit with 1 and no message if the object does not exist"},
    {.name = "kind", .type = kList, .commands = kTimeline, .source = OptionSource::kCommandLine,
     .default_note = "all but shrink",
     .summary = "show only this kind of event",
     .description = "Repeatable. commits, restore_point, drop, truncate, rewrite (VACUUM FULL, CLUSTER, TRUNCATE and load), "
                    "delete (1000 rows or more by one transaction), drop_database, drop_tablespace, create_database, shrink "
                    "(mostly by vacuum), fork, gap."},
    {.name = "link-all", .type = kBoolean, .commands = kRestore, .value_default = "n",
     .summary = "restore symbolic links as links",
     .description = "By default, directories and files that were symbolic links in the cluster are restored inside the "
                    "data directory."},
    {.name = "link-map", .type = kMap, .commands = kRestore,
     .summary = "new destination of a symbolic link: LINK=PATH",
     .description = "Repeatable. LINK is relative to the data directory: --link-map=pg_wal=/fast/wal. A link that is "
                    "mapped is restored as a link."},
    {.name = "markdown", .type = kEnum, .commands = kHelp, .source = OptionSource::kCommandLine,
     .allowed = "commands|options", .internal = true, .summary = "print a page of the reference as Markdown"},
    {.name = "online", .type = kBoolean, .commands = kStanzaCreate, .value_default = "y",
     .summary = "compare the data directory with the running server",
     .description = "With --no-online the stanza is created from the files in pg1-path alone."},
    {.name = "from", .type = kInteger, .commands = kRepoCopy, .source = OptionSource::kCommandLine, .min = 1, .max = 256,
     .required = kRepoCopy, .summary = "number of the repository to copy from"},
    {.name = "new-cipher-pass", .type = kString, .commands = kKey, .source = OptionSource::kCommandLine, .secret = true,
     .summary = "new passphrase of the repository",
     .description = "With key rotate; as PGARK_NEW_CIPHER_PASS in the environment, since others can see a command line."},
    {.name = "new-cipher-pass-command", .type = kString, .commands = kKey, .source = OptionSource::kCommandLine,
     .summary = "command that prints the new passphrase", .description = "With key rotate. Its first line of output."},
    {.name = "new-cipher-pass-file", .type = kPath, .commands = kKey, .source = OptionSource::kCommandLine,
     .summary = "file that holds the new passphrase",
     .description = "With key rotate. Its first line; only its owner may have access to it."},
    {.name = "output", .type = kEnum, .commands = kCheck, .source = OptionSource::kCommandLine, .value_default = "text",
     .allowed = "text|json|nagios", .summary = "format of the result",
     .description = "json is for programs, as everywhere. nagios prints one line with performance data and exits with 0 for "
                    "OK, 1 for WARNING, 2 for CRITICAL and 3 for UNKNOWN, as Nagios, Icinga and their kin expect."},
    {.name = "output", .type = kEnum, .commands = kEvery - kCheck, .source = OptionSource::kCommandLine, .value_default = "text",
     .allowed = "text|json", .summary = "format of the result",
     .description = "json is for programs: standard output holds one JSON document and nothing else, also after an error. "
                    "Fields are only ever added."},
    {.name = "output-file", .type = kPath, .commands = kKey, .source = OptionSource::kCommandLine,
     .summary = "file for the private key of key generate",
     .description = "Made with access for its owner alone; a file that is there is never overwritten."},
    {.name = "prefetch", .type = kBoolean, .commands = kArchiveGet, .source = OptionSource::kCommandLine,
     .value_default = "n", .internal = true, .summary = "be the process in the background"},
    {.name = "reason", .type = kString, .commands = kHold, .source = OptionSource::kCommandLine,
     .summary = "why the backup is held, for people"},
    {.name = "release", .type = kBoolean, .commands = kHold, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "end the hold, so that the rules decide again"},
    {.name = "raw", .type = kBoolean, .commands = kRepoGet, .source = OptionSource::kCommandLine, .value_default = "n",
     .summary = "print the object's bytes as they are stored"},
    {.name = "recovery-option", .type = kMap, .commands = kRestore,
     .summary = "recovery setting of PostgreSQL to write: NAME=VALUE",
     .description = "Repeatable. Goes to recovery.conf up to PostgreSQL 11 and to postgresql.auto.conf from 12. Settings "
                    "that pgark writes itself for the target cannot be given."},
    {.name = "recurse", .type = kBoolean, .commands = kRepoRm, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "remove everything below the path"},
    {.name = "recurse", .type = kBoolean, .commands = kRepoLs, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "list everything below the path"},
    {.name = "relation", .type = kList, .commands = kTimeline, .source = OptionSource::kCommandLine,
     .summary = "show only what concerns this relation",
     .description = "Repeatable. A name with or without schema and database, or the number of its file."},
    {.name = "set", .type = kString, .commands = kAnnotate, .source = OptionSource::kCommandLine, .required = kAnnotate,
     .summary = "label of the backup to annotate"},
    {.name = "set", .type = kString, .commands = kExpire, .source = OptionSource::kCommandLine,
     .summary = "label of a backup to remove, whatever the rules say",
     .description = "Only that one goes: backups that were made on top of it are complete without it. Refused for one that "
                    "is held, and for the last one that can be restored."},
    {.name = "set", .type = kString, .commands = kHold, .source = OptionSource::kCommandLine, .required = kHold,
     .summary = "label of the backup or dump to hold"},
    {.name = "set", .type = kString, .commands = kInfo, .source = OptionSource::kCommandLine,
     .summary = "label of the backup to show in detail"},
    {.name = "set", .type = kString, .commands = kRestore, .source = OptionSource::kCommandLine,
     .value_default = "latest", .summary = "label of the backup to restore",
     .description = "By default the newest backup that can reach the target."},
    {.name = "restart", .type = kBoolean, .commands = kVerify, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "begin anew instead of going on where the last run was interrupted"},
    {.name = "sample", .type = kString, .commands = kVerify, .source = OptionSource::kCommandLine,
     .default_note = "everything", .summary = "share of extents and WAL segments to read, such as 5%",
     .description = "Chosen at random, anew in each round. Manifests, records and the index of every pack are read in any "
                    "case, so that a missing object is always found."},
    {.name = "since", .type = kString, .commands = kTimeline, .source = OptionSource::kCommandLine,
     .default_note = "a day before the last transaction", .summary = "show what happened from this time on",
     .description = "Read as --target of restore is: without a zone in the zone of this machine."},
    {.name = "set", .type = kList, .commands = kVerify, .source = OptionSource::kCommandLine,
     .default_note = "all backups, all WAL, and all dumps", .summary = "label of a backup or dump to verify",
     .description = "Repeatable. With it only the WAL is read that those backups need to be consistent."},
    {.name = "set", .type = kList, .commands = kRepoCopy, .source = OptionSource::kCommandLine,
     .default_note = "all backups, all WAL, and all dumps", .summary = "label of a backup or dump to copy",
     .description = "Repeatable. With it only the WAL is copied that those backups need to be consistent."},
    {.name = "sort", .type = kEnum, .commands = kRepoLs, .source = OptionSource::kCommandLine, .value_default = "asc",
     .allowed = "asc|desc|none", .summary = "order of the list"},
    {.name = "resume", .type = kBoolean, .commands = kBackup, .value_default = "y",
     .summary = "use what interrupted backups have stored",
     .description = "Files are read again; blocks that packs of a backup without an end hold already are not stored again "
                    "if their hash is still the same."},
    {.name = "scan", .type = kEnum, .commands = kBackup, .source = OptionSource::kCommandLine, .value_default = "wal",
     .allowed = "wal|lsn|hash",
     .summary = "how changed blocks are found",
     .description = "wal: from the index of the archived WAL; what changed is read, and a random sample of the rest is "
                    "looked at. lsn: every page of a relation is read as well, and stored if it is newer than the prior "
                    "backup. hash: every file is read and compared with what is stored, which is also done whenever the "
                    "WAL since the prior backup has a hole."},
    {.name = "start-fast", .type = kBoolean, .commands = kBackup, .value_default = "n",
     .summary = "ask for an immediate checkpoint, so that the backup starts at once",
     .description = "Otherwise the backup waits for the next regular checkpoint, up to checkpoint_timeout."},
    {.name = "tablespace-map", .type = kMap, .commands = kRestore,
     .summary = "new place of a tablespace: NAME=PATH or OID=PATH", .description = "Repeatable."},
    {.name = "tablespace-map-all", .type = kPath, .commands = kRestore,
     .summary = "directory under which every tablespace is restored",
     .description = "Each in a directory of its name. tablespace-map takes precedence."},
    {.name = "target", .type = kString, .commands = kRestore, .source = OptionSource::kCommandLine,
     .summary = "where recovery ends, for the types time, xid, lsn and name",
     .description = "A time may have a zone offset (2026-11-22 10:15:00+01); without one it is read in the zone of this "
                    "machine and printed in both."},
    {.name = "target-action", .type = kEnum, .commands = kRestore, .source = OptionSource::kCommandLine,
     .value_default = "pause", .allowed = "pause|promote|shutdown",
     .summary = "what PostgreSQL does once it has reached the target"},
    {.name = "target-exclusive", .type = kBoolean, .commands = kRestore, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "stop just before the target, not just after it",
     .description = "For the types time, xid and lsn."},
    {.name = "target-timeline", .type = kString, .commands = kRestore, .source = OptionSource::kCommandLine,
     .summary = "timeline to recover along: a number, current or latest"},
    {.name = "target-timeline", .type = kString, .commands = kTimeline, .source = OptionSource::kCommandLine,
     .value_default = "latest", .summary = "timeline to look along with its ancestors: a number or latest"},
    {.name = "to", .type = kInteger, .commands = kRepoCopy, .source = OptionSource::kCommandLine, .min = 1, .max = 256,
     .required = kRepoCopy, .summary = "number of the repository to copy to"},
    {.name = "time-limit", .type = kTime, .commands = kVerify, .source = OptionSource::kCommandLine,
     .default_note = "none", .min = 1, .max = 7 * kDay,
     .summary = "end after this time, to go on with the next run"},
    {.name = "type", .type = kEnum, .commands = kBackup, .source = OptionSource::kCommandLine,
     .value_default = "incr", .allowed = "full|diff|incr",
     .summary = "kind of backup",
     .description = "full reads and stores everything. incr stores what changed since the newest backup, diff since the "
                    "newest full one; both become full, with a warning, if there is nothing to build on. Every backup is "
                    "complete in itself: it restores as fast as a full one, and no other backup has to be kept for it."},
    {.name = "type", .type = kEnum, .commands = kInfo, .source = OptionSource::kCommandLine, .allowed = "full|diff|incr",
     .summary = "show only backups of this type"},
    {.name = "type", .type = kEnum, .commands = kRestore, .source = OptionSource::kCommandLine,
     .value_default = "default",
     .allowed = "default|immediate|time|xid|lsn|name|standby|preserve|none",
     .summary = "where recovery ends",
     .description = "default: at the end of the archived WAL. immediate: as soon as the backup is consistent. time, xid, lsn "
                    "and name: at --target. standby: never, the cluster follows as a standby. preserve: as settings in "
                    "the backup say. none: only the WAL found in the data directory is replayed."},

    {.name = "until", .type = kString, .commands = kHold, .source = OptionSource::kCommandLine,
     .value_default = "forever", .summary = "when the hold ends: a time, or forever",
     .description = "Read as --target of restore is; a date alone means its beginning."},
    {.name = "until", .type = kString, .commands = kTimeline, .source = OptionSource::kCommandLine,
     .summary = "show what happened up to this time"},
    {.name = "verify", .type = kBoolean, .commands = kArchiveHeal, .source = OptionSource::kCommandLine,
     .value_default = "n", .summary = "read every stored segment since the oldest backup",
     .description = "Finds damage anywhere. Without it, only segments beside a gap are looked at."},
    {.name = "worker", .type = kInteger, .commands = kArchivePush, .source = OptionSource::kCommandLine,
     .min = 3, .max = 1 << 20, .internal = true,
     .summary = "be the background worker; tells on this descriptor when it is ready"},

    // -- General.
    {.name = "cmd", .type = kPath, .commands = kRestore, .group = kGeneral, .default_note = "the running program",
     .summary = "path of pgark to write into restore_command"},
    {.name = "compress-level", .type = kInteger, .commands = kBackup | kArchiveHeal | kArchivePush | kDump, .group = kGeneral,
     .default_note = "1", .min = 1, .max = 19,
     .summary = "compression level",
     .description = "zst: 1 to 19; lz4: 1 to 12. Higher is smaller and slower."},
    {.name = "compress-type", .type = kEnum, .commands = kBackup | kArchiveHeal | kArchivePush | kDump, .group = kGeneral,
     .value_default = "zst", .allowed = "none|lz4|zst", .summary = "compression of data and WAL"},
    {.name = "config", .type = kPath, .commands = kWork, .group = kGeneral, .source = OptionSource::kCommandLine,
     .default_note = "/etc/pgark/pgark.conf", .summary = "configuration file",
     .description = "The default file need not exist; one that is named has to."},
    {.name = "config-include-path", .type = kPath, .commands = kWork, .group = kGeneral,
     .source = OptionSource::kCommandLine, .default_note = "/etc/pgark/conf.d",
     .summary = "directory of further configuration files",
     .description = "Every file in it that ends with .conf is read after the configuration file, in order of their names. "
                    "When only --config is given, the default directory is not read."},
    {.name = "config-path", .type = kPath, .commands = kWork, .group = kGeneral, .source = OptionSource::kCommandLine,
     .default_note = "/etc/pgark", .summary = "directory that holds pgark.conf and conf.d"},
    {.name = "db-timeout", .type = kTime, .commands = kWithServer, .group = kGeneral, .value_default = "1800",
     .min = 100, .max = 7 * kDay, .summary = "longest time for a query, such as the start of a backup"},
    {.name = "io-timeout", .type = kTime, .commands = kWithRepo, .group = kGeneral, .value_default = "60", .min = 100,
     .max = 3600 * kSecond, .summary = "longest time for a connection or a transfer without progress"},
    {.name = "lock-path", .type = kPath, .commands = kWork, .group = kGeneral, .value_default = "/tmp/pgark",
     .summary = "directory of lock and stop files",
     .description = "Has to be the same for every command of a stanza on one machine."},
    {.name = "process-max", .type = kInteger, .commands = kArchiving | kArchiveHeal | kBackup | kRepoCheck | kRepoCopy | kRestore | kVerify, .group = kGeneral,
     .default_note = "number of cores, at most 8", .min = 1, .max = 999,
     .summary = "worker threads that read, compress and transfer"},
    {.name = "progress", .type = kBoolean, .commands = kBackup | kDump | kDumpGet | kDumpVerify | kLoad | kRepoCopy | kRestore | kVerify, .group = kGeneral,
     .default_note = "y if standard error is a terminal", .summary = "show a progress bar",
     .description = "Without it, progress is logged at the detail level."},
    {.name = "protocol-timeout", .type = kTime, .commands = kWithRepo, .group = kGeneral, .value_default = "1830",
     .min = 100, .max = 7 * kDay, .summary = "longest time for one request to an object store, from its start to its end",
     .description = "What makes no progress ends after io-timeout already."},
    {.name = "spool-path", .type = kPath, .commands = kArchiving | kDump | kVerify, .group = kGeneral,
     .value_default = "/var/spool/pgark", .summary = "directory for WAL on its way",
     .description = "Holds what asynchronous archiving needs on this machine: sockets, locks, segments fetched ahead of "
                    "recovery, notes of WAL that archive-push-queue-max gave up, where an interrupted verify was, and what pg_dump has just written. Outside the data directory, and writable for the server's user."},
    {.name = "stanza", .type = kString, .commands = kWork, .group = kGeneral, .source = OptionSource::kCommandLine,
     .required = kWork - (kInfo | kKey | kRepoCheck | kRepoGet | kRepoLs | kRepoPut | kRepoRm | kStart | kStop),
     .summary = "name of the cluster's configuration",
     .description = "Letters, digits, '.', '_' and '-', not beginning with '.'."},

    // -- Log.
    log_level("log-level-console", "warn", "least important lines that go to standard output"),
    log_level("log-level-file", "info", "least important lines that go to the log file"),
    log_level("log-level-stderr", "off", "least important lines that go to standard error"),
    {.name = "log-path", .type = kPath, .commands = kWork, .group = kLog, .value_default = "/var/log/pgark",
     .summary = "directory of log files",
     .description = "Each command appends to a file of its own, STANZA-COMMAND.log."},
    {.name = "log-timestamp", .type = kBoolean, .commands = kWork, .group = kLog, .value_default = "y",
     .summary = "begin log lines with the time"},

    // -- Repository.
    {.name = "repo", .type = kInteger, .commands = kWithRepo, .group = kRepository, .source = OptionSource::kCommandLine,
     .default_note = "the lowest that is configured", .min = 1, .max = 256,
     .summary = "number of the repository to use",
     .description = "Without it every repository that is configured (repo1-path, repo2-path, ...) is used: stanza-create, "
                    "archive-push and backup write to all, backup from one read of the cluster; check, expire, verify, info, "
                    "annotate and hold go through all; restore and archive-get take the first that has what is wanted, and "
                    "the next where it is damaged or out of reach. The rest use repo1."},
    {.name = "repo-retention-archive", .type = kInteger, .commands = kWithRetention, .group = kRepository,
     .family = kRepo, .default_note = "WAL is kept from the oldest backup on", .min = 1, .max = 9999999,
     .summary = "number of backups whose WAL is kept as a whole",
     .description = "Counted are backups of repo-retention-archive-type. Of older backups only the WAL that makes them "
                    "consistent stays: they can be restored as they were at their end, and to no later time."},
    {.name = "repo-retention-archive-type", .type = kEnum, .commands = kWithRetention, .group = kRepository,
     .family = kRepo, .value_default = "full", .allowed = "full|diff|incr",
     .summary = "backups that repo-retention-archive counts",
     .description = "full counts fulls, diff fulls and diffs, incr every backup. With diff and no repo-retention-archive, "
                    "repo-retention-diff is the number."},
    {.name = "repo-retention-daily", .type = kInteger, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .min = 1, .max = 9999999, .summary = "number of days of which the last backup is kept",
     .description = "Days without a backup do not count. Days begin in retention-timezone."},
    {.name = "repo-retention-diff", .type = kInteger, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .min = 1, .max = 9999999, .summary = "number of full and differential backups of which the diffs are kept",
     .description = "Older diffs go, and the incrementals that were based on them; fulls count, but only "
                    "repo-retention-full lets them go."},
    {.name = "repo-retention-full", .type = kInteger, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .min = 1, .max = 9999999, .summary = "number of full backups, or of days, to keep",
     .description = "A full that goes takes the diffs and incrementals of its label along, unless another rule or a hold "
                    "keeps them. With repo-retention-full-type=time it is a number of days, and the newest full that is "
                    "older stays, so that all of these days can be recovered."},
    {.name = "repo-retention-full-type", .type = kEnum, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .value_default = "count", .allowed = "count|time", .summary = "what repo-retention-full counts: fulls or days"},
    {.name = "repo-retention-minimum", .type = kInteger, .commands = kWithRetention, .group = kRepository,
     .family = kRepo, .value_default = "1", .min = 1, .max = 9999999,
     .summary = "number of restorable backups that no rule may go below",
     .description = "Where the rules keep fewer, the newest others stay as well."},
    {.name = "repo-retention-monthly", .type = kInteger, .commands = kWithRetention, .group = kRepository,
     .family = kRepo, .min = 1, .max = 9999999, .summary = "number of months of which the last backup is kept"},
    {.name = "repo-retention-weekly", .type = kInteger, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .min = 1, .max = 9999999, .summary = "number of weeks of which the last backup is kept",
     .description = "Weeks of ISO 8601: they begin on Monday."},
    {.name = "repo-retention-yearly", .type = kInteger, .commands = kWithRetention, .group = kRepository, .family = kRepo,
     .min = 1, .max = 9999999, .summary = "number of years of which the last backup is kept"},
    {.name = "retention-timezone", .type = kString, .commands = kWithRetention, .group = kRepository,
     .default_note = "that of the machine", .summary = "time zone in which days, weeks, months and years begin",
     .description = "A name of the time zone database, such as Europe/Berlin or UTC."},

    // -- Stanza.
    {.name = "pg-bandwidth-max", .type = kSize, .commands = kBackup, .group = kStanza, .family = kPg,
     .default_note = "no limit", .min = 4096, .max = int64_t{1} << 50,
     .summary = "bytes a second that a backup reads from the data directory",
     .description = "Of all threads together, so that the disks have time for the server."},
    {.name = "pg-database", .type = kString, .commands = kWithServer, .group = kStanza, .family = kPg,
     .value_default = "postgres", .summary = "database to connect to"},
    {.name = "pg-host", .type = kString, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "a Unix socket of this machine", .summary = "host of the server, to connect to over TCP",
     .description = "Only the connection goes there: files of a cluster are read where pgark runs. Meant for the primary "
                    "of a standby that is backed up on its own machine (backup-standby)."},
    {.name = "pg-path", .type = kPath, .commands = kWithDataDirectory, .group = kStanza, .family = kPg,
     .required = kBackup | kRestore, .summary = "data directory of the cluster",
     .description = "stanza-create and check need it, or pg1-host for a server whose files are out of reach: of that, dumps can be made."},
    {.name = "pg-port", .type = kInteger, .commands = kWithServer, .group = kStanza, .family = kPg,
     .value_default = "5432", .min = 1, .max = 65535, .summary = "port of the server"},
    {.name = "pg-socket-path", .type = kPath, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "libpq's", .summary = "directory of the server's Unix socket"},
    {.name = "pg-sslcert", .type = kPath, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "libpq's", .summary = "file of the client certificate for TLS"},
    {.name = "pg-sslkey", .type = kPath, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "libpq's", .summary = "file of the client certificate's key for TLS"},
    {.name = "pg-sslmode", .type = kEnum, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "libpq's", .allowed = "disable|allow|prefer|require|verify-ca|verify-full",
     .summary = "whether the connection must be encrypted, and the server proven",
     .description = "verify-full is what keeps anybody else from being taken for the server; it needs pg1-sslrootcert."},
    {.name = "pg-sslrootcert", .type = kPath, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "libpq's", .summary = "file of the certificates that may sign the server's for TLS"},
    {.name = "pg-user", .type = kString, .commands = kWithServer, .group = kStanza, .family = kPg,
     .default_note = "the operating system user", .summary = "database user"},

    // -- pgBackRest's that change nothing here.
    ignored_flag("archive-header-check", kArchivePush, "WAL headers are always checked", kNone, "y"),
    ignored_flag("archive-missing-retry", kArchiveGet, "every call looks for the file anew"),
    ignored_flag("backup-full-incr", kBackup, "the WAL of a backup covers what changes while it is copied", kNone, "n"),
    ignored_flag("beta", kWithRepo, "there are no beta features", kNone, "n"),
    ignored("buffer-size", kWithRepo, "buffers are sized automatically"),
    ignored("cmd-ssh", kWithRepo, kNoRemote),
    ignored_flag("compress", kBackup | kArchivePush, "use compress-type", kNone, "y"),
    ignored("compress-level-network", kWithRepo, kNoRemote),
    ignored_flag("delta", kBackup, "changed files are never told by their times alone"),
    ignored("detail-level", kInfo, "info shows everything"),
    ignored("exec-id", kWork, "not needed"),
    ignored("job-retry", kWithRepo, "retries are bounded by io-timeout"),
    ignored("job-retry-interval", kWithRepo, "retries are bounded by io-timeout"),
    ignored_flag("log-subprocess", kWithRepo, "pgark works in threads, not in subprocesses", kNone, "n"),
    ignored("manifest-save-threshold", kBackup, "not needed"),
    ignored_flag("neutral-umask", kWork, "files are created with 0640 and directories with 0750", kNone, "y"),
    ignored_flag("page-header-check", kBackup, "page headers are always checked", kNone, "y"),
    ignored("priority", kWithRepo, "use nice(1)"),
    ignored_flag("sck-block", kWithRepo, kNoRemote),
    ignored_flag("sck-keep-alive", kWithRepo, kNoRemote),
    ignored_flag("stop-auto", kBackup, "a backup of pgark never leaves the cluster in backup mode"),
    ignored("tcp-keep-alive-count", kWithRepo, kNoRemote),
    ignored("tcp-keep-alive-idle", kWithRepo, kNoRemote),
    ignored("tcp-keep-alive-interval", kWithRepo, kNoRemote),
    ignored("tls-server-address", kWithRepo, kNoServer),
    ignored("tls-server-auth", kWithRepo, kNoServer),
    ignored("tls-server-ca-file", kWithRepo, kNoServer),
    ignored("tls-server-cert-file", kWithRepo, kNoServer),
    ignored("tls-server-crl-file", kWithRepo, kNoServer),
    ignored("tls-server-key-file", kWithRepo, kNoServer),
    ignored("tls-server-port", kWithRepo, kNoServer),

    ignored_flag("repo-block", kBackup, kOwnFormat, kRepo),
    ignored("repo-block-age-map", kBackup, kOwnFormat, kRepo),
    ignored("repo-block-checksum-size-map", kBackup, kOwnFormat, kRepo),
    ignored("repo-block-size-map", kBackup, kOwnFormat, kRepo),
    ignored("repo-block-size-super", kBackup, kOwnFormat, kRepo),
    ignored("repo-block-size-super-full", kBackup, kOwnFormat, kRepo),
    ignored_flag("repo-bundle", kBackup, kOwnFormat, kRepo),
    ignored("repo-bundle-limit", kBackup, kOwnFormat, kRepo),
    ignored("repo-bundle-size", kBackup, kOwnFormat, kRepo),
    ignored_flag("repo-hardlink", kBackup, kOwnFormat, kRepo, "n"),
    ignored("repo-host-ca-file", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-ca-path", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-cert-file", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-cmd", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-config", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-config-include-path", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-config-path", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-key-file", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-port", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-type", kWithRepo, kNoRemote, kRepo),
    ignored("repo-host-user", kWithRepo, kNoRemote, kRepo),
    ignored("repo-retention-history", kBackup | kExpire, "no history of removed backups is kept", kRepo),
    ignored_flag("repo-symlink", kBackup, "no links are made in the repository", kRepo, "n"),
    ignored("pg-host-ca-file", kWithServer, kNoRemote, kPg),
    ignored("pg-host-ca-path", kWithServer, kNoRemote, kPg),
    ignored("pg-host-cert-file", kWithServer, kNoRemote, kPg),
    ignored("pg-host-cmd", kWithServer, kNoRemote, kPg),
    ignored("pg-host-config", kWithServer, kNoRemote, kPg),
    ignored("pg-host-config-include-path", kWithServer, kNoRemote, kPg),
    ignored("pg-host-config-path", kWithServer, kNoRemote, kPg),
    ignored("pg-host-key-file", kWithServer, kNoRemote, kPg),
    ignored("pg-host-port", kWithServer, kNoRemote, kPg),
    ignored("pg-host-type", kWithServer, kNoRemote, kPg),
    ignored("pg-host-user", kWithServer, kNoRemote, kPg),

    // -- pgBackRest's that would change safety, or where data goes.
    refused_flag("archive-copy", kBackup, "restores need the WAL archive; keep the repository as a whole instead", kNone, "n"),
    refused_flag("force", kBackup | kStanzaCreate, "backups are taken from running clusters only, and stanza-create never "
            "overwrites", kNone, "n"),
    refused_flag("online", kBackup | kStanzaDelete | kCheck, "start the cluster: offline backups are not provided",
            kNone, "y"),
    refused("pg-version-force", kWithDataDirectory, "the version is always read from the cluster"),
    refused("repo-host", kWithRepo, "run pgark where the repository is mounted", kRepo),
    refused_flag("repo-local", kWithRepo, "leave it out", kRepo, "y"),
    refused("repo-target-time", kWithRepo, "repositories are read as they are now", kRepo),
};
// clang-format on

constexpr RefusedValue kRefusedValues[] = {
    {"compress-type", kBackup | kArchiveHeal | kArchivePush | kDump, "gz",
     "use compress-type=zst, which is smaller and several times faster"},
    {"compress-type", kBackup | kArchiveHeal | kArchivePush | kDump, "bz2",
     "use compress-type=zst with a higher compress-level, such as 9"},
    {"repo-cipher-type", kWithRepo, "aes-256-cbc",
     "write repo1-cipher-type=aes-256-gcm: it encrypts as strongly, and also shows when what is stored was changed; "
     "the "
     "passphrase may stay"},
    {"repo-type", kWithRepo, "cifs", "use repo1-type=posix with a mounted file system that honours fsync"},
};

constexpr RefusedCommand kRefusedCommands[] = {
    {"manifest", "use `info --set=LABEL --output=json`"},
    {"repo-create", "`stanza-create` creates the directory of the repository"},
    {"server", "run pgark on the machine of the cluster with the repository mounted"},
    {"server-ping", "run pgark on the machine of the cluster with the repository mounted"},
    {"stanza-upgrade", "create a new stanza for the upgraded cluster"},
};

}  // namespace

std::span<const CommandSpec> all_commands() { return kCommands; }

std::span<const OptionSpec> all_options() {
  static const std::vector<OptionSpec> sorted = [] {
    std::vector<OptionSpec> specs(std::begin(kOptions), std::end(kOptions));
    const std::span<const OptionSpec> repository = option_specs::repository_options();
    specs.insert(specs.end(), repository.begin(), repository.end());
    const std::span<const OptionSpec> dump = option_specs::dump_options();
    specs.insert(specs.end(), dump.begin(), dump.end());
    std::ranges::stable_sort(specs, {}, &OptionSpec::name);
    return specs;
  }();
  return sorted;
}

std::span<const RefusedValue> refused_values() { return kRefusedValues; }
std::span<const RefusedCommand> refused_commands() { return kRefusedCommands; }

}  // namespace pgark
