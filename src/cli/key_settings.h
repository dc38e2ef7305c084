// The keys of a repository as the settings give them: a passphrase, recipients, identities.
#pragma once

#include "cli/settings.h"
#include "core/cancel.h"
#include "repo/keyring.h"

namespace pgark {

/// Read what repoN-cipher-*, repoN-recipient and repoN-identity-file name, files and output of a command among them.
/// Errors: kInvalid if more than one passphrase is given, a file is open to others than its owner, or keys are given
/// for
///         a repository that is not to be encrypted; of reading files and running the command. None shows a secret.
Result<KeyConfig> key_config(const Settings& settings, unsigned repo, const CancelToken& cancel);

/// The passphrase that `prefix`cipher-pass, -file or -command gives ("repo1-", "new-"); none if none is given.
/// Errors: as key_config().
Result<std::optional<NamedSecret>> read_passphrase(const Settings& settings, const std::string& prefix,
                                                   const CancelToken& cancel);

}  // namespace pgark
