// The one shape of every binary object: a header, sealed frames, a sealed index of what they are, and a trailer that
// finds the index from the end. Packs, manifests and WAL segments are containers. docs/format/container.md is
// normative.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "codec/compress.h"
#include "repo/repository.h"
#include "repo/repository_set.h"

namespace pgark {

/// What a container is. The values are on disk.
enum class ContainerKind : uint16_t { kPack = 1, kManifest = 2, kWal = 3, kRecord = 4, kDump = 5 };

/// What a frame is. The values are on disk.
enum class FrameType : uint8_t {
  kIndex = 0,     // The list of frames, last in every container.
  kExtent = 1,    // Pack: up to 128 KiB of file bytes.
  kPieces = 2,    // Pack: whose bytes the extents hold, and the hash of each block.
  kMeta = 3,      // Any: a JSON document.
  kPacks = 4,     // Manifest: the packs its extents live in.
  kFiles = 5,     // Manifest: a chunk of file entries; of a dump, of streams and tables.
  kWalData = 6,   // WAL: the next piece of the segment.
  kWalIndex = 7,  // WAL: what the segment contains.
  kKey = 8,       // First in packs, of dumps too, and sealed WAL segments: what gives the key of their data; zeros if
                  // not sealed.
  kDumpData = 9,  // Pack of a dump: the next piece of a stream.
};

/// Where a frame lies and how to decode it.
struct FrameRef {
  uint64_t offset = 0;        // Of its first byte in the object.
  uint32_t stored_bytes = 0;  // Content hash, coded bytes and tag.
  uint32_t raw_bytes = 0;
  FrameType type = FrameType::kMeta;
  Codec codec = Codec::kNone;
  auto operator<=>(const FrameRef&) const = default;
};

/// Whether frames of this type in this object hold data of the cluster, which a sealed repository keeps under another
/// key than what describes it. The text files among the WAL (histories, labels) are no data.
bool is_data_frame(FrameType type, const ObjectKey& key);

/// Bytes a frame needs beside its coded content: 8 of content hash or nonce, 16 of tag.
inline constexpr uint32_t kFrameOverheadBytes = 24;
inline constexpr uint32_t kFrameRawBytesMax = 16u << 20;
inline constexpr uint32_t kContainerHeaderBytes = 64;
inline constexpr uint32_t kContainerTrailerBytes = 64;

/// A frame coded but not yet placed: made on any thread, sealed when its offset is known.
struct CodedFrame {
  FrameType type = FrameType::kMeta;
  Codec codec = Codec::kNone;
  uint32_t raw_bytes = 0;
  Buffer coded;   // Content hash and coded bytes.
  Bytes uncoded;  // In their place behind the hash: the raw bytes, if code_frame_in_place() leaves them as they are.
};

/// Code `raw` into `frame`, whose buffer is reused.
/// Shape: `raw` holds 1..kFrameRawBytesMax bytes. `block_hashes`, if given, gets the hash of each 8 KiB appended.
Result<> code_frame(FrameType type, Bytes raw, Compressor& compressor, CodedFrame& frame,
                    std::vector<uint64_t>* block_hashes = nullptr);
/// The same, but bytes that stay as they are are not copied: `raw` must outlive the frame's last use.
Result<> code_frame_in_place(FrameType type, Bytes raw, Compressor& compressor, CodedFrame& frame,
                             std::vector<uint64_t>* block_hashes = nullptr);

/// Write one container into every repository of a set, with the same frames at the same offsets. The object appears at
/// commit(). A repository that fails is left behind as RepositorySet::fail() says; an error is returned when none is
/// left.
class ContainerWriter {
 public:
  /// `key_frame_in_packs` is false only for the copy of a pack that has none.
  static Result<ContainerWriter> create(RepositorySet repositories, ObjectKey key, ContainerKind kind,
                                        bool key_frame_in_packs = true);
  ContainerWriter(ContainerWriter&&) noexcept = default;
  ContainerWriter& operator=(ContainerWriter&&) noexcept = default;

  /// Seal and append a coded frame.
  Result<FrameRef> append(const CodedFrame& frame);
  /// Code, seal and append.
  Result<FrameRef> append(FrameType type, Bytes raw, Compressor& compressor);

  uint64_t bytes() const { return offset_; }
  const ObjectKey& key() const { return key_; }
  const std::vector<FrameRef>& frames() const { return frames_; }

  /// Write index and trailer and make the object visible. The object of the first repository that has it.
  /// Errors: as ObjectWriter::commit().
  Result<ObjectInfo> commit() &&;

 private:
  /// The object in one repository.
  struct Copy {
    size_t index = 0;  // In the set.
    const Repository* repository = nullptr;
    std::unique_ptr<ObjectWriter> writer;
    std::shared_ptr<const ObjectKeys> keys;  // Null if the repository is not sealed.
  };

  ContainerWriter(RepositorySet repositories, ObjectKey key, ContainerKind kind)
      : repositories_(std::move(repositories)), key_(std::move(key)), kind_(kind) {}
  /// Do `step` for every copy; what fails is left behind.
  template <typename Step>
  Result<> for_each(Step step);
  Result<> begin(Copy& copy);
  Result<> append_to(Copy& copy, const CodedFrame& frame);
  bool has_key_frame() const;

  RepositorySet repositories_;
  ObjectKey key_;
  ContainerKind kind_;
  bool key_frame_in_packs_ = true;
  std::vector<Copy> copies_;
  uint64_t offset_ = 0;
  std::vector<FrameRef> frames_;
  Buffer sealed_;  // A frame on its way through the cipher.
};

/// Check and decode one frame whose stored bytes are at hand; the place named by `ref` must be where they were read.
/// Errors: kCorrupt, naming the object and the offset, if tag, coding, size or content hash disagree.
Result<> decode_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                      Decompressor& decompressor, MutableBytes raw, std::vector<uint64_t>* block_hashes = nullptr);

/// Check the tag of a frame, and decrypt it into `opened` if its repository is sealed: 8 bytes (the content hash, or
/// the nonce of a sealed frame), then the coded bytes. Errors: as decode_frame(); kPermission if it holds data this
/// host has no key for.
Result<Bytes> open_stored_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                                Buffer& opened);

/// What an object is, from its header alone.
/// Errors: kNotFound if absent; kCorrupt if it is no container of this repository and name.
Result<ContainerKind> read_container_kind(const Repository& repository, const ObjectKey& key);

/// Read a container whose index has been checked.
class ContainerReader {
 public:
  /// Read the end of the object and decode its index.
  /// Errors: kNotFound if absent; kCorrupt if the trailer, header or index do not hold together or are of another
  /// object;
  ///         kUnsupported if the format is newer.
  static Result<ContainerReader> open(const Repository& repository, ObjectKey key, ContainerKind kind) {
    return open(repository, std::move(key), kind, Known{});
  }
  /// What saves a far store a question for the size.
  struct Known {
    uint64_t object_bytes = 0;  // What a listing said; 0: nothing.
    uint64_t whole_bytes_max =
        0;  // An object of up to so many bytes comes whole with the first request, as records do.
  };
  static Result<ContainerReader> open(const Repository& repository, ObjectKey key, ContainerKind kind,
                                      const Known& known);

  const ObjectKey& key() const { return key_; }
  uint64_t object_bytes() const { return object_bytes_; }
  const std::vector<FrameRef>& frames() const { return frames_; }
  /// Fetch the whole object now: what is read later needs the store no more.
  Result<> load();
  /// All its bytes, if they are here: after load(), or because they came at once.
  Bytes loaded() const { return tail_.size() == object_bytes_ ? tail_.bytes() : Bytes(); }
  /// Raw bytes of one frame.
  Result<Buffer> read(const FrameRef& ref) const;
  /// Raw bytes of the first frame of a type; kCorrupt if there is none.
  Result<Buffer> read_first(FrameType type) const;

 private:
  ContainerReader(const Repository& repository, ObjectKey key) : repository_(&repository), key_(std::move(key)) {}
  Result<> read_tail(ContainerKind kind, const Known& known);

  const Repository* repository_;
  ObjectKey key_;
  uint64_t object_bytes_ = 0;
  std::vector<FrameRef> frames_;
  Buffer tail_;  // The end of the object as open() read it: small frames there need no second read.
};

}  // namespace pgark
