#include "ops/verify_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "core/thread_annotations.h"

namespace pgark {

/// What the chunks of one manifest told so far.
struct ManifestChecker::Read {
  std::string label;
  std::vector<PackName> packs;
  Mutex mu;
  DamagedFiles files GUARDED_BY(mu);
  std::set<PackName> hit_packs GUARDED_BY(mu);
  std::map<std::string, VerifiedBadPages> bad_pages GUARDED_BY(mu);
  uint64_t bad_page_count GUARDED_BY(mu) = 0;
  std::string damage GUARDED_BY(mu);  // Of the manifest itself.

  void clear() {
    const MutexLock lock(mu);
    files = {};
    hit_packs.clear();
    bad_pages.clear();
    bad_page_count = 0;
    damage.clear();
  }

  void add_bad_pages(const FileEntry& file) REQUIRES(mu) {
    if (file.bad_blocks.empty()) return;
    bad_page_count += file.bad_blocks.size();
    if (bad_pages.size() >= kVerifyBadFilesMax && !bad_pages.contains(file.path)) return;
    VerifiedBadPages& bad = bad_pages[file.path];
    bad.label = label;
    bad.path = file.path;
    bad.count += file.bad_blocks.size();
    for (const uint32_t block : file.bad_blocks)
      if (bad.blocks.size() < kBadBlocksMax) bad.blocks.push_back(block);
  }

  ManifestCheck finish() {
    const MutexLock lock(mu);
    ManifestCheck check;
    check.damage = damage;
    check.result.packs.assign(hit_packs.begin(), hit_packs.end());
    check.result.files = files.files();
    check.result.file_count = files.count();
    for (auto& [path, bad] : bad_pages) check.result.bad_pages.push_back(std::move(bad));
    check.result.bad_page_count = bad_page_count;
    return check;
  }
};

/// What is known of a pack: extents follow each other, so it is looked up once for many of them.
struct ManifestChecker::PackView {
  PackName name;
  ObjectKey key;
  const PackDamage* damage = nullptr;
  std::shared_ptr<const PackExtents> extents;  // Null: they are read one by one, unless the pack is missing.
};

Result<ManifestCheck> ManifestChecker::check(const std::string& label, const VerifyEach& each,
                                             std::atomic<uint64_t>& done) {
  Read read;
  read.label = label;
  const auto looked = insist(repository_, [&]() -> Result<> {
    read.clear();  // A second look begins anew.
    return read_chunks(read, each, done);
  });
  if (!looked && !is_object_damage(looked.error())) return Error(looked.error());
  ManifestCheck check = read.finish();
  check.vanished = !looked && looked.error().code() == Errc::kNotFound;
  if (!looked) check.damage = looked.error().message();
  return check;
}

Result<> ManifestChecker::read_chunks(Read& read, const VerifyEach& each, std::atomic<uint64_t>& done) {
  TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository_, stanza_, read.label));
  TRY_ASSIGN(const ContainerKind kind, read_container_kind(repository_, manifest_key(stanza_, read.label)));
  if (kind != ContainerKind::kManifest) return Error(Errc::kCorrupt, "its header is of another kind of object");
  TRY_ASSIGN(read.packs, manifest.packs());
  const uint64_t bytes_each = manifest.object_bytes() / std::max<size_t>(1, manifest.chunk_count());
  return each(manifest.chunk_count(), [&](size_t i) -> Result<> {
    const auto chunk = manifest.chunk(i);
    done += bytes_each;
    if (!chunk && chunk.error().code() != Errc::kCorrupt) return Error(chunk.error());
    if (chunk) return judge_chunk(*chunk, read);
    // The other chunks are read all the same, to tell what else is damaged.
    const MutexLock lock(read.mu);
    read.damage = chunk.error().message();
    return {};
  });
}

Result<> ManifestChecker::judge_chunk(const FileChunk& chunk, Read& read) {
  std::vector<bool> damaged(chunk.extents.size());
  std::optional<PackView> view;
  for (size_t i = 0; i < chunk.extents.size(); ++i) {
    const ExtentRef& extent = chunk.extents[i];
    std::string wrong;
    if (extent.pack >= read.packs.size()) {
      wrong = fmt::format("it names pack {} of {}", extent.pack, read.packs.size());
      damaged[i] = true;
    } else {
      if (!view || view->name != read.packs[extent.pack]) {
        TRY_ASSIGN(view, view_of(read.packs[extent.pack]));
      }
      TRY_ASSIGN(damaged[i], is_damaged(extent, *view, wrong));
    }
    if (wrong.empty()) continue;
    const MutexLock lock(read.mu);
    if (read.damage.empty()) read.damage = std::move(wrong);
  }
  const MutexLock lock(read.mu);
  if (std::find(damaged.begin(), damaged.end(), true) != damaged.end()) {
    find_damaged_files(chunk, damaged, read.packs, read.files);
    for (size_t i = 0; i < damaged.size() && read.hit_packs.size() < kHitPacksMax; ++i) {
      const uint32_t pack = chunk.extents[i].pack;
      if (damaged[i] && pack < read.packs.size()) read.hit_packs.insert(read.packs[pack]);
    }
  }
  for (const FileEntry& file : chunk.files) read.add_bad_pages(file);
  return {};
}

Result<ManifestChecker::PackView> ManifestChecker::view_of(const PackName& pack) {
  PackView view{.name = pack, .key = pack_key(stanza_, pack.label, pack.number), .damage = nullptr, .extents = nullptr};
  if (const auto known = damaged_.find(pack); known != damaged_.end()) view.damage = &known->second;
  const bool one_by_one = view.damage != nullptr && (view.damage->index_unreadable || view.damage->missing);
  if (!one_by_one) {
    TRY_ASSIGN(view.extents, insist(repository_, [&] { return indexes_.get(pack); }));
  }
  return view;
}

/// Whether an extent cannot be restored. `wrong`: the manifest names something that is not there.
Result<bool> ManifestChecker::is_damaged(const ExtentRef& extent, const PackView& pack, std::string& wrong) {
  if (pack.damage != nullptr && pack.damage->hits(extent)) return true;
  if (pack.extents == nullptr) {
    const auto damage = insist(repository_, [&] { return check_extent(repository_, pack.key, extent); });
    if (!damage && damage.error().code() != Errc::kCorrupt) return Error(damage.error());
    return !damage || !damage->empty();
  }
  const auto at = std::lower_bound(pack.extents->begin(), pack.extents->end(), extent.offset,
                                   [](const ExtentRef& one, uint64_t offset) { return one.offset < offset; });
  if (at != pack.extents->end() && at->frame() == extent.frame()) return false;
  wrong = fmt::format("it names an extent of {} bytes at {} of pack {}/{:06}, which holds no such extent",
                      extent.stored_bytes, extent.offset, pack.name.label, pack.name.number);
  return true;
}

}  // namespace pgark
