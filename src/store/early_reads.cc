// The first reads of a command, one thread each.
#include "store/early_reads.h"

#include <algorithm>
#include <cstring>

#include "store/calls_at_once.h"

namespace pgark {
namespace {

/// What small objects have less than.
constexpr size_t kEarlyBytes = (64u << 10) + 1;

}  // namespace

EarlyReads::EarlyReads(std::unique_ptr<ObjectStore> inner, Wanted wanted) : inner_(std::move(inner)) {
  for (ObjectKey& key : wanted.objects) objects_.push_back({.what = std::move(key.value), .result = {}});
  for (std::string& prefix : wanted.prefixes) lists_.push_back({.what = std::move(prefix), .result = {}});
  for (Early<Buffer>& early : objects_) {
    begin(early, [this](const std::string& key) -> Result<Buffer> {
      Buffer content(kEarlyBytes);
      TRY_ASSIGN(const size_t count, inner_->read({key}, 0, content.bytes()));
      content.resize(count);
      return content;
    });
  }
  for (Early<ListPage>& early : lists_) {
    begin(early, [this](const std::string& prefix) {
      return inner_->list({.prefix = prefix, .after = "", .limit = list_page(*inner_)});
    });
  }
}

template <typename T, typename Call>
void EarlyReads::begin(Early<T>& early, Call call) {
  group_.spawn([this, &early, call]() -> Result<> {
    auto result = call(early.what);
    MutexLock lock(mu_);
    early.result = std::move(result);
    ready_.notify_all();
    return {};
  });
}

template <typename T>
std::optional<Result<T>> EarlyReads::take(std::vector<Early<T>>& all, const std::string& what) {
  MutexLock lock(mu_);
  const auto early = std::ranges::find_if(all, [&](const Early<T>& one) { return !one.taken && one.what == what; });
  if (early == all.end()) return std::nullopt;
  early->taken = true;
  // A thread that could not be started leaves the group cancelled, and nobody to wait for.
  while (!early->result && !group_.cancel().cancelled()) ready_.wait(mu_);
  return std::exchange(early->result, std::nullopt);
}

Result<size_t> EarlyReads::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  if (offset == 0) {
    const auto early = take(objects_, key.value);
    if (early && !*early) return Error(early->error());
    // One that fills it may go on behind it.
    if (early && (*early)->size() < kEarlyBytes) {
      const size_t count = std::min((*early)->size(), into.size());
      if (count > 0) std::memcpy(into.data(), (*early)->data(), count);
      return count;
    }
  }
  return inner_->read(key, offset, into);
}

Result<ListPage> EarlyReads::list(const ListRequest& request) {
  if (request.after.empty() && request.limit == list_page(*inner_)) {
    if (auto early = take(lists_, request.prefix)) return std::move(*early);
  }
  return inner_->list(request);
}

}  // namespace pgark
