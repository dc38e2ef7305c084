#include "ops/verify_dumps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "codec/hash.h"
#include "core/thread_annotations.h"
#include "ops/dump_store.h"

namespace pgark {
namespace {

constexpr uint64_t kReadBytes = 4u << 20;  // Frames that lie back to back are read together.
constexpr size_t kPlacesMax = 10'000;

uint64_t end_of(const FrameRef& frame) { return frame.offset + frame.stored_bytes; }

class DumpPackChecker {
 public:
  DumpPackChecker(const Repository& repository, const ObjectKey& key, const std::vector<DumpSpan>& spans,
                  const VerifySample& sample, const CancelToken& cancel, std::atomic<uint64_t>& done,
                  std::vector<std::string>& disagreeing)
      : repository_(repository),
        key_(key),
        spans_(spans),
        sample_(sample),
        cancel_(cancel),
        done_(done),
        disagreeing_(disagreeing) {}

  Result<PackCheck> run() {
    const auto pack = ContainerReader::open(repository_, key_, ContainerKind::kDump);
    if (!pack) return unreadable(pack.error());
    const auto kind = read_container_kind(repository_, key_);
    if (!kind && !is_object_damage(kind.error())) return Error(kind.error());
    if (!kind) check_.cause = kind.error().message();  // A load does without the header.
    frames_ = &pack->frames();
    choose();
    for (size_t first = 0; first < chosen_.size() && !check_.damage.missing;) {
      TRY(cancel_.check());
      size_t end = first + 1;
      while (end < chosen_.size() && frame(end).offset == end_of(frame(end - 1)) &&
             end_of(frame(end)) - frame(first).offset <= kReadBytes)
        ++end;
      TRY(read_range(first, end));
      first = end;
    }
    end_stream();
    check_.harmless = !check_.cause.empty() && !hits_stream_ && !check_.damage.missing;
    return std::move(check_);
  }

 private:
  const FrameRef& frame(size_t chosen) const { return (*frames_)[chosen_[chosen]]; }

  Result<PackCheck> unreadable(const Error& error) {
    if (!is_object_damage(error)) return Error(error);
    check_.damage.missing = error.code() == Errc::kNotFound;
    check_.damage.index_unreadable = !check_.damage.missing;
    check_.cause = error.message();
    return std::move(check_);
  }

  void choose() {
    for (const DumpSpan& span : spans_) {
      const uint64_t end = uint64_t{span.first_frame} + span.frame_count;
      bool fits = end <= frames_->size();
      for (uint64_t i = span.first_frame; i < end && fits; ++i) fits = (*frames_)[i].type == FrameType::kDumpData;
      if (!fits) disagreeing_.push_back(span.stream->name);
    }
    for (size_t i = 0; i < frames_->size(); ++i) {
      const DumpSpan* span = span_of(i);
      if (span != nullptr && span->is_apart) continue;
      if ((*frames_)[i].type == FrameType::kKey || sample_.takes(key_.value, (*frames_)[i].offset))
        chosen_.push_back(i);
    }
  }

  const DumpSpan* span_of(size_t index) const {
    const auto behind = std::upper_bound(spans_.begin(), spans_.end(), index,
                                         [](size_t i, const DumpSpan& span) { return i < span.first_frame; });
    if (behind == spans_.begin()) return nullptr;
    const DumpSpan& span = *std::prev(behind);
    return index - span.first_frame < span.frame_count ? &span : nullptr;
  }

  Result<> read_range(size_t first, size_t end) {
    const uint64_t begin = frame(first).offset;
    stored_.resize(static_cast<size_t>(end_of(frame(end - 1)) - begin));
    const auto read = repository_.store().read_exact(key_, begin, stored_.bytes());
    if (!read && !is_object_damage(read.error())) return Error(read.error());
    if (!read) {
      check_.damage.missing = read.error().code() == Errc::kNotFound;
      for (size_t i = first; i < end; ++i) damaged(chosen_[i], read.error().message());
      return {};
    }
    check_.read_bytes += stored_.size();
    done_ += stored_.size();
    for (size_t i = first; i < end; ++i) {
      const Bytes stored = stored_.bytes().subspan(static_cast<size_t>(frame(i).offset - begin), frame(i).stored_bytes);
      raw_.resize(frame(i).raw_bytes);
      const auto decoded = decode_frame(repository_, key_, frame(i), stored, decompressor_, raw_.bytes());
      if (!decoded && !is_object_damage(decoded.error())) return Error(decoded.error());
      if (!decoded) {
        damaged(chosen_[i], decoded.error().message());
        continue;
      }
      if (frame(i).type != FrameType::kDumpData) continue;
      ++check_.extent_count;
      hash(chosen_[i]);
    }
    return {};
  }

  void damaged(size_t index, const std::string& cause) {
    const FrameRef& ref = (*frames_)[index];
    if (check_.damage.places.empty()) check_.cause = cause;
    if (check_.damage.places.size() >= kPlacesMax)
      check_.damage.places.back().bytes = end_of(ref) - check_.damage.places.back().offset;
    else
      add_place(check_.damage.places, {ref.offset, ref.stored_bytes});
    const DumpSpan* span = span_of(index);
    // In a sealed repository nothing can be read without the key.
    const bool is_key = ref.type == FrameType::kKey && repository_.seal_kind() != SealKind::kChecksum;
    hits_stream_ = hits_stream_ || span != nullptr || is_key;
    if (span != nullptr && span == span_) stream_is_damaged_ = true;
  }

  /// Frames come in their order; a stream that lies here as a whole is compared at its end.
  void hash(size_t index) {
    if (!sample_.whole()) return;
    const DumpSpan* span = span_of(index);
    if (span != span_) end_stream();
    if (span == nullptr || span->stream->runs.size() > 1 || (span != span_ && index != span->first_frame)) return;
    if (span != span_) {
      span_ = span;
      hasher_.emplace();
      raw_bytes_ = 0;
      stream_is_damaged_ = false;
    }
    hasher_->update(raw_);
    raw_bytes_ += raw_.size();
    ++hashed_frames_;
  }

  void end_stream() {
    if (span_ != nullptr && !stream_is_damaged_ && hashed_frames_ == span_->frame_count &&
        (raw_bytes_ != span_->stream->raw_bytes || to_hex(hasher_->digest()) != span_->stream->hash))
      disagreeing_.push_back(span_->stream->name);
    span_ = nullptr;
    hashed_frames_ = 0;
  }

  const Repository& repository_;
  const ObjectKey& key_;
  const std::vector<DumpSpan>& spans_;
  const VerifySample& sample_;
  const CancelToken& cancel_;
  std::atomic<uint64_t>& done_;
  std::vector<std::string>& disagreeing_;
  PackCheck check_;
  const std::vector<FrameRef>* frames_ = nullptr;
  std::vector<size_t> chosen_;
  bool hits_stream_ = false;
  Decompressor decompressor_;
  Buffer stored_;
  Buffer raw_;

  const DumpSpan* span_ = nullptr;  // Whose stream is being hashed.
  std::optional<Hasher128> hasher_;
  uint64_t raw_bytes_ = 0;
  uint64_t hashed_frames_ = 0;
  bool stream_is_damaged_ = false;
};

VerifyDamage manifest_damage(const std::string& stanza, const std::string& label, const std::string& stream,
                             std::string cause) {
  VerifyDamage damage;
  damage.kind = DamageKind::kDumpManifest;
  damage.object = dump_manifest_key(stanza, label).value;
  damage.name = stream.empty() ? label : label + "/" + stream;
  damage.cause = std::move(cause);
  return damage;
}

}  // namespace

Result<PackCheck> check_dump_pack(const Repository& repository, const ObjectKey& key,
                                  const std::vector<DumpSpan>& spans, const VerifySample& sample,
                                  const CancelToken& cancel, std::atomic<uint64_t>& done,
                                  std::vector<std::string>& disagreeing) {
  return DumpPackChecker(repository, key, spans, sample, cancel, done, disagreeing).run();
}

struct DumpChecker::Work {
  const PlannedDump& planned;
  Dump dump;
  std::map<uint32_t, std::vector<DumpSpan>> packs;
  std::vector<const DumpStream*> apart;  // In several packs.

  /// About what is stored of so many bytes.
  uint64_t stored_share(uint64_t raw_bytes) const {
    const DumpMeta& meta = dump.meta;
    if (meta.raw_bytes == 0) return 0;
    return static_cast<uint64_t>(static_cast<double>(raw_bytes) * static_cast<double>(meta.stored_bytes) /
                                 static_cast<double>(meta.raw_bytes));
  }
  void plan(bool whole) {
    for (const auto& [number, bytes] : planned.packs) packs[number];
    for (const DumpUnit& unit : dump.meta.units)
      for (const DumpStream& stream : unit.streams) add(stream, whole);
    for (auto& [number, spans] : packs)
      std::sort(spans.begin(), spans.end(),
                [](const DumpSpan& a, const DumpSpan& b) { return a.first_frame < b.first_frame; });
  }
  void add(const DumpStream& stream, bool whole) {
    const bool is_apart = whole && stream.runs.size() > 1;
    for (const DumpRun& run : stream.runs)
      packs[run.pack].push_back({run.first_frame, run.frame_count, &stream, is_apart});
    if (is_apart) apart.push_back(&stream);
  }
  /// Its packs are read with their frames after all: to find out which are damaged.
  void read_with_packs(const DumpStream& stream) {
    for (const DumpRun& run : stream.runs)
      for (DumpSpan& span : packs[run.pack])
        if (span.stream == &stream) span.is_apart = false;
  }
};

bool DumpChecker::done(const std::string& name, uint64_t number) {
  return ledger_.look([&](const VerifyState& state) {
    const auto found = state.packs.find(name);
    return found != state.packs.end() && found->second.has(number);
  });
}

Result<> DumpChecker::check(const PlannedDump& planned, const VerifyEach& each) {
  auto dump = insist(repository_, [&] { return read_dump(repository_, stanza_, planned.label); });
  if (!dump) {
    if (!is_object_damage(dump.error())) return Error(std::move(dump).error());
    if (dump.error().code() == Errc::kNotFound) return {};  // Expired meanwhile.
    damages_.push_back(manifest_damage(stanza_, planned.label, "", dump.error().message()));
    // Its packs can be looked at all the same.
    dump = Dump();
  }
  Work work{planned, std::move(*dump), {}, {}};
  work.plan(sample_.whole());
  TRY(check_streams(work, each));
  std::vector<uint32_t> numbers;
  for (const auto& [number, spans] : work.packs) numbers.push_back(number);
  return each(numbers.size(), [&](size_t i) { return check_pack(work, numbers[i]); });
}

/// Streams that lie in several packs, in the order of their bytes.
Result<> DumpChecker::check_streams(Work& work, const VerifyEach& each) {
  const DumpReader reader({&repository_}, stanza_, work.planned.label);
  const std::string name = work.planned.label + "/streams";
  Mutex mu;
  std::vector<const DumpStream*> failed;
  TRY(each(work.apart.size(), [&](size_t i) -> Result<> {
    if (done(name, i)) return {};
    const DumpStream& stream = *work.apart[i];
    const auto read =
        insist(repository_, [&] { return reader.read(stream, cancel_, [](Bytes) { return Result<>(); }); });
    if (!read && !is_object_damage(read.error())) return Error(read.error());
    if (!read) {
      const MutexLock lock(mu);
      failed.push_back(&stream);
      if (read.error().message().ends_with(kDumpDisagrees))
        damages_.push_back(manifest_damage(stanza_, work.planned.label, stream.name, read.error().message()));
      return {};
    }
    const uint64_t stored = work.stored_share(stream.raw_bytes);
    done_ += stored;
    ledger_.update([&](VerifyState& state) {
      state.packs[name].add(i);
      state.read_bytes += stored;
    });
    return {};
  }));
  for (const DumpStream* stream : failed) work.read_with_packs(*stream);
  return {};
}

Result<> DumpChecker::check_pack(Work& work, uint32_t number) {
  if (done(work.planned.label, number)) return {};
  const ObjectKey key = dump_pack_key(stanza_, work.planned.label, number);
  const std::vector<DumpSpan>& spans = work.packs.at(number);
  std::vector<std::string> disagreeing;
  auto checked = insist(repository_, [&] {
    disagreeing.clear();
    return check_dump_pack(repository_, key, spans, sample_, cancel_, done_, disagreeing);
  });
  PackCheck check;
  if (checked) {
    check = std::move(*checked);
  } else if (checked.error().code() == Errc::kCorrupt) {
    check.damage.index_unreadable = true;
    check.cause = checked.error().message();
  } else {
    return Error(std::move(checked).error());
  }
  note_pack(work, number, std::move(check), disagreeing);
  return {};
}

void DumpChecker::note_pack(const Work& work, uint32_t number, PackCheck check,
                            const std::vector<std::string>& disagreeing) {
  const std::string& label = work.planned.label;
  ledger_.update([&](VerifyState& state) {
    state.packs[label].add(number);
    state.dump_frame_count += check.extent_count;
    state.read_bytes += check.read_bytes;
    for (const std::string& stream : disagreeing)
      add_damage(state, manifest_damage(stanza_, label, stream, fmt::format("stream {}: {}", stream, kDumpDisagrees)));
    if (check.cause.empty()) return;
    VerifyDamage damage;
    damage.kind = DamageKind::kDumpPack;
    damage.object = dump_pack_key(stanza_, label, number).value;
    damage.name = fmt::format("{}/{:06}", label, number);
    damage.missing = check.damage.missing;
    damage.harmless = check.harmless;
    damage.index_unreadable = check.damage.index_unreadable;
    damage.places = std::move(check.damage.places);
    damage.cause = std::move(check.cause);
    add_damage(state, std::move(damage));
  });
}

namespace {

/// Packs looked for in other repositories: each is read there, whole.
constexpr size_t kLookedForMax = 200;

std::string label_of(const VerifyDamage& damage) { return damage.name.substr(0, damage.name.find('/')); }

uint32_t pack_of(const VerifyDamage& damage) {
  return static_cast<uint32_t>(std::strtoul(damage.name.c_str() + damage.name.find('/') + 1, nullptr, 10));
}

class DumpFinisher {
 public:
  DumpFinisher(const Repository& repository, const std::vector<OtherRepository>& others, const std::string& stanza,
               const CancelToken& cancel, VerifyReport& report)
      : repository_(repository), others_(others), stanza_(stanza), cancel_(cancel), report_(report) {}

  Result<> run() {
    std::map<std::string, std::vector<VerifyDamage*>> by_label;
    for (VerifyDamage& damage : report_.damages) {
      if (damage.kind != DamageKind::kDumpManifest && damage.kind != DamageKind::kDumpPack) continue;
      if (damage.harmless) continue;
      damage.backups = {label_of(damage)};
      by_label[label_of(damage)].push_back(&damage);
    }
    for (const auto& one : by_label) TRY(finish_one(one.first, one.second));
    return {};
  }

 private:
  Result<> finish_one(const std::string& label, const std::vector<VerifyDamage*>& damages) {
    DamagedDump hit;
    hit.label = label;
    auto dump = read_dump(repository_, stanza_, label);
    if (!dump && !is_object_damage(dump.error())) return Error(std::move(dump).error());
    hit.manifest = !dump;
    if (dump) TRY(name_streams(*dump, damages, hit));
    for (const OtherRepository& other : others_) look_into(other, dump ? &dump->meta : nullptr, damages, hit);
    report_.dumps.push_back(std::move(hit));
    return {};
  }

  /// Frames of a run that are damaged, by the places found.
  Result<std::set<uint32_t>> damaged_frames(const VerifyDamage& damage) const {
    std::set<uint32_t> frames;
    const auto pack = ContainerReader::open(repository_, dump_pack_key(stanza_, label_of(damage), pack_of(damage)),
                                            ContainerKind::kDump);
    if (!pack && !is_object_damage(pack.error())) return Error(pack.error());
    if (!pack) return frames;
    for (uint32_t i = 0; i < pack->frames().size(); ++i) {
      const FrameRef& frame = pack->frames()[i];
      for (const DamagedPlace& place : damage.places)
        if (frame.offset < place.offset + place.bytes && place.offset < end_of(frame)) frames.insert(i);
    }
    return frames;
  }

  Result<> name_streams(const Dump& dump, const std::vector<VerifyDamage*>& damages, DamagedDump& hit) {
    std::map<uint32_t, std::optional<std::set<uint32_t>>> frames;  // By pack; none: all of them.
    std::set<std::string> named;
    for (const VerifyDamage* damage : damages) {
      if (damage->kind == DamageKind::kDumpManifest) {
        named.insert(damage->name.substr(damage->name.find('/') + 1));
      } else if (damage->missing || damage->index_unreadable) {
        frames[pack_of(*damage)] = std::nullopt;
      } else {
        TRY_ASSIGN(auto some, damaged_frames(*damage));
        // The key of the data: without it there is nothing.
        if (some.contains(0))
          frames[pack_of(*damage)] = std::nullopt;
        else
          frames[pack_of(*damage)] = std::move(some);
      }
    }
    const auto is_hit = [&](const DumpStream& stream) {
      return named.contains(stream.name) ||
             std::any_of(stream.runs.begin(), stream.runs.end(), [&](const DumpRun& run) {
               const auto found = frames.find(run.pack);
               if (found == frames.end()) return false;
               if (!found->second) return true;
               const auto first = found->second->lower_bound(run.first_frame);
               return first != found->second->end() && *first - run.first_frame < run.frame_count;
             });
    };
    std::map<std::pair<uint32_t, std::string>, std::string> texts;
    for (uint32_t unit = 0; unit < dump.meta.units.size(); ++unit) {
      for (const DumpStream& stream : dump.meta.units[unit].streams) {
        if (!is_hit(stream)) continue;
        ++hit.stream_count;
        const std::string& database = dump.meta.units[unit].database;
        if (texts.size() < kDamagedStreamsMax)
          texts[{unit, stream.name}] = database.empty() ? stream.name : fmt::format("{}: {}", database, stream.name);
      }
    }
    for (const DumpTable& table : dump.tables) {
      if (!table.unit) continue;
      const auto text = texts.find({*table.unit, table.stream});
      if (text == texts.end()) continue;
      text->second = fmt::format("{}: {}.{} ({})", table.database, table.schema, table.name, table.stream);
    }
    for (auto& one : texts) hit.streams.push_back(std::move(one.second));
    return {};
  }

  /// Whether another repository has what is damaged here.
  void look_into(const OtherRepository& other, const DumpMeta* own, const std::vector<VerifyDamage*>& damages,
                 DamagedDump& hit) {
    const auto meta = read_dump_meta(*other.repository, stanza_, hit.label);
    if (!meta && meta.error().code() != Errc::kNotFound)
      report_.warnings.push_back(
          fmt::format("repo{} cannot tell of dump {}: {}", other.repo, hit.label, meta.error().message()));
    if (!meta || (own != nullptr && !is_same_dump(*meta, *own))) return;
    bool all = true;
    for (VerifyDamage* damage : damages) {
      const bool good = has_good(other, *damage);
      if (good) damage->good_copies.push_back(other.repo);
      all = all && good;
    }
    if (all) hit.good_copies.push_back(other.repo);
  }

  bool has_good(const OtherRepository& other, const VerifyDamage& damage) {
    if (damage.kind == DamageKind::kDumpManifest) {
      // A stream that disagrees with its manifest does so wherever both were copied to.
      return damage.name.find('/') == damage.name.npos &&
             read_dump(*other.repository, stanza_, damage.name).has_value();
    }
    if (++looked_for_ > kLookedForMax) return false;
    const VerifySample whole(1, 0);
    std::atomic<uint64_t> done = 0;
    std::vector<std::string> disagreeing;
    const auto check = check_dump_pack(*other.repository, {damage.object}, {}, whole, cancel_, done, disagreeing);
    return check && check->cause.empty();
  }

  const Repository& repository_;
  const std::vector<OtherRepository>& others_;
  const std::string& stanza_;
  const CancelToken& cancel_;
  VerifyReport& report_;
  size_t looked_for_ = 0;
};

}  // namespace

Result<> finish_dump_report(const Repository& repository, const std::vector<OtherRepository>& others,
                            const std::string& stanza, const CancelToken& cancel, VerifyReport& report) {
  return DumpFinisher(repository, others, stanza, cancel, report).run();
}

std::string describe_damage(const DamagedDump& dump) {
  if (dump.manifest) return "its manifest is damaged: nothing of it can be loaded";
  return dump.stream_count == 1 ? "1 stream is damaged" : fmt::format("{} streams are damaged", dump.stream_count);
}

}  // namespace pgark
