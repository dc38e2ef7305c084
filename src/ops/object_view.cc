// Decoding by kind of container. Manifests and packs are written as they are read, so that size does not matter.
#include "ops/object_view.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "catalog/dump.h"
#include "repo/container.h"
#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

using nlohmann::json;
using Write = std::function<Result<>(Bytes)>;

Result<> write_text(const Write& write, std::string_view text) { return write(as_bytes(text)); }

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string_view kind_name(EntryKind kind) {
  switch (kind) {
    case EntryKind::kFile:
      return "file";
    case EntryKind::kDirectory:
      return "directory";
    case EntryKind::kSymlink:
      return "symlink";
  }
  return "unknown";
}

json describe_extent(const ExtentRef& extent) {
  return {{"offset", extent.offset},
          {"stored_bytes", extent.stored_bytes},
          {"raw_bytes", extent.raw_bytes},
          {"codec", codec_name(extent.codec)}};
}

json describe_file(const FileEntry& file, const FileChunk& chunk) {
  json runs = json::array();
  for (const Run& run : file.runs) {
    json extent = describe_extent(chunk.extents[run.extent]);
    extent["pack"] = chunk.extents[run.extent].pack;
    runs.push_back({{"file_offset", run.file_offset},
                    {"bytes", run.bytes},
                    {"extent_offset", run.extent_offset},
                    {"extent", std::move(extent)}});
  }
  json entry{{"path", file.path},
             {"kind", kind_name(file.kind)},
             {"bytes", file.bytes},
             {"user", file.user},
             {"mode", fmt::format("{:04o}", file.mode)},
             {"modified_us", file.modified_us},
             {"group", file.group},
             {"runs", std::move(runs)}};
  if (file.kind == EntryKind::kSymlink) entry["link_target"] = file.link_target;
  if (file.continued) entry["continued"] = true;
  if (!file.bad_blocks.empty()) entry["bad_blocks"] = file.bad_blocks;
  return entry;
}

/// Elements of an array, one a line.
class JsonLines {
 public:
  explicit JsonLines(const Write& write) : write_(write) {}
  Result<> add(const json& element) {
    TRY(write_text(write_, first_ ? "\n" : ",\n"));
    first_ = false;
    return write_text(write_, dump(element));
  }

 private:
  const Write& write_;
  bool first_ = true;
};

/// "<stanza>/backup/<label>/manifest" to stanza and label.
Result<std::pair<std::string, std::string>> manifest_name(const ObjectKey& key) {
  const size_t first = key.value.find('/');
  const size_t second = key.value.find('/', first + 1);
  const size_t third = key.value.find('/', second + 1);
  if (third == std::string::npos)
    return Error(Errc::kInvalid, fmt::format("object {}: a manifest, but not where manifests are", key.value));
  return std::pair{key.value.substr(0, first), key.value.substr(second + 1, third - second - 1)};
}

/// Whether a manifest is that of a dump, "<stanza>/dump/<label>/manifest".
bool is_of_dump(const ObjectKey& key) {
  const size_t first = key.value.find('/');
  return first != std::string::npos && key.value.compare(first, 6, "/dump/") == 0;
}

/// The elements of a list that chunks of a manifest have in common.
Result<> write_chunks(const ContainerReader& manifest, const char* list, const CancelToken& cancel,
                      const Write& write) {
  TRY(write_text(write, fmt::format("\"{}\": [", list)));
  JsonLines lines(write);
  for (const FrameRef& frame : manifest.frames()) {
    if (frame.type != FrameType::kFiles) continue;
    TRY(cancel.check());
    TRY_ASSIGN(const Buffer raw, manifest.read(frame));
    const json chunk = json::parse(as_text(raw), nullptr, false);
    if (!chunk.is_object())
      return Error(Errc::kCorrupt, fmt::format("manifest {}: a chunk is no JSON object", manifest.key().value));
    if (!chunk.contains(list)) continue;
    for (const json& element : chunk[list]) TRY(lines.add(element));
  }
  return write_text(write, "\n]");
}

Result<> write_dump_manifest(const Repository& repository, const ObjectKey& key, const CancelToken& cancel,
                             const Write& write) {
  TRY_ASSIGN(const ContainerReader manifest, ContainerReader::open(repository, key, ContainerKind::kManifest));
  TRY(write_text(write, "{\"dump\": "));
  for (const FrameRef& frame : manifest.frames()) {
    if (frame.type != FrameType::kMeta) continue;
    TRY_ASSIGN(const Buffer piece, manifest.read(frame));
    TRY(write(piece));
  }
  TRY(write_text(write, ",\n"));
  TRY(write_chunks(manifest, "streams", cancel, write));
  TRY(write_text(write, ",\n"));
  TRY(write_chunks(manifest, "tables", cancel, write));
  return write_text(write, "}\n");
}

Result<> write_dump_pack(const Repository& repository, const ObjectKey& key, const Write& write) {
  TRY_ASSIGN(const ContainerReader pack, ContainerReader::open(repository, key, ContainerKind::kDump));
  TRY(write_text(write, "{\"frames\": ["));
  JsonLines lines(write);
  for (size_t i = 0; i < pack.frames().size(); ++i) {
    const FrameRef& frame = pack.frames()[i];
    if (frame.type != FrameType::kDumpData) continue;
    TRY(lines.add({{"frame", i},
                   {"offset", frame.offset},
                   {"stored_bytes", frame.stored_bytes},
                   {"raw_bytes", frame.raw_bytes},
                   {"codec", codec_name(frame.codec)}}));
  }
  return write_text(write, "\n]}\n");
}

Result<> write_manifest(const Repository& repository, const ObjectKey& key, const CancelToken& cancel,
                        const Write& write) {
  if (is_of_dump(key)) return write_dump_manifest(repository, key, cancel, write);
  TRY_ASSIGN(const auto name, manifest_name(key));
  TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository, name.first, name.second));
  TRY_ASSIGN(const std::string document, manifest.document());
  TRY_ASSIGN(const auto packs, manifest.packs());
  json pack_keys = json::array();
  for (const PackName& pack : packs) pack_keys.push_back(pack_key(name.first, pack.label, pack.number).value);
  TRY(write_text(write, fmt::format("{{\"backup\": {},\n\"packs\": {},\n\"files\": [", document, dump(pack_keys))));
  JsonLines lines(write);
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY(cancel.check());
    TRY_ASSIGN(const FileChunk chunk, manifest.chunk(i));
    for (const FileEntry& file : chunk.files) TRY(lines.add(describe_file(file, chunk)));
  }
  return write_text(write, "\n]}\n");
}

Result<> write_pack(const Repository& repository, const ObjectKey& key, const Write& write) {
  TRY_ASSIGN(const auto extents, read_pack_listing(repository, key));
  TRY(write_text(write, "{\"extents\": ["));
  JsonLines lines(write);
  for (const PackedExtent& extent : extents) {
    json pieces = json::array();
    for (const ExtentPiece& piece : extent.pieces)
      pieces.push_back({{"path", piece.path},
                        {"file_offset", piece.file_offset},
                        {"extent_offset", piece.extent_offset},
                        {"bytes", piece.bytes}});
    json described = describe_extent(extent.ref);
    described["pieces"] = std::move(pieces);
    TRY(lines.add(described));
  }
  return write_text(write, "\n]}\n");
}

/// The raw bytes of all frames of one type, one after the other.
Result<> write_stored(const Repository& repository, const ObjectKey& key, ContainerKind kind, FrameType type,
                      const CancelToken& cancel, const Write& write) {
  TRY_ASSIGN(const ContainerReader container, ContainerReader::open(repository, key, kind));
  for (const FrameRef& frame : container.frames()) {
    if (frame.type != type) continue;
    TRY(cancel.check());
    TRY_ASSIGN(const Buffer raw, container.read(frame));
    TRY(write(raw));
  }
  return {};
}

}  // namespace

Result<> write_decoded_object(const Repository& repository, const ObjectKey& key, const CancelToken& cancel,
                              const Write& write) {
  if (key.value == "pgark.json") {
    TRY_ASSIGN(const Buffer text, repository.store().get(key));
    return write(text);
  }
  TRY_ASSIGN(const ContainerKind kind, read_container_kind(repository, key));
  switch (kind) {
    case ContainerKind::kPack:
      return write_pack(repository, key, write);
    case ContainerKind::kManifest:
      return write_manifest(repository, key, cancel, write);
    case ContainerKind::kWal:
      return write_stored(repository, key, kind, FrameType::kWalData, cancel, write);
    case ContainerKind::kDump:
      return write_dump_pack(repository, key, write);
    case ContainerKind::kRecord: {
      TRY_ASSIGN(const std::string document, read_record(repository, key));
      return write_text(write, document + "\n");
    }
  }
  return Error(Errc::kUnsupported, fmt::format("object {}: of a kind this pgark does not know", key.value))
      .with_hint("use --raw for its bytes as they are stored");
}

}  // namespace pgark
