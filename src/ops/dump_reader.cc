// Reading streams of a dump back: frames by the run, from the first repository that has a good copy of each.
#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "codec/hash.h"
#include "core/log.h"
#include "ops/dump_store.h"
#include "ops/restore_source.h"
#include "pipe/task_group.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

// Frames that lie back to back are read together, up to this much.
constexpr uint64_t kReadBytes = 4u << 20;
// Indexes of packs kept, in frames: about 6 MiB.
constexpr size_t kIndexFramesMax = 1u << 18;

using PackFrames = std::vector<FrameRef>;

/// Damage of one object, or its absence, which the manifest proves to be damage: others may be had all the same.
bool is_of_object(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kNotFound; }

/// Goes through the runs of a stream, as much at a time as one read gives.
class RunWalk {
 public:
  explicit RunWalk(const std::vector<DumpRun>& runs) : runs_(runs) {}
  /// What is left of the run at hand; null at the end.
  const DumpRun* left() {
    while (rest_.frame_count == 0) {
      if (next_ == runs_.size()) return nullptr;
      rest_ = runs_[next_++];
    }
    return &rest_;
  }
  void advance(size_t frames) {
    rest_.first_frame += static_cast<uint32_t>(frames);
    rest_.frame_count -= static_cast<uint32_t>(frames);
  }

 private:
  const std::vector<DumpRun>& runs_;
  size_t next_ = 0;
  DumpRun rest_;
};

}  // namespace

struct DumpReader::State {
  struct Member {
    const Repository* repository = nullptr;
    bool same = false;             // It holds the dump that is read. A single one is not asked.
    std::optional<Error> refused;  // It does not, and never will.
    bool gone = false;             // It failed as a whole: asked only when nobody else can answer.
    std::set<uint32_t> damaged_packs;
  };
  /// Stored frames on their way to be decoded.
  struct Fetched {
    size_t from = 0;  // Member.
    uint32_t pack = 0;
    uint32_t first_frame = 0;
    PackFrames frames;
    Buffer stored;
  };
  struct Index {
    std::shared_ptr<const PackFrames> frames;  // The cache and whoever reads the pack own it.
    std::list<std::pair<size_t, uint32_t>>::iterator used;
  };

  ObjectKey key(uint32_t pack) const { return dump_pack_key(stanza, label, pack); }
  bool single() const { return member_count == 1; }

  // Members.

  /// In which order the repositories are asked for a pack.
  std::vector<size_t> order(uint32_t pack) EXCLUDES(mu) {
    const MutexLock lock(mu);
    std::vector<size_t> all;
    for (size_t i = 0; i < members.size(); ++i)
      if (!members[i].refused) all.push_back(i);
    const auto rank = [&](size_t i)
                          REQUIRES(mu) { return std::tuple(members[i].gone, members[i].damaged_packs.contains(pack)); };
    std::stable_sort(all.begin(), all.end(), [&](size_t a, size_t b) REQUIRES(mu) { return rank(a) < rank(b); });
    return all;
  }

  /// The repository, if it holds the dump that is read: of several, a label may name another one there.
  Result<const Repository*> usable(size_t index) EXCLUDES(opening, mu) {
    const Repository* repository = nullptr;
    {
      const MutexLock lock(mu);
      repository = members[index].repository;
      if (single() || members[index].same) return repository;
    }
    const MutexLock one(opening);
    {
      const MutexLock lock(mu);
      if (members[index].same) return repository;
    }
    auto compared = compare(*repository);
    const MutexLock lock(mu);
    members[index].same = compared.has_value();
    if (compared.has_value()) return repository;
    if (compared.error().code() == Errc::kInvalid || is_of_object(compared.error()))
      members[index].refused = compared.error();
    return Error(std::move(compared).error());
  }

  Result<> compare(const Repository& repository) REQUIRES(opening) {
    TRY_ASSIGN(DumpMeta meta, read_dump_meta(repository, stanza, label));
    if (!reference)
      reference = std::move(meta);
    else if (!is_same_dump(meta, *reference))
      return Error(Errc::kInvalid, fmt::format("its dump {} is another one of the same name", label));
    return {};
  }

  /// Remember a failure, and tell it once.
  void note(size_t index, uint32_t pack, const Error& error) EXCLUDES(mu) {
    if (single()) return;
    const MutexLock lock(mu);
    Member& member = members[index];
    if (is_of_object(error) ? !member.damaged_packs.insert(pack).second : std::exchange(member.gone, true)) return;
    log_warn("read dump {}: {}; trying the other repositories", label, error.message());
  }

  /// Ask repository after repository, but not `skip`, until one answers.
  template <typename Ask>
  Result<> ask(uint32_t pack, std::optional<std::pair<size_t, Error>> known, const Ask& one) {
    std::vector<std::pair<std::string, Error>> errors;
    const std::optional<size_t> skip = known ? std::optional(known->first) : std::nullopt;
    const auto failed = [&](size_t index, Error error) {
      note(index, pack, error);
      errors.emplace_back(repository_at(index).store().describe(), std::move(error));
    };
    if (known) failed(known->first, std::move(known->second));
    for (const size_t index : order(pack)) {
      if (index == skip) continue;
      auto repository = usable(index);
      Result<> answered = repository ? one(index, **repository) : Result<>(std::move(repository).error());
      if (answered.has_value() || answered.error().code() == Errc::kCancelled) return answered;
      failed(index, std::move(answered).error());
    }
    add_refusals(errors);
    if (errors.empty()) return Error(Errc::kNotFound, fmt::format("no repository holds dump {}", label));
    return join_source_errors(std::move(errors));
  }

  /// What those said that were not asked again.
  void add_refusals(std::vector<std::pair<std::string, Error>>& errors) EXCLUDES(mu) {
    const MutexLock lock(mu);
    for (const Member& member : members) {
      const std::string name = member.repository->store().describe();
      const bool said = std::any_of(errors.begin(), errors.end(), [&](const auto& e) { return e.first == name; });
      if (member.refused && !said) errors.emplace_back(name, *member.refused);
    }
  }

  const Repository& repository_at(size_t index) EXCLUDES(mu) {
    const MutexLock lock(mu);
    return *members[index].repository;
  }

  // Indexes of packs.

  Result<std::shared_ptr<const PackFrames>> frames_of(size_t index, const Repository& repository, uint32_t pack)
      EXCLUDES(mu) {
    const std::pair place(index, pack);
    {
      const MutexLock lock(mu);
      if (const auto found = indexes.find(place); found != indexes.end()) {
        recent.splice(recent.begin(), recent, found->second.used);
        return found->second.frames;
      }
    }
    TRY_ASSIGN(const ContainerReader reader, ContainerReader::open(repository, key(pack), ContainerKind::kDump));
    auto frames = std::make_shared<const PackFrames>(reader.frames());
    const MutexLock lock(mu);
    if (indexes.contains(place)) return frames;
    recent.push_front(place);
    indexes[place] = {frames, recent.begin()};
    index_frames += frames->size();
    while (index_frames > kIndexFramesMax && recent.size() > 1) {
      const auto oldest = indexes.find(recent.back());
      index_frames -= oldest->second.frames->size();
      indexes.erase(oldest);
      recent.pop_back();
    }
    return frames;
  }

  /// The frame at `index`, which must hold bytes of a stream.
  Result<> check_frame(const PackFrames& frames, uint32_t pack, uint64_t index) const {
    if (index < frames.size() && frames[index].type == FrameType::kDumpData) return {};
    return Error(Errc::kCorrupt,
                 fmt::format("object {}: its frame {} is not what the manifest says", key(pack).value, index));
  }

  // Frames.

  /// The first frames of a run that can be read together.
  Result<Fetched> fetch(const DumpRun& run) {
    Fetched fetched;
    fetched.pack = run.pack;
    fetched.first_frame = run.first_frame;
    const auto one = [&](size_t index, const Repository& repository) -> Result<> {
      TRY_ASSIGN(const auto frames, frames_of(index, repository, run.pack));
      TRY(check_frame(*frames, run.pack, run.first_frame));
      const uint64_t begin = (*frames)[run.first_frame].offset;
      uint64_t end = begin;
      fetched.frames.clear();
      for (uint64_t at = run.first_frame; at < uint64_t{run.first_frame} + run.frame_count; ++at) {
        TRY(check_frame(*frames, run.pack, at));
        const FrameRef& frame = (*frames)[at];
        if (at > run.first_frame && (frame.offset != end || frame.offset + frame.stored_bytes - begin > kReadBytes))
          break;
        end = frame.offset + frame.stored_bytes;
        fetched.frames.push_back(frame);
      }
      fetched.from = index;
      fetched.stored.resize(static_cast<size_t>(end - begin));
      return repository.store().read_exact(key(run.pack), begin, fetched.stored.bytes());
    };
    TRY(ask(run.pack, std::nullopt, one));
    return fetched;
  }

  /// Decode one of them; if it is damaged, the same one of another repository.
  Result<> decode(const Fetched& fetched, size_t i, Decompressor& decompressor, Buffer& raw) {
    const FrameRef& frame = fetched.frames[i];
    const Bytes stored = fetched.stored.bytes().subspan(static_cast<size_t>(frame.offset - fetched.frames[0].offset),
                                                        frame.stored_bytes);
    raw.resize(frame.raw_bytes);
    auto decoded =
        decode_frame(repository_at(fetched.from), key(fetched.pack), frame, stored, decompressor, raw.bytes());
    if (decoded.has_value() || single()) return decoded;
    const uint32_t index = fetched.first_frame + static_cast<uint32_t>(i);
    return ask(fetched.pack, std::pair(fetched.from, std::move(decoded).error()),
               [&](size_t member, const Repository& repository) -> Result<> {
                 TRY_ASSIGN(const auto frames, frames_of(member, repository, fetched.pack));
                 TRY(check_frame(*frames, fetched.pack, index));
                 const FrameRef& same = (*frames)[index];
                 Buffer alone(same.stored_bytes);
                 TRY(repository.store().read_exact(key(fetched.pack), same.offset, alone.bytes()));
                 raw.resize(same.raw_bytes);
                 return decode_frame(repository, key(fetched.pack), same, alone, decompressor, raw.bytes());
               });
  }

  // Streams.

  bool is_far_read() EXCLUDES(mu) {
    const MutexLock lock(mu);
    return std::any_of(members.begin(), members.end(), [](const Member& m) { return is_far(m.repository->store()); });
  }

  /// Call `use` with what each read gives, in order.
  Result<> fetch_all(const DumpStream& stream, const std::function<Result<>(const Fetched&)>& use) {
    RunWalk walk(stream.runs);
    while (const DumpRun* run = walk.left()) {
      TRY_ASSIGN(const Fetched fetched, fetch(*run));
      walk.advance(fetched.frames.size());
      TRY(use(fetched));
    }
    return {};
  }

  /// The same, where the next read is under way while one is used.
  Result<> fetch_all_ahead(const DumpStream& stream, const CancelToken& cancel,
                           const std::function<Result<>(const Fetched&)>& use) {
    BoundedQueue<bool> wanted(2);  // One for each read that may be under way.
    BoundedQueue<Fetched> ready(2);
    TaskGroup group(&cancel);
    group.spawn([&]() -> Result<> {
      RunWalk walk(stream.runs);
      auto fetched_all = [&]() -> Result<> {
        for (const DumpRun* run = walk.left(); run != nullptr && wanted.pop(); run = walk.left()) {
          TRY(group.cancel().check());
          TRY_ASSIGN(Fetched fetched, fetch(*run));
          walk.advance(fetched.frames.size());
          if (!ready.push(std::move(fetched), 1)) return {};
        }
        return {};
      }();
      ready.close();
      return fetched_all;
    });
    Result<> used;
    wanted.push(true, 1);
    while (auto fetched = ready.pop()) {
      wanted.push(true, 1);
      used = use(*fetched);
      if (!used.has_value()) break;
    }
    wanted.close();
    ready.close();
    if (!used.has_value()) group.cancel().cancel();
    auto fetched_all = group.wait();
    return used.has_value() ? std::move(fetched_all) : std::move(used);
  }

  Result<> read(const DumpStream& stream, const CancelToken& cancel, const std::function<Result<>(Bytes)>& sink) {
    const std::string context = fmt::format("read {} of dump {}", stream.name, label);
    const Error disagrees(Errc::kCorrupt, std::string(kDumpDisagrees));
    Decompressor decompressor;
    Buffer raw;
    Hasher128 hasher;
    uint64_t bytes = 0;
    std::optional<Error> of_sink;
    const auto use = [&](const Fetched& fetched) -> Result<> {
      for (size_t i = 0; i < fetched.frames.size(); ++i) {
        TRY(cancel.check());
        TRY(decode(fetched, i, decompressor, raw));
        bytes += raw.size();
        if (bytes > stream.raw_bytes) return disagrees;
        hasher.update(raw);
        auto taken = sink(raw);
        if (taken.has_value()) continue;
        of_sink = taken.error();
        return taken;
      }
      return {};
    };
    const bool ahead = stream.raw_bytes > kReadBytes && is_far_read();
    auto done = ahead ? fetch_all_ahead(stream, cancel, use) : fetch_all(stream, use);
    if (of_sink) return std::move(*of_sink);
    if (done.has_value() && (bytes != stream.raw_bytes || to_hex(hasher.digest()) != stream.hash)) done = disagrees;
    if (!done.has_value()) return Error(std::move(done).error()).with_context(context);
    return {};
  }

  std::string stanza;
  std::string label;
  size_t member_count = 0;
  Mutex opening;
  std::optional<DumpMeta> reference GUARDED_BY(opening);  // Of the first repository that was read from.
  Mutex mu;
  std::vector<Member> members GUARDED_BY(mu);
  std::map<std::pair<size_t, uint32_t>, Index> indexes GUARDED_BY(mu);
  std::list<std::pair<size_t, uint32_t>> recent GUARDED_BY(mu);  // Used last first.
  size_t index_frames GUARDED_BY(mu) = 0;
};

DumpReader::DumpReader(std::vector<const Repository*> repositories, std::string stanza, std::string label)
    : state_(std::make_unique<State>()) {
  state_->stanza = std::move(stanza);
  state_->label = std::move(label);
  state_->member_count = repositories.size();
  const MutexLock lock(state_->mu);
  for (const Repository* repository : repositories) state_->members.emplace_back().repository = repository;
}
DumpReader::~DumpReader() = default;
DumpReader::DumpReader(DumpReader&&) noexcept = default;

Result<> DumpReader::read(const DumpStream& stream, const CancelToken& cancel,
                          const std::function<Result<>(Bytes)>& sink) const {
  return state_->read(stream, cancel, sink);
}

Result<std::string> DumpReader::read_whole(const DumpStream& stream, const CancelToken& cancel,
                                           uint64_t bytes_max) const {
  if (stream.raw_bytes > bytes_max)
    return Error(Errc::kInvalid, fmt::format("read {} of dump {}: it holds {} bytes, more than {}", stream.name,
                                             state_->label, stream.raw_bytes, bytes_max));
  std::string text;
  TRY(read(stream, cancel, [&](Bytes piece) -> Result<> {
    text += as_text(piece);
    return {};
  }));
  return text;
}

}  // namespace pgark
