// The thread that drives all transfers of an HttpClient through libcurl's multi interface. Private to this folder.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/thread_annotations.h"
#include "net/http_transfer.h"

namespace pgark {

/// Start it once, stop it once; everything else is safe from several threads.
class HttpLoop {
 public:
  /// A transfer and who waits for it. Lives until `done`, or until release() returned.
  struct Slot {
    Slot(HttpRequest request, const HttpOptions& options) : transfer(std::move(request), options) {}
    HttpTransfer transfer;
    CURL* easy = nullptr;                          // Of the event thread, while it runs.
    std::optional<Result<HttpResponse>> result{};  // The rest under the loop's mutex.
    bool done = false;
    CondVar changed{};
  };

  /// Errors: kInternal if libcurl has no resources.
  static Result<std::shared_ptr<HttpLoop>> start(HttpOptions options);
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  const HttpOptions& options() const { return options_; }
  void submit(Slot& slot);
  Result<HttpResponse> wait(Slot& slot);
  /// Have the thread let go of a slot: after this, nothing reads or writes what its request points to.
  void release(Slot& slot);
  /// End every transfer with kCancelled, and the thread.
  void stop();

 private:
  HttpLoop(HttpOptions options, CURLM* multi);

  void run();
  bool take_orders();
  void begin(Slot& slot);
  void drop_all(Errc code, const char* cause);
  void collect();
  void check_deadlines();
  /// Take a transfer out of libcurl and give its waiter the result.
  void retire(Slot& slot, Result<HttpResponse> result);
  void complete(Slot& slot, Result<HttpResponse> result) EXCLUDES(mu_);
  int wait_ms() EXCLUDES(mu_);
  void wake();

  const HttpOptions options_;
  CURLM* const multi_;
  // Of the event thread.
  std::vector<Slot*> running_;
  std::vector<CURL*> idle_;  // Handles to use again: they keep TLS sessions.

  Mutex mu_;
  std::deque<Slot*> queued_ GUARDED_BY(mu_);
  std::vector<Slot*> released_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::atomic<bool> woken_ = false;
  std::thread thread_;
};

}  // namespace pgark
