// The process is swift_server.py beside this file, run by Debian's Python.
#include "testing/swift_server.h"

#include <unistd.h>

#include "testing/http_client.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

constexpr const char* kPython = "/usr/bin/python3";  // Another one would not have Debian's modules.

}  // namespace

Result<> swift_server_installed() {
  if (::access("/usr/lib/python3/dist-packages/swift/common/wsgi.py", R_OK) == 0) return {};
  return Error(Errc::kNotFound, "start Swift: python3-swift is not installed").with_hint("run ./dev setup stores");
}

Result<std::unique_ptr<SwiftServer>> SwiftServer::start() {
  TRY(swift_server_installed());
  Result<> outcome;
  for (int attempt = 0; attempt < 3; ++attempt) {  // Somebody else may take the port before Swift does.
    std::unique_ptr<SwiftServer> server(new SwiftServer);
    outcome = server->launch();
    if (outcome) return server;
    auto log = read_file(server->scratch_ / "out");
    outcome = std::move(outcome).error().with_context("start Swift").with_hint(log ? *log : "it wrote nothing");
  }
  return std::move(outcome).error();
}

Result<> SwiftServer::launch() {
  TRY_ASSIGN(scratch_, ScratchDir::create("swift"));
  TRY_ASSIGN(endpoint_.port, free_port());
  endpoint_.host = "127.0.0.1";
  endpoint_.region = "us-east-1";
  endpoint_.keys = {.access_key = "pgark:test", .secret = "secret/of+swift"};
  TRY(make_directories(scratch_ / "swift"));
  ProcessOptions options;
  options.env = {"PYTHONWARNINGS=ignore", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH", "PYTHONHOME"};
  options.output_path = scratch_ / "out";
  options.die_with_caller = true;
  TRY_ASSIGN(process_, Process::start(
                           {kPython, std::string(PGARK_SOURCE_DIR) + "/src/testing/swift_server.py", scratch_ / "swift",
                            std::to_string(endpoint_.port), endpoint_.keys.access_key, endpoint_.keys.secret},
                           options));
  return wait_for("Swift to answer", [&]() -> Result<bool> {
    if (!process_.running()) return Error(Errc::kTransient, "it ended");
    if (!accepts_connections(endpoint_.port)) return false;
    const auto reply = http_exchange(endpoint_.host, endpoint_.port, "GET", "/healthcheck");
    return reply && reply->status == 200;
  });
}

}  // namespace pgark::testing
