// Configuring, starting and killing an sshd that is not root's.
#include "testing/sftp_server.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/file.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

constexpr const char* kSshd = "/usr/sbin/sshd";
constexpr int kPortsTried = 5;

Result<> make_key(const std::string& type, const std::string& file) {
  std::vector<std::string> argv{"ssh-keygen", "-q", "-t", type, "-N", "", "-C", "pgark-test", "-f", file};
  if (type == "rsa") argv.insert(argv.end(), {"-b", "2048"});
  TRY(run_ok(argv));
  return {};
}

/// The parent of each process.
pid_t parent_of(const std::string& process) {
  const std::string text = read_file("/proc/" + process + "/stat").value_or("");  // It may end any moment.
  // The name, in parentheses, may hold anything.
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return -1;
  std::istringstream rest(text.substr(end + 1));
  char state = 0;
  pid_t parent = -1;
  rest >> state >> parent;
  // What has ended and not been waited for serves nobody.
  return state == 'Z' ? -1 : parent;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos || parent_of(name) != parent) continue;
    children.push_back(static_cast<pid_t>(std::atol(name.c_str())));
  }
  return children;
}

}  // namespace

Result<std::unique_ptr<SftpServer>> SftpServer::start(const SftpServerOptions& options) {
  if (::access(kSshd, X_OK) != 0) return Error(Errc::kUnsupported, fmt::format("no {}: install openssh-server", kSshd));
  std::unique_ptr<SftpServer> server(new SftpServer());
  TRY_CTX(server->prepare(options), "prepare sshd");
  for (int attempt = 0; attempt < kPortsTried; ++attempt) {
    TRY_ASSIGN(server->port_, free_port());
    auto launched = server->launch();
    if (launched.has_value()) return server;
    // Somebody else took the port in this instant.
    if (server->log().find("Address already in use") == std::string::npos) return std::move(launched).error();
  }
  return Error(Errc::kTransient, "start sshd: no free port");
}

SftpServer::~SftpServer() { kill(); }

Result<> SftpServer::prepare(const SftpServerOptions& options) {
  options_ = options;
  const struct passwd* entry = ::getpwuid(::geteuid());
  if (entry == nullptr) return Error(Errc::kUnsupported, "the user of this process has no name");
  user_ = entry->pw_name;
  // Where sshd, run by root, has the part that talks to strangers live.
  if (::geteuid() == 0) static_cast<void>(::mkdir("/run/sshd", 0755));
  TRY_ASSIGN(scratch_, ScratchDir::create("sshd"));
  TRY(make_directories(root(), 0750));
  std::string authorized;
  for (const std::string type : {"ed25519", "ecdsa", "rsa"}) {
    TRY(make_key(type, key_file(type)));
    TRY_ASSIGN(const std::string key, read_file(key_file(type) + ".pub"));
    authorized += key;
  }
  TRY(write_file_durable(scratch_ / "authorized_keys", authorized, 0600));
  for (const std::string& type : options.host_key_types) TRY(make_key(type, scratch_ / ("host_" + type)));
  return {};
}

Result<> SftpServer::launch() {
  std::string config;
  for (const std::string& line : options_.config) config += line + "\n";
  config += fmt::format("ListenAddress 127.0.0.1\nPort {}\n", port_);
  for (const std::string& type : options_.host_key_types)
    config += fmt::format("HostKey {}\n", scratch_ / ("host_" + type));
  config += fmt::format(
      "AuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
      "KbdInteractiveAuthentication no\nUseDNS no\nLogLevel VERBOSE\nMaxStartups 100\nSubsystem sftp internal-sftp -l "
      "ERROR\n",
      scratch_ / "authorized_keys");
  TRY(write_file_durable(scratch_ / "sshd_config", config, 0600));
  std::string known;
  for (const std::string& type : options_.host_key_types) {
    TRY_ASSIGN(const std::string key, host_key(type));
    known += fmt::format("[127.0.0.1]:{} {}\n", port_, key);
  }
  TRY(write_file_durable(known_hosts(), known, 0600));

  TRY_ASSIGN(process_, Process::start({kSshd, "-D", "-e", "-f", scratch_ / "sshd_config"},
                                      {.output_path = scratch_ / "log", .die_with_caller = true}));
  auto ready = wait_for("sshd", [&]() -> Result<bool> {
    if (!process_.running()) return Error(Errc::kInternal, "start sshd: it ended: " + log());
    return log().find("Server listening on") != std::string::npos;
  });
  if (!ready.has_value()) return std::move(ready).error();
  return {};
}

Result<std::string> SftpServer::host_key(std::string_view type) const {
  TRY_ASSIGN(std::string text, read_file(scratch_ / ("host_" + std::string(type) + ".pub")));
  // Without the comment.
  return text.substr(0, text.find(' ', text.find(' ') + 1));
}

SftpOptions SftpServer::options() const {
  SftpOptions options;
  options.host = "127.0.0.1";
  options.port = static_cast<uint16_t>(port_);
  options.user = user_;
  options.path = root();
  options.private_key_file = key_file("ed25519");
  options.known_hosts = {known_hosts()};
  return options;
}

std::vector<pid_t> SftpServer::descendants() const {
  std::vector<pid_t> found;
  for (size_t i = 0; i <= found.size(); ++i) {
    const auto more = children_of(i == 0 ? process_.pid() : found[i - 1]);
    found.insert(found.end(), more.begin(), more.end());
  }
  return found;
}

size_t SftpServer::connections() const { return children_of(process_.pid()).size(); }

void SftpServer::kill_connections() {
  // Each is the leader of a session of its own: killing the server's group would not reach them.
  for (const pid_t child : descendants()) ::kill(child, SIGKILL);
}

void SftpServer::freeze(bool frozen) {
  const int number = frozen ? SIGSTOP : SIGCONT;
  for (const pid_t child : descendants()) ::kill(child, number);
  static_cast<void>(process_.signal(number));
}

void SftpServer::kill() {
  if (process_.pid() <= 0 || !process_.running()) return;
  // The server first, so that no connection is begun behind our back; its children are known before.
  static_cast<void>(process_.signal(SIGSTOP));
  const auto served = descendants();
  for (const pid_t child : served) ::kill(child, SIGKILL);
  static_cast<void>(process_.kill_and_wait());
}

Result<> SftpServer::restart() {
  kill();
  std::error_code ignored;
  std::filesystem::remove(scratch_ / "log", ignored);
  return launch();
}

std::string SftpServer::log() const { return read_file(scratch_ / "log").value_or(""); }

}  // namespace pgark::testing
