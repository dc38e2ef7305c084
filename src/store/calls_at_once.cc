// A few threads that take numbers until there are none.
#include "store/calls_at_once.h"

#include <algorithm>
#include <atomic>

#include "pipe/task_group.h"

namespace pgark {

namespace {

bool is_behind_network(const StoreCaps& caps) { return caps.kind != "posix" && caps.kind != "memory"; }

}  // namespace

bool is_far(const ObjectStore& store) {
  const StoreCaps caps = store.caps();
  return caps.far || is_behind_network(caps);
}

// However late directories answer, they are read again for every page.
size_t list_page(const ObjectStore& store) { return is_behind_network(store.caps()) ? 1000 : 20'000; }

Result<> for_each_call(const ObjectStore& store, size_t count, const std::function<Result<>(size_t)>& call) {
  const size_t threads = is_far(store) ? std::min<size_t>(count, kCallsAtOnce) : 1;
  if (threads <= 1) {
    for (size_t i = 0; i < count; ++i) TRY(call(i));
    return {};
  }
  std::atomic<size_t> next = 0;
  TaskGroup group;
  for (size_t thread = 0; thread < threads; ++thread)
    group.spawn([&]() -> Result<> {
      while (!group.cancel().cancelled()) {
        const size_t i = next++;
        if (i >= count) return {};
        TRY(call(i));
      }
      return {};
    });
  return group.wait();
}

}  // namespace pgark
