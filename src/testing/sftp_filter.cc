// OpenSSH's sftp-server without SSH, behind a filter.
#include "testing/sftp_filter.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "core/file.h"

namespace pgark::testing {
namespace {

constexpr const char* kServer = "/usr/lib/openssh/sftp-server";
constexpr int kWaitMilliseconds = 30'000;

uint32_t big_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::string status_packet(uint32_t id, SftpCode code) {
  return SftpRequest(SftpType::kStatus, id)
      .u32(static_cast<uint32_t>(code))
      .string("refused by a test")
      .string("")
      .packet();
}

/// The extension that a request asks for; empty if it is none.
std::string_view extension_of(std::string_view packet) {
  if (packet.size() < 13 || static_cast<SftpType>(packet[4]) != SftpType::kExtended) return {};
  return packet.substr(13, big_u32(packet, 9));
}

/// Have a read ask for at most 1000 bytes: its length is the last thing in the packet.
void shorten(std::string& packet) {
  const size_t at = packet.size() - 4;
  if (big_u32(packet, at) > 1000) packet.replace(at, 4, std::string("\0\0\x03\xe8", 4));
}

}  // namespace

class SftpFilter::Transport final : public SftpTransport {
 public:
  static Result<std::unique_ptr<SftpTransport>> start(SftpFilter& filter) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return errno_error(errno, "make socket pair");
    File ours = File::adopt(ends[0], "sftp-server");
    const File theirs = File::adopt(ends[1], "sftp-server");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.fd(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.fd(), STDOUT_FILENO);
    std::string name = "sftp-server";
    char* const argv[] = {name.data(), nullptr};
    pid_t pid = -1;
    const int failure = ::posix_spawn(&pid, kServer, &actions, nullptr, argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failure != 0) return errno_error(failure, std::string("start ") + kServer);
    return std::unique_ptr<SftpTransport>(new Transport(filter, std::move(ours), pid));
  }

  ~Transport() override { lose(); }

  Result<> write(std::string_view bytes) override {
    if (lost_) return gone();
    std::string packet(bytes);
    for (const SftpFaultRule& rule : filter_.strike(packet)) {
      switch (rule.fault) {
        case SftpFault::kLoseBefore:
          lose();
          return gone();
        case SftpFault::kLoseAfter: {
          TRY(forward(packet));
          TRY(wait_for_answer(big_u32(packet, 5)));
          lose();
          return gone();
        }
        case SftpFault::kRefuse: {
          // In front, where a packet begins: the last one may not have arrived whole.
          input_.insert(0, status_packet(big_u32(packet, 5), rule.code));
          return {};
        }
        case SftpFault::kShorten:
          shorten(packet);
          break;
      }
    }
    return forward(packet);
  }

  Result<> wait_for_input() override {
    if (lost_) return gone();
    TRY_ASSIGN(const size_t arrived, receive(kWaitMilliseconds));
    if (arrived == 0) return gone();
    return {};
  }

  Bytes input() const override { return as_bytes(input_); }
  void take(size_t bytes) override { input_.erase(0, bytes); }
  bool alive() override { return !lost_; }

 private:
  Transport(SftpFilter& filter, File socket, pid_t pid) : filter_(filter), socket_(std::move(socket)), pid_(pid) {}

  static Error gone() { return Error(Errc::kTransient, "talk to the server: lost by a test"); }

  Result<> forward(std::string_view bytes) {
    while (!bytes.empty()) {
      // The server stops reading when nobody takes its answers.
      TRY(receive(0));
      const ssize_t n = ::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) return errno_error(errno, "send").with_code(Errc::kTransient);
      if (n < 0) TRY(receive(10));
    }
    return {};
  }

  Result<size_t> receive(int wait_ms) {
    pollfd watched{.fd = socket_.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&watched, 1, wait_ms) <= 0) return 0;
    char buffer[65536];
    const ssize_t n = ::recv(socket_.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0) return errno_error(errno, "receive").with_code(Errc::kTransient);
    input_.append(buffer, static_cast<size_t>(n));
    return static_cast<size_t>(n);
  }

  /// Until the server has answered the request: it is then done.
  Result<> wait_for_answer(uint32_t id) {
    size_t at = 0;
    for (;;) {
      while (input_.size() >= at + 9 && input_.size() >= at + 4 + big_u32(input_, at)) {
        if (big_u32(input_, at + 5) == id) return {};
        at += 4 + big_u32(input_, at);
      }
      TRY_ASSIGN(const size_t arrived, receive(kWaitMilliseconds));
      if (arrived == 0) return gone();
    }
  }

  void lose() {
    if (lost_) return;
    lost_ = true;
    input_.clear();
    ::kill(pid_, SIGKILL);
    static_cast<void>(socket_.close());
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }

  SftpFilter& filter_;
  File socket_;
  const pid_t pid_;
  std::string input_;
  bool lost_ = false;
};

bool SftpFilter::available() { return ::access(kServer, X_OK) == 0; }

SftpOptions SftpFilter::options(const std::string& directory) {
  SftpOptions options;
  options.host = "filter";
  options.user = "test";
  options.path = directory;
  options.connector = [this](const SftpOptions&) { return Transport::start(*this); };
  return options;
}

void SftpFilter::heal() {
  const MutexLock lock(mu_);
  rules_.clear();
}

std::vector<SftpFaultRule> SftpFilter::strike(std::string_view packet) {
  const auto type = static_cast<SftpType>(packet[4]);
  if (type == SftpType::kInit) return {};
  const MutexLock lock(mu_);
  matched_.resize(rules_.size());
  std::vector<SftpFaultRule> striking;
  for (size_t i = 0; i < rules_.size(); ++i) {
    const SftpFaultRule& rule = rules_[i];
    if (rule.type != SftpType::kInit && rule.type != type) continue;
    if (!rule.extension.empty() && rule.extension != extension_of(packet)) continue;
    if (++matched_[i] != rule.nth && rule.nth != 0) continue;
    ++fired_;
    striking.push_back(rule);
  }
  return striking;
}

}  // namespace pgark::testing
