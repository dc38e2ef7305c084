// Options of dump, load and their kin: those of pg_dump and pg_restore under their own names, and pgark's.
#include "cli/option_specs.h"

namespace pgark::option_specs {
namespace {

using enum Command;
using enum OptionType;
using Passed = OptionSpec::Passed;
constexpr auto kCli = OptionSource::kCommandLine;

constexpr CommandSet kBoth = kDump | kLoad;
constexpr CommandSet kLoading = kDumpVerify | kLoad;
constexpr CommandSet kOfOneDump = kDumpGet | kDumpVerify | kLoad;

/// A switch of pg_dump or pg_restore.
constexpr OptionSpec passed_flag(std::string_view name, CommandSet commands, std::string_view summary,
                                 char letter = 0) {
  return {.name = name,
          .type = kBoolean,
          .commands = commands,
          .value_default = "n",
          .letter = letter,
          .passed = Passed::kYes,
          .summary = summary};
}

/// A pattern of pg_dump that chooses what is dumped.
constexpr OptionSpec selection(std::string_view name, std::string_view summary, char letter = 0) {
  return {
      .name = name, .type = kList, .commands = kDump, .letter = letter, .passed = Passed::kSelects, .summary = summary};
}

// clang-format off
constexpr OptionSpec kDumpOptions[] = {
    // -- pgark's own.
    {.name = "age", .type = kList, .commands = kDumpGet, .source = kCli,
     .summary = "encrypt what is written for this age recipient (age1...); may be repeated"},
    {.name = "clean", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n", .letter = 'c',
     .summary = "drop what is loaded before it is made"},
    {.name = "client-path", .type = kList, .commands = kDump | kLoad | kDumpVerify, .group = OptionGroup::kGeneral,
     .default_note = "where packages put them, and PATH",
     .summary = "directory of pg_dump, pg_restore and psql to look into first; may be repeated",
     .description = "Of all programs found, those are used that suit the server: of its own major version, else the next "
                    "newer one. The log says which."},
    {.name = "compare-counts", .type = kBoolean, .commands = kLoad, .value_default = "y",
     .summary = "count the rows of loaded tables, and compare with those of the dump"},
    {.name = "create", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n", .letter = 'C',
     .summary = "create the databases, with --clean after dropping them"},
    {.name = "db-map", .type = kList, .commands = kLoad, .source = kCli,
     .summary = "load database OLD as NEW: OLD:NEW; may be repeated"},
    {.name = "dbname", .type = kList, .commands = kDump, .default_note = "all but templates",
     .letter = 'd', .summary = "database to dump; may be repeated"},
    {.name = "dbname", .type = kList, .commands = kOfOneDump, .source = kCli, .default_note = "all of the dump",
     .letter = 'd', .summary = "database of the dump; may be repeated"},
    {.name = "dry-run", .type = kBoolean, .commands = kDump, .source = kCli, .value_default = "n",
     .summary = "show what would be dumped, how, and what will hurt, and change nothing"},
    {.name = "dry-run", .type = kBoolean, .commands = kDumpExpire, .source = kCli, .value_default = "n",
     .summary = "show what would be removed, and why, and change nothing"},
    {.name = "dry-run", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n",
     .summary = "show what would be made, dropped and what is missing, and change nothing"},
    {.name = "dump-check", .type = kMap, .commands = kDumpVerify,
     .summary = "query that must yield true after a load: [DATABASE/]NAME=SQL; may be repeated",
     .description = "Without a database it runs in each. For example dump-check=app/has_orders=select count(*) > 1000 "
                    "from orders."},
    {.name = "dump-spool-max", .type = kSize, .commands = kDump, .value_default = "256MiB", .min = 1 << 20,
     .max = int64_t{1} << 50,
     .summary = "bytes of the directory format that may lie in spool-path",
     .description = "pg_dump is made to wait when what it wrote is not yet in the repository."},
    {.name = "exclude-database", .type = kList, .commands = kDump,
     .summary = "pattern of databases (* and ?) to leave out; may be repeated"},
    {.name = "force", .type = kBoolean, .commands = kDump, .source = kCli, .value_default = "n",
     .summary = "dump although the stanza belongs to another cluster"},
    {.name = "force", .type = kBoolean, .commands = kDumpGet, .source = kCli, .value_default = "n",
     .summary = "replace files that exist"},
    {.name = "force", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n",
     .summary = "load although something is missing that may not be needed"},
    {.name = "format", .type = kString, .commands = kDump, .value_default = "directory", .letter = 'F',
     .summary = "what pg_dump writes: directory, custom, plain or tar, or d, c, p, t",
     .description = "directory is read and loaded in parallel (jobs), and of it single tables are fetched alone."},
    {.name = "globals", .type = kBoolean, .commands = kDump, .value_default = "y",
     .summary = "dump roles, memberships and tablespaces, too"},
    {.name = "globals", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n",
     .summary = "make the roles, memberships and tablespaces of the dump first",
     .description = "Those that exist stay as they are."},
    {.name = "gpg", .type = kList, .commands = kDumpGet, .source = kCli,
     .summary = "encrypt what is written for this key with gpg; may be repeated"},
    {.name = "jobs", .type = kInteger, .commands = kDump | kLoad | kDumpVerify, .default_note = "1", .min = 1,
     .max = 256, .letter = 'j', .summary = "connections that work at the same time, over all databases"},
    {.name = "name", .type = kString, .commands = kDump, .source = kCli,
     .summary = "name of the series that retention counts this dump in",
     .description = "By default dumps of the same databases and selection are a series."},
    {.name = "part", .type = kString, .commands = kDumpGet, .source = kCli,
     .summary = "part of the dump to write: a schema or partition of a dump that was split, or globals"},
    {.name = "role-map", .type = kList, .commands = kLoad, .source = kCli,
     .summary = "give what role OLD owned or was granted to NEW: OLD:NEW; may be repeated"},
    {.name = "role-passwords", .type = kBoolean, .commands = kDump, .value_default = "y",
     .summary = "dump the hashes of passwords with the roles"},
    {.name = "schema-map", .type = kList, .commands = kLoad, .source = kCli,
     .summary = "load schema OLD as NEW: OLD:NEW; may be repeated",
     .description = "In one transaction, beside OLD where that exists. Text inside of functions stays as it was written."},
    {.name = "scratch", .type = kEnum, .commands = kDumpVerify, .value_default = "cluster",
     .allowed = "cluster|database", .summary = "where the dump is loaded: a cluster made for it, or databases on the server"},
    {.name = "set", .type = kString, .commands = kOfOneDump, .source = kCli, .value_default = "latest",
     .summary = "label of the dump"},
    {.name = "set", .type = kString, .commands = kDumpLs, .source = kCli, .summary = "label of the dump to show in detail"},
    {.name = "set", .type = kString, .commands = kDumpExpire, .source = kCli,
     .summary = "label of a dump to remove, whatever the rules say",
     .description = "Refused for one that is held."},
    {.name = "single-transaction", .type = kBoolean, .commands = kLoad, .source = kCli,
     .default_note = "y where it is possible", .letter = '1',
     .summary = "load everything or nothing",
     .description = "By default with one job, unless so many objects are loaded that the server would run out of locks. "
                    "Each database of a dump is a transaction of its own. Without it each table is loaded whole or not at "
                    "all."},
    {.name = "split", .type = kEnum, .commands = kDump, .value_default = "none", .allowed = "none|schema|partition",
     .summary = "dump each schema, or the data of each partition, apart",
     .description = "All from one snapshot. Each schema can then be loaded alone, and each partition where its table "
                    "exists."},
    {.name = "stdin", .type = kBoolean, .commands = kDump, .source = kCli, .value_default = "n",
     .summary = "take a dump made elsewhere from standard input",
     .description = "An archive of pg_dump (custom, tar) or SQL. With --name."},

    // -- What is dumped.
    selection("exclude-schema", "pattern of schemas to leave out; may be repeated", 'N'),
    selection("exclude-table", "pattern of tables to leave out; may be repeated", 'T'),
    selection("exclude-table-and-children", "pattern of tables to leave out with their partitions and children"),
    selection("exclude-table-data", "pattern of tables whose data to leave out; may be repeated"),
    selection("exclude-table-data-and-children", "pattern of tables whose data to leave out, with their children"),
    selection("exclude-extension", "pattern of extensions to leave out (pg_dump 17)"),
    selection("extension", "pattern of extensions to dump (pg_dump 14); may be repeated", 'e'),
    selection("include-foreign-data", "foreign server whose tables' data to dump (pg_dump 13)"),
    selection("schema", "pattern of schemas to dump; may be repeated", 'n'),
    selection("table", "pattern of tables to dump; may be repeated", 't'),
    selection("table-and-children", "pattern of tables to dump with their partitions and children (pg_dump 16)"),
    {.name = "filter", .type = kPath, .commands = kDump, .passed = Passed::kSelects,
     .summary = "file of patterns of what to dump (pg_dump 17)"},
    {.name = "section", .type = kList, .commands = kDump, .source = kCli, .passed = Passed::kSelects,
     .summary = "dump only pre-data, data or post-data; may be repeated"},
    {.name = "data-only", .type = kBoolean, .commands = kDump, .source = kCli, .value_default = "n", .letter = 'a',
     .passed = Passed::kSelects, .summary = "dump data only, no definitions"},
    {.name = "schema-only", .type = kBoolean, .commands = kDump, .source = kCli, .value_default = "n", .letter = 's',
     .passed = Passed::kSelects, .summary = "dump definitions only, no data"},

    // -- What is loaded.
    {.name = "data-only", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n", .letter = 'a',
     .summary = "load data only, no definitions"},
    {.name = "schema-only", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n", .letter = 's',
     .summary = "load definitions only, no data"},
    {.name = "schema", .type = kList, .commands = kLoad, .source = kCli, .letter = 'n',
     .summary = "pattern of schemas to load, with the schemas themselves; may be repeated"},
    {.name = "exclude-schema", .type = kList, .commands = kLoad, .source = kCli, .letter = 'N',
     .summary = "pattern of schemas not to load; may be repeated"},
    {.name = "table", .type = kList, .commands = kLoad, .source = kCli, .letter = 't',
     .summary = "pattern of tables, partitions, views or sequences to load; may be repeated",
     .description = "With what belongs to them: defaults, indexes, constraints, triggers, privileges, comments."},
    {.name = "exclude-table", .type = kList, .commands = kLoad, .source = kCli, .letter = 'T',
     .summary = "pattern of tables not to load; may be repeated"},
    {.name = "if-exists", .type = kBoolean, .commands = kLoad, .source = kCli, .value_default = "n",
     .summary = "with --clean: do not mind what is not there"},
    {.name = "exit-on-error", .type = kBoolean, .commands = kLoad, .value_default = "y",
     .summary = "end at the first error"},

    // -- Passed on as they are.
    passed_flag("column-inserts", kDump, "dump rows as INSERT with names of columns"),
    passed_flag("disable-dollar-quoting", kDump, "quote bodies of functions as strings"),
    passed_flag("disable-triggers", kBoth, "load data with triggers switched off"),
    passed_flag("enable-row-security", kBoth, "dump or load only rows the role may see"),
    passed_flag("inserts", kDump, "dump rows as INSERT"),
    passed_flag("large-objects", kDump, "dump large objects also when a part is chosen", 'b'),
    passed_flag("load-via-partition-root", kDump, "load rows of partitions through their table"),
    passed_flag("no-acl", kBoth, "leave out privileges", 'x'),
    passed_flag("no-comments", kBoth, "leave out comments"),
    passed_flag("no-data-for-failed-tables", kLoad, "load no data into tables that could not be made"),
    passed_flag("no-large-objects", kDump, "leave out large objects", 'B'),
    passed_flag("no-owner", kBoth, "leave out who owns what", 'O'),
    passed_flag("no-publications", kBoth, "leave out publications"),
    passed_flag("no-security-labels", kBoth, "leave out security labels"),
    passed_flag("no-statistics", kBoth, "leave out the planner's statistics (18)"),
    passed_flag("no-subscriptions", kBoth, "leave out subscriptions"),
    passed_flag("no-table-access-method", kBoth, "leave out access methods of tables (15)"),
    passed_flag("no-tablespaces", kBoth, "put everything into the default tablespace"),
    passed_flag("no-toast-compression", kDump, "leave out compression methods of columns (14)"),
    passed_flag("no-unlogged-table-data", kDump, "leave out data of unlogged tables"),
    passed_flag("on-conflict-do-nothing", kDump, "with --inserts: skip rows that exist"),
    passed_flag("quote-all-identifiers", kDump, "quote every name"),
    passed_flag("serializable-deferrable", kDump, "wait for a snapshot that no serializable transaction can contradict"),
    passed_flag("strict-names", kDump, "fail when a pattern matches nothing"),
    {.name = "encoding", .type = kString, .commands = kDump, .letter = 'E', .passed = Passed::kYes,
     .summary = "encoding of the dump"},
    {.name = "extra-float-digits", .type = kInteger, .commands = kDump, .min = -15, .max = 3, .passed = Passed::kYes,
     .summary = "digits of floating point numbers"},
    {.name = "lock-wait-timeout", .type = kString, .commands = kDump, .passed = Passed::kYes,
     .summary = "how long to wait for the lock of a table: milliseconds, or as PostgreSQL writes times"},
    {.name = "role", .type = kString, .commands = kBoth, .passed = Passed::kYes,
     .summary = "role to become (SET ROLE) for the dump or load"},
    {.name = "rows-per-insert", .type = kInteger, .commands = kDump, .min = 1, .max = 1 << 30, .passed = Passed::kYes,
     .summary = "with --inserts: rows of one INSERT"},
};
// clang-format on

}  // namespace

std::span<const OptionSpec> dump_options() { return kDumpOptions; }

}  // namespace pgark::option_specs
