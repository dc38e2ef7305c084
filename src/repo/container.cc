// Containers: the bytes are described in docs/format/container.md.
#include "repo/container.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/check.h"
#include "repo/frame_view.h"
#include "store/calls_at_once.h"

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
  out.fixed(repository.format());
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
  const auto seal = reader.fixed<uint8_t>();
  reader.skip(1);
  const Bytes id = reader.raw(repository.id().size());
  if (!std::equal(id.begin(), id.end(), repository.id().begin()))
    return corrupt(key, fmt::format("{} is damaged, or of another repository", name));
  if (load_le<uint64_t>(block.data() + block.size() - 8) != seeded_hash(block.first(block.size() - 8), key_seed(key)))
    return corrupt(key, fmt::format("{} is damaged, or of another object", name));
  if (seal != static_cast<uint8_t>(repository.seal_kind()))
    return corrupt(key, fmt::format("{} says that it is sealed in another way than its repository", name));
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

/// Raw bytes of a key frame: the sender's half of a key agreement.
constexpr uint32_t kKeyFrameRawBytes = kX25519KeyBytes;

/// The first frame of an object that holds data; zeros where nothing is encrypted.
CodedFrame key_frame(const ObjectKeys* keys) {
  const X25519Public sender = keys != nullptr ? keys->data_sender : X25519Public{};
  const uint64_t hash = content_hash(sender);
  CodedFrame frame;
  frame.type = FrameType::kKey;
  frame.raw_bytes = kKeyFrameRawBytes;
  frame.coded.resize(sizeof hash);
  std::memcpy(frame.coded.data(), &hash, sizeof hash);
  frame.coded.append(sender);
  return frame;
}

/// The keys to read a frame with; the key frame of its object is read if need be.
Result<std::shared_ptr<const ObjectKeys>> reading_keys(const Repository& repository, const ObjectKey& key,
                                                       FrameType type) {
  ObjectKeyring& keyring = *repository.keyring();
  if (!is_data_frame(type, key)) return keyring.metadata(key);
  if (auto known = keyring.find_data(key)) return known;
  constexpr uint32_t kStoredBytes = kKeyFrameRawBytes + kFrameOverheadBytes;
  std::array<std::byte, kStoredBytes> stored{};
  X25519Public sender{};
  if (keyring.can_open_data()) {  // Else the error does not need it.
    TRY(repository.store().read_exact(key, kContainerHeaderBytes, stored));
    Decompressor none;
    const FrameRef ref{kContainerHeaderBytes, kStoredBytes, kKeyFrameRawBytes, FrameType::kKey, Codec::kNone};
    TRY_CTX(decode_frame(repository, key, ref, stored, none, sender), "read the key of the data");
  }
  return keyring.open_data(key, sender);
}

/// Decrypt what is stored of a frame into `opened`.
Result<> decrypt_frame(const Repository& repository, const FrameIdentity& identity, FrameType type, Bytes stored,
                       Buffer& opened) {
  TRY_ASSIGN(const auto keys, reading_keys(repository, identity.key, type));
  const Secret& key = keys->of_frame(type, identity.key);
  opened.resize(stored.size() - sizeof(Tag));
  std::memcpy(opened.data(), stored.data(), opened.size());
  return open_frame(key, repository.identity_bytes(identity), identity.offset, opened.bytes(),
                    stored.last<kAeadTagBytes>());
}

}  // namespace

bool is_data_frame(FrameType type, const ObjectKey& key) {
  if (type == FrameType::kExtent || type == FrameType::kDumpData) return true;
  if (type != FrameType::kWalData) return false;
  const std::string_view name = std::string_view(key.value).substr(key.value.rfind('/') + 1);
  return name.find(".history") == name.npos && name.find(".backup") == name.npos;
}

Result<> code_frame_in_place(FrameType type, Bytes raw, Compressor& compressor, CodedFrame& frame,
                             std::vector<uint64_t>* block_hashes) {
  CHECK(!raw.empty() && raw.size() <= kFrameRawBytesMax);
  frame.type = type;
  frame.raw_bytes = static_cast<uint32_t>(raw.size());
  const uint64_t hash = block_hashes != nullptr ? content_hash(raw, *block_hashes) : content_hash(raw);
  frame.coded.resize(sizeof hash);
  std::memcpy(frame.coded.data(), &hash, sizeof hash);
  TRY_ASSIGN(frame.codec, compressor.compress_if_smaller(raw, frame.coded));
  frame.uncoded = frame.codec == Codec::kNone ? raw : Bytes();
  return {};
}

Result<> code_frame(FrameType type, Bytes raw, Compressor& compressor, CodedFrame& frame,
                    std::vector<uint64_t>* block_hashes) {
  TRY(code_frame_in_place(type, raw, compressor, frame, block_hashes));
  frame.coded.append(std::exchange(frame.uncoded, Bytes()));
  return {};
}

template <typename Step>
Result<> ContainerWriter::for_each(Step step) {
  for (size_t i = 0; i < copies_.size();) {
    auto done = repositories_.has_failed(copies_[i].index)
                    ? Result<>(Error(Errc::kCancelled, "write " + key_.value + ": the repository was left behind"))
                    : step(copies_[i]);
    if (done.has_value()) {
      ++i;
      continue;
    }
    const size_t index = copies_[i].index;
    copies_.erase(copies_.begin() + static_cast<ptrdiff_t>(i));
    Error error = std::move(done).error();
    TRY(repositories_.fail(index, error));
    // Another writer's failure may have come in between.
    if (copies_.empty()) return error;
  }
  return {};
}

Result<ContainerWriter> ContainerWriter::create(RepositorySet repositories, ObjectKey key, ContainerKind kind,
                                                bool key_frame_in_packs) {
  ContainerWriter container(std::move(repositories), std::move(key), kind);
  container.key_frame_in_packs_ = key_frame_in_packs;
  for (size_t i = 0; i < container.repositories_.size(); ++i)
    container.copies_.push_back({i, &container.repositories_.at(i), nullptr, nullptr});
  TRY(container.for_each([&](Copy& copy) { return container.begin(copy); }));
  container.offset_ = kContainerHeaderBytes;
  if (!container.has_key_frame()) return container;
  TRY(container.for_each([&](Copy& copy) { return container.append_to(copy, key_frame(copy.keys.get())); }));
  const FrameRef ref{kContainerHeaderBytes, kKeyFrameRawBytes + kFrameOverheadBytes, kKeyFrameRawBytes, FrameType::kKey,
                     Codec::kNone};
  container.offset_ += ref.stored_bytes;
  container.frames_.push_back(ref);
  return container;
}

Result<> ContainerWriter::begin(Copy& copy) {
  if (ObjectKeyring* keyring = copy.repository->keyring()) {
    TRY_ASSIGN(copy.keys, keyring->make(key_, has_key_frame()));
  }
  TRY_ASSIGN(copy.writer, copy.repository->store().create(key_));
  ByteWriter header;
  write_preamble(header, kHeaderMagic, *copy.repository, kind_);
  finish_block(header, key_);
  return copy.writer->append(header.bytes());
}

/// Packs have one whether sealed or not, so that an extent lies at the same offset in the copies of all repositories.
bool ContainerWriter::has_key_frame() const {
  if (kind_ == ContainerKind::kPack) return key_frame_in_packs_;
  if (kind_ == ContainerKind::kDump) return true;
  if (kind_ != ContainerKind::kWal || !is_data_frame(FrameType::kWalData, key_)) return false;
  for (size_t i = 0; i < repositories_.size(); ++i)
    if (repositories_.at(i).keyring() != nullptr) return true;
  return false;
}

Result<> ContainerWriter::append_to(Copy& copy, const CodedFrame& frame) {
  const FrameIdentity identity{key_, offset_, static_cast<uint8_t>(frame.type), frame.codec, frame.raw_bytes};
  Tag tag{};
  if (copy.keys == nullptr) {
    tag = copy.repository->tag(identity, frame.coded, frame.uncoded);
    TRY(copy.writer->append(frame.coded));
    if (!frame.uncoded.empty()) TRY(copy.writer->append(frame.uncoded));
    return copy.writer->append(tag);
  }
  const Secret& key = copy.keys->of_frame(frame.type, key_);
  sealed_.clear();
  sealed_.append(frame.coded);
  sealed_.append(frame.uncoded);
  TRY_CTX(seal_frame(key, copy.repository->identity_bytes(identity), offset_, sealed_.bytes(), tag),
          "write " + key_.value);
  TRY(copy.writer->append(sealed_));
  return copy.writer->append(tag);
}

Result<FrameRef> ContainerWriter::append(const CodedFrame& frame) {
  TRY(for_each([&](Copy& copy) { return append_to(copy, frame); }));
  const FrameRef ref{offset_, static_cast<uint32_t>(frame.coded.size() + frame.uncoded.size() + sizeof(Tag)),
                     frame.raw_bytes, frame.type, frame.codec};
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
  std::optional<ObjectInfo> committed;
  const auto finish = [&](Copy& copy) -> Result<> {
    ByteWriter trailer;
    write_preamble(trailer, kTrailerMagic, *copy.repository, kind_);
    trailer.fixed(index.offset);
    trailer.fixed(index.stored_bytes);
    trailer.fixed(index.raw_bytes);
    trailer.fixed(static_cast<uint8_t>(index.codec));
    finish_block(trailer, key_);
    TRY(copy.writer->append(trailer.bytes()));
    TRY_ASSIGN(ObjectInfo info, std::move(*copy.writer).commit());
    if (!committed) committed = std::move(info);
    return {};
  };
  TRY(for_each(finish));
  return std::move(*committed);
}

namespace {

Error damaged_frame(const ObjectKey& key, const FrameRef& ref, std::string_view what) {
  return corrupt(key, fmt::format("frame at {}, {} bytes long: {}", ref.offset, ref.stored_bytes, what));
}

}  // namespace

Result<Bytes> open_stored_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                                Buffer& opened) {
  CHECK(stored.size() == ref.stored_bytes);
  if (stored.size() < kFrameOverheadBytes) return damaged_frame(key, ref, "shorter than a frame");
  const FrameIdentity identity{key, ref.offset, static_cast<uint8_t>(ref.type), ref.codec, ref.raw_bytes};
  const Bytes coded = stored.first(stored.size() - sizeof(Tag));
  if (repository.keyring() == nullptr) {
    const Tag tag = repository.tag(identity, coded);
    if (!std::equal(tag.begin(), tag.end(), stored.end() - sizeof(Tag)))
      return damaged_frame(key, ref, "checksum does not match");
    return coded;
  }
  auto decrypted = decrypt_frame(repository, identity, ref.type, stored, opened);
  if (decrypted.has_value()) return Bytes(opened);
  if (decrypted.error().code() == Errc::kCorrupt) return damaged_frame(key, ref, decrypted.error().message());
  return Error(std::move(decrypted).error());
}

namespace {

/// What view_frame() does; the caller may want the hashes of blocks.
Result<Bytes> view(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                   Decompressor& decompressor, MutableBytes raw, std::vector<uint64_t>* block_hashes) {
  CHECK(raw.size() == ref.raw_bytes);
  thread_local Buffer opened;
  TRY_ASSIGN(const Bytes coded, open_stored_frame(repository, key, ref, stored, opened));
  // In a sealed frame the nonce has the place of the hash: the tag vouches for the coded bytes.
  const bool has_hash = repository.keyring() == nullptr;
  Bytes content = coded.subspan(8);
  // What was deciphered lies in memory that the next frame needs.
  if (ref.codec != Codec::kNone || !has_hash || content.size() != raw.size()) {
    if (auto decoded = decompressor.decompress(ref.codec, content, raw); !decoded.has_value())
      return Error(decoded.error().code(), damaged_frame(key, ref, decoded.error().message()).message());
    content = raw;
  }
  const uint64_t hash = block_hashes != nullptr ? content_hash(content, *block_hashes)
                        : has_hash              ? content_hash(content)
                                                : 0;
  if (has_hash && hash != load_le<uint64_t>(coded.data()))
    return damaged_frame(key, ref, "content does not match its hash");
  return content;
}

}  // namespace

Result<Bytes> view_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                         Decompressor& decompressor, MutableBytes raw) {
  return view(repository, key, ref, stored, decompressor, raw, nullptr);
}

Result<> decode_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                      Decompressor& decompressor, MutableBytes raw, std::vector<uint64_t>* block_hashes) {
  TRY_ASSIGN(const Bytes content, view(repository, key, ref, stored, decompressor, raw, block_hashes));
  if (content.data() != raw.data()) std::memcpy(raw.data(), content.data(), raw.size());
  return {};
}

Result<> ContainerReader::read_tail(ContainerKind kind, const Known& known) {
  ObjectStore& store = repository_->store();
  const uint64_t whole_bytes_max =
      std::max<uint64_t>(known.whole_bytes_max, kind == ContainerKind::kRecord ? kTailBytes : 0);
  if (whole_bytes_max > 0) {
    tail_.resize(static_cast<size_t>(whole_bytes_max) + 1);  // One more, to see that it ends.
    TRY_ASSIGN(const size_t count, store.read(key_, 0, tail_.bytes()));
    if (count < tail_.size()) {
      object_bytes_ = count;
      tail_.resize(count);
      return {};
    }
  }
  object_bytes_ = is_far(store) ? known.object_bytes : 0;
  if (object_bytes_ == 0) {
    TRY_ASSIGN(const auto info, store.stat(key_));
    if (!info.has_value())
      return Error(Errc::kNotFound, fmt::format("object {} is not in {}", key_.value, store.describe()));
    object_bytes_ = info->bytes;
  }
  tail_.resize(static_cast<size_t>(std::min<uint64_t>(kTailBytes, object_bytes_)));
  return store.read_exact(key_, object_bytes_ - tail_.size(), tail_.bytes());
}

Result<ContainerReader> ContainerReader::open(const Repository& repository, ObjectKey key, ContainerKind kind,
                                              const Known& known) {
  ContainerReader reader(repository, std::move(key));
  TRY(reader.read_tail(kind, known));
  if (reader.object_bytes_ < kContainerHeaderBytes + kContainerTrailerBytes) return corrupt(reader.key_, "truncated");
  const uint64_t tail_start = reader.object_bytes_ - reader.tail_.size();
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
  const uint64_t index_end = reader.object_bytes_ - kContainerTrailerBytes;
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
