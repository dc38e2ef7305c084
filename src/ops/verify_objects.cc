#include "ops/verify_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "catalog/wal.h"
#include "codec/hash.h"
#include "ops/archive_file.h"
#include "pg/timeline_history.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// Stored bytes fetched at once; one extent more at most.
constexpr uint64_t kReadBytes = 4u << 20;
/// What no extent of pgark reaches, so that a damaged index cannot make a reader ask for gigabytes.
constexpr uint32_t kStoredExtentBytesMax = 2 * kExtentBytes;
/// Damaged places told apart in one pack; what follows is taken together with what lies between.
constexpr size_t kPlacesMax = 4096;
constexpr uint64_t kHistoryBytesMax = 4u << 20;

void note(std::string& cause, const std::string& text) {
  if (cause.empty()) cause = text;
}

/// The hashes a pack lists for its extents, without the names of the files.
struct ListedHashes {
  std::vector<uint64_t> offsets;  // Of the extents.
  std::vector<size_t> ends;       // Of their hashes.
  std::vector<uint64_t> hashes;

  bool agree(uint64_t offset, const std::vector<uint64_t>& found) const {
    const auto at = std::lower_bound(offsets.begin(), offsets.end(), offset);
    if (at == offsets.end() || *at != offset) return false;
    const auto index = static_cast<size_t>(at - offsets.begin());
    const size_t begin = index == 0 ? 0 : ends[index - 1];
    return std::equal(found.begin(), found.end(), hashes.begin() + static_cast<ptrdiff_t>(begin),
                      hashes.begin() + static_cast<ptrdiff_t>(ends[index]));
  }
};

class PackChecker {
 public:
  PackChecker(const Repository& repository, const ObjectKey& key, const VerifySample& sample, const CancelToken& cancel,
              std::atomic<uint64_t>& done)
      : repository_(repository), key_(key), sample_(sample), cancel_(cancel), done_(done) {}

  Result<PackCheck> run() {
    TRY(check_header());
    auto container = ContainerReader::open(repository_, key_, ContainerKind::kPack);
    if (!container) return unreadable(std::move(container).error());
    auto extents = std::make_shared<PackExtents>();
    for (const FrameRef& frame : container->frames()) {
      if (frame.type != FrameType::kExtent) continue;
      extents->push_back({0, frame.offset, frame.stored_bytes, frame.raw_bytes, frame.codec});
      if (sample_.takes(key_.value, frame.offset)) chosen_.push_back(frame);
    }
    check_.extents = std::move(extents);
    for (const FrameRef& frame : container->frames()) {
      if (frame.type != FrameType::kKey) continue;
      if (auto key = container->read(frame); !key) {
        // Without it no extent of a sealed pack can be read; a plain one has it for its copies' sake.
        if (repository_.seal_kind() != SealKind::kChecksum) return unreadable(std::move(key).error());
        if (!is_object_damage(key.error())) return std::move(key).error();
        note(check_.cause, key.error().message());
      }
    }
    if (!chosen_.empty()) TRY(read_listing(*container));
    TRY(read_extents());
    if (check_.damage.missing) check_.extents.reset();
    const bool only_beside = !check_.cause.empty() && check_.damage.places.empty() && !check_.damage.missing;
    check_.harmless = only_beside;
    return std::move(check_);
  }

 private:
  /// A restore does without the header; so does nobody who wants to know what the object is.
  Result<> check_header() {
    const auto kind = read_container_kind(repository_, key_);
    if (kind && *kind == ContainerKind::kPack) return {};
    if (kind) {
      note(check_.cause, fmt::format("object {}: header is of another kind", key_.value));
      return {};
    }
    if (!is_object_damage(kind.error())) return Error(kind.error());
    note(check_.cause, kind.error().message());
    return {};
  }

  Result<PackCheck> unreadable(Error error) {
    if (!is_object_damage(error)) return error;
    if (error.code() == Errc::kNotFound) {
      check_.damage.missing = true;
    } else {
      check_.damage.index_unreadable = true;
    }
    // What open() says names the trailer, the index or the length: more than the header's complaint.
    check_.cause = error.message();
    return std::move(check_);
  }

  Result<> read_listing(const ContainerReader& container) {
    listed_.emplace();
    const auto visited = visit_pack_listing(container, [&](const ListedExtent& extent) -> Result<> {
      listed_->offsets.push_back(extent.ref.offset);
      listed_->hashes.insert(listed_->hashes.end(), extent.block_hashes.begin(), extent.block_hashes.end());
      listed_->ends.push_back(listed_->hashes.size());
      return {};
    });
    if (visited) return {};
    if (!is_object_damage(visited.error())) return Error(visited.error());
    note(check_.cause, visited.error().message());
    listed_.reset();
    return {};
  }

  Result<> read_extents() {
    for (size_t first = 0; first < chosen_.size() && !check_.damage.missing;) {
      TRY(cancel_.check());
      if (chosen_[first].stored_bytes > kStoredExtentBytesMax || chosen_[first].raw_bytes > kExtentBytes) {
        damaged(chosen_[first], fmt::format("object {}: frame at {} is too long", key_.value, chosen_[first].offset));
        ++first;
        continue;
      }
      size_t end = first + 1;
      while (end < chosen_.size() && chosen_[end].offset == end_of(chosen_[end - 1]) &&
             chosen_[end].stored_bytes <= kStoredExtentBytesMax && chosen_[end].raw_bytes <= kExtentBytes &&
             end_of(chosen_[end]) - chosen_[first].offset <= kReadBytes) {
        ++end;
      }
      TRY(read_range(first, end));
      first = end;
    }
    return {};
  }

  static uint64_t end_of(const FrameRef& frame) { return frame.offset + frame.stored_bytes; }

  Result<> read_range(size_t first, size_t end) {
    const uint64_t begin = chosen_[first].offset;
    stored_.resize(static_cast<size_t>(end_of(chosen_[end - 1]) - begin));
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
      const FrameRef& frame = chosen_[i];
      raw_.resize(frame.raw_bytes);
      hashes_.clear();
      const Bytes stored = stored_.bytes().subspan(static_cast<size_t>(frame.offset - begin), frame.stored_bytes);
      const auto decoded = decode_frame(repository_, key_, frame, stored, decompressor_, raw_.bytes(), &hashes_);
      if (!decoded) {
        damaged(frame, decoded.error().message());
        continue;
      }
      ++check_.extent_count;
      if (listed_ && !listed_->agree(frame.offset, hashes_)) {
        note(check_.cause, fmt::format("pack {}: the block hashes it lists of the extent at {} are of other content",
                                       key_.value, frame.offset));
      }
    }
    return {};
  }

  void damaged(const FrameRef& frame, const std::string& cause) {
    // The first thing that matters is told, not what a restore does without.
    if (check_.damage.places.empty()) check_.cause = cause;
    auto& places = check_.damage.places;
    if (places.size() >= kPlacesMax) {
      places.back().bytes = end_of(frame) - places.back().offset;
    } else {
      add_place(places, {frame.offset, frame.stored_bytes});
    }
  }

  const Repository& repository_;
  const ObjectKey& key_;
  const VerifySample& sample_;
  const CancelToken& cancel_;
  std::atomic<uint64_t>& done_;
  PackCheck check_;
  std::vector<FrameRef> chosen_;
  std::optional<ListedHashes> listed_;
  Decompressor decompressor_;
  Buffer stored_;
  Buffer raw_;
  std::vector<uint64_t> hashes_;
};

std::string incomplete(const pg::WalIndex& index) {
  return fmt::format("its WAL ends at {}: {}", to_string(index.valid_to), index.end_reason);
}

/// What of a stored segment archive-get does without.
Result<std::string> damage_beside(const Repository& repository, const ObjectKey& key, const pg::WalSegment& segment) {
  const auto kind = read_container_kind(repository, key);
  if (!kind && !is_object_damage(kind.error())) return Error(kind.error());
  if (!kind) return kind.error().message();
  const auto raw = read_stored_index(repository, key);
  if (!raw && !is_object_damage(raw.error())) return Error(raw.error());
  if (!raw) return raw.error().message();
  if (!*raw) return std::string();
  const auto index = pg::decode_wal_index(**raw);
  // Of a newer version it is made anew where it is needed.
  if (!index && index.error().code() == Errc::kUnsupported) return std::string();
  if (!index) return fmt::format("index of {}: {}", key.value, index.error().message());
  if (index->segment != segment) return fmt::format("index of {} is of another segment", key.value);
  return std::string();
}

}  // namespace

bool is_object_damage(const Error& error) {
  switch (error.code()) {
    case Errc::kCorrupt:
    case Errc::kNotFound:
    case Errc::kUnsupported:
    case Errc::kInvalid:
      return true;
    default:
      return false;
  }
}

VerifySample::VerifySample(double share, uint64_t seed)
    : whole_(share >= 1),
      below_(static_cast<uint64_t>(std::ldexp(std::clamp(share, 0.0, 0.999999999), 64))),
      seed_(seed) {}

bool VerifySample::takes(std::string_view name, uint64_t place) const {
  if (whole_) return true;
  ByteWriter text;
  text.string(name);
  text.fixed(place);
  return seeded_hash(text.bytes(), seed_) < below_;
}

Result<PackCheck> check_pack(const Repository& repository, const ObjectKey& key, const VerifySample& sample,
                             const CancelToken& cancel, std::atomic<uint64_t>& done) {
  return PackChecker(repository, key, sample, cancel, done).run();
}

Result<std::string> check_extent(const Repository& repository, const ObjectKey& key, const ExtentRef& extent) {
  Buffer stored(extent.stored_bytes);
  Buffer raw(extent.raw_bytes);
  const auto read = repository.store().read_exact(key, extent.offset, stored.bytes());
  if (!read && !is_object_damage(read.error())) return Error(read.error());
  if (!read) return read.error().message();
  Decompressor decompressor;
  const auto decoded = decode_frame(repository, key, extent.frame(), stored, decompressor, raw.bytes());
  return decoded ? std::string() : decoded.error().message();
}

void PackIndexes::put(const PackName& pack, std::shared_ptr<const PackExtents> extents) {
  const auto cost = [](const Entry& entry) {
    return sizeof(Entry) + 128 + (entry.extents ? entry.extents->size() * sizeof(ExtentRef) : 0);
  };
  const MutexLock lock(mu_);
  const auto [at, added] = entries_.try_emplace(pack);
  if (!added) bytes_ -= cost(at->second);
  at->second = {std::move(extents), ++clock_};
  bytes_ += cost(at->second);
  while (bytes_ > bytes_max_ && entries_.size() > 1) {
    const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                         [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    bytes_ -= cost(oldest->second);
    entries_.erase(oldest);
  }
}

Result<std::shared_ptr<const PackExtents>> PackIndexes::get(const PackName& pack) {
  {
    const MutexLock lock(mu_);
    const auto found = entries_.find(pack);
    if (found != entries_.end()) {
      found->second.used = ++clock_;
      return found->second.extents;
    }
  }
  const auto container =
      ContainerReader::open(repository_, pack_key(stanza_, pack.label, pack.number), ContainerKind::kPack);
  if (!container && !is_object_damage(container.error())) return Error(container.error());
  std::shared_ptr<PackExtents> extents;
  if (container) {
    extents = std::make_shared<PackExtents>();
    for (const FrameRef& frame : container->frames()) {
      if (frame.type != FrameType::kExtent) continue;
      extents->push_back({0, frame.offset, frame.stored_bytes, frame.raw_bytes, frame.codec});
    }
  }
  put(pack, extents);
  return std::shared_ptr<const PackExtents>(std::move(extents));
}

Result<SegmentCheck> check_stored_segment(const Repository& repository, const std::string& stanza,
                                          const ClusterRecord& cluster, const pg::WalSegment& segment, bool is_last,
                                          unsigned threads, bool whole) {
  SegmentCheck check;
  const std::string name = pg::segment_name(segment, cluster.wal_segment_bytes);
  TRY_ASSIGN(const ObjectKey first, wal_key(stanza, cluster.number, name));
  std::vector<ObjectKey> copies = {first};
  check.vanished = true;
  for (size_t i = 0; i < copies.size(); ++i) {
    const ObjectKey key = copies[i];
    const auto stored = read_stored_file(repository, key, cluster.wal_segment_bytes, threads);
    if (!stored) {
      if (!is_object_damage(stored.error())) return Error(stored.error());
      const bool absent = stored.error().code() == Errc::kNotFound;
      check.vanished = check.vanished && absent;
      if (!absent && check.damage.empty()) {
        check.damage = stored.error().message();
        check.key = key;
      }
      // As a rule the first copy is good, and asking for others would be a request for every segment.
      if (i == 0) {
        TRY_ASSIGN(auto all, find_wal_copies(repository, stanza, cluster.number, name));
        std::erase(all, first);
        copies.insert(copies.end(), all.begin(), all.end());
      }
      continue;
    }
    check.vanished = false;
    // archive-get takes this one, whatever is in it.
    check.key = key;
    check.damage.clear();
    check.read_bytes = stored->object_bytes;
    const auto judged = [&]() -> Result<pg::WalIndex> {
      TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
      TRY(check_archive_file(parsed, stored->raw, cluster));
      return pg::make_wal_index(stored->raw, segment);
    }();
    if (!judged) {
      check.damage = judged.error().message();
    } else if (!is_last && !judged->is_complete()) {
      check.damage = incomplete(*judged);
    } else {
      check.index = *judged;
      if (!whole) return check;
      TRY_ASSIGN(check.damage, damage_beside(repository, key, segment));
      return check;
    }
    break;
  }
  check.usable = false;
  if (check.damage.empty()) check.damage = "it vanished while it was looked at";
  return check;
}

std::string join_segments(const pg::WalIndex& before, pg::WalIndex& index) {
  if (!before.is_complete()) return "";
  const auto joined = pg::complete_wal_index(before, index);
  // A continuation too long to be kept in the index is left to those who read both.
  if (joined || joined.error().code() == Errc::kNotFound) return "";
  return fmt::format("{}: {}", kDoesNotJoin, joined.error().message());
}

Result<std::string> check_wal_file(const Repository& repository, const std::vector<ObjectKey>& copies,
                                   const std::string& name, const ClusterRecord& cluster) {
  std::string damage;
  for (const ObjectKey& key : copies) {
    const auto judged = [&]() -> Result<> {
      TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
      const bool partial = std::holds_alternative<pg::WalPartialName>(parsed);
      TRY_ASSIGN(const StoredFile stored,
                 read_stored_file(repository, key, partial ? cluster.wal_segment_bytes : kHistoryBytesMax));
      TRY_CTX(check_archive_file(parsed, stored.raw, cluster), "check " + key.value);
      TRY(read_container_kind(repository, key));
      return {};
    }();
    if (judged) return std::string();
    if (!is_object_damage(judged.error())) return Error(judged.error());
    if (judged.error().code() == Errc::kNotFound && copies.size() == 1) return std::string();  // Removed meanwhile.
    if (damage.empty()) damage = judged.error().message();
  }
  return damage;
}

Result<std::string> check_record(const Repository& repository, const ObjectKey& key) {
  const auto judged = [&]() -> Result<> {
    TRY_ASSIGN(const ContainerKind kind, read_container_kind(repository, key));
    if (kind != ContainerKind::kRecord) return {};
    TRY_ASSIGN(const std::string document, read_record(repository, key));
    if (nlohmann::json::accept(document)) return {};
    return Error(Errc::kCorrupt, fmt::format("object {}: its document is no JSON", key.value));
  }();
  if (judged || judged.error().code() == Errc::kNotFound) return std::string();
  if (!is_object_damage(judged.error())) return Error(judged.error());
  return judged.error().message();
}

}  // namespace pgark
