// One SSH connection through libssh: blocking with time limits until the login is done, then without blocking, so that
// every wait is ours.
#include "store/sftp_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/file.h"
#include "store/libssh.h"
#include "store/sftp_host_key.h"

namespace pgark {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

// AES in GCM mode first: with the processor's help it is the fastest, and keys are changed less often than with ChaCha.
constexpr const char* kCiphers =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
constexpr size_t kReadBytes = 64u << 10;
// How much the server may send before it hears from us again. libssh keeps to 1.2 MiB at most, and lets half of that
// pass before it says so, unless more is asked for at once.
constexpr size_t kWindowBytes = 3u << 20;
constexpr size_t kWindowStepBytes = 512u << 10;
// libssh may do by itself, without a byte from the server, what we wait for (after a change of keys): look again.
constexpr milliseconds kLookAgain{100};
constexpr milliseconds kPatienceOfCancelled{5000};

struct KeyFree {
  void operator()(ssh_key key) const { ssh().ssh_key_free(key); }
};
using Key = std::unique_ptr<ssh_key_struct, KeyFree>;

struct AddressesFree {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, AddressesFree>;

int milliseconds_left(Steady::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Steady::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

/// Connect one socket; its errno, 0 if it worked.
int connect_socket(int fd, const addrinfo& address, Steady::time_point deadline) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  pollfd watched{.fd = fd, .events = POLLOUT, .revents = 0};
  for (;;) {
    const int ready = ::poll(&watched, 1, milliseconds_left(deadline));
    if (ready == 0) return ETIMEDOUT;
    if (ready > 0) break;
    if (errno != EINTR) return errno;
  }
  int failure = 0;
  socklen_t length = sizeof failure;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0) return errno;
  return failure;
}

void set_socket_options(int fd, milliseconds io_timeout) {
  const auto set = [fd](int level, int name, int value) {
    static_cast<void>(::setsockopt(fd, level, name, &value, sizeof value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer that vanished is noticed though nothing is being sent, and a firewall on the way keeps the connection.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(io_timeout.count()));
}

/// Asked for a passphrase that was not given: libssh would ask the terminal.
int no_passphrase(const char*, char*, size_t, int, int, void*) { return -1; }

}  // namespace

SftpStream::SftpStream(const SftpOptions& options) : options_(options) {}

SftpStream::~SftpStream() {
  if (session_ == nullptr) return;
  if (channel_ != nullptr) ssh().ssh_channel_free(channel_);
  if (ssh().ssh_is_connected(session_) != 0) ssh().ssh_disconnect(session_);
  ssh().ssh_free(session_);
  // libssh leaves a socket that was given to it open, except when it found it broken: then the number may be
  // somebody else's by now.
  struct stat status {};
  if (socket_ >= 0 && ::fstat(socket_, &status) == 0 && S_ISSOCK(status.st_mode) && status.st_ino == socket_inode_)
    ::close(socket_);
}

Result<std::unique_ptr<SftpTransport>> SftpStream::open(const SftpOptions& options) {
  TRY(load_libssh());
  std::unique_ptr<SftpStream> stream(new SftpStream(options));
  TRY(stream->connect());
  return std::unique_ptr<SftpTransport>(std::move(stream));
}

std::string SftpStream::reason() const {
  const char* text = ssh().ssh_get_error(session_);
  std::string reason = text != nullptr && *text != '\0' ? text : "the connection has ended";
  std::ranges::replace_if(
      reason, [](char c) { return c < 0x20 || c > 0x7e; }, ' ');
  return reason;
}

Error SftpStream::failed(Errc code, std::string_view what) const {
  return Error(code, fmt::format("connect to {}: {}", known_hosts_name(options_.host, options_.port), what));
}

Error SftpStream::lost() const {
  return Error(Errc::kTransient, fmt::format("talk to {}: the connection was lost: {}",
                                             known_hosts_name(options_.host, options_.port), reason()));
}

Result<> SftpStream::connect() {
  const auto deadline = Steady::now() + options_.connect_timeout;
  TRY_ASSIGN(const auto known, find_known_host(options_));
  session_ = ssh().ssh_new();
  if (session_ == nullptr) return failed(Errc::kInternal, "out of memory");
  TRY(open_socket(deadline));

  const auto set = [this](ssh_options_e option, const void* value) {
    return ssh().ssh_options_set(session_, option, value) == SSH_OK;
  };
  // What the files of ssh say must not change where and how we connect; known hosts are looked up by us.
  const bool no = false;
  const auto seconds = static_cast<long>(std::chrono::ceil<std::chrono::seconds>(options_.connect_timeout).count());
  const unsigned port = options_.port;
  bool good = set(SSH_OPTIONS_PROCESS_CONFIG, &no) && set(SSH_OPTIONS_HOST, options_.host.c_str()) &&
              set(SSH_OPTIONS_PORT, &port) && set(SSH_OPTIONS_USER, options_.user.c_str()) &&
              set(SSH_OPTIONS_KNOWNHOSTS, "/dev/null") && set(SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null") &&
              set(SSH_OPTIONS_TIMEOUT, &seconds) && set(SSH_OPTIONS_CIPHERS_C_S, kCiphers) &&
              set(SSH_OPTIONS_CIPHERS_S_C, kCiphers);
  if (const std::string algorithms = host_key_algorithms(known); good && !algorithms.empty())
    good = set(SSH_OPTIONS_HOSTKEYS, algorithms.c_str());
  if (!good) return failed(Errc::kInternal, "set options of libssh: " + reason());

  const auto in_time = [&]() -> Result<> {
    if (Steady::now() < deadline) return {};
    return failed(Errc::kTransient, fmt::format("no login within {} s", options_.connect_timeout.count() / 1000));
  };
  if (ssh().ssh_connect(session_) != SSH_OK) return failed(Errc::kTransient, reason());
  TRY(in_time());
  TRY(check_server(known));
  TRY(log_in());
  TRY(in_time());
  TRY(start_subsystem());
  ssh().ssh_set_blocking(session_, 0);
  return {};
}

Result<> SftpStream::open_socket(Steady::time_point deadline) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(options_.host.c_str(), std::to_string(options_.port).c_str(), &wanted, &list);
  // A name that does not exist may be a resolver that has just been restarted: no proof of anything.
  if (code != 0)
    return failed(Errc::kTransient, fmt::format("look up the name: {}", ::gai_strerror(code)))
        .with_hint("is the host name right? it is tried again, since name servers fail at times");
  const Addresses addresses(list);
  size_t left = 0;
  for (const addrinfo* address = list; address != nullptr; address = address->ai_next) ++left;
  int failure = EADDRNOTAVAIL;
  for (const addrinfo* address = list; address != nullptr; address = address->ai_next, --left) {
    const int fd = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      failure = errno;
      continue;
    }
    // One address that swallows packets must not use up the time of the others.
    const auto share = (deadline - Steady::now()) / static_cast<int64_t>(left);
    failure = connect_socket(fd, *address, Steady::now() + share);
    if (failure == 0) {
      set_socket_options(fd, options_.io_timeout);
      struct stat status {};
      if (::fstat(fd, &status) == 0 && ssh().ssh_options_set(session_, SSH_OPTIONS_FD, &fd) == SSH_OK) {
        socket_ = fd;
        socket_inode_ = status.st_ino;
        return {};
      }
      failure = ENOMEM;
    }
    ::close(fd);
  }
  return Error(
      Errc::kTransient,
      errno_error(failure, fmt::format("connect to {}", known_hosts_name(options_.host, options_.port))).message());
}

Result<> SftpStream::check_server(const std::vector<KnownHostLine>& known) {
  ssh_key raw = nullptr;
  if (ssh().ssh_get_server_publickey(session_, &raw) != SSH_OK || raw == nullptr)
    return failed(Errc::kTransient, "read host key: " + reason());
  const Key key(raw);
  return check_host_key(options_, known, host_key_of(key.get()));
}

Result<> SftpStream::log_in() {
  // Also tells which methods the server takes, for the message.
  const int none = ssh().ssh_userauth_none(session_, nullptr);
  if (none == SSH_AUTH_SUCCESS) return {};
  if (none == SSH_AUTH_ERROR) return failed(Errc::kTransient, "log in: " + reason());
  const int methods = ssh().ssh_userauth_list(session_, nullptr);
  if ((methods & static_cast<int>(SSH_AUTH_METHOD_PUBLICKEY)) == 0)
    return failed(Errc::kPermission, "log in: the server takes no public keys")
        .with_hint(
            "PubkeyAuthentication in its "
            "sshd_config allows them");
  return options_.private_key_file.empty() ? log_in_with_agent() : log_in_with_file();
}

Result<> SftpStream::log_in_with_file() {
  const std::string& file = options_.private_key_file;
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0)
    return errno_error(errno, fmt::format("read private key {}", file)).with_code(Errc::kPermission);
  ssh_key raw = nullptr;
  const char* passphrase = options_.private_key_passphrase.empty() ? nullptr : options_.private_key_passphrase.c_str();
  const int imported = ssh().ssh_pki_import_privkey_file(file.c_str(), passphrase, no_passphrase, nullptr, &raw);
  if (imported == SSH_EOF)
    return Error(Errc::kPermission, fmt::format("read private key {}: it cannot be opened", file))
        .with_hint("it has to be readable for the user that pgark runs as");
  if (imported != SSH_OK)
    return Error(Errc::kInvalid,
                 fmt::format("read private key {}: {}", file,
                             passphrase != nullptr ? "its passphrase is wrong, or it is no private key"
                                                   : "it is no private key, or has a passphrase and none was given"))
        .with_hint(fmt::format("{}-sftp-private-key-passphrase opens it; `ssh-keygen -y -f {}` tries it",
                               options_.label, file));
  const Key key(raw);
  if (!options_.public_key_file.empty()) {
    const std::string& public_file = options_.public_key_file;
    ssh_key given_raw = nullptr;
    if (ssh().ssh_pki_import_pubkey_file(public_file.c_str(), &given_raw) != SSH_OK)
      return Error(Errc::kInvalid, fmt::format("read public key {}: it is missing or no public key", public_file));
    const Key given(given_raw);
    const char* type = ssh().ssh_key_type_to_char(ssh().ssh_key_type(given.get()));
    const bool is_certificate = type != nullptr && std::string_view(type).ends_with("-cert-v01@openssh.com");
    if (is_certificate) {
      if (ssh().ssh_pki_copy_cert_to_privkey(given.get(), key.get()) != SSH_OK)
        return Error(Errc::kInvalid, fmt::format("use certificate {}: it cannot be joined with {}", public_file, file));
    } else if (ssh().ssh_key_cmp(given.get(), key.get(), SSH_KEY_CMP_PUBLIC) != 0) {
      return Error(Errc::kInvalid, fmt::format("use public key {}: it is not that of {}", public_file, file))
          .with_hint(fmt::format("leave {}-sftp-public-key-file out: it is not needed", options_.label));
    }
  }
  const int result = ssh().ssh_userauth_publickey(session_, nullptr, key.get());
  if (result == SSH_AUTH_SUCCESS) return {};
  if (result == SSH_AUTH_ERROR && ssh().ssh_is_connected(session_) == 0)
    return failed(Errc::kTransient, "log in: " + reason());
  const SftpHostKey shown = host_key_of(key.get());
  return failed(Errc::kPermission, fmt::format("log in as {}: the server refuses the {} key {} of {}", options_.user,
                                               shown.type, ssh_fingerprint(shown), file))
      .with_hint(fmt::format("its public key (ssh-keygen -y -f {}) has to stand in ~{}/.ssh/authorized_keys on the "
                             "server, which nobody else may be able to write",
                             file, options_.user));
}

Result<> SftpStream::log_in_with_agent() {
  const char* socket = std::getenv("SSH_AUTH_SOCK");
  if (socket == nullptr || *socket == '\0')
    return failed(Errc::kInvalid, "log in: no private key file is given, and there is no agent (SSH_AUTH_SOCK)")
        .with_hint(fmt::format("set {}-sftp-private-key-file", options_.label));
  const int result = ssh().ssh_userauth_agent(session_, nullptr);
  if (result == SSH_AUTH_SUCCESS) return {};
  if (ssh().ssh_is_connected(session_) == 0) return failed(Errc::kTransient, "log in: " + reason());
  return failed(Errc::kPermission,
                fmt::format("log in as {}: the server refuses every key of the agent at {}", options_.user, socket))
      .with_hint("`ssh-add -l` lists them; one has to stand in ~/.ssh/authorized_keys on the server");
}

Result<> SftpStream::start_subsystem() {
  channel_ = ssh().ssh_channel_new(session_);
  if (channel_ == nullptr || ssh().ssh_channel_open_session(channel_) != SSH_OK)
    return failed(Errc::kTransient, "open a channel: " + reason());
  if (ssh().ssh_channel_request_subsystem(channel_, "sftp") != SSH_OK)
    return failed(ssh().ssh_is_connected(session_) == 0 ? Errc::kTransient : Errc::kPermission,
                  "start sftp: the server refuses: " + reason())
        .with_hint("its sshd_config needs a line `Subsystem sftp internal-sftp`");
  return {};
}

Result<size_t> SftpStream::drain() {
  size_t count = 0;
  for (;;) {
    const size_t old = input_.size();
    const bool widen = since_widened_ >= kWindowStepBytes;
    const size_t wanted = widen ? kWindowBytes : kReadBytes;
    input_.resize(old + wanted);
    const int n =
        widen ? ssh().ssh_channel_read_timeout(channel_, input_.data() + old, static_cast<uint32_t>(wanted), 0, 0)
              : ssh().ssh_channel_read_nonblocking(channel_, input_.data() + old, static_cast<uint32_t>(wanted), 0);
    input_.resize(old + static_cast<size_t>(std::max(n, 0)));
    if (widen) since_widened_ = 0;
    if (n > 0) {
      count += static_cast<size_t>(n);
      since_widened_ += static_cast<size_t>(n);
      continue;
    }
    const bool ended = (n < 0 && n != SSH_AGAIN) || ssh().ssh_channel_is_closed(channel_) != 0 ||
                       ssh().ssh_channel_is_eof(channel_) != 0 || ssh().ssh_is_connected(session_) == 0;
    // What came before the end is still good; the next call will tell.
    if (ended && count == 0) return lost();
    return count;
  }
}

Result<> SftpStream::poll_socket(Steady::time_point deadline) {
  pollfd watched{.fd = ssh().ssh_get_fd(session_), .events = POLLIN, .revents = 0};
  if ((ssh().ssh_get_poll_flags(session_) & SSH_WRITE_PENDING) != 0) watched.events |= POLLOUT;
  const int ready = ::poll(&watched, 1, milliseconds_left(std::min(deadline, Steady::now() + kLookAgain)));
  if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for the server").with_code(Errc::kTransient);
  const auto now = Steady::now();
  // Not at once: a server that answers lets us tidy up.
  if (ready == 0 && options_.cancel != nullptr && options_.cancel->cancelled() &&
      now >= deadline - options_.io_timeout + kPatienceOfCancelled)
    return Error(Errc::kCancelled, "stopped on request, and the server does not answer");
  if (ready != 0 || now < deadline) return {};
  return Error(Errc::kTransient,
               fmt::format("talk to {}: it did not answer for {} s", known_hosts_name(options_.host, options_.port),
                           static_cast<double>(options_.io_timeout.count()) / 1000));
}

Result<> SftpStream::write(std::string_view bytes) {
  auto deadline = Steady::now() + options_.io_timeout;
  while (!bytes.empty()) {
    const auto some = static_cast<uint32_t>(std::min<size_t>(bytes.size(), 1u << 20));
    const uint32_t window = ssh().ssh_channel_window_size(channel_);
    const int n = ssh().ssh_channel_write(channel_, bytes.data(), some);
    if (n < 0 && n != SSH_AGAIN) return lost();
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    size_t arrived = 0;
    if (n <= 0) {
      TRY_ASSIGN(arrived, drain());
    }
    if (n > 0 || arrived > 0 || ssh().ssh_channel_window_size(channel_) > window) {
      deadline = Steady::now() + options_.io_timeout;
      continue;
    }
    TRY(poll_socket(deadline));
  }
  return {};
}

Result<> SftpStream::wait_for_input() {
  const auto deadline = Steady::now() + options_.io_timeout;
  for (;;) {
    TRY_ASSIGN(const size_t arrived, drain());
    if (arrived > 0) return {};
    TRY(poll_socket(deadline));
  }
}

void SftpStream::take(size_t bytes) {
  taken_ += bytes;
  if (taken_ < input_.size() / 2) return;
  std::memmove(input_.data(), input_.data() + taken_, input_.size() - taken_);
  input_.resize(input_.size() - taken_);
  taken_ = 0;
}

bool SftpStream::alive() { return drain().has_value(); }

}  // namespace pgark
