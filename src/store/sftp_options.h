// What an SFTP repository is told: where it is, who we are, and how the server proves who it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "store/sftp_transport.h"

namespace pgark {

/// How the server's key is checked; the names are those of repo1-sftp-host-key-check-type.
enum class SftpHostKeyCheck : unsigned char {
  kStrict,       // It stands in a known_hosts file.
  kAcceptNew,    // A host that no file knows is added to the first; a key that changed is refused.
  kFingerprint,  // Its hash is the one given.
  kNone,         // Not at all.
};

/// Hash of a fingerprint; the names are those of repo1-sftp-host-key-hash-type.
enum class SftpHostKeyHash : unsigned char { kMd5, kSha1, kSha256 };

struct SftpOptions {
  std::string label = "repo1";
  std::string host{};
  uint16_t port = 22;
  std::string user{};
  std::string path{};   // Absolute, on the server.
  bool create = false;  // Make the directory if it is missing; otherwise that is an error.

  std::string private_key_file{};  // Empty: the keys of the agent of SSH_AUTH_SOCK.
  std::string private_key_passphrase{};
  std::string public_key_file{};  // Empty: taken from the private key. May be a certificate of an OpenSSH CA.

  SftpHostKeyCheck host_key_check = SftpHostKeyCheck::kStrict;
  std::vector<std::string> known_hosts{};  // Files; empty: ssh's own, of the user and of the system.
  std::string host_fingerprint{};          // Hexadecimal, or as ssh-keygen -l prints it.
  SftpHostKeyHash host_key_hash = SftpHostKeyHash::kSha256;

  std::chrono::milliseconds connect_timeout{30'000};  // Of a whole connect: TCP, keys, login, the SFTP greeting.
  std::chrono::milliseconds io_timeout{60'000};       // Without a byte in either direction while one is due.
  const CancelToken* cancel = nullptr;                // Once cancelled, a silent server is given up after 5 s.
  unsigned connections_max = 4;                       // At once; 1 to 16.

  uint32_t file_mode = 0640;  // Less what the server's umask takes away.
  uint32_t directory_mode = 0750;

  // For tests.
  std::vector<std::string> ignored_extensions{};  // What the server offers and is not used all the same.
  SftpConnector connector{};                      // Instead of SSH.
};

/// "sftp://user@host:2222/path", without a secret; an IPv6 address in brackets.
std::string sftp_url(const SftpOptions& options);

/// Errors: kInvalid, naming what is missing or contradicts itself.
Result<> check_sftp_options(const SftpOptions& options);

}  // namespace pgark
