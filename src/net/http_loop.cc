// One pass of the loop: take orders, let libcurl move bytes, hand out what is finished, give up what is overdue, sleep.
#include "net/http_loop.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

#include "core/check.h"
#include "net/libcurl.h"

namespace pgark {
namespace {

constexpr std::chrono::milliseconds kTickMax{500};  // Between looks at the cancel token and at deadlines.
constexpr int kIdleMs = 60'000;                     // Orders wake the thread.

}  // namespace

Result<std::shared_ptr<HttpLoop>> HttpLoop::start(HttpOptions options) {
  TRY(load_libcurl());
  CURLM* multi = curl().multi_init();
  if (multi == nullptr) return Error(Errc::kInternal, "start libcurl: out of resources");
  // Calls that are still held when the client goes own the loop together with it.
  std::shared_ptr<HttpLoop> loop(new HttpLoop(std::move(options), multi));
  // Signals are for the threads that know about them; SIGPIPE of a socket would end the program.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  loop->thread_ = std::thread([raw = loop.get()] { raw->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return loop;
}

HttpLoop::HttpLoop(HttpOptions options, CURLM* multi) : options_(std::move(options)), multi_(multi) {
  curl().multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(std::max(options_.connections_max, 1u)));
  curl().multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
}

HttpLoop::~HttpLoop() {
  stop();
  for (CURL* easy : idle_) curl().easy_cleanup(easy);
  curl().multi_cleanup(multi_);
}

void HttpLoop::stop() {
  {
    const MutexLock lock(mu_);
    stopping_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void HttpLoop::wake() {
  if (!woken_.exchange(true)) curl().multi_wakeup(multi_);
}

void HttpLoop::submit(Slot& slot) {
  {
    const MutexLock lock(mu_);
    if (stopping_) {
      slot.result = slot.transfer.give_up(Errc::kCancelled, "the client was closed");
      slot.done = true;
      return;
    }
    queued_.push_back(&slot);
  }
  wake();
}

Result<HttpResponse> HttpLoop::wait(Slot& slot) {
  const MutexLock lock(mu_);
  while (!slot.done) slot.changed.wait(mu_);
  if (!slot.result.has_value()) return Error(Errc::kInternal, "the answer was taken before");
  Result<HttpResponse> result = std::move(*slot.result);
  slot.result.reset();
  return result;
}

void HttpLoop::release(Slot& slot) {
  MutexLock lock(mu_);
  if (slot.done) return;
  if (const auto at = std::find(queued_.begin(), queued_.end(), &slot); at != queued_.end()) {
    queued_.erase(at);
    return;
  }
  released_.push_back(&slot);
  lock.unlock();
  wake();
  lock.lock();
  while (!slot.done) slot.changed.wait(mu_);
  // The transfer may have ended by itself in between.
  released_.erase(std::remove(released_.begin(), released_.end(), &slot), released_.end());
}

void HttpLoop::run() {
  while (take_orders()) {
    int running = 0;
    curl().multi_perform(multi_, &running);
    collect();
    if (options_.cancel != nullptr && options_.cancel->cancelled()) drop_all(Errc::kCancelled, "stopped on request");
    check_deadlines();
    curl().multi_poll(multi_, nullptr, 0, wait_ms(), nullptr);
    woken_.store(false);
  }
  drop_all(Errc::kCancelled, "the client was closed");
}

bool HttpLoop::take_orders() {
  std::vector<Slot*> released;
  std::vector<Slot*> fresh;
  {
    const MutexLock lock(mu_);
    if (stopping_) return false;
    released.swap(released_);
    const size_t limit = std::max<size_t>(options_.connections_max, 1);
    while (!queued_.empty() && running_.size() + fresh.size() < limit) {
      fresh.push_back(queued_.front());
      queued_.pop_front();
    }
  }
  for (Slot* slot : released) {
    // Unless it ended by itself; its memory stays until its releaser has seen that.
    if (std::find(running_.begin(), running_.end(), slot) == running_.end()) continue;
    retire(*slot, slot->transfer.give_up(Errc::kCancelled, "given up by the caller"));
  }
  for (Slot* slot : fresh) begin(*slot);
  return true;
}

void HttpLoop::begin(Slot& slot) {
  if (idle_.empty()) {
    slot.easy = curl().easy_init();
    if (slot.easy == nullptr) {
      return complete(slot, slot.transfer.give_up(Errc::kInternal, "libcurl is out of resources"));
    }
  } else {
    slot.easy = idle_.back();
    idle_.pop_back();
  }
  curl().easy_setopt(slot.easy, CURLOPT_PRIVATE, &slot);
  running_.push_back(&slot);
  if (auto ready = slot.transfer.prepare(slot.easy); !ready) return retire(slot, std::move(ready).error());
  if (curl().multi_add_handle(multi_, slot.easy) != CURLM_OK) {
    retire(slot, slot.transfer.give_up(Errc::kInternal, "libcurl does not take the transfer"));
  }
}

void HttpLoop::collect() {
  int left = 0;
  while (const CURLMsg* message = curl().multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // The message is gone once the handle is removed.
    Slot* slot = nullptr;
    curl().easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
    CHECK(slot != nullptr);
    retire(*slot, slot->transfer.finish(code));
  }
}

void HttpLoop::check_deadlines() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::pair<Slot*, Error>> overdue;
  for (Slot* slot : running_) {
    if (auto error = slot->transfer.overdue(now)) overdue.emplace_back(slot, std::move(*error));
  }
  for (auto& [slot, error] : overdue) retire(*slot, std::move(error));
}

void HttpLoop::drop_all(Errc code, const char* cause) {
  while (!running_.empty()) retire(*running_.back(), running_.back()->transfer.give_up(code, cause));
  std::deque<Slot*> queued;
  {
    const MutexLock lock(mu_);
    queued.swap(queued_);
  }
  for (Slot* slot : queued) complete(*slot, slot->transfer.give_up(code, cause));
}

void HttpLoop::retire(Slot& slot, Result<HttpResponse> result) {
  curl().multi_remove_handle(multi_, slot.easy);  // Of one that was not added: no harm.
  curl().easy_reset(slot.easy);                   // The handle points into the transfer.
  idle_.push_back(std::exchange(slot.easy, nullptr));
  running_.erase(std::remove(running_.begin(), running_.end(), &slot), running_.end());
  complete(slot, std::move(result));
}

void HttpLoop::complete(Slot& slot, Result<HttpResponse> result) {
  const MutexLock lock(mu_);
  slot.result = std::move(result);
  slot.done = true;
  // Under the lock: the waiter may destroy the slot as soon as it has it.
  slot.changed.notify_all();
}

int HttpLoop::wait_ms() {
  if (running_.size() < std::max<size_t>(options_.connections_max, 1)) {
    const MutexLock lock(mu_);
    if (!queued_.empty()) return 0;  // What has just ended made room.
  }
  if (running_.empty()) return kIdleMs;
  const auto now = std::chrono::steady_clock::now();
  auto wait = kTickMax;
  for (const Slot* slot : running_) {
    if (const auto at = slot->transfer.deadline()) {
      wait = std::min(wait, std::chrono::ceil<std::chrono::milliseconds>(*at - now));
    }
  }
  return static_cast<int>(std::max<int64_t>(wait.count(), 1));
}

}  // namespace pgark
