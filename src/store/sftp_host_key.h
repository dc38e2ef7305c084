// Whether a server is the one it should be: known_hosts files and fingerprints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/sftp_options.h"

struct ssh_key_struct;

namespace pgark {

/// A public key in the words of ssh.
struct SftpHostKey {
  std::string type{};    // "ssh-ed25519"
  std::string base64{};  // The key itself, as known_hosts has it.
};

/// What libssh holds, in those words.
SftpHostKey host_key_of(ssh_key_struct* key);

/// A line of a known_hosts file that is about the host.
struct KnownHostLine {
  std::string place{};  // "/root/.ssh/known_hosts:3"
  SftpHostKey key{};
  bool revoked = false;
};

/// The files that are looked at: those of the options, or ssh's own.
std::vector<std::string> known_hosts_files(const SftpOptions& options);
/// How known_hosts names a server: "host", or "[host]:2222".
std::string known_hosts_name(const std::string& host, uint16_t port);

/// What the files say of the host; a file that does not exist says nothing.
/// Errors: kPermission if one is there and cannot be read.
Result<std::vector<KnownHostLine>> find_known_host(const SftpOptions& options);

/// The signature algorithms to ask the server for, in the form of ssh's HostKeyAlgorithms: those of the keys we know
/// first, since a server has several keys and shows the first that both sides like. Empty: no wish.
std::string host_key_algorithms(const std::vector<KnownHostLine>& known);

/// Hash of a key: hexadecimal for MD5 and SHA-1, as pgBackRest writes it; for SHA-256 too.
/// Errors: kInvalid if the key is not base64; kUnsupported where the system forbids the hash.
Result<std::string> host_key_fingerprint(const SftpHostKey& key, SftpHostKeyHash hash);
/// "SHA256:...", as ssh shows it.
std::string ssh_fingerprint(const SftpHostKey& key);

/// Whether `shown` is acceptable; with accept-new, a new host is written down.
/// Errors: kPermission naming host, type and fingerprint, with the next step.
Result<> check_host_key(const SftpOptions& options, const std::vector<KnownHostLine>& known, const SftpHostKey& shown);

}  // namespace pgark
