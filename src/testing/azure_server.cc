// One process of node in the foreground.
#include "testing/azure_server.h"

#include <fmt/format.h>
#include <unistd.h>

#include "testing/pg_server.h"
#include "testing/tcp.h"
#include "testing/tls_files.h"
#include "testing/wait.h"

namespace pgark::testing {

Result<std::string> find_azurite() {
  const std::string directory = servers_dir() + "/azurite";
  std::string program = directory + "/node_modules/azurite/dist/src/blob/main.js";
  if (::access(program.c_str(), R_OK) == 0) return program;
  std::string reason = "it is not in " + directory;
  if (auto noted = read_file(directory + ".missing"); noted) reason = noted->substr(0, noted->find('\n'));
  return Error(Errc::kNotFound, "find Azurite: " + reason).with_hint("run tools/servers.sh --retry azurite");
}

Result<std::unique_ptr<AzureServer>> AzureServer::start(const AzureOptions& options) {
  TRY_ASSIGN(const std::string program, find_azurite());
  Result<> outcome;
  for (int attempt = 0; attempt < 3; ++attempt) {  // Somebody else may take the port before Azurite does.
    std::unique_ptr<AzureServer> server(new AzureServer);
    outcome = server->launch(program, options);
    if (outcome) return server;
    auto log = read_file(server->scratch_ / "out");
    outcome = std::move(outcome).error().with_context("start Azurite").with_hint(log ? *log : "it wrote nothing");
  }
  return std::move(outcome).error();
}

Result<> AzureServer::launch(const std::string& program, const AzureOptions& options) {
  TRY_ASSIGN(scratch_, ScratchDir::create("azure"));
  TRY_ASSIGN(endpoint_.port, free_port());
  endpoint_.host = "127.0.0.1";
  endpoint_.account = "pgarktest";
  endpoint_.key = "cGdhcmstdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZi4uLi4uLi4uLi4uLi4uLi4uLi4uLi4uLi4uLi4uLi4uLg==";
  std::vector<std::string> argv{
      "node",       program,           "--blobHost", endpoint_.host,      "--blobPort", std::to_string(endpoint_.port),
      "--location", scratch_ / "data", "--silent",   "--disableTelemetry"};
  if (options.tls) {
    TRY(make_directories(scratch_ / "tls"));
    TRY_ASSIGN(const TlsFiles files, make_tls_files(scratch_ / "tls"));
    endpoint_.ca_file = files.ca_file;
    argv.insert(argv.end(), {"--oauth", "basic", "--cert", files.certificate, "--key", files.private_key});
  }
  ProcessOptions process;
  process.env = {fmt::format("AZURITE_ACCOUNTS={}:{}", endpoint_.account, endpoint_.key), "HOME=" + scratch_.path()};
  process.output_path = scratch_ / "out";
  process.die_with_caller = true;
  TRY_ASSIGN(process_, Process::start(std::move(argv), process));
  return wait_for("Azurite to listen", [&]() -> Result<bool> {
    if (!process_.running()) return Error(Errc::kTransient, "it ended");
    return accepts_connections(endpoint_.port);
  });
}

}  // namespace pgark::testing
