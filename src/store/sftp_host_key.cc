// Whether a server is the one it should be: known_hosts files and fingerprints. Lines are matched by libssh, which
// knows patterns and hashed names; which files, and what follows from a line, is decided here.
#include "store/sftp_host_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <set>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "codec/libcrypto.h"
#include "core/file.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "store/libssh.h"

namespace pgark {
namespace {

constexpr uint64_t kKnownHostsBytesMax = 64u << 20;

std::string home_directory() {
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return home;
  std::array<char, 4096> buffer;
  struct passwd entry {};
  struct passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return found->pw_dir;
  return "";
}

/// The key of a line if it is about `name`.
std::optional<SftpHostKey> match_line(const std::string& name, const std::string& line) {
  ssh_knownhosts_entry* entry = nullptr;
  if (ssh().ssh_known_hosts_parse_line(name.c_str(), line.c_str(), &entry) != SSH_OK || entry == nullptr) return {};
  std::optional<SftpHostKey> key;
  if (entry->publickey != nullptr) key = host_key_of(entry->publickey);
  ssh().ssh_knownhosts_entry_free(entry);
  return key;
}

Result<std::vector<std::byte>> key_bytes(const SftpHostKey& key) {
  auto bytes = base64_decode(key.base64);
  if (!bytes.has_value()) return std::move(bytes).error().with_context("decode host key");
  return bytes;
}

/// A fingerprint as people write it, in lower-case hexadecimal; empty if it is none.
std::string normal_fingerprint(std::string_view text) {
  if (text.starts_with("SHA256:") || text.starts_with("SHA1:")) {
    std::string_view base64 = text.substr(text.find(':') + 1);
    while (base64.ends_with('=')) base64.remove_suffix(1);
    const auto bytes = base64_decode(base64, Base64::kStandardNoPadding);
    return bytes.has_value() ? to_hex(*bytes) : "";
  }
  if (text.starts_with("MD5:")) text.remove_prefix(4);
  std::string hex;
  for (const char c : text) {
    if (c == ':') continue;
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return "";
    hex.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return hex;
}

std::string_view hash_name(SftpHostKeyHash hash) {
  switch (hash) {
    case SftpHostKeyHash::kMd5:
      return "md5";
    case SftpHostKeyHash::kSha1:
      return "sha1";
    case SftpHostKeyHash::kSha256:
      return "sha256";
  }
  return "";
}

std::string scan_command(const SftpOptions& options, const std::string& file) {
  const std::string port = options.port == 22 ? "" : fmt::format("-p {} ", options.port);
  return fmt::format("ssh-keyscan {}{} >> {}", port, options.host, file);
}

std::string shown_as(const SftpOptions& options, const SftpHostKey& shown) {
  return fmt::format("check host key of {}: the server showed the {} key {}",
                     known_hosts_name(options.host, options.port), shown.type, ssh_fingerprint(shown));
}

Result<> check_fingerprint(const SftpOptions& options, const SftpHostKey& shown) {
  TRY_ASSIGN(const std::string ours, host_key_fingerprint(shown, options.host_key_hash));
  if (ours == normal_fingerprint(options.host_fingerprint)) return {};
  return Error(Errc::kPermission,
               fmt::format("{} ({} {}), not the one of {}-sftp-host-fingerprint", shown_as(options, shown),
                           hash_name(options.host_key_hash), ours, options.label))
      .with_hint(
          "somebody may be posing as the server, or it has a new key: ask its administrator for the fingerprint before "
          "changing the option");
}

/// Write a new host down, in the first file.
Result<> remember(const SftpOptions& options, const SftpHostKey& shown) {
  // Connections made at once must not write it each.
  static Mutex writing;
  const MutexLock lock(writing);
  TRY_ASSIGN(const auto known, find_known_host(options));
  if (std::ranges::any_of(known, [&](const KnownHostLine& line) { return line.key.base64 == shown.base64; })) return {};
  const std::string file = known_hosts_files(options).front();
  const std::string directory = file.substr(0, file.rfind('/'));
  if (!directory.empty()) TRY_CTX(make_directories(directory, 0700), "add to known hosts");
  // One write at the end of the file: lines of processes that do this at once do not mix.
  TRY_ASSIGN_CTX(File opened, File::open(file, O_RDWR | O_CREAT | O_APPEND, 0600), "add to known hosts");
  std::string line = fmt::format("{} {} {}\n", known_hosts_name(options.host, options.port), shown.type, shown.base64);
  TRY_ASSIGN_CTX(const struct stat status, opened.stat(), "add to known hosts");
  if (status.st_size > 0) {
    std::byte last{};
    TRY_CTX(opened.pread({&last, 1}, static_cast<uint64_t>(status.st_size) - 1), "add to known hosts");
    if (static_cast<char>(last) != '\n') line.insert(0, 1, '\n');
  }
  TRY_CTX(opened.write(as_bytes(line)), "add to known hosts");
  log_info("added the {} key {} of {} to {}", shown.type, ssh_fingerprint(shown),
           known_hosts_name(options.host, options.port), file);
  return {};
}

Result<> check_known(const SftpOptions& options, const std::vector<KnownHostLine>& known, const SftpHostKey& shown) {
  bool found = false;
  for (const KnownHostLine& line : known) {
    if (line.key.base64 != shown.base64) continue;
    if (line.revoked)
      return Error(Errc::kPermission, fmt::format("{}, which {} revokes", shown_as(options, shown), line.place))
          .with_hint("a revoked key may be in the hands of somebody else: ask the server's administrator");
    found = true;
  }
  if (found) return {};
  const std::string first = known_hosts_files(options).front();
  const auto other = std::ranges::find(known, false, &KnownHostLine::revoked);
  if (other != known.end()) {
    const auto same_type = std::ranges::find_if(
        known, [&](const KnownHostLine& line) { return !line.revoked && line.key.type == shown.type; });
    const KnownHostLine& line = same_type != known.end() ? *same_type : *other;
    return Error(Errc::kPermission, fmt::format("{}, but {} has the {} key {}", shown_as(options, shown), line.place,
                                                line.key.type, ssh_fingerprint(line.key)))
        .with_hint("somebody may be posing as the server, or it has a new key: ask its administrator")
        .with_hint(fmt::format("if the new key is right: ssh-keygen -R '{}' -f {} && {}",
                               known_hosts_name(options.host, options.port),
                               line.place.substr(0, line.place.rfind(':')), scan_command(options, first)));
  }
  if (options.host_key_check == SftpHostKeyCheck::kAcceptNew) return remember(options, shown);
  return Error(Errc::kPermission, fmt::format("{}, and no known_hosts file knows the host (looked in {})",
                                              shown_as(options, shown), fmt::join(known_hosts_files(options), ", ")))
      .with_hint(fmt::format("compare the fingerprint with the server's (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub on "
                             "it), then add the key: {}",
                             scan_command(options, first)));
}

}  // namespace

SftpHostKey host_key_of(ssh_key key) {
  SftpHostKey result;
  const ssh_keytypes_e type = ssh().ssh_key_type(key);
  const bool ecdsa = type == SSH_KEYTYPE_ECDSA_P256 || type == SSH_KEYTYPE_ECDSA_P384 || type == SSH_KEYTYPE_ECDSA_P521;
  const char* name = ecdsa ? ssh().ssh_pki_key_ecdsa_name(key) : ssh().ssh_key_type_to_char(type);
  if (name != nullptr) result.type = name;
  char* base64 = nullptr;
  if (ssh().ssh_pki_export_pubkey_base64(key, &base64) == SSH_OK && base64 != nullptr) result.base64 = base64;
  if (base64 != nullptr) ssh().ssh_string_free_char(base64);
  return result;
}

std::vector<std::string> known_hosts_files(const SftpOptions& options) {
  const std::string home = home_directory();
  if (options.known_hosts.empty())
    return {home + "/.ssh/known_hosts", home + "/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts",
            "/etc/ssh/ssh_known_hosts2"};
  std::vector<std::string> files = options.known_hosts;
  for (std::string& file : files)
    if (file.starts_with("~/")) file.replace(0, 1, home);
  return files;
}

std::string known_hosts_name(const std::string& host, uint16_t port) {
  std::string name = host;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return port == 22 ? name : fmt::format("[{}]:{}", name, port);
}

Result<std::vector<KnownHostLine>> find_known_host(const SftpOptions& options) {
  TRY(load_libssh());
  const std::string name = known_hosts_name(options.host, options.port);
  std::vector<KnownHostLine> lines;
  for (const std::string& file : known_hosts_files(options)) {
    auto content = read_file(file, kKnownHostsBytesMax);
    if (!content.has_value()) {
      if (content.error().code() == Errc::kNotFound) continue;
      return std::move(content).error().with_context("read known hosts").with_code(Errc::kPermission);
    }
    size_t number = 0;
    for (size_t at = 0; at < content->size();) {
      const size_t end = std::min(content->find('\n', at), content->size());
      std::string line = content->substr(at, end - at);
      at = end + 1;
      ++number;
      line.erase(0, line.find_first_not_of(" \t"));
      constexpr std::string_view kRevoked = "@revoked ";
      const bool revoked = line.starts_with(kRevoked);
      if (revoked) line.erase(0, line.find_first_not_of(" \t", kRevoked.size()));
      // libssh knows no certificates of hosts: such a line says nothing about the key that will be shown.
      if (line.empty() || line.front() == '#' || line.front() == '@') continue;
      if (auto key = match_line(name, line); key.has_value())
        lines.push_back({fmt::format("{}:{}", file, number), std::move(*key), revoked});
    }
  }
  return lines;
}

std::string host_key_algorithms(const std::vector<KnownHostLine>& known) {
  const std::vector<std::string> all{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                                     "ssh-rsa"};
  std::set<std::string> types;
  for (const KnownHostLine& line : known)
    if (!line.revoked) types.insert(line.key.type);
  if (types.empty()) return "";
  std::vector<std::string> wanted;
  for (const bool known_first : {true, false})
    for (const std::string& type : all)
      // With an RSA key SHA-2 is signed with, and SHA-1 no more.
      if (types.contains(type) == known_first) wanted.push_back(type == "ssh-rsa" ? "rsa-sha2-512,rsa-sha2-256" : type);
  return fmt::format("{}", fmt::join(wanted, ","));
}

Result<std::string> host_key_fingerprint(const SftpHostKey& key, SftpHostKeyHash hash) {
  TRY_ASSIGN(const auto bytes, key_bytes(key));
  switch (hash) {
    case SftpHostKeyHash::kMd5: {
      TRY_ASSIGN(const Md5Digest digest, md5(bytes));
      return to_hex(digest);
    }
    case SftpHostKeyHash::kSha1: {
      // Not in codec/digest.h, so that nothing else comes to lean on SHA-1.
      std::array<std::byte, 20> digest{};
      unsigned count = 0;
      if (crypto().EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &count,
                              crypto().EVP_sha1(), nullptr) != 1)
        return Error(Errc::kUnsupported, "hash host key: this system forbids SHA-1")
            .with_hint("give a SHA-256 fingerprint");
      return to_hex(digest);
    }
    case SftpHostKeyHash::kSha256:
      break;
  }
  return to_hex(sha256(bytes));
}

std::string ssh_fingerprint(const SftpHostKey& key) {
  const auto bytes = key_bytes(key);
  if (!bytes.has_value()) return "that cannot be decoded";
  return "SHA256:" + base64_encode(sha256(*bytes), Base64::kStandardNoPadding);
}

Result<> check_host_key(const SftpOptions& options, const std::vector<KnownHostLine>& known, const SftpHostKey& shown) {
  switch (options.host_key_check) {
    case SftpHostKeyCheck::kNone:
      return {};
    case SftpHostKeyCheck::kFingerprint:
      return check_fingerprint(options, shown);
    case SftpHostKeyCheck::kStrict:
    case SftpHostKeyCheck::kAcceptNew:
      break;
  }
  return check_known(options, known, shown);
}

}  // namespace pgark
