// Containers: the bytes are described in docs/format/container.md.
#include "repo/container.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/check.h"

namespace pgark {
namespace {

constexpr std::string_view kHeaderMagic = "PGARKOBJ";
constexpr std::string_view kTrailerMagic = "PGARKEND";
constexpr size_t kTailBytes =
    64u << 10;  // Read at once from the end: holds trailer, index and, as a rule, the document.

uint64_t key_seed(const ObjectKey& key) { return seeded_hash(as_bytes(key.value), 0); }

/// The 32 bytes that header and trailer share.
void write_preamble(ByteWriter& out, std::string_view magic, const Repository& repository, ContainerKind kind) {
  out.raw(as_bytes(magic));
  out.fixed(kRepositoryFormat);
  out.fixed(static_cast<uint16_t>(kind));
  out.fixed(static_cast<uint8_t>(repository.seal_kind()));
  out.fixed<uint8_t>(0);
  out.raw(repository.id());
}

/// Pad to 56 bytes and end with the checksum, which also knows the object's name.
void finish_block(ByteWriter& out, const ObjectKey& key) {
  while (out.size() < kContainerHeaderBytes - sizeof(uint64_t)) out.fixed<uint8_t>(0);
  out.fixed(seeded_hash(out.bytes(), key_seed(key)));
}

Error corrupt(const ObjectKey& key, std::string_view what) {
  return Error(Errc::kCorrupt, fmt::format("object {}: {}", key.value, what));
}

/// Check a header or trailer; the kind of container it says this is.
Result<ContainerKind> check_block(const Repository& repository, const ObjectKey& key, std::string_view magic,
                                  Bytes block) {
  const char* name = magic == kHeaderMagic ? "header" : "trailer";
  ByteReader reader(block);
  if (as_text(reader.raw(8)) != magic)
    return corrupt(key, fmt::format("{} has no magic: truncated, or not written by pgark", name));
  const auto format = reader.fixed<uint32_t>();
  if (format > kRepositoryFormat)
    return Error(Errc::kUnsupported,
                 fmt::format("object {}: format {}, this pgark knows up to {}", key.value, format, kRepositoryFormat))
        .with_hint("use a newer pgark");
  const auto found_kind = reader.fixed<uint16_t>();
  reader.skip(2);
  const Bytes id = reader.raw(repository.id().size());
  if (!std::equal(id.begin(), id.end(), repository.id().begin()))
    return corrupt(key, fmt::format("{} is damaged, or of another repository", name));
  if (load_le<uint64_t>(block.data() + block.size() - 8) != seeded_hash(block.first(block.size() - 8), key_seed(key)))
    return corrupt(key, fmt::format("{} is damaged, or of another object", name));
  return static_cast<ContainerKind>(found_kind);
}

Result<> check_kind(const ObjectKey& key, ContainerKind found, ContainerKind wanted) {
  if (found == wanted) return {};
  return corrupt(key,
                 fmt::format("is of kind {}, not {}", static_cast<unsigned>(found), static_cast<unsigned>(wanted)));
}

std::vector<std::byte> encode_index(const std::vector<FrameRef>& frames) {
  ByteWriter out;
  out.varint(frames.size());
  uint64_t end = kContainerHeaderBytes;
  for (const FrameRef& frame : frames) {
    out.fixed(static_cast<uint8_t>(frame.type));
    out.fixed(static_cast<uint8_t>(frame.codec));
    out.varint(frame.offset - end);
    out.varint(frame.stored_bytes);
    out.varint(frame.raw_bytes);
    end = frame.offset + frame.stored_bytes;
  }
  return std::move(out).take();
}

Result<std::vector<FrameRef>> decode_index(const ObjectKey& key, Bytes raw, uint64_t end_max) {
  ByteReader reader(raw);
  const uint64_t count = reader.varint();
  if (!reader.ok() || count > raw.size()) return corrupt(key, "index does not decode");
  std::vector<FrameRef> frames(static_cast<size_t>(count));
  uint64_t end = kContainerHeaderBytes;
  for (FrameRef& frame : frames) {
    frame.type = static_cast<FrameType>(reader.fixed<uint8_t>());
    frame.codec = static_cast<Codec>(reader.fixed<uint8_t>());
    const uint64_t gap = reader.varint();
    const uint64_t stored = reader.varint();
    const uint64_t raw_bytes = reader.varint();
    if (!reader.ok() || gap > end_max - end || stored > end_max - end - gap || stored < kFrameOverheadBytes ||
        stored > UINT32_MAX || raw_bytes > kFrameRawBytesMax)
      return corrupt(key, "index does not decode");
    frame.offset = end + gap;
    frame.stored_bytes = static_cast<uint32_t>(stored);
    frame.raw_bytes = static_cast<uint32_t>(raw_bytes);
    end = frame.offset + stored;
  }
  if (reader.remaining() != 0) return corrupt(key, "index has bytes left over");
  return frames;
}

}  // namespace

Result<> code_frame(FrameType type, Bytes raw, Compressor& compressor, CodedFrame& frame,
                    std::vector<uint64_t>* block_hashes) {
  CHECK(!raw.empty() && raw.size() <= kFrameRawBytesMax);
  frame.type = type;
  frame.raw_bytes = static_cast<uint32_t>(raw.size());
  const uint64_t hash = block_hashes != nullptr ? content_hash(raw, *block_hashes) : content_hash(raw);
  frame.coded.resize(sizeof hash);
  std::memcpy(frame.coded.data(), &hash, sizeof hash);
  TRY_ASSIGN(frame.codec, compressor.compress(raw, frame.coded));
  return {};
}

Result<ContainerWriter> ContainerWriter::create(const Repository& repository, ObjectKey key, ContainerKind kind) {
  TRY_ASSIGN(auto writer, repository.store().create(key));
  ByteWriter header;
  write_preamble(header, kHeaderMagic, repository, kind);
  finish_block(header, key);
  TRY(writer->append(header.bytes()));
  ContainerWriter container(repository, std::move(key), kind, std::move(writer));
  container.offset_ = kContainerHeaderBytes;
  return container;
}

Result<FrameRef> ContainerWriter::append(const CodedFrame& frame) {
  const FrameIdentity identity{key_, offset_, static_cast<uint8_t>(frame.type), frame.codec, frame.raw_bytes};
  const Tag tag = repository_->tag(identity, frame.coded);
  TRY(writer_->append(frame.coded));
  TRY(writer_->append(tag));
  const FrameRef ref{offset_, static_cast<uint32_t>(frame.coded.size() + tag.size()), frame.raw_bytes, frame.type,
                     frame.codec};
  offset_ += ref.stored_bytes;
  frames_.push_back(ref);
  return ref;
}

Result<FrameRef> ContainerWriter::append(FrameType type, Bytes raw, Compressor& compressor) {
  CodedFrame frame;
  TRY(code_frame(type, raw, compressor, frame));
  return append(frame);
}

Result<ObjectInfo> ContainerWriter::commit() && {
  Compressor compressor(Codec::kZstd, 1);
  TRY_ASSIGN(const FrameRef index, append(FrameType::kIndex, encode_index(frames_), compressor));
  ByteWriter trailer;
  write_preamble(trailer, kTrailerMagic, *repository_, kind_);
  trailer.fixed(index.offset);
  trailer.fixed(index.stored_bytes);
  trailer.fixed(index.raw_bytes);
  trailer.fixed(static_cast<uint8_t>(index.codec));
  finish_block(trailer, key_);
  TRY(writer_->append(trailer.bytes()));
  return std::move(*writer_).commit();
}

Result<> decode_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                      Decompressor& decompressor, MutableBytes raw, std::vector<uint64_t>* block_hashes) {
  const auto damaged = [&](std::string_view what) {
    return corrupt(key, fmt::format("frame at {}, {} bytes long: {}", ref.offset, ref.stored_bytes, what));
  };
  CHECK(stored.size() == ref.stored_bytes && raw.size() == ref.raw_bytes);
  if (stored.size() < kFrameOverheadBytes) return damaged("shorter than a frame");
  const Bytes sealed = stored.first(stored.size() - sizeof(Tag));
  const FrameIdentity identity{key, ref.offset, static_cast<uint8_t>(ref.type), ref.codec, ref.raw_bytes};
  const Tag tag = repository.tag(identity, sealed);
  if (!std::equal(tag.begin(), tag.end(), stored.end() - sizeof(Tag))) return damaged("checksum does not match");
  if (auto decoded = decompressor.decompress(ref.codec, sealed.subspan(8), raw); !decoded.has_value())
    return Error(decoded.error().code(), damaged(decoded.error().message()).message());
  const uint64_t hash = block_hashes != nullptr ? content_hash(raw, *block_hashes) : content_hash(raw);
  if (hash != load_le<uint64_t>(sealed.data())) return damaged("content does not match its hash");
  return {};
}

Result<ContainerReader> ContainerReader::open(const Repository& repository, ObjectKey key, ContainerKind kind) {
  TRY_ASSIGN(const auto info, repository.store().stat(key));
  if (!info.has_value())
    return Error(Errc::kNotFound, fmt::format("object {} is not in {}", key.value, repository.store().describe()));
  ContainerReader reader(repository, std::move(key));
  reader.object_bytes_ = info->bytes;
  if (info->bytes < kContainerHeaderBytes + kContainerTrailerBytes) return corrupt(reader.key_, "truncated");
  reader.tail_.resize(static_cast<size_t>(std::min<uint64_t>(kTailBytes, info->bytes)));
  const uint64_t tail_start = info->bytes - reader.tail_.size();
  TRY(repository.store().read_exact(reader.key_, tail_start, reader.tail_.bytes()));
  if (tail_start == 0)
    TRY(check_block(repository, reader.key_, kHeaderMagic, reader.tail_.bytes().first(kContainerHeaderBytes)));
  const Bytes trailer = reader.tail_.bytes().last(kContainerTrailerBytes);
  TRY_ASSIGN(const ContainerKind found, check_block(repository, reader.key_, kTrailerMagic, trailer));
  TRY(check_kind(reader.key_, found, kind));
  FrameRef index;
  index.type = FrameType::kIndex;
  index.offset = load_le<uint64_t>(trailer.data() + 32);
  index.stored_bytes = load_le<uint32_t>(trailer.data() + 40);
  index.raw_bytes = load_le<uint32_t>(trailer.data() + 44);
  index.codec = static_cast<Codec>(trailer[48]);
  const uint64_t index_end = info->bytes - kContainerTrailerBytes;
  if (index.offset < kContainerHeaderBytes || index.offset > index_end ||
      index.stored_bytes != index_end - index.offset || index.raw_bytes > kFrameRawBytesMax)
    return corrupt(reader.key_, "trailer does not fit the object's size");
  TRY_ASSIGN(const Buffer raw, reader.read(index));
  TRY_ASSIGN(reader.frames_, decode_index(reader.key_, raw, index.offset));
  return reader;
}

Result<ContainerKind> read_container_kind(const Repository& repository, const ObjectKey& key) {
  Buffer header(kContainerHeaderBytes);
  TRY(repository.store().read_exact(key, 0, header.bytes()));
  return check_block(repository, key, kHeaderMagic, header);
}

Result<> ContainerReader::load() {
  if (tail_.size() == object_bytes_) return {};
  Buffer whole(static_cast<size_t>(object_bytes_));
  TRY(repository_->store().read_exact(key_, 0, whole.bytes()));
  tail_ = std::move(whole);
  return {};
}

Result<Buffer> ContainerReader::read(const FrameRef& ref) const {
  Buffer raw(ref.raw_bytes);
  Decompressor decompressor;
  const uint64_t tail_start = object_bytes_ - tail_.size();
  if (ref.offset >= tail_start) {
    const Bytes stored = tail_.bytes().subspan(static_cast<size_t>(ref.offset - tail_start), ref.stored_bytes);
    TRY(decode_frame(*repository_, key_, ref, stored, decompressor, raw.bytes()));
    return raw;
  }
  Buffer stored(ref.stored_bytes);
  TRY(repository_->store().read_exact(key_, ref.offset, stored.bytes()));
  TRY(decode_frame(*repository_, key_, ref, stored, decompressor, raw.bytes()));
  return raw;
}

Result<Buffer> ContainerReader::read_first(FrameType type) const {
  const auto found =
      std::find_if(frames_.begin(), frames_.end(), [&](const FrameRef& ref) { return ref.type == type; });
  if (found == frames_.end()) return corrupt(key_, fmt::format("has no frame of type {}", static_cast<unsigned>(type)));
  return read(*found);
}

}  // namespace pgark
