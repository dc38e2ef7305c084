// A decorator that makes chosen calls fail, wait or lie, and counts all calls.
#include "store/fault_store.h"

#include <fmt/format.h>

#include <numeric>

namespace pgark {

std::string_view store_call_name(StoreCall call) {
  switch (call) {
    case StoreCall::kCreate:
      return "create";
    case StoreCall::kAppend:
      return "append";
    case StoreCall::kCommit:
      return "commit";
    case StoreCall::kStat:
      return "stat";
    case StoreCall::kRead:
      return "read";
    case StoreCall::kList:
      return "list";
    case StoreCall::kRemove:
      return "remove";
  }
  return "call";
}

FaultStore::FaultStore(std::unique_ptr<ObjectStore> inner, std::vector<FaultRule> rules, Clock& clock)
    : inner_(std::move(inner)), clock_(clock) {
  set_rules(std::move(rules));
}

void FaultStore::set_rules(std::vector<FaultRule> rules) {
  MutexLock lock(mu_);
  rules_.clear();
  fired_.clear();
  for (FaultRule& rule : rules) rules_.push_back({.rule = std::move(rule)});
}

std::vector<FiredFault> FaultStore::fired() {
  MutexLock lock(mu_);
  return fired_;
}

std::vector<std::string> FaultStore::unfired() {
  std::vector<std::string> texts;
  MutexLock lock(mu_);
  for (const Counted& counted : rules_) {
    if (counted.fired > 0) continue;
    const FaultRule& rule = counted.rule;
    texts.push_back(fmt::format("call {} of {} on '{}*' ({} matched)", rule.nth,
                                rule.call.has_value() ? store_call_name(*rule.call) : "any kind", rule.prefix,
                                counted.matched));
  }
  return texts;
}

uint64_t FaultStore::calls() {
  MutexLock lock(mu_);
  return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0});
}

uint64_t FaultStore::calls(StoreCall call) {
  MutexLock lock(mu_);
  return calls_[static_cast<size_t>(call)];
}

uint64_t FaultStore::bytes_read() {
  MutexLock lock(mu_);
  return bytes_read_;
}

uint64_t FaultStore::bytes_appended() {
  MutexLock lock(mu_);
  return bytes_appended_;
}

void FaultStore::add_bytes_read(uint64_t bytes) {
  MutexLock lock(mu_);
  bytes_read_ += bytes;
}

void FaultStore::add_bytes_appended(uint64_t bytes) {
  MutexLock lock(mu_);
  bytes_appended_ += bytes;
}

std::optional<FaultRule> FaultStore::decide(StoreCall call, const std::string& key) {
  std::optional<FaultRule> deciding;
  {
    MutexLock lock(mu_);
    ++calls_[static_cast<size_t>(call)];
    for (size_t i = 0; i < rules_.size(); ++i) {
      Counted& counted = rules_[i];
      const FaultRule& rule = counted.rule;
      if ((rule.call.has_value() && *rule.call != call) || !key.starts_with(rule.prefix)) continue;
      const uint64_t number = ++counted.matched;
      const bool due =
          number == rule.nth || (rule.every > 0 && number > rule.nth && (number - rule.nth) % rule.every == 0);
      if (!due || counted.fired >= rule.times_max || deciding.has_value()) continue;
      ++counted.fired;
      fired_.push_back({i, call, key, std::accumulate(calls_.begin(), calls_.end(), uint64_t{0})});
      deciding = rule;
    }
  }
  if (deciding.has_value() && deciding->delay.count() > 0) clock_.sleep_for(deciding->delay);
  return deciding;
}

Error FaultStore::injected(const FaultRule& rule, StoreCall call, const std::string& key) const {
  return Error(rule.code, fmt::format("{} object '{}' in {}: injected fault", store_call_name(call), key, describe()));
}

template <typename T, typename Call>
Result<T> FaultStore::run(StoreCall call, const std::string& key, const std::optional<FaultRule>& rule, Call make) {
  if (!rule.has_value()) return make();
  if (rule->fault == Fault::kFail) return injected(*rule, call, key);
  if (rule->fault == Fault::kDuplicate) static_cast<void>(make());
  Result<T> result = make();
  if (rule->fault == Fault::kFailAfter) return injected(*rule, call, key);
  return result;
}

Result<std::optional<ObjectInfo>> FaultStore::stat(const ObjectKey& key) {
  const auto rule = decide(StoreCall::kStat, key.value);
  return run<std::optional<ObjectInfo>>(StoreCall::kStat, key.value, rule, [&] { return inner_->stat(key); });
}

Result<size_t> FaultStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  const auto rule = decide(StoreCall::kRead, key.value);
  if (rule.has_value() && rule->fault == Fault::kTruncate) into = into.first(into.size() / 2);
  auto result = run<size_t>(StoreCall::kRead, key.value, rule, [&] { return inner_->read(key, offset, into); });
  if (result.has_value()) add_bytes_read(*result);
  if (result.has_value() && rule.has_value() && rule->fault == Fault::kCorrupt && *result > 0)
    into[*result / 2] ^= std::byte{1};
  return result;
}

Result<ListPage> FaultStore::list(const ListRequest& request) {
  const auto rule = decide(StoreCall::kList, request.prefix);
  auto result = run<ListPage>(StoreCall::kList, request.prefix, rule, [&] { return inner_->list(request); });
  if (result.has_value() && rule.has_value() && rule->fault == Fault::kTruncate) {
    result->objects.resize(result->objects.size() / 2);
    result->more = false;
  }
  return result;
}

Result<bool> FaultStore::remove(const ObjectKey& key) {
  const auto rule = decide(StoreCall::kRemove, key.value);
  return run<bool>(StoreCall::kRemove, key.value, rule, [&] { return inner_->remove(key); });
}

class FaultStore::Writer final : public ObjectWriter {
 public:
  Writer(FaultStore& store, ObjectKey key, std::unique_ptr<ObjectWriter> inner)
      : store_(store), key_(std::move(key)), inner_(std::move(inner)) {}

  Result<> append(Bytes data) override {
    if (failure_.has_value()) return *failure_;
    const auto rule = store_.decide(StoreCall::kAppend, key_.value);
    auto result = append_by(rule, data);
    if (!result.has_value()) failure_ = result.error();
    return result;
  }

  Result<ObjectInfo> commit() && override {
    if (failure_.has_value()) return *failure_;
    const auto rule = store_.decide(StoreCall::kCommit, key_.value);
    if (rule.has_value() && rule->fault == Fault::kDuplicate) {
      TRY_ASSIGN(const ObjectInfo first, std::move(*inner_).commit());
      TRY_ASSIGN(const Buffer content, store_.inner_->get(key_, first.bytes));
      return store_.inner_->put(key_, content);
    }
    return store_.run<ObjectInfo>(StoreCall::kCommit, key_.value, rule, [&] { return std::move(*inner_).commit(); });
  }

 private:
  Result<> append_by(const std::optional<FaultRule>& rule, Bytes data) {
    if (rule.has_value() && rule->fault == Fault::kTruncate) {
      TRY(inner_->append(data.first(data.size() / 2)));
      return store_.injected(*rule, StoreCall::kAppend, key_.value);
    }
    if (rule.has_value() && rule->fault == Fault::kCorrupt && !data.empty()) {
      Buffer damaged;
      damaged.append(data);
      damaged.bytes()[data.size() / 2] ^= std::byte{1};
      return inner_->append(damaged);
    }
    TRY(store_.run<void>(StoreCall::kAppend, key_.value, rule, [&] { return inner_->append(data); }));
    store_.add_bytes_appended(data.size());
    return {};
  }

  FaultStore& store_;
  const ObjectKey key_;
  std::unique_ptr<ObjectWriter> inner_;
  std::optional<Error> failure_;
};

Result<std::unique_ptr<ObjectWriter>> FaultStore::create(const ObjectKey& key) {
  const auto rule = decide(StoreCall::kCreate, key.value);
  auto result =
      run<std::unique_ptr<ObjectWriter>>(StoreCall::kCreate, key.value, rule, [&] { return inner_->create(key); });
  if (!result.has_value()) return result;
  return std::make_unique<Writer>(*this, key, std::move(*result));
}

}  // namespace pgark
