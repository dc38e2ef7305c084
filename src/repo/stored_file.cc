// Files kept whole: 1 MiB frames and a document.
#include "repo/stored_file.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {
namespace {
constexpr size_t kPieceBytes = 1u << 20;
}

Result<ObjectInfo> write_stored_file(const Repository& repository, const ObjectKey& key, Bytes raw,
                                     const std::string& document, Codec codec, int level) {
  TRY_ASSIGN(ContainerWriter writer, ContainerWriter::create(repository, key, ContainerKind::kWal));
  Compressor compressor(codec, level);
  CodedFrame frame;
  for (size_t at = 0; at < raw.size(); at += kPieceBytes) {
    TRY(code_frame(FrameType::kWalData, raw.subspan(at, std::min(kPieceBytes, raw.size() - at)), compressor, frame));
    TRY(writer.append(frame));
  }
  if (!document.empty()) TRY(writer.append(FrameType::kMeta, as_bytes(document), compressor));
  return std::move(writer).commit();
}

Result<StoredFile> read_stored_file(const Repository& repository, const ObjectKey& key, uint64_t raw_bytes_max) {
  TRY_ASSIGN(const ContainerReader reader, ContainerReader::open(repository, key, ContainerKind::kWal));
  uint64_t total = 0;
  for (const FrameRef& ref : reader.frames())
    if (ref.type == FrameType::kWalData) total += ref.raw_bytes;
  if (total > raw_bytes_max)
    return Error(Errc::kInvalid,
                 fmt::format("read {}: it holds {} bytes, more than {}", key.value, total, raw_bytes_max));
  // One ranged read for the whole object: its frames lie back to back, and almost all of them are wanted.
  Buffer object(static_cast<size_t>(reader.object_bytes()));
  TRY(repository.store().read_exact(key, 0, object.bytes()));
  StoredFile file{Buffer(static_cast<size_t>(total)), {}};
  Decompressor decompressor;
  size_t at = 0;
  for (const FrameRef& ref : reader.frames()) {
    const Bytes stored = object.bytes().subspan(static_cast<size_t>(ref.offset), ref.stored_bytes);
    if (ref.type == FrameType::kWalData) {
      TRY(decode_frame(repository, key, ref, stored, decompressor, file.raw.bytes().subspan(at, ref.raw_bytes)));
      at += ref.raw_bytes;
    } else if (ref.type == FrameType::kMeta) {
      Buffer raw(ref.raw_bytes);
      TRY(decode_frame(repository, key, ref, stored, decompressor, raw.bytes()));
      file.document = as_text(raw);
    }
  }
  return file;
}

namespace {

Result<std::string> read_document(const Repository& repository, const ObjectKey& key, ContainerKind kind) {
  TRY_ASSIGN(const ContainerReader reader, ContainerReader::open(repository, key, kind));
  TRY_ASSIGN(const Buffer raw, reader.read_first(FrameType::kMeta));
  return std::string(as_text(raw));
}

}  // namespace

Result<std::string> read_stored_document(const Repository& repository, const ObjectKey& key) {
  return read_document(repository, key, ContainerKind::kWal);
}

Result<ObjectInfo> write_record(const Repository& repository, const ObjectKey& key, const std::string& document) {
  TRY_ASSIGN(ContainerWriter writer, ContainerWriter::create(repository, key, ContainerKind::kRecord));
  Compressor compressor(Codec::kZstd, 1);
  TRY(writer.append(FrameType::kMeta, as_bytes(document), compressor));
  return std::move(writer).commit();
}

Result<std::string> read_record(const Repository& repository, const ObjectKey& key) {
  return read_document(repository, key, ContainerKind::kRecord);
}

}  // namespace pgark
