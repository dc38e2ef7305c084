#include "cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace pgark {
namespace {

std::atomic<CancelToken*> target = nullptr;
std::atomic<int> first_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<CancelToken*>::is_always_lock_free);

void on_signal(int signal) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal)) ::_exit(128 + signal);
  if (CancelToken* token = target.load()) token->cancel();
}

}  // namespace

void install_signal_handlers(CancelToken& token) {
  target = &token;
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_signal;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    // What a parent chose to ignore (nohup) stays ignored.
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
  ::signal(SIGPIPE, SIG_IGN);
}

int received_signal() { return first_signal; }

}  // namespace pgark
