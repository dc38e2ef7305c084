// Examiner of check that tries the configured keys of encrypted repositories.
#include <fmt/format.h>

#include "ops/check_examiners.h"
#include "repo/keyring_store.h"

namespace pgark {
namespace {

void examine_keyring(CheckState& state, const CheckedRepository& one, const Keyring& keyring, const KeyConfig& config) {
  const std::vector<KeyTrial> trials = keyring.try_each(config);
  for (const KeyTrial& trial : trials) {
    // A single key that is wrong was the error of opening the repository.
    if (!trial.error || (!one.repository && trials.size() == 1)) continue;
    state.add_error(
        "key_wrong",
        Error(*trial.error).with_context(fmt::format("{} does not open {}", trial.source, one.store->describe())),
        "a key that is not tried until the night it is needed is no key", one.number);
  }
  const KeyringDescription description = keyring.describe(config);
  if (description.has_single_key)
    state.add({.severity = Severity::kWarning,
               .code = "key_single",
               .what = fmt::format("one key alone opens the data of {}", one.store->describe()),
               .why = "if it is lost, every backup is lost",
               .mend = "add a recipient whose identity is kept elsewhere: pgark key generate, pgark key add-recipient",
               .repo = one.number});
  for (const std::string& difference : description.differences)
    state.add({.severity = Severity::kWarning,
               .code = "recipients_differ",
               .what = difference,
               .why = "who can read the backups is not who is meant to",
               .mend = fmt::format("pgark key add-recipient or remove-recipient, or correct {}-recipient", config.repo),
               .repo = one.number});
}

}  // namespace

Result<> examine_keys(CheckState& state) {
  if (!state.access->key_config) return {};
  for (const CheckedRepository& one : state.repositories) {
    TRY(state.cancel.check());
    if (!one.store) continue;
    // What is wrong with settings or keyring itself was said when the repository was opened.
    const auto config = state.access->key_config(one.number);
    if (!config || !config->sealed || !config->has_keys()) continue;
    const auto keyring = find_keyring(*one.store);
    if (keyring && *keyring) examine_keyring(state, one, **keyring, *config);
  }
  return {};
}

}  // namespace pgark
