// What this machine is too small for, built and measured all the same: catalogs, manifests and request counts of large
// clusters and long retention. docs/scale.md tells what came out, and which commands it came from.
//
//   scale manifest --repo=DIR [--relations=N] [--tib=N] [--phases=NAME,...] [--keep]
//       plan, parts and manifests of a full and an incremental backup of a made-up cluster, then what each command does
//       with them
//   scale expire --repo=DIR [--backups=N] [--far] [--phases=NAME,...] [--keep]
//       expire, info and the first step of a backup over a catalog of many backups
//   scale requests [--mib=N]
//       requests of each command to S3, counted at a small size, and what they cost at a large one
//
// Each prints JSON. Every phase is a process of its own, so that its peak memory is its own. With --phases only some
// are run, on what earlier ones left; --keep leaves the repository.
#include "scale.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

namespace pgark::scale {

Arguments::Arguments(int argc, char** argv, const std::vector<std::string>& known) {
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name(argument.substr(0, equals).substr(argument.starts_with("--") ? 2 : 0));
    if (std::find(known.begin(), known.end(), name) == known.end()) die("unknown argument " + std::string(argument));
    values_[name] = equals == std::string_view::npos ? "" : std::string(argument.substr(equals + 1));
  }
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

uint64_t Arguments::number(const std::string& name, uint64_t otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
}

void die(const std::string& what) {
  std::fprintf(stderr, "scale: %s\n", what.c_str());
  std::_Exit(1);
}

namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

double rounded(double value) { return static_cast<double>(static_cast<int64_t>(value * 1000 + 0.5)) / 1000; }

}  // namespace

Json measure(const std::string& name, const std::function<Json()>& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) die("pipe");
  std::fflush(nullptr);
  const auto begun = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    const std::string text = work().dump();
    if (::write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size())) die("write");
    std::_Exit(0);  // What it holds needs no taking apart.
  }
  ::close(ends[1]);
  const std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  rusage used{};
  if (::wait4(child, &status, 0, &used) != child || status != 0) die("phase " + name + " failed");
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
  Json result{{"phase", name},
              {"seconds", rounded(elapsed.count())},
              {"cpu_seconds", rounded(seconds_of(used.ru_utime) + seconds_of(used.ru_stime))},
              {"peak_mib", static_cast<uint64_t>(used.ru_maxrss) / 1024}};
  const Json own = Json::parse(text);
  result.update(own);
  std::fprintf(stderr, "%s\n", result.dump().c_str());
  return result;
}

Json measure_all(const Phases& phases, const std::string& chosen) {
  Json results = Json::array();
  for (const auto& [name, work] : phases)
    if (chosen.empty() || ("," + chosen + ",").find("," + name + ",") != std::string::npos)
      results.push_back(measure(name, work));
  return results;
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string size_text(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.2f} {}", value, kUnits[unit]);
}

// -- The store that counts.

namespace {

constexpr uint64_t kPartBytes = 8u << 20;  // CloudSettings::chunk_bytes.

/// Requests that writing an object takes: one, or the beginning, the parts and the end.
uint64_t put_requests(uint64_t bytes) { return bytes <= kPartBytes ? 1 : 2 + (bytes + kPartBytes - 1) / kPartBytes; }

/// "pack" of "main/pack/20261122-101500F/000001".
std::string kind_of(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos) return "repository";
  const std::string_view below = key.substr(slash + 1);
  return std::string(below.substr(0, below.find('/')));
}

}  // namespace

class CountingStore::Writer final : public ObjectWriter {
 public:
  Writer(CountingStore& store, std::string key, std::unique_ptr<ObjectWriter> inner)
      : store_(store), key_(std::move(key)), inner_(std::move(inner)) {}
  Result<> append(Bytes data) override {
    bytes_ += data.size();
    return inner_->append(data);
  }
  Result<ObjectInfo> commit() && override {
    store_.count(key_, Call::kWrite, put_requests(bytes_), bytes_);
    return std::move(*inner_).commit();
  }

 private:
  CountingStore& store_;
  const std::string key_;
  std::unique_ptr<ObjectWriter> inner_;
  uint64_t bytes_ = 0;
};

void CountingStore::count(std::string_view key, Call call, uint64_t requests, uint64_t bytes) {
  const MutexLock lock(mu_);
  CallCount& count = counts_[kind_of(key)][static_cast<size_t>(call)];
  ++count.calls;
  count.requests += requests;
  count.bytes += bytes;
}

CallCounts CountingStore::take() {
  const MutexLock lock(mu_);
  return std::exchange(counts_, {});
}

StoreCaps CountingStore::caps() const {
  StoreCaps caps = inner_.caps();
  if (far_) caps.kind = "s3";
  return caps;
}

Result<std::unique_ptr<ObjectWriter>> CountingStore::create(const ObjectKey& key) {
  TRY_ASSIGN(auto writer, inner_.create(key));
  return std::make_unique<Writer>(*this, key.value, std::move(writer));
}

Result<std::optional<ObjectInfo>> CountingStore::stat(const ObjectKey& key) {
  count(key.value, Call::kStat, 1, 0);
  return inner_.stat(key);
}

Result<size_t> CountingStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  auto read = inner_.read(key, offset, into);
  count(key.value, Call::kRead, 1, read.has_value() ? *read : 0);
  return read;
}

Result<ListPage> CountingStore::list(const ListRequest& request) {
  auto page = inner_.list(request);
  const uint64_t listed = page.has_value() ? page->objects.size() : 0;
  count(request.prefix, Call::kList, std::max<uint64_t>(1, (listed + 999) / 1000), 0);
  return page;
}

Result<bool> CountingStore::remove(const ObjectKey& key) {
  count(key.value, Call::kRemove, 1, 0);
  if (far_) count(key.value, Call::kStat, 1, 0);  // S3 does not say whether there was something to delete.
  return inner_.remove(key);
}

std::vector<Result<bool>> CountingStore::remove_many(std::span<const ObjectKey> keys) {
  if (!keys.empty()) count(keys.front().value, Call::kRemoveMany, (keys.size() + 999) / 1000, 0);
  return inner_.remove_many(keys);
}

Result<StaleTemporaries> CountingStore::remove_stale_temporaries(std::chrono::seconds age_min) {
  count("", Call::kSweep, 1, 0);
  return inner_.remove_stale_temporaries(age_min);
}

namespace {

Json sums(const CallCounts& counts, const std::array<const char*, kCallCount>& names, bool requests) {
  Json out = Json::object();
  for (const auto& [kind, calls] : counts)
    for (size_t i = 0; i < kCallCount; ++i) {
      const uint64_t number = requests ? calls[i].requests : calls[i].calls;
      if (number > 0) out[names[i]] = out.value(names[i], uint64_t{0}) + number;
    }
  return out;
}

}  // namespace

Json requests_by_name(const CallCounts& counts) {
  return sums(counts, {"PUT", "HEAD", "GET", "LIST", "DELETE", "DELETE", "LIST"}, true);
}

Json calls_by_name(const CallCounts& counts) {
  return sums(counts, {"create", "stat", "read", "list", "remove", "remove_many", "sweep"}, false);
}

// -- Files without waiting.

namespace {

class QuickFiles final : public ObjectStore {
 public:
  explicit QuickFiles(std::string root) : root_(std::move(root)) { std::filesystem::create_directories(root_); }

  StoreCaps caps() const override { return {.kind = "posix"}; }
  std::string describe() const override { return root_; }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    return std::make_unique<Writer>(root_ + "/" + key.value, key);
  }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(root_ + "/" + key.value, error);
    if (error) return std::optional<ObjectInfo>();
    return std::optional<ObjectInfo>(ObjectInfo{key, bytes, {}});
  }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    std::ifstream file(root_ + "/" + key.value, std::ios::binary);
    if (!file) return Error(Errc::kNotFound, "read object " + key.value);
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(reinterpret_cast<char*>(into.data()), static_cast<std::streamsize>(into.size()));
    return static_cast<size_t>(file.gcount());
  }
  Result<ListPage> list(const ListRequest&) override { return ListPage{}; }
  Result<bool> remove(const ObjectKey&) override { return Error(Errc::kUnsupported, "remove"); }

 private:
  class Writer final : public ObjectWriter {
   public:
    Writer(std::string path, ObjectKey key) : path_(std::move(path)), key_(std::move(key)) {
      const std::string directory = path_.substr(0, path_.rfind('/'));
      std::filesystem::create_directories(directory);
      file_.open(path_, std::ios::binary | std::ios::trunc);
    }
    Result<> append(Bytes data) override {
      file_.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
      bytes_ += data.size();
      return {};
    }
    Result<ObjectInfo> commit() && override {
      file_.close();
      if (!file_) return Error(Errc::kNoSpace, "write " + path_);
      return ObjectInfo{key_, bytes_, {}};
    }

   private:
    std::string path_;
    ObjectKey key_;
    std::ofstream file_;
    uint64_t bytes_ = 0;
  };

  const std::string root_;
};

}  // namespace

std::unique_ptr<ObjectStore> quick_files(const std::string& root) { return std::make_unique<QuickFiles>(root); }

}  // namespace pgark::scale

int main(int argc, char** argv) {
  using namespace pgark::scale;
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "manifest") return run_manifest(argc, argv);
  if (command == "expire") return run_expire(argc, argv);
  if (command == "requests") return run_requests(argc, argv);
  die("usage: scale manifest|expire|requests [--name=value ...]");
}
