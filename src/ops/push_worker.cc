// The worker's loop: one thread that talks, while the engine's push.
#include "ops/push_worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "core/log.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;

constexpr size_t kClientsMax = 64;
constexpr size_t kRequestBytesMax = 8192;
constexpr milliseconds kTick{100};
constexpr milliseconds kScanEvery{500};
constexpr milliseconds kScanOnRequestEvery{50};
/// How long a worker waits for a server that has files ready and does not ask: it tries again once a minute.
constexpr milliseconds kPatience{600'000};

Error another_runs(const std::string& directory) {
  return Error(Errc::kAlreadyExists, fmt::format("another worker serves '{}'", directory));
}

/// The path with its directory as it really is, so that two spellings of one file are one job.
std::string canonical_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::error_code failure;
  const auto directory = std::filesystem::canonical(path.substr(0, slash == 0 ? 1 : slash), failure);
  return failure ? path : (directory / path.substr(slash + 1)).string();
}

}  // namespace

PushWorker::PushWorker(Clock& clock, PushWorkerOptions options, LocalLock lock, File listener, File wake)
    : clock_(clock),
      options_(std::move(options)),
      lock_(std::move(lock)),
      listener_(std::move(listener)),
      wake_(std::move(wake)) {}

Result<std::unique_ptr<PushWorker>> PushWorker::open(std::vector<PushTarget> targets, Clock& clock,
                                                     PushWorkerOptions options) {
  TRY(make_push_directory(options.directory));
  auto lock =
      LocalLock::acquire(options.directory, options.engine.push.stanza, "push",
                         {.pid = 0, .command = "archive-push", .label = {}, .host = {}, .started = clock.now()});
  if (!lock && lock.error().code() == Errc::kInvalid) return another_runs(options.directory);
  if (!lock) return about_spool(std::move(lock).error(), options.directory);
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return errno_error(errno, "make an event descriptor");
  File wake = File::adopt(event, "event descriptor");
  TRY_ASSIGN(File listener, listen_push_socket(options.directory));
  options.wal_directory = canonical_path(options.wal_directory + "/x");
  options.wal_directory.resize(options.wal_directory.size() - 2);
  options.engine.on_change = [event] { ::eventfd_write(event, 1); };
  options.engine.spool_directory = options.directory;
  PushEngineOptions engine = options.engine;
  std::unique_ptr<PushWorker> worker(
      new PushWorker(clock, std::move(options), std::move(*lock), std::move(listener), std::move(wake)));
  worker->engine_ = std::make_unique<PushEngine>(std::move(targets), clock, std::move(engine));
  return worker;
}

PushWorker::~PushWorker() {
  if (lock_.held()) remove_push_socket(options_.directory);
}

Result<> PushWorker::run(const CancelToken& cancel) {
  log_info("worker of '{}' pushes ahead from '{}'", options_.directory, options_.wal_directory);
  last_client_ = clock_.steady();
  std::string reason;
  for (;;) {
    reason = reason_to_end(cancel);
    if (!reason.empty()) break;
    if (clock_.steady() >= next_scan_) scan();
    TRY(wait());
    accept_clients();
    std::erase_if(clients_, [this](Client& client) { return !serve(client); });
  }
  // First the name: whoever comes now starts the next worker, which waits for the lock of this one.
  remove_push_socket(options_.directory);
  log_info("worker of '{}' ends: {}", options_.directory, reason);
  engine_->stop();
  std::erase_if(clients_, [this](Client& client) { return !serve(client); });
  clients_.clear();
  return {};
}

std::string PushWorker::reason_to_end(const CancelToken& cancel) {
  if (cancel.cancelled()) return "a signal asks for it";
  if (settings_differ_ || (options_.settings_changed && options_.settings_changed())) return "the settings changed";
  if (options_.check_stopped && !options_.check_stopped()) return "pgark is stopped";
  struct stat here {};
  if (::stat(options_.directory.c_str(), &here) != 0) return "its directory is gone";
  if (!clients_.empty() || engine_->busy()) {
    if (!clients_.empty()) last_client_ = clock_.steady();
    return {};
  }
  const auto idle = clock_.steady() - last_client_;
  return idle >= (ready_left_ ? std::max(kPatience, options_.idle_after) : options_.idle_after)
             ? "there is nothing to do"
             : "";
}

Result<> PushWorker::wait() {
  // A negative descriptor is passed over: those who wait to be accepted must not keep us awake.
  const int listener = clients_.size() < kClientsMax ? listener_.fd() : -1;
  std::vector<pollfd> polled{{.fd = listener, .events = POLLIN, .revents = 0},
                             {.fd = wake_.fd(), .events = POLLIN, .revents = 0}};
  for (const Client& client : clients_) {
    // One that has asked is only looked at for hanging up.
    polled.push_back({.fd = client.socket.fd(),
                      .events = static_cast<short>(client.path.empty() ? POLLIN : POLLRDHUP),
                      .revents = 0});
  }
  const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(kTick.count()));
  if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for requests");
  eventfd_t count = 0;
  static_cast<void>(::eventfd_read(wake_.fd(), &count));
  return {};
}

void PushWorker::accept_clients() {
  while (clients_.size() < kClientsMax) {
    const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;  // Nobody is there, or has left again.
    Client client;
    client.socket = File::adopt(fd, "client");
    client.deadline = clock_.steady() + options_.archive_timeout;
    clients_.push_back(std::move(client));
    last_client_ = clock_.steady();
  }
}

bool PushWorker::serve(Client& client) {
  if (client.path.empty()) {
    if (!read_request(client)) return false;
    if (client.path.empty()) return clock_.steady() < client.deadline;
  }
  if (auto answer = engine_->answer(client.path)) return reply(client, *answer);
  char byte = 0;
  const bool gone = ::recv(client.socket.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  if (gone) {
    engine_->release(client.path);
    return false;
  }
  if (clock_.steady() < client.deadline) return true;
  return reply(client, engine_->lag(client.path));
}

/// False if the client is gone, or was answered.
bool PushWorker::read_request(Client& client) {
  char buffer[1024];
  for (;;) {
    const ssize_t got = ::recv(client.socket.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (got <= 0) return false;
    client.input.append(buffer, static_cast<size_t>(got));
    const size_t end = client.input.find('\n');
    if (end != std::string::npos) return take_request(client, client.input.substr(0, end));
    if (client.input.size() > kRequestBytesMax) return false;
  }
}

bool PushWorker::take_request(Client& client, const std::string& line) {
  const size_t space = line.find(' ');
  const std::string word = line.substr(0, space);
  std::string path = space == std::string::npos ? "" : line.substr(space + 1);
  if (word == "push-as") {
    const size_t end = path.find(' ');
    const std::string id = path.substr(0, end);
    path = end == std::string::npos ? "" : path.substr(end + 1);
    settings_differ_ = settings_differ_ || id != options_.settings_id;
  }
  // A repository may have been added: this worker's word would not be enough.
  if (options_.settings_changed && options_.settings_changed()) settings_differ_ = true;
  if (settings_differ_) return false;
  if ((word != "push" && word != "push-as") || path.empty() || path.front() != '/') {
    const Error error(Errc::kUnsupported, fmt::format("the worker does not understand '{}'", word));
    client.path = path;
    engine_->request(client.path);
    return reply(client, error);
  }
  client.path = canonical_path(path);
  engine_->request(client.path);
  // The server is at work: look soon what else is ready.
  if (clock_.steady() >= next_scan_ - (kScanEvery - kScanOnRequestEvery)) next_scan_ = clock_.steady();
  return options_.limit.queue_bytes_max ? give_up(client) : true;
}

/// Give the segment up if too much waits. False once the client is answered.
bool PushWorker::give_up(Client& client) {
  const std::vector<std::string> missing = engine_->missing_in(client.path);
  if (missing.empty()) return true;
  const auto dropped = drop_under_limit(options_.limit, client.path, options_.engine.push.host, missing, clock_);
  if (!dropped) return reply(client, Error(dropped.error()));
  if (!*dropped) return true;
  engine_->drops_added();
  engine_->release(client.path);
  static_cast<void>(::send(client.socket.fd(), "ok dropped\n", 11, MSG_NOSIGNAL));
  return false;
}

bool PushWorker::reply(Client& client, const Result<>& outcome) {
  std::string text = "ok\n";
  if (!outcome) {
    // Logged where it is handled, by the client, and here for who looks only at this file.
    log_detail("{}", outcome.error().message());
    text = fmt::format("error {}\n{}", options_.exit_code(outcome.error()), outcome.error().to_string());
  }
  engine_->release(client.path);
  // It fits the socket's buffer; a client that is gone asks again.
  static_cast<void>(::send(client.socket.fd(), text.data(), text.size(), MSG_NOSIGNAL));
  return false;
}

void PushWorker::scan() {
  const auto began = clock_.steady();
  auto ready = list_ready_files(options_.wal_directory);
  if (!ready) {
    log_detail("nothing is pushed ahead: {}", ready.error().message());
    ready = ReadyFiles{};
  }
  ready_left_ = !ready->names.empty();
  engine_->offer(options_.wal_directory, std::move(*ready));
  // A directory with a million entries must not keep the worker busy with looking at it.
  const auto took = std::chrono::duration_cast<milliseconds>(clock_.steady() - began);
  next_scan_ = clock_.steady() + std::max(kScanEvery, 20 * took);
}

}  // namespace pgark
