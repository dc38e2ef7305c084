// `pgark key`: who can open an encrypted repository; made, listed and changed without rewriting data.
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/key_settings.h"
#include "codec/digest.h"
#include "codec/encoding.h"
#include "core/file.h"
#include "core/log.h"
#include "repo/keyring_store.h"

namespace pgark {
namespace {

// ---- generate -------------------------------------------------------------------------------------------------------

// Never over a file that is there: it may be the only copy of a key.
Result<> write_identity(const std::string& path, const Secret& content) {
  auto file = File::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file && file.error().code() == Errc::kAlreadyExists)
    return Error(std::move(file).error()).with_hint("identities are never overwritten; choose another name");
  if (!file) return Error(std::move(file).error());
  Result<> written = file->write(content.bytes());
  if (written) written = file->fsync();
  if (written) written = file->close();
  if (written) written = fsync_directory(parent_path(path));
  if (!written) ::unlink(path.c_str());
  return written;
}

Result<int> generate(CommandContext& context) {
  TRY_ASSIGN(const AgeIdentity identity, generate_age_identity());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(context.clock.now());
  const std::string created =
      fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)));
  const Secret content = format_age_identity_file(identity, created);
  const std::string recipient = to_string(identity.recipient);
  const std::string& path = context.settings.text("output-file");
  if (!path.empty()) TRY(write_identity(path, content));
  if (context.json()) {
    nlohmann::ordered_json document = {{"action", "generate"}, {"recipient", recipient}};
    if (path.empty())
      document["identity"] = format_age_identity(identity).text();
    else
      document["file"] = path;
    TRY(context.out.print_json(document));
  } else if (path.empty()) {
    TRY(context.out.write(content.bytes()));
  } else {
    TRY(context.out.print(fmt::format("public key: {}\n", recipient)));
  }
  return kExitOk;
}

// ---- what all others share ------------------------------------------------------------------------------------------

struct OpenedKeyring {
  unsigned repo = 1;
  std::unique_ptr<ObjectStore> store;
  KeyConfig config;
  Keyring keyring;
};

Result<OpenedKeyring> open_keyring_of(const CommandContext& context, unsigned repo) {
  TRY_ASSIGN(KeyConfig config, key_config(context.settings, repo, context.cancel));
  if (!config.sealed)
    return Error(Errc::kInvalid, fmt::format("repo{0} has no keys: repo{0}-cipher-type is none", repo));
  TRY_ASSIGN(auto store, context.open_store(repo, false));
  TRY_ASSIGN_CTX(auto keyring, find_keyring(*store), "look for the keys of " + store->describe());
  if (!keyring)
    return Error(Errc::kNotFound, fmt::format("there is no encrypted repository in {}", store->describe()))
        .with_hint("run stanza-create first");
  return OpenedKeyring{repo, std::move(store), std::move(config), *std::move(keyring)};
}

// Recipients that are configured and not there yet do not keep from adding them.
Result<RepositoryKeys> unlock(OpenedKeyring& opened) {
  const std::vector<std::string> recipients = std::exchange(opened.config.recipients, {});
  auto keys = opened.keyring.unlock(opened.config);
  opened.config.recipients = recipients;
  if (!keys) return Error(std::move(keys).error()).with_context("open repository " + opened.store->describe());
  return keys;
}

// A change is for one repository: their keys may differ, and half a change is worse than none.
Result<unsigned> single_repository(const Settings& settings) {
  const std::vector<unsigned> chosen = settings.chosen_repositories();
  if (chosen.size() == 1) return chosen.front();
  return Error(Errc::kInvalid, "several repositories are configured, and each has its own keys")
      .with_hint("choose one with --repo");
}

std::string_view opens_text(bool opens_data) { return opens_data ? "all" : "metadata"; }

std::string name_of(const KeyringKey& key) { return key.recipient ? to_string(*key.recipient) : "passphrase"; }

nlohmann::ordered_json to_json(const OpenedKeyring& opened, const std::vector<KeyTrial>& trials,
                               const std::vector<std::string>& more_warnings) {
  const KeyringDescription description = opened.keyring.describe(opened.config);
  nlohmann::ordered_json keys = nlohmann::ordered_json::array();
  for (const KeyringKey& key : description.keys) {
    nlohmann::ordered_json one = {{"kind", key.recipient ? "recipient" : "passphrase"}, {"recipient", nullptr}};
    if (key.recipient) one["recipient"] = to_string(*key.recipient);
    one["opens"] = opens_text(key.opens_data);
    keys.push_back(std::move(one));
  }
  nlohmann::ordered_json configured = nlohmann::ordered_json::array();
  for (const KeyTrial& trial : trials) {
    nlohmann::ordered_json one = {{"source", trial.source}, {"opens", nullptr}, {"error", nullptr}};
    if (trial.error)
      one["error"] = trial.error->message();
    else
      one["opens"] = opens_text(trial.opens_data);
    configured.push_back(std::move(one));
  }
  std::vector<std::string> warnings = description.warnings();
  warnings.insert(warnings.end(), more_warnings.begin(), more_warnings.end());
  return {{"repo", opened.repo},
          {"location", opened.store->describe()},
          {"keyring", description.number},
          {"data_public", base64_encode(description.data_public)},
          {"keys", std::move(keys)},
          {"configured", std::move(configured)},
          {"warnings", std::move(warnings)}};
}

std::string to_text(const OpenedKeyring& opened, const std::vector<KeyTrial>& trials) {
  const KeyringDescription description = opened.keyring.describe(opened.config);
  std::string text = fmt::format("{}: keyring {}\n", opened.store->describe(), description.number);
  TextTable table("  ");
  table.column("key");
  table.column("opens");
  for (const KeyringKey& key : description.keys) table.row({name_of(key), std::string(opens_text(key.opens_data))});
  text += table.to_string();
  for (const KeyTrial& trial : trials) {
    if (trial.error)
      text += fmt::format("  {} does not open it: {}\n", trial.source, trial.error->message());
    else
      text += fmt::format("  {} opens {}\n", trial.source, opens_text(trial.opens_data));
  }
  for (const std::string& warning : description.warnings()) text += fmt::format("  warning: {}\n", warning);
  return text;
}

// ---- list -----------------------------------------------------------------------------------------------------------

Result<int> list(CommandContext& context) {
  nlohmann::ordered_json repositories = nlohmann::ordered_json::array();
  std::string text;
  bool is_every_key_good = true;
  for (const unsigned repo : context.settings.chosen_repositories()) {
    const std::string& type = context.settings.text(fmt::format("repo{}-cipher-type", repo));
    if (type == "none" && !context.settings.given("repo") && context.settings.repositories().size() > 1) {
      text += fmt::format("repo{0}: repo{0}-cipher-type is none\n", repo);
      continue;
    }
    TRY_ASSIGN(const OpenedKeyring opened, open_keyring_of(context, repo));
    const std::vector<KeyTrial> trials = opened.keyring.try_each(opened.config);
    for (const KeyTrial& trial : trials) is_every_key_good = is_every_key_good && !trial.error;
    repositories.push_back(to_json(opened, trials, {}));
    text += to_text(opened, trials);
  }
  if (context.json())
    TRY(context.out.print_json({{"action", "list"}, {"repositories", std::move(repositories)}}));
  else
    TRY(context.out.print(text));
  return is_every_key_good ? kExitOk : kExitNegative;
}

// ---- changes --------------------------------------------------------------------------------------------------------

// Write the next keyring and print what there is now.
Result<int> finish(CommandContext& context, OpenedKeyring opened, Keyring next, std::string_view action,
                   const std::string& done) {
  TRY_ASSIGN_CTX(const auto warnings, replace_keyring(*opened.store, next),
                 "change keys of " + opened.store->describe());
  opened.keyring = std::move(next);
  for (const std::string& warning : warnings) log_warn("{}", warning);
  if (context.json()) {
    TRY(context.out.print_json(
        {{"action", action}, {"repositories", nlohmann::ordered_json::array({to_json(opened, {}, warnings)})}}));
    return kExitOk;
  }
  TRY(context.out.print(done + to_text(opened, {})));
  return kExitOk;
}

Result<int> rotate(CommandContext& context) {
  TRY_ASSIGN(const unsigned repo, single_repository(context.settings));
  TRY_ASSIGN(auto passphrase, read_passphrase(context.settings, "new-", context.cancel));
  if (!passphrase)
    return Error(Errc::kInvalid, "no new passphrase is given")
        .with_hint("give it with --new-cipher-pass-file, --new-cipher-pass-command, or PGARK_NEW_CIPHER_PASS");
  TRY_ASSIGN(OpenedKeyring opened, open_keyring_of(context, repo));
  TRY_ASSIGN(const RepositoryKeys keys, unlock(opened));
  if (opened.config.passphrase && constant_time_equal(opened.config.passphrase->text.bytes(), passphrase->text.bytes()))
    return Error(Errc::kInvalid, "the new passphrase is the one the repository has");
  TRY_ASSIGN(Keyring next, opened.keyring.with_passphrase(keys, *passphrase));
  // Nothing is written before it was opened with what it is meant for.
  KeyConfig only;
  only.sealed = true;
  only.repo = opened.config.repo;
  only.passphrase = std::move(passphrase);
  TRY_CTX(next.unlock(only), "try the new passphrase");
  return finish(
      context, std::move(opened), std::move(next), "rotate",
      fmt::format(
          "the passphrase is changed; the old one opens nothing any more, so give the new one now to every host "
          "that uses this repository (repo{}-cipher-pass)\n",
          repo));
}

Result<int> change_recipient(CommandContext& context, bool adding) {
  TRY_ASSIGN(const unsigned repo, single_repository(context.settings));
  TRY_ASSIGN(const AgeRecipient recipient, parse_age_recipient(context.settings.arguments()[1]));
  TRY_ASSIGN(OpenedKeyring opened, open_keyring_of(context, repo));
  TRY_ASSIGN(const RepositoryKeys keys, unlock(opened));
  const auto& passphrase = opened.config.passphrase;
  auto next = adding ? opened.keyring.with_recipient(keys, recipient, passphrase)
                     : opened.keyring.without_recipient(keys, recipient, passphrase);
  if (!next) return Error(std::move(next).error()).with_context(adding ? "add recipient" : "remove recipient");
  const std::string done =
      adding ? fmt::format("{} can read the repository; put it into repo{}-recipient on every host\n",
                           to_string(recipient), repo)
             : fmt::format(
                   "{} opens the repository no more; take it out of repo{}-recipient on every host. Who has used its "
                   "identity may have kept what opens the data\n",
                   to_string(recipient), repo);
  return finish(context, std::move(opened), *std::move(next), adding ? "add-recipient" : "remove-recipient", done);
}

}  // namespace

Result<int> cmd_key(CommandContext& context) {
  const std::vector<std::string>& arguments = context.settings.arguments();
  const std::string& action = arguments.front();
  const bool takes_recipient = action == "add-recipient" || action == "remove-recipient";
  if (arguments.size() != (takes_recipient ? 2 : 1))
    return Error(Errc::kInvalid, takes_recipient ? fmt::format("key {} takes one recipient (age1...)", action)
                                                 : fmt::format("key {} takes no further argument", action));
  if (action == "generate") return generate(context);
  if (action == "list") return list(context);
  if (action == "rotate") return rotate(context);
  if (takes_recipient) return change_recipient(context, action == "add-recipient");
  return Error(Errc::kInvalid, fmt::format("key has no action '{}'", action))
      .with_hint("actions are generate, list, rotate, add-recipient, remove-recipient");
}

}  // namespace pgark
