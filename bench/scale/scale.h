// Shared parts of the program `scale`: arguments, measured phases, and a store that counts what is asked of it.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/thread_annotations.h"
#include "repo/repository.h"
#include "store/object_store.h"

namespace pgark::scale {

using Json = nlohmann::ordered_json;

/// "--name=value" arguments. An unknown name ends the program.
class Arguments {
 public:
  Arguments(int argc, char** argv, const std::vector<std::string>& known);
  std::string text(const std::string& name, const std::string& otherwise = "") const;
  uint64_t number(const std::string& name, uint64_t otherwise) const;
  bool has(const std::string& name) const { return values_.contains(name); }

 private:
  std::map<std::string, std::string> values_;
};

/// End the program with a message if there is an error.
[[noreturn]] void die(const std::string& what);
template <typename T>
T must(Result<T> result, const std::string& what) {
  if (!result.has_value()) die(what + ": " + result.error().to_string());
  return std::move(*result);
}
inline void must(Result<> result, const std::string& what) {
  if (!result.has_value()) die(what + ": " + result.error().to_string());
}

/// Do `work` in a process of its own and tell what it took: seconds of wall and processor time, and the peak of its
/// memory, with the members of what it returns behind them.
Json measure(const std::string& name, const std::function<Json()>& work);

/// Phases by name, in their order.
using Phases = std::vector<std::pair<std::string, std::function<Json()>>>;
/// Measure those that `chosen` names, separated by commas; all of them if it is empty.
Json measure_all(const Phases& phases, const std::string& chosen);

/// Memory of this process now.
uint64_t resident_bytes();
/// Numbers as people read them: "1.25 GiB".
std::string size_text(uint64_t bytes);

/// A number that looks random, the same for the same `value`.
inline uint64_t scatter(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

/// What was asked of a store.
enum class Call : uint8_t { kWrite, kStat, kRead, kList, kRemove, kRemoveMany, kSweep };
inline constexpr size_t kCallCount = 7;
struct CallCount {
  uint64_t calls = 0;
  uint64_t requests = 0;  // That S3 is sent for them.
  uint64_t bytes = 0;     // Written or read.
};
/// Calls by kind, and by kind of object: "pack", "backup", "wal", ...
using CallCounts = std::map<std::string, std::array<CallCount, kCallCount>>;

/// Passes everything on, counting. If `far`, it says that it is S3, so that whoever uses it does what it does there.
class CountingStore final : public ObjectStore {
 public:
  CountingStore(ObjectStore& inner, bool far) : inner_(inner), far_(far) {}

  StoreCaps caps() const override;
  std::string describe() const override { return inner_.describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override;
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override;

  /// What was counted since the last time.
  CallCounts take();
  void count(std::string_view key, Call call, uint64_t requests, uint64_t bytes);

 private:
  class Writer;

  ObjectStore& inner_;
  const bool far_;
  Mutex mu_;
  CallCounts counts_ GUARDED_BY(mu_);
};

/// Sums by kind of request as S3 names and prices them: PUT (with POST), GET, HEAD, LIST, DELETE.
Json requests_by_name(const CallCounts& counts);
Json calls_by_name(const CallCounts& counts);

/// A store of plain files that nobody waits for: makes a repository quickly which is then measured as a PosixStore.
std::unique_ptr<ObjectStore> quick_files(const std::string& root);

int run_manifest(int argc, char** argv);
int run_expire(int argc, char** argv);
int run_requests(int argc, char** argv);

}  // namespace pgark::scale
