// Feeds arbitrary bytes, under valid seals, to the decoders of manifests and packs: a repository may be written by
// another program, or by someone who wants restore to write outside its directory.
#include "repo/manifest.h"
#include "store/memory_store.h"

using namespace pgark;

namespace {

ObjectStore& store() {
  static MemoryStore instance;
  return instance;
}

const Repository& repository() {
  static const auto instance = std::move(*Repository::open_or_create(store(), system_clock()));
  return *instance;
}

void write_container(const ObjectKey& key, ContainerKind kind, FrameType type, Bytes raw, bool with_extent) {
  (void)store().remove(key);
  auto writer = ContainerWriter::create(repository(), key, kind);
  Compressor compressor(Codec::kNone, 0);
  const std::vector<std::byte> block(kHashBlockBytes);
  if (with_extent) (void)writer->append(FrameType::kExtent, block, compressor);
  (void)writer->append(type, raw, compressor);
  (void)std::move(*writer).commit();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const Bytes raw(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: {
      write_container(manifest_key("main", "A"), ContainerKind::kManifest, FrameType::kFiles, raw, false);
      const auto reader = ManifestReader::open(repository(), "main", "A");
      const auto chunk = reader->chunk(0);
      if (!chunk.has_value()) break;
      for (const FileEntry& file : chunk->files)
        for (const pgark::Run& run : file.runs)
          if (run.file_offset + run.bytes > file.bytes || run.extent >= chunk->extents.size()) __builtin_trap();
      break;
    }
    case 1: {
      write_container(manifest_key("main", "A"), ContainerKind::kManifest, FrameType::kPacks, raw, false);
      (void)ManifestReader::open(repository(), "main", "A")->packs();
      break;
    }
    default:
      write_container(pack_key("main", "A", 1), ContainerKind::kPack, FrameType::kPieces, raw, true);
      (void)read_pack_listing(repository(), pack_key("main", "A", 1));
  }
  return 0;
}
