// A decorator that tries again what can pass.
#include "store/retry_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/hash.h"
#include "core/check.h"
#include "core/log.h"

namespace pgark {
namespace {

constexpr size_t kCompareBytes = 1u << 20;

bool may_retry(Errc code) { return code == Errc::kTransient || code == Errc::kOutcomeUnknown; }

}  // namespace

RetryStore::RetryStore(std::unique_ptr<ObjectStore> inner, RetryPolicy policy, Clock& clock, uint64_t seed)
    : inner_(std::move(inner)), policy_(policy), clock_(clock), rng_(seed) {
  CHECK(policy_.attempts_max >= 1);
}

RetryStore::~RetryStore() = default;

uint64_t RetryStore::retries() {
  MutexLock lock(mu_);
  return retries_;
}

Result<> RetryStore::wait_to_retry(RetryAttempts& attempts, Error error) {
  if (!may_retry(error.code())) return error;
  // Patience is for a store that went away, and not for one that never was where the settings say.
  RetryPolicy policy = policy_;
  if (!has_answered_.load(std::memory_order_relaxed)) policy.patience = {};
  const bool beyond = attempts.made() == policy_.attempts_max;
  if (!attempts.may_go_on(policy, clock_)) {
    if (attempts.made() == 1) return error;
    return std::move(error).with_context(fmt::format("given up after {} attempts", attempts.made()));
  }
  if (beyond) log_warn("{}; trying on for {} s", error.message(), policy.patience.count() / 1000);
  std::chrono::milliseconds delay;
  {
    MutexLock lock(mu_);
    ++retries_;
    delay = attempts.next_delay(policy_, rng_);
  }
  return sleep_unless_cancelled(clock_, delay, policy_.cancel, error.message());
}

Result<std::optional<ObjectInfo>> RetryStore::stat(const ObjectKey& key) {
  for (RetryAttempts attempts;;) {
    auto result = inner_->stat(key);
    if (result.has_value()) return answered(std::move(result));
    TRY(wait_to_retry(attempts, std::move(result).error()));
  }
}

Result<size_t> RetryStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  for (RetryAttempts attempts;;) {
    auto result = inner_->read(key, offset, into);
    if (result.has_value()) return answered(std::move(result));
    TRY(wait_to_retry(attempts, std::move(result).error()));
  }
}

Result<ListPage> RetryStore::list(const ListRequest& request) {
  for (RetryAttempts attempts;;) {
    auto result = inner_->list(request);
    if (result.has_value()) return answered(std::move(result));
    TRY(wait_to_retry(attempts, std::move(result).error()));
  }
}

Result<bool> RetryStore::remove(const ObjectKey& key) {
  bool may_have_removed = false;
  for (RetryAttempts attempts;;) {
    auto result = inner_->remove(key);
    if (result.has_value()) return *result || may_have_removed;
    may_have_removed = may_have_removed || result.error().code() == Errc::kOutcomeUnknown;
    TRY(wait_to_retry(attempts, std::move(result).error()));
  }
}

std::vector<Result<bool>> RetryStore::remove_many(std::span<const ObjectKey> keys) {
  std::vector<Result<bool>> results = inner_->remove_many(keys);
  for (RetryAttempts attempts;;) {
    std::vector<size_t> failed;
    std::vector<ObjectKey> again;
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].has_value() || !may_retry(results[i].error().code())) continue;
      failed.push_back(i);
      again.push_back(keys[i]);
    }
    if (failed.empty()) return results;
    if (auto waited = wait_to_retry(attempts, results[failed.front()].error()); !waited.has_value()) {
      for (const size_t i : failed) results[i] = waited.error();
      return results;
    }
    std::vector<Result<bool>> repeated = inner_->remove_many(again);
    for (size_t i = 0; i < failed.size(); ++i) {
      // What an attempt without an answer has removed is absent now.
      const bool may_have_removed = results[failed[i]].error().code() == Errc::kOutcomeUnknown;
      results[failed[i]] = std::move(repeated[i]);
      if (may_have_removed && results[failed[i]].has_value()) results[failed[i]] = true;
    }
  }
}

Result<bool> RetryStore::holds(const ObjectKey& key, uint64_t bytes, uint64_t hash, ObjectInfo& info) {
  TRY_ASSIGN(const auto found, stat(key));
  if (!found.has_value())
    return Error(Errc::kNotFound, fmt::format("look for object '{}' in {}: no such object", key.value, describe()));
  info = *found;
  if (info.bytes != bytes) return false;
  Hasher64 hasher;
  Buffer chunk(static_cast<size_t>(std::min<uint64_t>(bytes, kCompareBytes)));
  for (uint64_t at = 0; at < bytes;) {
    const auto into = chunk.bytes().first(static_cast<size_t>(std::min<uint64_t>(bytes - at, kCompareBytes)));
    TRY(read_exact(key, at, into));
    hasher.update(into);
    at += into.size();
  }
  return hasher.digest() == hash;
}

class RetryStore::Writer final : public ObjectWriter {
 public:
  Writer(RetryStore& store, ObjectKey key, std::unique_ptr<ObjectWriter> inner)
      : store_(store), key_(std::move(key)), inner_(std::move(inner)) {}

  Result<> append(Bytes data) override {
    if (failure_.has_value()) return *failure_;
    if (replayable_ && bytes_ + data.size() > store_.policy_.replay_bytes_max) {
      replayable_ = false;
      replay_ = Buffer();
    }
    if (replayable_) replay_.append(data);
    hasher_.update(data);
    bytes_ += data.size();
    auto result = inner_->append(data);
    if (!result.has_value() && replayable_ && may_retry(result.error().code())) {
      RetryAttempts attempts;
      result = send_again(attempts, std::move(result).error());
    }
    if (!result.has_value()) failure_ = result.error();
    return result;
  }

  Result<ObjectInfo> commit() && override {
    if (failure_.has_value()) return *failure_;
    bool outcome_unknown = false;
    for (RetryAttempts attempts;;) {
      auto result = std::move(*inner_).commit();
      inner_.reset();
      if (result.has_value()) return result;
      const Errc code = result.error().code();
      // Whatever a commit that broke off calls itself, it may have worked; and after one, the object in our way may be
      // our own.
      const bool look = may_retry(code) || (outcome_unknown && code == Errc::kAlreadyExists);
      outcome_unknown = outcome_unknown || may_retry(code);
      if (look) {
        TRY_ASSIGN(const auto settled, settle());
        if (settled.has_value()) return *settled;
      } else if (!may_retry(code)) {
        return result;
      }
      if (!replayable_)
        return std::move(result)
            .error()
            .with_code(Errc::kTransient)
            .with_context(fmt::format("object '{}' is too large to be sent again by itself", key_.value));
      TRY(send_again(attempts, std::move(result).error(), outcome_unknown));
      if (!inner_) {
        // The name was taken before anything was sent: ours, if an attempt had worked after all.
        TRY_ASSIGN(const auto settled, settle());
        if (settled.has_value()) return *settled;
        return Error(Errc::kOutcomeUnknown, fmt::format("commit object '{}' in {}: it appeared and vanished again",
                                                        key_.value, store_.describe()));
      }
    }
  }

 private:
  /// Begin anew and append everything kept. With `taken_may_be_ours`, a name that is taken leaves no writer and is
  /// success.
  Result<> send_again(RetryAttempts& attempts, Error error, bool taken_may_be_ours = false) {
    for (;;) {
      TRY(store_.wait_to_retry(attempts, std::move(error)));
      inner_.reset();  // Aborts what was sent, before its successor begins.
      auto created = store_.inner_->create(key_);
      if (!created.has_value()) {
        if (taken_may_be_ours && created.error().code() == Errc::kAlreadyExists) return {};
        error = std::move(created).error();
        continue;
      }
      auto appended = (*created)->append(replay_);
      if (!appended.has_value()) {
        error = std::move(appended).error();
        continue;
      }
      inner_ = std::move(*created);
      return {};
    }
  }

  /// Look whether the object is there and ours: its info; nothing if it is absent.
  /// Errors: kAlreadyExists if another's is there.
  Result<std::optional<ObjectInfo>> settle() {
    ObjectInfo info;
    auto ours = store_.holds(key_, bytes_, hasher_.digest(), info);
    if (!ours.has_value()) {
      if (ours.error().code() == Errc::kNotFound) return std::optional<ObjectInfo>();
      return std::move(ours).error().with_code(Errc::kOutcomeUnknown);
    }
    if (!*ours)
      return Error(Errc::kAlreadyExists, fmt::format("commit object '{}' in {}: the name is taken by other content",
                                                     key_.value, store_.describe()));
    // To be seen is not yet to be durable; a store says kAlreadyExists only of what is.
    if (auto again = store_.create(key_); !again.has_value() && again.error().code() != Errc::kAlreadyExists)
      return std::move(again).error().with_code(Errc::kOutcomeUnknown);
    return std::optional<ObjectInfo>(info);
  }

  RetryStore& store_;
  const ObjectKey key_;
  std::unique_ptr<ObjectWriter> inner_;
  Buffer replay_;
  bool replayable_ = true;
  Hasher64 hasher_;
  uint64_t bytes_ = 0;
  std::optional<Error> failure_;
};

Result<std::unique_ptr<ObjectWriter>> RetryStore::create(const ObjectKey& key) {
  for (RetryAttempts attempts;;) {
    auto result = inner_->create(key);
    if (result.has_value()) return std::make_unique<Writer>(*this, key, std::move(*result));
    TRY(wait_to_retry(attempts, std::move(result).error()));
  }
}

}  // namespace pgark
