// The process that keeps a server for ctest watches ctest itself, so that a run that is killed leaves nothing behind.
#include "testing/object_servers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "testing/azure_server.h"
#include "testing/s3_server.h"
#include "testing/swift_server.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

// Where ctest keeps its servers: beside the programs of the build that it tests.
std::string ctest_directory() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  return program.parent_path().string() + "/Testing/servers";
}

nlohmann::json to_json(const S3Endpoint& at) {
  return {{"host", at.host},
          {"port", at.port},
          {"tls_port", at.tls_port},
          {"ca_file", at.ca_file},
          {"dns_name", at.dns_name},
          {"region", at.region},
          {"access_key", at.keys.access_key},
          {"secret", at.keys.secret},
          {"admin_conf", at.admin_conf}};
}

S3Endpoint s3_from_json(const nlohmann::json& from) {
  return {.host = from.at("host"),
          .port = from.at("port"),
          .tls_port = from.at("tls_port"),
          .ca_file = from.at("ca_file"),
          .dns_name = from.at("dns_name"),
          .region = from.at("region"),
          .keys = {.access_key = from.at("access_key"), .secret = from.at("secret")},
          .admin_conf = from.at("admin_conf")};
}

nlohmann::json to_json(const AzureEndpoint& at) {
  return {{"host", at.host}, {"port", at.port}, {"account", at.account}, {"key", at.key}, {"ca_file", at.ca_file}};
}

AzureEndpoint azure_from_json(const nlohmann::json& from) {
  return {.host = from.at("host"),
          .port = from.at("port"),
          .account = from.at("account"),
          .key = from.at("key"),
          .ca_file = from.at("ca_file")};
}

// How the server that ctest started is reached; null when none was. Errors: kNotFound with the reason it noted.
Result<nlohmann::json> from_ctest(const std::string& kind) {
  const std::string base = ctest_directory() + "/" + kind;
  if (auto reason = read_file(base + ".missing"); reason) return Error(Errc::kNotFound, *reason);
  auto text = read_file(base + ".json");
  if (!text) return nlohmann::json();
  auto state = nlohmann::json::parse(*text, nullptr, false);
  if (!state.is_object() || !accepts_connections(state.value("port", 0))) return nlohmann::json();
  return state;
}

// The server of this process, started when it is first asked for and stopped at exit.
template <typename Server>
auto own_server() -> Result<std::decay_t<decltype(std::declval<Server>().endpoint())>> {
  static const Result<std::unique_ptr<Server>> server = Server::start();
  if (!server) return server.error();
  return (*server)->endpoint();
}

// Serve until told to stop, or until `watched` ends.
void serve_until_the_end(int watched, const sigset_t& signals) {
  const int stop = ::signalfd(-1, &signals, SFD_CLOEXEC);
  pollfd waiting[] = {{.fd = watched, .events = POLLIN, .revents = 0}, {.fd = stop, .events = POLLIN, .revents = 0}};
  while (::poll(waiting, 2, -1) < 0 && errno == EINTR) {
  }
}

template <typename Server>
void keep_server(const std::string& base, int watched) {
  // Blocked before the server starts threads or processes of its own; a child that is executed gets them back.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  (void)sigprocmask(SIG_BLOCK, &signals, nullptr);
  const auto server = Server::start();
  if (!server) {
    const bool missing = server.error().code() == Errc::kNotFound;
    (void)write_file_durable(base + (missing ? ".missing" : ".failed"), server.error().to_string());
    return;
  }
  if (!write_file_durable(base + ".json", to_json((*server)->endpoint()).dump())) return;
  serve_until_the_end(watched, signals);
}

Result<pid_t> keeper_of(const std::string& base) {
  TRY_ASSIGN(const std::string text, read_file(base + ".pid"));
  return static_cast<pid_t>(std::atoi(text.c_str()));
}

}  // namespace

bool may_lack_servers() {
  const char* ci = std::getenv("CI");
  return ci == nullptr || std::string_view(ci) != "true";
}

Result<S3Endpoint> shared_s3() {
  TRY_ASSIGN(const nlohmann::json state, from_ctest("s3"));
  if (state.is_object()) return s3_from_json(state);
  return own_server<S3Server>();
}

Result<AzureEndpoint> shared_azure() {
  TRY_ASSIGN(const nlohmann::json state, from_ctest("azure"));
  if (state.is_object()) return azure_from_json(state);
  return own_server<AzureServer>();
}

Result<S3Endpoint> shared_swift() {
  TRY_ASSIGN(const nlohmann::json state, from_ctest("swift"));
  if (state.is_object()) return s3_from_json(state);
  return own_server<SwiftServer>();
}

Result<> start_shared_server(const std::string& kind, const std::string& directory) {
  if (kind != "s3" && kind != "azure" && kind != "swift")
    return Error(Errc::kInvalid, "unknown kind of server: " + kind);
  TRY(stop_shared_server(kind, directory));
  TRY(make_directories(directory));
  const std::string base = directory + "/" + kind;
  const int watched = static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0));
  if (watched < 0) return errno_error(errno, "watch the calling process");
  const pid_t keeper = ::fork();
  if (keeper < 0) return errno_error(errno, "fork");
  if (keeper == 0) {
    (void)::setsid();
    // ctest waits for the end of what a test printed.
    const int log = ::open((base + ".log").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    for (const int standard : {0, 1, 2}) (void)::dup2(log, standard);
    if (kind == "s3") keep_server<S3Server>(base, watched);
    if (kind == "azure") keep_server<AzureServer>(base, watched);
    if (kind == "swift") keep_server<SwiftServer>(base, watched);
    ::_exit(0);
  }
  ::close(watched);
  TRY(write_file_durable(base + ".pid", std::to_string(keeper)));
  return wait_for(
      "the server",
      [&]() -> Result<bool> {
        if (auto reason = read_file(base + ".failed"); reason) return Error(Errc::kInternal, *reason);
        return ::access((base + ".json").c_str(), F_OK) == 0 || ::access((base + ".missing").c_str(), F_OK) == 0;
      },
      std::chrono::seconds(180));
}

Result<> stop_shared_server(const std::string& kind, const std::string& directory) {
  const std::string base = directory + "/" + kind;
  if (const auto keeper = keeper_of(base); keeper) {
    // Not another process that has got the number since.
    const auto command = read_file(fmt::format("/proc/{}/cmdline", *keeper));
    if (command && command->find("object_servers") != std::string::npos) {
      (void)::kill(*keeper, SIGTERM);
      TRY(wait_for(
          "the server to stop",
          [&]() -> Result<bool> {
            // A zombie of an unusual parent has no command line any more.
            const auto left = read_file(fmt::format("/proc/{}/cmdline", *keeper));
            return !left || left->empty();
          },
          std::chrono::seconds(30)));
    }
  }
  for (const char* ending : {".pid", ".json", ".missing", ".failed", ".log"}) (void)::unlink((base + ending).c_str());
  return {};
}

}  // namespace pgark::testing
