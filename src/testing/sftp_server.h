// A real SSH server for tests: OpenSSH's sshd on a port of 127.0.0.1, run by the user that runs the test, with keys,
// configuration and a directory of its own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "store/sftp_options.h"
#include "testing/process.h"
#include "testing/scratch.h"

namespace pgark::testing {

struct SftpServerOptions {
  std::vector<std::string> host_key_types = {"ed25519"};  // As ssh-keygen -t has them.
  std::vector<std::string> config = {};  // Lines put in front of sshd_config; the first of a name counts.
};

/// One sshd. The user's own keys of three kinds may log in: those of key_file(). The destructor stops it, and what it
/// started.
class SftpServer {
 public:
  /// Errors: kUnsupported with the reason if there is no sshd on this machine: skip the test.
  static Result<std::unique_ptr<SftpServer>> start(const SftpServerOptions& options = {});
  ~SftpServer();

  int port() const { return port_; }
  const std::string& user() const { return user_; }
  const ScratchDir& scratch() const { return scratch_; }
  /// An empty directory that the server serves.
  std::string root() const { return scratch_ / "root"; }
  /// A private key that may log in: "ed25519", "ecdsa" or "rsa"; without passphrase.
  std::string key_file(std::string_view type) const { return scratch_ / ("key_" + std::string(type)); }
  /// A known_hosts file that has the server's keys.
  std::string known_hosts() const { return scratch_ / "known_hosts"; }
  /// The public key of the server: "ssh-ed25519 AAAA...".
  Result<std::string> host_key(std::string_view type) const;
  /// All that a store needs for this server, with the ed25519 key.
  SftpOptions options() const;

  /// kill -9 of the server and of everything that serves a connection.
  void kill();
  /// kill -9 of what serves connections; new ones are welcome.
  void kill_connections();
  /// Stop, or let go on, what serves connections and the server itself: it is there and does not answer.
  void freeze(bool frozen);
  /// Start again on the same port.
  Result<> restart();
  /// How many connections are being served.
  size_t connections() const;
  std::string log() const;

 private:
  SftpServer() = default;
  Result<> prepare(const SftpServerOptions& options);
  Result<> launch();
  std::vector<pid_t> descendants() const;

  ScratchDir scratch_;
  int port_ = 0;
  std::string user_;
  SftpServerOptions options_;
  Process process_;
};

}  // namespace pgark::testing

/// Declare `server`, a running sshd, or skip the test with the reason why there is none.
#define PGARK_REQUIRE_SSHD(server, ...)                                                    \
  auto server##_started = ::pgark::testing::SftpServer::start(__VA_ARGS__);                \
  if (!server##_started && server##_started.error().code() == ::pgark::Errc::kUnsupported) \
    GTEST_SKIP() << server##_started.error().to_string();                                  \
  ASSERT_TRUE(server##_started.has_value()) << server##_started.error().to_string();       \
  ::pgark::testing::SftpServer& server = **server##_started
