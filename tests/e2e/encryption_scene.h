// A cluster with an encrypted repository: what the tests of encryption start from, and the search for secrets in files.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/age.h"
#include "core/file.h"
#include "restore_scene.h"
#include "testing/scratch.h"

namespace pgark::testing {

inline constexpr const char* kPassphrase = "correct-horse-battery-staple";

/// A repository with a passphrase in a file and, if asked for, a recipient, whose identity lies in another file.
struct KeyedScene {
  ScratchDir keys;
  std::optional<AgeIdentity> identity;
  std::unique_ptr<RestoreScene> scene;

  static Result<KeyedScene> create(const PgInstall& install, bool with_recipient = false) {
    KeyedScene out;
    TRY_ASSIGN(out.keys, ScratchDir::create("keys"));
    TRY(out.set_passphrase(kPassphrase));
    std::vector<std::pair<std::string, std::string>> options{{"repo1-cipher-type", "aes-256-gcm"},
                                                             {"repo1-cipher-pass-file", out.pass_file()}};
    if (with_recipient) {
      TRY_ASSIGN(out.identity, generate_age_identity());
      TRY(write_file_durable(out.identity_file(), format_age_identity(*out.identity).text(), 0600));
      options.emplace_back("repo1-recipient", to_string(out.identity->recipient));
    }
    TRY_ASSIGN(out.scene, RestoreScene::create(install, {}, {}, options));
    return out;
  }

  std::string pass_file() const { return keys / "pass"; }
  std::string identity_file() const { return keys / "identity"; }
  std::string with_identity() const { return "--repo1-identity-file=" + identity_file(); }
  Result<> set_passphrase(const std::string& text) const {
    TRY(write_file_durable(pass_file(), text + "\n", 0600));
    return {};
  }
};

/// Files below a directory that hold one of `secrets`.
inline std::vector<std::string> files_with(const std::string& directory, const std::vector<std::string>& secrets) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const auto content = read_file(entry.path().string(), uint64_t{1} << 30);
    if (!content) continue;  // Gone meanwhile.
    for (const std::string& secret : secrets)
      if (content->find(secret) != std::string::npos) found.push_back(entry.path().string());
  }
  return found;
}

}  // namespace pgark::testing
