#include "cli/key_settings.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "core/command_output.h"
#include "core/file.h"

namespace pgark {
namespace {

constexpr uint64_t kKeyFileBytesMax = 1u << 20;

/// Keep the first line, which ends before "\n" or "\r\n".
void keep_first_line(std::string& text) {
  size_t end = text.find('\n');
  if (end == text.npos) end = text.size();
  if (end > 0 && text[end - 1] == '\r') --end;
  wipe(MutableBytes(reinterpret_cast<std::byte*>(text.data()) + end, text.size() - end));
  text.resize(end);
}

/// A file with a secret, which nobody but its owner may read.
Result<std::string> read_secret_file(const Settings& settings, const std::string& option, const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    return errno_error(errno, fmt::format("read {} ({})", path, settings.origin(option)));
  if ((status.st_mode & 077) != 0)
    return Error(Errc::kInvalid, fmt::format("read {} ({}): others than its owner have access to it (mode {:03o})",
                                             path, settings.origin(option), status.st_mode & 0777))
        .with_hint("chmod 600 " + path);
  return read_file(path, kKeyFileBytesMax);
}

}  // namespace

Result<std::optional<NamedSecret>> read_passphrase(const Settings& settings, const std::string& prefix,
                                                   const CancelToken& cancel) {
  const std::string plain = prefix + "cipher-pass";
  const std::string file = prefix + "cipher-pass-file";
  const std::string command = prefix + "cipher-pass-command";
  std::string given;
  for (const std::string& option : {plain, file, command}) {
    if (!settings.has(option)) continue;
    if (!given.empty())
      return Error(Errc::kInvalid, fmt::format("{} and {} exclude each other", given, option)).with_hint("keep one");
    given = option;
  }
  if (given.empty()) return std::optional<NamedSecret>();
  std::string text;
  if (given == plain) {
    const Secret& passphrase = settings.passphrase(plain);
    if (!passphrase.empty()) return std::optional<NamedSecret>(NamedSecret{given, passphrase.clone()});
  } else if (given == file) {
    TRY_ASSIGN(text, read_secret_file(settings, file, settings.text(file)));
    keep_first_line(text);
  } else {
    CommandLimits limits;
    limits.timeout = settings.duration("io-timeout");
    limits.cancel = &cancel;
    TRY_ASSIGN_CTX(text, command_output(settings.text(command), limits), "run " + command);
    keep_first_line(text);
  }
  if (text.empty())
    return Error(Errc::kInvalid, fmt::format("{} gives an empty passphrase", given))
        .with_hint("`openssl rand -base64 48` makes one");
  return std::optional<NamedSecret>(NamedSecret{given, Secret::from_text(std::move(text))});
}

Result<KeyConfig> key_config(const Settings& settings, unsigned repo, const CancelToken& cancel) {
  const std::string prefix = fmt::format("repo{}-", repo);
  KeyConfig config;
  config.repo = fmt::format("repo{}", repo);
  config.sealed = settings.text(prefix + "cipher-type") == "aes-256-gcm";
  if (!config.sealed) {
    for (const char* option : {"cipher-pass", "cipher-pass-file", "cipher-pass-command", "recipient", "identity-file"})
      if (settings.given(prefix + option))
        return Error(Errc::kInvalid, fmt::format("{}{} is given, and {}cipher-type is none", prefix, option, prefix))
            .with_hint(fmt::format("set {}cipher-type=aes-256-gcm", prefix));
    return config;
  }
  TRY_ASSIGN(config.passphrase, read_passphrase(settings, prefix, cancel));
  config.recipients = settings.list(prefix + "recipient");
  const std::string identity = prefix + "identity-file";
  for (const std::string& path : settings.list(identity)) {
    TRY_ASSIGN(std::string text, read_secret_file(settings, identity, path));
    config.identities.push_back({fmt::format("{} of {}", path, identity), Secret::from_text(std::move(text))});
  }
  return config;
}

}  // namespace pgark
