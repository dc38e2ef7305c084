// A real S3 server for tests: Ceph's RADOS gateway over a monitor and one in-memory store, all of them processes of an
// ordinary user in a scratch directory, on free ports of 127.0.0.1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "testing/process.h"
#include "testing/raw_s3.h"
#include "testing/scratch.h"
#include "testing/tls_files.h"

namespace pgark::testing {

/// Whether the programs are installed. Errors: kNotFound that names what is missing.
Result<> s3_server_installed();

/// The server. It takes 1 to 3 s to start and 110 MiB and more of memory. The destructor stops it; a killed test takes
/// it along. It answers plain HTTP and TLS, path style under `host` and host style under `dns_name`.
class S3Server {
 public:
  static Result<std::unique_ptr<S3Server>> start();
  ~S3Server();
  S3Server(const S3Server&) = delete;
  S3Server& operator=(const S3Server&) = delete;

  const S3Endpoint& endpoint() const { return endpoint_; }

  /// Stop answering without closing a connection, as a host that hangs or a network that swallows packets; and go on.
  Result<> pause();
  Result<> resume();
  /// Kill the gateway, so that connections are refused; and start it again on the same ports, with what was stored.
  Result<> kill_gateway();
  Result<> start_gateway();

  std::string log_tail() const;

 private:
  S3Server() = default;
  Result<> write_configuration();
  Result<> make_keyring();
  Result<> start_store();
  Result<Process> start_daemon(const std::string& program, const std::string& name);

  ScratchDir scratch_;
  TlsFiles tls_;
  S3Endpoint endpoint_;
  std::string fsid_;
  int monitor_port_ = 0;
  Process monitor_;
  Process store_;
  Process gateway_;
};

/// Run radosgw-admin on the cluster behind an endpoint; what it printed.
Result<std::string> radosgw_admin(const S3Endpoint& endpoint, std::vector<std::string> arguments);
/// Create a user, who owns nothing; the keys.
Result<S3Keys> create_s3_user(const S3Endpoint& endpoint, const std::string& name);

}  // namespace pgark::testing
