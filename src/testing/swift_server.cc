// The process is swift_server.py beside this file, run by Debian's Python.
#include "testing/swift_server.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "testing/http_client.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

constexpr const char* kPython = "/usr/bin/python3";  // Another one would not have Debian's modules.
constexpr const char* kMemory = "/dev/shm";
constexpr const char* kMemoryName = "pgark-swift-";
constexpr uint64_t kMemoryBytesMin = 1u << 30;

// Directories in memory of processes that were killed.
void sweep_memory() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kMemory, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kMemoryName)) continue;
    const auto owner = static_cast<pid_t>(std::atoi(name.c_str() + std::strlen(kMemoryName)));
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) (void)remove_tree(entry.path());
  }
}

// A new directory in memory, where the thousand small files of a test take a tenth of the time that they do on a busy
// disk; nothing where memory is small or takes no extended attributes.
std::string memory_directory() {
  sweep_memory();
  struct statvfs space {};
  if (::statvfs(kMemory, &space) != 0 || space.f_bavail * space.f_frsize < kMemoryBytesMin) return {};
  std::string path = fmt::format("{}/{}{}-XXXXXX", kMemory, kMemoryName, ::getpid());
  if (::mkdtemp(path.data()) == nullptr) return {};
  if (::setxattr(path.c_str(), "user.test", "x", 1, 0) == 0) return path;
  (void)remove_tree(path);
  return {};
}

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

SwiftServer::~SwiftServer() {
  if (process_.pid() > 0) (void)process_.kill_and_wait();
  if (data_dir_.starts_with(kMemory)) (void)remove_tree(data_dir_);
}

Result<> SwiftServer::launch() {
  TRY_ASSIGN(scratch_, ScratchDir::create("swift"));
  TRY_ASSIGN(endpoint_.port, free_port());
  endpoint_.host = "127.0.0.1";
  endpoint_.region = "us-east-1";
  endpoint_.keys = {.access_key = "pgark:test", .secret = "secret/of+swift"};
  data_dir_ = memory_directory();
  if (data_dir_.empty()) {
    data_dir_ = scratch_ / "swift";
    TRY(make_directories(data_dir_));
  }
  ProcessOptions options;
  options.env = {"PYTHONWARNINGS=ignore", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH", "PYTHONHOME"};
  options.output_path = scratch_ / "out";
  options.die_with_caller = true;
  TRY_ASSIGN(process_,
             Process::start({kPython, std::string(PGARK_SOURCE_DIR) + "/src/testing/swift_server.py", data_dir_,
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
