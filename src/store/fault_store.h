// A decorator that makes chosen calls fail, wait or lie, by rules given as data, and counts all calls: for tests.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/thread_annotations.h"
#include "store/object_store.h"

namespace pgark {

enum class StoreCall : unsigned char { kCreate, kAppend, kCommit, kStat, kRead, kList, kRemove };
inline constexpr size_t kStoreCallKinds = 7;
/// "create", "append", ...
std::string_view store_call_name(StoreCall call);

enum class Fault : unsigned char {
  kFail,       // The call is not made; the rule's error.
  kFailAfter,  // The call is made, and the rule's error returned all the same: an answer that was lost.
  kDelay,      // Wait on the clock, then make the call.
  kTruncate,   // read: half of what was asked for arrives, as if the object ended; append: half is written, then the
               // error; list: half of the page, as if that were all.
  kDuplicate,  // The call is made twice, and the second answer returned: a request that was sent again on its way.
               // Of a commit: the bytes are kept and committed a second time.
  kCorrupt,    // read: one bit of the answer is flipped; append: one bit of what is written.
};

/// The calls a rule means: those of kind `call` (any if none is given) whose key, or listed prefix, begins with
/// `prefix`, counted from 1: number `nth`, and then every `every`-th after it (0: no other), at most `times_max` in
/// all.
struct FaultRule {
  std::optional<StoreCall> call{};
  std::string prefix{};
  uint64_t nth = 1;
  uint64_t every = 0;
  uint64_t times_max = std::numeric_limits<uint64_t>::max();
  Fault fault = Fault::kFail;
  Errc code = Errc::kTransient;  // kOutcomeUnknown with kFail did not happen, with kFailAfter it did.
  std::chrono::milliseconds delay{0};
};

/// A rule that fired, in the order of firing.
struct FiredFault {
  size_t rule = 0;
  StoreCall call{};
  std::string key;
  uint64_t call_number = 0;  // Among all calls of the store, from 1.
};

/// The first rule that fires on a call decides it; the rules behind it count the call nevertheless. Without rules it
/// only counts. With one calling thread the same rules give the same faults every time.
class FaultStore final : public ObjectStore {
 public:
  FaultStore(std::unique_ptr<ObjectStore> inner, std::vector<FaultRule> rules = {}, Clock& clock = system_clock());

  StoreCaps caps() const override { return inner_->caps(); }
  std::string describe() const override { return inner_->describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override {
    return inner_->remove_stale_temporaries(age_min);
  }

  ObjectStore& inner() { return *inner_; }
  /// Replace the rules; all their counts begin at zero.
  void set_rules(std::vector<FaultRule> rules);
  std::vector<FiredFault> fired();
  /// Rules that never fired, as text: a test that injects a fault asserts that there are none.
  std::vector<std::string> unfired();
  uint64_t calls();  // Of every kind, since the store was made.
  uint64_t calls(StoreCall call);
  uint64_t bytes_read();
  uint64_t bytes_appended();

 private:
  class Writer;
  friend class Writer;
  struct Counted {
    FaultRule rule;
    uint64_t matched = 0;
    uint64_t fired = 0;
  };

  /// Count the call and find the rule that decides it, if any.
  std::optional<FaultRule> decide(StoreCall call, const std::string& key);
  Error injected(const FaultRule& rule, StoreCall call, const std::string& key) const;
  template <typename T, typename Call>
  Result<T> run(StoreCall call, const std::string& key, const std::optional<FaultRule>& rule, Call make);
  void add_bytes_read(uint64_t bytes);
  void add_bytes_appended(uint64_t bytes);

  const std::unique_ptr<ObjectStore> inner_;
  Clock& clock_;
  Mutex mu_;
  std::vector<Counted> rules_ GUARDED_BY(mu_);
  std::vector<FiredFault> fired_ GUARDED_BY(mu_);
  std::array<uint64_t, kStoreCallKinds> calls_ GUARDED_BY(mu_){};
  uint64_t bytes_read_ GUARDED_BY(mu_) = 0;
  uint64_t bytes_appended_ GUARDED_BY(mu_) = 0;
};

}  // namespace pgark
