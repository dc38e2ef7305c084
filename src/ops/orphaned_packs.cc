// One table for each interrupted backup: its extents in 8 bytes each, and stretches of files, which run over as many
// extents as follow each other, in 16.
#include "ops/orphaned_packs.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <deque>
#include <unordered_set>
#include <utility>

#include "catalog/backup.h"
#include "core/log.h"
#include "repo/block_hashes.h"

namespace pgark {
namespace {

constexpr uint32_t kExtentBlocks = kExtentBytes / kHashBlockBytes;
// Of a block's number in a stretch's key: larger files than 128 GiB go under several keys.
constexpr unsigned kBlockBits = 24;
constexpr uint64_t kKeyBlocks = 1ull << kBlockBits;
constexpr uint32_t kExtentsMax = 1u << 28;  // Of one backup: 32 TiB.
// Lists kept at hand; a worker goes through one pack after the other.
constexpr size_t kHashesBytes = 48u << 20;

/// An extent without its pack, which follows from its place in the table.
struct CompactExtent {
  uint32_t offset = 0;
  uint32_t coded = 0;  // Stored bytes << 8, blocks << 3, codec.

  static std::optional<CompactExtent> make(const ExtentRef& extent) {
    const auto codec = static_cast<uint32_t>(extent.codec);
    const auto blocks = static_cast<uint32_t>(extent.raw_bytes / kHashBlockBytes);
    if (extent.offset > UINT32_MAX || extent.stored_bytes >= 1u << 24 || blocks > kExtentBlocks || codec > 7)
      return std::nullopt;
    return CompactExtent{static_cast<uint32_t>(extent.offset), extent.stored_bytes << 8 | blocks << 3 | codec};
  }
  uint32_t blocks() const { return coded >> 3 & 31; }
  ExtentRef ref(uint32_t pack) const {
    return {pack, offset, coded >> 8, blocks() * static_cast<uint32_t>(kHashBlockBytes), static_cast<Codec>(coded & 7)};
  }
};

/// Blocks of a file that lie one after the other in extents that lie one after the other.
struct Stretch {
  uint64_t key = 0;  // Path and first block.
  uint32_t blocks = 0;
  uint32_t place = 0;  // Extent * kExtentBlocks + block in it. In extents that are full, block after block.

  static uint64_t make_key(std::string_view path, uint64_t block) {
    // Paths that share a hash cost a block stored twice, never a wrong one: its own hash is asked for as well.
    const uint64_t hash = seeded_hash(as_bytes(path), block >> kBlockBits);
    return hash << kBlockBits | block % kKeyBlocks;
  }
};
static_assert(sizeof(Stretch) == 16 && sizeof(CompactExtent) == 8);

/// What one pack adds to the table of its backup. Extents are counted from the first of the pack.
struct PackTable {
  std::vector<CompactExtent> extents;
  std::vector<Stretch> stretches;

  static Result<PackTable> read(const Repository& repository, const ObjectKey& key) {
    PackTable table;
    TRY(visit_pack_listing(repository, key, [&table, &key](const ListedExtent& extent) -> Result<> {
      const auto compact = CompactExtent::make(extent.ref);
      if (!compact.has_value())
        return Error(Errc::kUnsupported,
                     fmt::format("pack {}: extent at {} is larger than extents are", key.value, extent.ref.offset));
      table.extents.push_back(*compact);
      for (const ListedExtent::Piece& piece : extent.pieces) table.add(piece);
      return {};
    }));
    return table;
  }

  /// Bytes it takes in the table of its backup. Growing vectors hold up to three times what is in them.
  size_t bytes() const {
    return extents.size() * sizeof(CompactExtent) * 9 / 8 + stretches.size() * sizeof(Stretch) * 3;
  }

 private:
  /// Add a piece of the extent added last.
  void add(const ListedExtent::Piece& piece) {
    if (piece.file_offset % kHashBlockBytes != 0) return;
    auto left = static_cast<uint32_t>((piece.bytes + kHashBlockBytes - 1) / kHashBlockBytes);
    auto place = static_cast<uint32_t>((extents.size() - 1) * kExtentBlocks + piece.extent_offset / kHashBlockBytes);
    for (uint64_t block = piece.file_offset / kHashBlockBytes; left > 0;) {
      // Blocks on both sides of a change of key are stretches of their own.
      const auto blocks = static_cast<uint32_t>(std::min<uint64_t>(left, kKeyBlocks - block % kKeyBlocks));
      add({Stretch::make_key(piece.path, block), blocks, place}, block % kKeyBlocks == 0);
      block += blocks;
      place += blocks;
      left -= blocks;
    }
  }

  /// Add a stretch, or let the one before go on with it.
  void add(const Stretch& stretch, bool begins_key) {
    if (!stretches.empty() && !begins_key) {
      Stretch& last = stretches.back();
      if (last.key + last.blocks == stretch.key && last.place + last.blocks == stretch.place) {
        last.blocks += stretch.blocks;
        return;
      }
    }
    stretches.push_back(stretch);
  }
};

/// The orphaned packs of one backup.
struct Orphan {
  std::string label;
  uint32_t first_pack = 0;            // In the table of all packs.
  std::vector<uint32_t> pack_begins;  // The first extent of each pack.
  std::deque<CompactExtent> extents;  // Grows without being copied.
  std::vector<Stretch> stretches;     // By key.

  void add(const PackTable& pack) {
    const auto begin = static_cast<uint32_t>(extents.size());
    pack_begins.push_back(begin);
    extents.insert(extents.end(), pack.extents.begin(), pack.extents.end());
    for (Stretch stretch : pack.stretches) {
      stretch.place += begin * kExtentBlocks;
      stretches.push_back(stretch);
    }
  }

  void sort() {
    stretches.shrink_to_fit();
    std::sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) { return a.key < b.key; });
  }

  std::optional<OrphanedBlock> find(uint64_t key) const {
    auto after = std::upper_bound(stretches.begin(), stretches.end(), key,
                                  [](uint64_t wanted, const Stretch& stretch) { return wanted < stretch.key; });
    if (after == stretches.begin()) return std::nullopt;
    const Stretch& stretch = *--after;
    if (key - stretch.key >= stretch.blocks) return std::nullopt;
    const uint32_t place = stretch.place + static_cast<uint32_t>(key - stretch.key);
    const uint32_t index = place / kExtentBlocks;
    const auto pack = std::upper_bound(pack_begins.begin(), pack_begins.end(), index) - pack_begins.begin() - 1;
    return OrphanedBlock{extents[index].ref(first_pack + static_cast<uint32_t>(pack)),
                         place % kExtentBlocks * static_cast<uint32_t>(kHashBlockBytes)};
  }
};

struct FoundPack {
  uint32_t number = 0;
  ObjectInfo info;
};

/// Labels with packs that no backup is known to have finished with, the newest first.
Result<std::vector<std::string>> interrupted_labels(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto backups, list_backup_labels(repository, stanza));
  const std::unordered_set<std::string_view> finished(backups.begin(), backups.end());
  TRY_ASSIGN(const auto used, list_used_labels(repository, stanza));
  std::vector<std::string> labels;
  for (const std::string& label : used) {
    if (!parse_backup_label(label).has_value()) continue;
    if (finished.contains(label)) continue;
    TRY_ASSIGN_CTX(const auto tombstone, repository.store().stat({fmt::format("{}/expire/{}", stanza, label)}),
                   "look whether backup " + label + " was expired");
    if (!tombstone.has_value()) labels.push_back(label);
  }
  // An expired backup whose tombstone is gone may live on in packs that later ones name.
  for (size_t i = 0; i < backups.size() && !labels.empty(); ++i) {
    const auto manifest = ManifestReader::open(repository, stanza, backups[i]);
    const auto packs = manifest.has_value() ? manifest->packs() : Result<std::vector<PackName>>(manifest.error());
    if (!packs.has_value()) {
      log_detail("{}", packs.error().message());
      continue;
    }
    for (const PackName& pack : *packs) std::erase(labels, pack.label);
  }
  std::reverse(labels.begin(), labels.end());
  return labels;
}

/// The packs of a label, by number.
Result<std::vector<FoundPack>> list_packs(const Repository& repository, const std::string& stanza,
                                          const std::string& label) {
  const std::string prefix = fmt::format("{}/pack/{}/", stanza, label);
  TRY_ASSIGN_CTX(auto objects, repository.store().list_all(prefix), "list packs of backup " + label);
  std::vector<FoundPack> packs;
  for (ObjectInfo& object : objects) {
    const std::string_view text = std::string_view(object.key.value).substr(prefix.size());
    uint32_t number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() &&
        pack_key(stanza, label, number) == object.key)
      packs.push_back({number, std::move(object)});
  }
  std::sort(packs.begin(), packs.end(), [](const FoundPack& a, const FoundPack& b) { return a.number < b.number; });
  return packs;
}

}  // namespace

struct OrphanedPacks::State {
  /// Read the packs of one label into `orphans`, as long as there is room.
  Result<> add_label(const Repository& repository, const std::string& stanza, const std::string& label,
                     const Options& options) {
    TRY_ASSIGN(const auto found, list_packs(repository, stanza, label));
    Orphan orphan;
    orphan.label = label;
    orphan.first_pack = static_cast<uint32_t>(packs.size());
    for (const FoundPack& pack : found) {
      if (full || pack.info.modified < options.not_before) {
        ++left_out;
        continue;
      }
      const auto table = PackTable::read(repository, pack.info.key);
      if (!table.has_value()) {
        log_info("nothing of an interrupted backup's pack is reused: {}", table.error().message());
        ++left_out;
        continue;
      }
      if (table_bytes + table->bytes() > options.bytes_max - hashes_bytes ||
          orphan.extents.size() + table->extents.size() > kExtentsMax) {
        full = true;
        ++left_out;
        continue;
      }
      table_bytes += table->bytes();
      stored_bytes += pack.info.bytes;
      packs.push_back({label, pack.number});
      orphan.add(*table);
    }
    if (orphan.pack_begins.empty()) return {};
    orphan.sort();
    orphans.push_back(std::move(orphan));
    return {};
  }

  /// Whether the stored block has this hash. A pack whose list cannot be read any more is not asked again.
  bool matches(const OrphanedBlock& block, uint64_t hash) {
    std::atomic<bool>& unreadable = lost[block.extent.pack];
    if (unreadable.load(std::memory_order_relaxed)) return false;
    const auto stored = hashes->of_block(block.extent, block.extent_offset);
    if (stored.has_value()) return *stored == hash;
    if (!unreadable.exchange(true))
      log_info("nothing more of an interrupted backup's pack is reused: {}", stored.error().message());
    return false;
  }

  std::vector<PackName> packs;
  std::vector<Orphan> orphans;  // The newest first.
  std::optional<BlockHashes> hashes;
  std::unique_ptr<std::atomic<bool>[]> lost;  // Of each pack.
  size_t hashes_bytes = 0;
  size_t table_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t left_out = 0;
  bool full = false;
};

OrphanedPacks::OrphanedPacks(std::unique_ptr<State> state) : state_(std::move(state)) {}
OrphanedPacks::OrphanedPacks(OrphanedPacks&&) noexcept = default;
OrphanedPacks& OrphanedPacks::operator=(OrphanedPacks&&) noexcept = default;
OrphanedPacks::~OrphanedPacks() = default;

Result<OrphanedPacks> OrphanedPacks::find(const Repository& repository, const std::string& stanza,
                                          const Options& options) {
  auto state = std::make_unique<State>();
  state->hashes_bytes = std::min(kHashesBytes, options.bytes_max / 3);
  TRY_ASSIGN(const auto labels, interrupted_labels(repository, stanza));
  for (const std::string& label : labels) TRY(state->add_label(repository, stanza, label, options));
  state->hashes.emplace(repository, stanza, state->packs, state->hashes_bytes);
  state->lost = std::make_unique<std::atomic<bool>[]>(state->packs.size());
  OrphanedPacks found(std::move(state));
  log_detail("{} packs of interrupted backups found, {} of them left out: too old, unreadable, or too many",
             found.packs().size() + found.left_out(), found.left_out());
  return found;
}

Result<OrphanedPacks> OrphanedPacks::find(const Repository& repository, const std::string& stanza) {
  return find(repository, stanza, Options{});
}

const std::vector<PackName>& OrphanedPacks::packs() const { return state_->packs; }

std::vector<std::string> OrphanedPacks::labels() const {
  std::vector<std::string> labels;
  for (const Orphan& orphan : state_->orphans) labels.push_back(orphan.label);
  return labels;
}

uint64_t OrphanedPacks::stored_bytes() const { return state_->stored_bytes; }
uint64_t OrphanedPacks::left_out() const { return state_->left_out; }
size_t OrphanedPacks::table_bytes() const { return state_->table_bytes; }

std::optional<OrphanedBlock> OrphanedPacks::find_block(std::string_view path, uint64_t file_offset, uint64_t hash) {
  if (state_->orphans.empty()) return std::nullopt;
  const uint64_t key = Stretch::make_key(path, file_offset / kHashBlockBytes);
  for (const Orphan& orphan : state_->orphans)
    if (const auto block = orphan.find(key); block.has_value() && state_->matches(*block, hash)) return block;
  return std::nullopt;
}

}  // namespace pgark
