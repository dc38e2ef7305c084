#include "repo/copy_container.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {
namespace {

constexpr uint64_t kReadBytes = 4u << 20;  // Frames that lie back to back are read together.

class ContainerCopy {
 public:
  ContainerCopy(const Repository& from, const ContainerReader& reader, ContainerWriter writer)
      : from_(from), reader_(reader), writer_(std::move(writer)) {}

  Result<ObjectInfo> run() && {
    const auto& frames = reader_.frames();
    for (size_t first = 0; first < frames.size();) {
      size_t end = first + 1;
      while (end < frames.size() && frames[end].offset == end_of(frames[end - 1]) &&
             end_of(frames[end]) - frames[first].offset <= kReadBytes)
        ++end;
      TRY(copy_frames(first, end));
      first = end;
    }
    return std::move(writer_).commit();
  }

 private:
  static uint64_t end_of(const FrameRef& frame) { return frame.offset + frame.stored_bytes; }

  Result<> copy_frames(size_t first, size_t end) {
    const auto& frames = reader_.frames();
    const uint64_t begin = frames[first].offset;
    stored_.resize(static_cast<size_t>(end_of(frames[end - 1]) - begin));
    TRY(from_.store().read_exact(reader_.key(), begin, stored_.bytes()));
    for (size_t i = first; i < end; ++i) {
      if (frames[i].type == FrameType::kKey) continue;  // The copy has one of its own.
      TRY(copy_frame(frames[i],
                     stored_.bytes().subspan(static_cast<size_t>(frames[i].offset - begin), frames[i].stored_bytes)));
    }
    return {};
  }

  Result<> copy_frame(const FrameRef& ref, Bytes stored) {
    TRY_ASSIGN(const Bytes coded, open_stored_frame(from_, reader_.key(), ref, stored, opened_));
    raw_.resize(ref.raw_bytes);
    if (auto decoded = decompressor_.decompress(ref.codec, coded.subspan(sizeof(uint64_t)), raw_.bytes()); !decoded)
      return Error(std::move(decoded).error()).with_context(fmt::format("frame at {}", ref.offset));
    const uint64_t hash = content_hash(raw_);
    if (from_.seal_kind() == SealKind::kChecksum && hash != load_le<uint64_t>(coded.data()))
      return Error(Errc::kCorrupt, fmt::format("frame at {}: content does not match its hash", ref.offset));
    frame_.type = ref.type;
    frame_.codec = ref.codec;
    frame_.raw_bytes = ref.raw_bytes;
    frame_.coded.resize(coded.size());
    std::memcpy(frame_.coded.data(), coded.data(), coded.size());
    std::memcpy(frame_.coded.data(), &hash, sizeof hash);
    TRY_ASSIGN(const FrameRef copied, writer_.append(frame_));
    // Manifests name extents by their offset.
    if (ref.type == FrameType::kExtent && copied.offset != ref.offset)
      return Error(Errc::kInternal, fmt::format("the extent at {} went to {}", ref.offset, copied.offset));
    return {};
  }

  const Repository& from_;
  const ContainerReader& reader_;
  ContainerWriter writer_;
  Decompressor decompressor_;
  Buffer stored_;
  Buffer opened_;
  Buffer raw_;
  CodedFrame frame_;
};

}  // namespace

Result<ObjectInfo> copy_container(const Repository& from, const Repository& to, const ObjectKey& key,
                                  ContainerKind kind) {
  const std::string context = "copy " + key.value;
  TRY_ASSIGN_CTX(const ContainerReader reader, ContainerReader::open(from, key, kind), context);
  const auto& frames = reader.frames();
  const bool has_key_frame =
      std::any_of(frames.begin(), frames.end(), [](const FrameRef& frame) { return frame.type == FrameType::kKey; });
  if (kind == ContainerKind::kPack && !has_key_frame && to.seal_kind() != SealKind::kChecksum)
    return Error(Errc::kUnsupported, context + ": the pack is of a version that had no encryption")
        .with_hint("make a new full backup, and copy that");
  TRY_ASSIGN_CTX(ContainerWriter writer, ContainerWriter::create(to, key, kind, has_key_frame), context);
  TRY_ASSIGN_CTX(ObjectInfo copied, ContainerCopy(from, reader, std::move(writer)).run(), context);
  return copied;
}

}  // namespace pgark
