// OpenStack Swift behind its S3 interface: a real store that knows no conditional create (it answers 501), for what
// pgark does about that.
#pragma once

#include <memory>

#include "core/result.h"
#include "testing/process.h"
#include "testing/raw_s3.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// Whether it is installed. Errors: kNotFound with what is missing.
Result<> swift_server_installed();

/// The server, one process on free ports of 127.0.0.1, its files in memory where there is room; up within two seconds.
/// The destructor stops it; a killed test takes it along.
class SwiftServer {
 public:
  static Result<std::unique_ptr<SwiftServer>> start();
  ~SwiftServer();
  SwiftServer(const SwiftServer&) = delete;
  SwiftServer& operator=(const SwiftServer&) = delete;

  const S3Endpoint& endpoint() const { return endpoint_; }

 private:
  SwiftServer() = default;
  Result<> launch();

  ScratchDir scratch_;
  std::string data_dir_;
  S3Endpoint endpoint_;
  Process process_;
};

}  // namespace pgark::testing
