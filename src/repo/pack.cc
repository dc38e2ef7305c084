// Packs: extents as frames, and in between the lists of whose bytes they hold. docs/format/pack.md is normative.
#include "repo/pack.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>

#include "core/check.h"
#include "repo/commit_queue.h"

namespace pgark {
namespace {

// A list of pieces is closed when it reaches this size, so that no pack grows one that does not fit a frame.
constexpr size_t kPiecesBytes = 1u << 20;
// Highly compressible data would let a pack of 64 MiB stand for hundreds of GiB; its lists are kept readable at once.
constexpr size_t kPackExtentsMax = 1u << 16;

void encode_extent(ByteWriter& out, const std::vector<ExtentPiece>& pieces, std::string& previous_path,
                   const std::vector<uint64_t>& hashes) {
  out.varint(pieces.size());
  for (const ExtentPiece& piece : pieces) {
    // Most extents continue the file of the one before them.
    const bool same = piece.path == previous_path;
    out.string(same ? std::string_view{} : std::string_view(piece.path));
    if (!same) previous_path = piece.path;
    out.varint(piece.file_offset);
    out.varint(piece.extent_offset / kHashBlockBytes);
    out.varint(piece.bytes);
  }
  for (const uint64_t hash : hashes) out.fixed(hash);
}

}  // namespace

ObjectKey pack_key(const std::string& stanza, const std::string& label, uint32_t number) {
  return {fmt::format("{}/pack/{}/{:06}", stanza, label, number)};
}

struct PackSet::State {
  State(RepositorySet set, std::string stanza_name, std::string label_name)
      : repositories(std::move(set)), stanza(std::move(stanza_name)), label(std::move(label_name)) {}

  const RepositorySet repositories;
  const std::string stanza;
  const std::string label;
  std::atomic<uint32_t> numbers = 0;
  CommitQueue commits;
};

PackSet::PackSet(RepositorySet repositories, std::string stanza, std::string label)
    : state_(std::make_unique<State>(std::move(repositories), std::move(stanza), std::move(label))) {}
PackSet::~PackSet() = default;

Result<> PackSet::finish() { return state_->commits.finish(); }

uint32_t PackSet::count() const { return state_->numbers; }
uint64_t PackSet::stored_bytes() const { return state_->commits.stored_bytes(); }

struct PackWriter::State {
  State(PackSet::State& pack_set, Codec codec, int level, uint64_t pack_bytes_max)
      : set(pack_set), compressor(codec, level), pack_bytes(pack_bytes_max) {}

  Result<> open() {
    const uint32_t number = ++set.numbers;
    pack_index = number - 1;
    TRY_ASSIGN(
        pack, ContainerWriter::create(set.repositories, pack_key(set.stanza, set.label, number), ContainerKind::kPack));
    extents = 0;
    return {};
  }

  Result<> flush_pieces() {
    if (pieces.size() == 0) return {};
    TRY(pack->append(FrameType::kPieces, pieces.bytes(), compressor));
    pieces.clear();
    previous_path.clear();
    return {};
  }

  Result<> close() {
    if (!pack.has_value()) return {};
    TRY(flush_pieces());
    ContainerWriter finished = std::move(*pack);
    pack.reset();
    if (!set.commits.push(std::move(finished))) return lost();
    return {};
  }

  /// The pack set failed: its own error is what finish() reports.
  static Error lost() { return Error(Errc::kCancelled, "write pack: an earlier pack failed"); }

  PackSet::State& set;
  Compressor compressor;
  const uint64_t pack_bytes;
  std::optional<ContainerWriter> pack;
  uint32_t pack_index = 0;
  size_t extents = 0;
  CodedFrame frame;
  ByteWriter pieces;
  std::string previous_path;
  std::vector<uint64_t> hashes;
};

PackWriter::PackWriter(PackSet& set, Codec codec, int level, uint64_t pack_bytes)
    : state_(std::make_unique<State>(*set.state_, codec, level, pack_bytes)) {}
PackWriter::~PackWriter() = default;

Result<ExtentRef> PackWriter::append(Bytes raw, const std::vector<ExtentPiece>& pieces) {
  CHECK(!raw.empty() && raw.size() <= kExtentBytes && raw.size() % kHashBlockBytes == 0);
  State& s = *state_;
  if (s.set.commits.failed()) return State::lost();
  if (!s.pack.has_value()) TRY(s.open());
  s.hashes.clear();
  TRY(code_frame_in_place(FrameType::kExtent, raw, s.compressor, s.frame, &s.hashes));
  TRY_ASSIGN(const FrameRef ref, s.pack->append(s.frame));
  const ExtentRef extent{s.pack_index, ref.offset, ref.stored_bytes, ref.raw_bytes, ref.codec};
  encode_extent(s.pieces, pieces, s.previous_path, s.hashes);
  ++s.extents;
  if (s.pieces.size() >= kPiecesBytes) TRY(s.flush_pieces());
  if (s.pack->bytes() >= s.pack_bytes || s.extents >= kPackExtentsMax) TRY(s.close());
  return extent;
}

Result<> PackWriter::close() { return state_->close(); }

namespace {

Error bad_listing(const ObjectKey& key) {
  return Error(Errc::kCorrupt, fmt::format("pack {}: its list of pieces does not match its extents", key.value));
}

/// Decode the entry of one extent, which continues at the reader, into `extent`, whose memory is used again. Paths are
/// views of what is read.
Result<> decode_extent(const ObjectKey& key, ByteReader& reader, const FrameRef& frame, std::string_view& previous_path,
                       ListedExtent& extent) {
  extent.ref = {0, frame.offset, frame.stored_bytes, frame.raw_bytes, frame.codec};
  extent.pieces.clear();
  const uint64_t count = reader.varint();
  if (!reader.ok() || count > frame.raw_bytes / kHashBlockBytes || frame.raw_bytes % kHashBlockBytes != 0)
    return bad_listing(key);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view path = reader.string();
    if (!path.empty()) previous_path = path;
    const uint64_t file_offset = reader.varint();
    const uint64_t block = reader.varint();
    const uint64_t bytes = reader.varint();
    if (!reader.ok() || block >= frame.raw_bytes / kHashBlockBytes || bytes > frame.raw_bytes - block * kHashBlockBytes)
      return bad_listing(key);
    extent.pieces.push_back(
        {previous_path, file_offset, static_cast<uint32_t>(block * kHashBlockBytes), static_cast<uint32_t>(bytes)});
  }
  extent.block_hashes.resize(frame.raw_bytes / kHashBlockBytes);
  for (uint64_t& hash : extent.block_hashes) hash = reader.fixed<uint64_t>();
  if (!reader.ok()) return bad_listing(key);
  return {};
}

}  // namespace

Result<> visit_pack_listing(const Repository& repository, const ObjectKey& key,
                            const std::function<Result<>(const ListedExtent&)>& visit) {
  TRY_ASSIGN(const ContainerReader container, ContainerReader::open(repository, key, ContainerKind::kPack));
  return visit_pack_listing(container, visit);
}

Result<> visit_pack_listing(const ContainerReader& container,
                            const std::function<Result<>(const ListedExtent&)>& visit) {
  const ObjectKey& key = container.key();
  std::vector<FrameRef> unlisted;  // Extents whose pieces frame is still to come.
  ListedExtent extent;
  for (const FrameRef& frame : container.frames()) {
    if (frame.type == FrameType::kExtent) unlisted.push_back(frame);
    if (frame.type != FrameType::kPieces) continue;
    TRY_ASSIGN(const Buffer raw, container.read(frame));
    ByteReader reader{Bytes(raw)};
    std::string_view previous_path;
    for (const FrameRef& extent_frame : unlisted) {
      TRY(decode_extent(key, reader, extent_frame, previous_path, extent));
      TRY(visit(extent));
    }
    if (reader.remaining() != 0) return bad_listing(key);
    unlisted.clear();
  }
  if (!unlisted.empty()) return bad_listing(key);
  return {};
}

Result<std::vector<PackedExtent>> read_pack_listing(const Repository& repository, const ObjectKey& key) {
  std::vector<PackedExtent> extents;
  TRY(visit_pack_listing(repository, key, [&extents](const ListedExtent& listed) -> Result<> {
    PackedExtent& extent = extents.emplace_back(PackedExtent{listed.ref, {}, listed.block_hashes});
    for (const ListedExtent::Piece& piece : listed.pieces)
      extent.pieces.push_back({std::string(piece.path), piece.file_offset, piece.extent_offset, piece.bytes});
    return {};
  }));
  return extents;
}

}  // namespace pgark
