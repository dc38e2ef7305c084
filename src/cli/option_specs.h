// What the parts of the option table share; for src/cli/*option_specs.cc only.
#pragma once

#include <span>

#include "cli/option_table.h"

namespace pgark::option_specs {

/// Commands that open a repository.
inline constexpr CommandSet kWithRepo =
    Command::kAnnotate | Command::kArchiveGet | Command::kArchiveHeal | Command::kArchivePush | Command::kBackup |
    Command::kCheck | Command::kDump | Command::kDumpExpire | Command::kDumpGet | Command::kDumpLs |
    Command::kDumpVerify | Command::kExpire | Command::kHold | Command::kInfo | Command::kKey | Command::kLoad |
    Command::kRepoCheck | Command::kRepoCopy | Command::kRepoGet | Command::kRepoLs | Command::kRepoPut |
    Command::kRepoRm | Command::kRestore | Command::kStanzaCreate | Command::kStanzaDelete | Command::kTimeline |
    Command::kVerify;

/// Where repositories live, and with which keys: repo-type, repo-s3-*, repo-azure-*, repo-gcs-*, repo-sftp-*,
/// repo-storage-*, repo-cipher-* and their kin.
std::span<const OptionSpec> repository_options();
/// Of dumps, beside what other commands have, too: pg_dump's and pg_restore's own, and what pgark adds.
std::span<const OptionSpec> dump_options();

}  // namespace pgark::option_specs
