// Writing the packs of a dump: streams take turns in a few open packs, which are committed beside the work.
#include "ops/dump_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "codec/hash.h"
#include "core/check.h"
#include "core/log.h"
#include "repo/commit_queue.h"

namespace pgark {
namespace {

constexpr size_t kDumpFrameBytes = 1u << 20;
// Small streams and highly compressible ones: the index of a pack is kept readable at once.
constexpr size_t kPackFramesMax = 1u << 16;
constexpr size_t kRemoveAtOnce = 1000;

}  // namespace

struct DumpPacks::State {
  /// A pack being filled and what a stream needs to fill it: used by one stream at a time.
  struct Bench {
    Bench(Codec codec, int level) : compressor(codec, level) {}
    Compressor compressor;
    CodedFrame frame;
    Buffer raw;  // Bytes of the stream that make no frame yet.
    uint32_t number = 0;
    std::optional<ContainerWriter> pack;
  };

  State(RepositorySet set, DumpPackOptions chosen) : repositories(std::move(set)), options(std::move(chosen)) {}

  /// One that no stream uses, the last that was given back first: so that few packs stay open.
  std::unique_ptr<Bench> take() EXCLUDES(mu) {
    const MutexLock lock(mu);
    if (idle.empty()) return std::make_unique<Bench>(options.codec, options.level);
    auto bench = std::move(idle.back());
    idle.pop_back();
    return bench;
  }
  void give_back(std::unique_ptr<Bench> bench) EXCLUDES(mu) {
    bench->raw.clear();
    const MutexLock lock(mu);
    idle.push_back(std::move(bench));
  }

  Result<> open(Bench& bench) {
    bench.number = ++numbers;
    TRY_ASSIGN(bench.pack,
               ContainerWriter::create(repositories, dump_pack_key(options.stanza, options.label, bench.number),
                                       ContainerKind::kDump));
    return {};
  }
  Result<> close(Bench& bench) {
    if (!bench.pack.has_value()) return {};
    ContainerWriter full = std::move(*bench.pack);
    bench.pack.reset();
    if (!commits.push(std::move(full))) return lost();
    return {};
  }

  /// Why no stream can go on: another's pack could not be written.
  Error lost() const {
    if (const auto error = commits.first_error()) return *error;
    // The repository is known to have failed a little before its error is here.
    for (const auto& failure : repositories.failures())
      if (failure) return Error(*failure).with_context("write packs of the dump");
    return Error(Errc::kCancelled, "write packs of the dump: it was given up");
  }
  /// An error of a stream's own pack, or what is behind it.
  Error reason(Error error) const { return error.code() == Errc::kCancelled ? lost() : error; }

  /// Append one frame of a stream and note where it is.
  Result<> append_frame(Bench& bench, Bytes raw, std::vector<DumpRun>& runs) {
    if (commits.failed()) return lost();
    if (!bench.pack.has_value()) {
      if (auto opened = open(bench); !opened.has_value()) return reason(std::move(opened).error());
    }
    TRY(code_frame(FrameType::kDumpData, raw, bench.compressor, bench.frame));
    const auto index = static_cast<uint32_t>(bench.pack->frames().size());
    if (auto appended = bench.pack->append(bench.frame); !appended.has_value())
      return reason(std::move(appended).error());
    if (!runs.empty() && runs.back().pack == bench.number &&
        runs.back().first_frame + runs.back().frame_count == index) {
      ++runs.back().frame_count;
    } else {
      runs.push_back({bench.number, index, 1});
    }
    if (bench.pack->bytes() >= options.pack_bytes || bench.pack->frames().size() >= kPackFramesMax) TRY(close(bench));
    return {};
  }

  const RepositorySet repositories;
  const DumpPackOptions options;
  std::atomic<uint32_t> numbers = 0;
  Mutex mu;
  std::vector<std::unique_ptr<Bench>> idle GUARDED_BY(mu);
  CommitQueue commits;
};

struct DumpPacks::Writer::State {
  State(DumpPacks::State& all, std::string stream_name) : packs(all), bench(all.take()) {
    stream.name = std::move(stream_name);
  }
  ~State() {
    // Of a stream that failed: what it wrote of a pack is of no use, but does no harm either, unless the pack itself
    // is what failed.
    if (bench == nullptr) return;
    if (broken) bench->pack.reset();
    packs.give_back(std::move(bench));
  }

  Result<> write(Bytes raw) {
    hasher.update(raw);
    auto appended = packs.append_frame(*bench, raw, stream.runs);
    broken = broken || !appended.has_value();
    if (!appended.has_value()) return Error(std::move(appended).error()).with_context("store " + stream.name);
    return {};
  }

  DumpPacks::State& packs;
  std::unique_ptr<DumpPacks::State::Bench> bench;
  Hasher128 hasher;
  DumpStream stream;
  bool broken = false;
};

DumpPacks::Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
DumpPacks::Writer::Writer(Writer&&) noexcept = default;
DumpPacks::Writer& DumpPacks::Writer::operator=(Writer&&) noexcept = default;
DumpPacks::Writer::~Writer() = default;

Result<> DumpPacks::Writer::append(Bytes data) {
  State& s = *state_;
  if (s.broken) return s.packs.lost();
  s.stream.raw_bytes += data.size();
  Buffer& raw = s.bench->raw;
  while (!data.empty()) {
    if (raw.empty() && data.size() >= kDumpFrameBytes) {
      TRY(s.write(data.first(kDumpFrameBytes)));
      data = data.subspan(kDumpFrameBytes);
      continue;
    }
    const Bytes part = data.first(std::min(data.size(), kDumpFrameBytes - raw.size()));
    raw.append(part);
    data = data.subspan(part.size());
    if (raw.size() < kDumpFrameBytes) continue;
    TRY(s.write(raw));
    raw.clear();
  }
  return {};
}

uint64_t DumpPacks::Writer::bytes() const { return state_->stream.raw_bytes; }

Result<DumpStream> DumpPacks::Writer::finish() && {
  const std::unique_ptr<State> s = std::move(state_);
  if (s->broken) return s->packs.lost();
  if (!s->bench->raw.empty()) TRY(s->write(s->bench->raw));
  s->stream.hash = to_hex(s->hasher.digest());
  return std::move(s->stream);
}

DumpPacks::DumpPacks(RepositorySet repositories, DumpPackOptions options)
    : state_(std::make_unique<State>(std::move(repositories), std::move(options))) {}
DumpPacks::~DumpPacks() = default;

Result<DumpPacks::Writer> DumpPacks::begin(std::string name) {
  if (state_->commits.failed()) return state_->lost();
  return Writer(std::make_unique<Writer::State>(*state_, std::move(name)));
}

Result<> DumpPacks::finish() {
  std::vector<std::unique_ptr<State::Bench>> idle;
  {
    const MutexLock lock(state_->mu);
    idle.swap(state_->idle);
  }
  Result<> closed;
  for (auto& bench : idle)
    if (closed.has_value()) closed = state_->close(*bench);
  auto committed = state_->commits.finish();
  // Of both, what kept a pack from being written says why.
  return committed.has_value() ? std::move(closed) : std::move(committed);
}

void DumpPacks::discard() {
  state_->commits.stop();
  {
    const MutexLock lock(state_->mu);
    state_->idle.clear();
  }
  static_cast<void>(state_->commits.finish());
  std::vector<ObjectKey> keys;
  for (uint32_t number = 1; number <= state_->numbers; ++number)
    keys.push_back(dump_pack_key(state_->options.stanza, state_->options.label, number));
  for (size_t i = 0; i < state_->repositories.size(); ++i) {
    ObjectStore& store = state_->repositories.at(i).store();
    for (size_t at = 0; at < keys.size() && !state_->repositories.has_failed(i); at += kRemoveAtOnce) {
      const auto some = std::span(keys).subspan(at, std::min(kRemoveAtOnce, keys.size() - at));
      const auto removed = store.remove_many(some);
      const auto kept = std::find_if(removed.begin(), removed.end(), [](const auto& one) { return !one.has_value(); });
      if (kept == removed.end()) continue;
      log_detail("packs of the dump that failed stay until dump-expire removes them: {}", kept->error().message());
      break;
    }
  }
}

uint32_t DumpPacks::pack_count() const { return state_->numbers; }
uint64_t DumpPacks::stored_bytes() const { return state_->commits.stored_bytes(); }

}  // namespace pgark
