// An Azure Blob server for tests: Azurite, Microsoft's emulator, which tools/servers.sh fetches from the npm registry.
#pragma once

#include <memory>
#include <string>

#include "core/result.h"
#include "testing/process.h"
#include "testing/raw_azure.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// Path of its program. Errors: kNotFound with the reason that tools/servers.sh noted.
Result<std::string> find_azurite();

struct AzureOptions {
  bool tls = false;  // And accept any well-formed bearer token, as Azurite does only over TLS.
};

/// The server, with one account, in a scratch directory and on a free port of 127.0.0.1; up within a second. The
/// destructor stops it; a killed test takes it along.
class AzureServer {
 public:
  static Result<std::unique_ptr<AzureServer>> start(const AzureOptions& options = {});
  AzureServer(const AzureServer&) = delete;
  AzureServer& operator=(const AzureServer&) = delete;

  const AzureEndpoint& endpoint() const { return endpoint_; }

  /// Stop answering without closing a connection; and go on.
  Result<> pause() { return process_.signal(SIGSTOP); }
  Result<> resume() { return process_.signal(SIGCONT); }

 private:
  AzureServer() = default;
  Result<> launch(const std::string& program, const AzureOptions& options);

  ScratchDir scratch_;
  AzureEndpoint endpoint_;
  Process process_;  // Its destructor kills and waits, before the directory goes.
};

}  // namespace pgark::testing
