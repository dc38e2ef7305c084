// Manifests: chunks of file entries, the pack table, the document. docs/format/manifest.md is normative.
#include "repo/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "core/check.h"

namespace pgark {
namespace {

// A chunk is written when it holds this much; either bound keeps it far below what a frame can hold.
constexpr size_t kChunkRunsMax = 1u << 16;
constexpr size_t kChunkFilesMax = 4096;
constexpr uint8_t kContinued = 1;  // Flag of an entry.

struct ExtentPlaceHash {
  size_t operator()(const std::pair<uint32_t, uint64_t>& place) const {
    return std::hash<uint64_t>{}(static_cast<uint64_t>(place.first) << 40 ^ place.second);
  }
};

void encode_extents(ByteWriter& out, const std::vector<ExtentRef>& extents) {
  out.varint(extents.size());
  uint32_t pack = 0;
  uint64_t end = kContainerHeaderBytes;
  for (const ExtentRef& extent : extents) {
    out.svarint(static_cast<int64_t>(extent.pack) - static_cast<int64_t>(pack));
    if (extent.pack != pack) end = kContainerHeaderBytes;
    // Extents of a full backup follow each other: the distance is then zero, one byte.
    out.svarint(static_cast<int64_t>(extent.offset - end));
    out.varint(extent.stored_bytes);
    out.varint(extent.raw_bytes / kHashBlockBytes);
    out.fixed(static_cast<uint8_t>(extent.codec));
    pack = extent.pack;
    end = extent.offset + extent.stored_bytes;
  }
}

std::optional<std::vector<ExtentRef>> decode_extents(ByteReader& reader) {
  const uint64_t count = reader.varint();
  if (!reader.ok() || count > reader.remaining()) return std::nullopt;
  std::vector<ExtentRef> extents(static_cast<size_t>(count));
  int64_t pack = 0;
  uint64_t end = kContainerHeaderBytes;
  for (ExtentRef& extent : extents) {
    const int64_t step = reader.svarint();
    if (step < -pack || step > UINT32_MAX - pack) return std::nullopt;
    if (step != 0) end = kContainerHeaderBytes;
    pack += step;
    extent.pack = static_cast<uint32_t>(pack);
    extent.offset = end + static_cast<uint64_t>(reader.svarint());
    const uint64_t stored = reader.varint();
    const uint64_t blocks = reader.varint();
    extent.codec = static_cast<Codec>(reader.fixed<uint8_t>());
    if (!reader.ok() || stored < kFrameOverheadBytes || stored > 2 * kExtentBytes || blocks == 0 ||
        blocks > kExtentBytes / kHashBlockBytes || extent.offset < kContainerHeaderBytes || extent.offset > INT64_MAX)
      return std::nullopt;
    extent.stored_bytes = static_cast<uint32_t>(stored);
    extent.raw_bytes = static_cast<uint32_t>(blocks * kHashBlockBytes);
    end = extent.offset + stored;
  }
  return extents;
}

// Longer paths no Linux system call takes; the bound keeps a hostile chunk from growing when it is decoded.
constexpr size_t kPathBytesMax = 4096;

/// Relative, and without a component that could lead out of the directory it is restored into.
bool path_is_safe(std::string_view path) {
  if (path.empty() || path.size() > kPathBytesMax || path.front() == '/' || path.back() == '/' ||
      path.find('\0') != std::string_view::npos)
    return false;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

size_t shared_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Encodes the entries of one chunk; what repeats from entry to entry is written as a difference.
class ChunkEncoder {
 public:
  void add(const FileEntry& file, const std::vector<Run>& runs, bool continued) {
    ++files_;
    const size_t shared = shared_prefix(path_, file.path);
    body_.varint(shared);
    body_.string(std::string_view(file.path).substr(shared));
    path_ = file.path;
    body_.fixed(static_cast<uint8_t>(file.kind));
    body_.fixed<uint8_t>(continued ? kContinued : 0);
    body_.varint(file.bytes);
    body_.svarint(file.modified_us - modified_us_);
    modified_us_ = file.modified_us;
    body_.varint(file.mode);
    body_.varint(name_index(file.user));
    body_.varint(name_index(file.group));
    if (file.kind == EntryKind::kSymlink) body_.string(file.link_target);
    encode_runs(runs);
    body_.varint(continued ? 0 : file.bad_blocks.size());
    uint32_t previous = 0;
    for (const uint32_t block : continued ? std::vector<uint32_t>{} : file.bad_blocks) {
      body_.varint(block - previous);
      previous = block;
    }
  }

  std::vector<std::byte> finish(const std::vector<ExtentRef>& extents) && {
    ByteWriter out;
    encode_extents(out, extents);
    out.varint(names_.size());
    for (const std::string& name : name_order_) out.string(name);
    out.varint(files_);
    out.raw(body_.bytes());
    return std::move(out).take();
  }

  size_t files() const { return files_; }
  size_t runs() const { return runs_; }

 private:
  uint64_t name_index(const std::string& name) {
    const auto [at, added] = names_.try_emplace(name, names_.size());
    if (added) name_order_.push_back(name);
    return at->second;
  }

  void encode_runs(const std::vector<Run>& runs) {
    runs_ += runs.size();
    body_.varint(runs.size());
    uint64_t end = 0;
    int64_t extent = 0;
    for (const Run& run : runs) {
      body_.varint(run.file_offset - end);
      body_.varint(run.bytes);
      body_.svarint(static_cast<int64_t>(run.extent) - extent);
      body_.varint(run.extent_offset);
      end = run.file_offset + run.bytes;
      extent = run.extent;
    }
  }

  ByteWriter body_;
  size_t files_ = 0;
  size_t runs_ = 0;
  std::string path_;
  int64_t modified_us_ = 0;
  std::map<std::string, uint64_t> names_;
  std::vector<std::string> name_order_;
};

class ChunkDecoder {
 public:
  explicit ChunkDecoder(Bytes raw) : reader_(raw) {}

  std::optional<FileChunk> decode() {
    FileChunk chunk;
    auto extents = decode_extents(reader_);
    if (!extents.has_value()) return std::nullopt;
    chunk.extents = std::move(*extents);
    const uint64_t name_count = reader_.varint();
    for (uint64_t i = 0; i < name_count && reader_.ok(); ++i) names_.emplace_back(reader_.string());
    const uint64_t file_count = reader_.varint();
    for (uint64_t i = 0; i < file_count && reader_.ok(); ++i) {
      FileEntry file;
      if (!decode_file(file, chunk.extents)) return std::nullopt;
      chunk.files.push_back(std::move(file));
    }
    if (!reader_.ok() || reader_.remaining() != 0) return std::nullopt;
    return chunk;
  }

 private:
  bool decode_file(FileEntry& file, const std::vector<ExtentRef>& extents) {
    const uint64_t shared = reader_.varint();
    const std::string_view suffix = reader_.string();
    if (shared > path_.size()) return false;
    path_.resize(static_cast<size_t>(shared));
    path_ += suffix;
    file.path = path_;
    const auto kind = reader_.fixed<uint8_t>();
    const auto flags = reader_.fixed<uint8_t>();
    file.bytes = reader_.varint();
    // Wrapping is fine: a damaged time is caught by nothing but the frame's checksum.
    modified_us_ = static_cast<int64_t>(static_cast<uint64_t>(modified_us_) + static_cast<uint64_t>(reader_.svarint()));
    file.modified_us = modified_us_;
    const uint64_t mode = reader_.varint();
    const uint64_t user = reader_.varint();
    const uint64_t group = reader_.varint();
    if (!reader_.ok() || !path_is_safe(file.path) || kind > 2 || flags > kContinued || file.bytes > INT64_MAX ||
        mode > 07777 || user >= names_.size() || group >= names_.size())
      return false;
    file.kind = static_cast<EntryKind>(kind);
    file.continued = (flags & kContinued) != 0;
    file.mode = static_cast<uint32_t>(mode);
    file.user = names_[static_cast<size_t>(user)];
    file.group = names_[static_cast<size_t>(group)];
    if (file.kind == EntryKind::kSymlink) file.link_target = reader_.string();
    return decode_runs(file, extents) && decode_bad_blocks(file);
  }

  bool decode_runs(FileEntry& file, const std::vector<ExtentRef>& extents) {
    const uint64_t count = reader_.varint();
    if (!reader_.ok() || count > reader_.remaining()) return false;
    file.runs.resize(static_cast<size_t>(count));
    uint64_t end = 0;
    int64_t extent = 0;
    for (Run& run : file.runs) {
      const uint64_t gap = reader_.varint();
      run.bytes = reader_.varint();
      const int64_t step = reader_.svarint();
      const uint64_t extent_offset = reader_.varint();
      if (!reader_.ok() || gap > file.bytes - end || run.bytes == 0 || run.bytes > file.bytes - end - gap) return false;
      run.file_offset = end + gap;
      end = run.file_offset + run.bytes;
      if (step < -extent || step >= static_cast<int64_t>(extents.size()) - extent) return false;
      extent += step;
      run.extent = static_cast<uint32_t>(extent);
      const uint32_t raw_bytes = extents[run.extent].raw_bytes;
      if (extent_offset > raw_bytes || run.bytes > raw_bytes - extent_offset) return false;
      run.extent_offset = static_cast<uint32_t>(extent_offset);
    }
    return true;
  }

  bool decode_bad_blocks(FileEntry& file) {
    const uint64_t count = reader_.varint();
    if (!reader_.ok() || count > reader_.remaining()) return false;
    uint64_t block = 0;
    for (uint64_t i = 0; i < count; ++i) {
      block += reader_.varint();
      if (!reader_.ok() || block > UINT32_MAX) return false;
      file.bad_blocks.push_back(static_cast<uint32_t>(block));
    }
    return true;
  }

  ByteReader reader_;
  std::vector<std::string> names_;
  std::string path_;
  int64_t modified_us_ = 0;
};

std::vector<std::byte> encode_packs(const std::vector<PackName>& packs) {
  ByteWriter out;
  out.varint(packs.size());
  std::string previous;
  for (const PackName& pack : packs) {
    out.string(pack.label == previous ? std::string_view{} : std::string_view(pack.label));
    previous = pack.label;
    out.varint(pack.number);
  }
  return std::move(out).take();
}

}  // namespace

ObjectKey manifest_key(const std::string& stanza, const std::string& label) {
  return {fmt::format("{}/backup/{}/manifest", stanza, label)};
}

struct ManifestWriter::State {
  explicit State(ContainerWriter writer) : container(std::move(writer)) {}

  Result<> flush() {
    if (chunk.files() == 0) return {};
    const std::vector<std::byte> raw = std::move(chunk).finish(extents);
    TRY(container.append(FrameType::kFiles, raw, compressor));
    chunk = ChunkEncoder();
    extents.clear();
    extent_index.clear();
    return {};
  }

  uint32_t local_extent(const ExtentRef& extent) {
    const auto [at, added] =
        extent_index.try_emplace({extent.pack, extent.offset}, static_cast<uint32_t>(extents.size()));
    if (added) extents.push_back(extent);
    return at->second;
  }

  ContainerWriter container;
  Compressor compressor{Codec::kZstd, 3};
  ChunkEncoder chunk;
  std::vector<ExtentRef> extents;
  std::unordered_map<std::pair<uint32_t, uint64_t>, uint32_t, ExtentPlaceHash> extent_index;
};

ManifestWriter::ManifestWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ManifestWriter::ManifestWriter(ManifestWriter&&) noexcept = default;
ManifestWriter& ManifestWriter::operator=(ManifestWriter&&) noexcept = default;
ManifestWriter::~ManifestWriter() = default;

Result<ManifestWriter> ManifestWriter::create(const RepositorySet& repositories, const std::string& stanza,
                                              const std::string& label) {
  TRY_ASSIGN(auto container,
             ContainerWriter::create(repositories, manifest_key(stanza, label), ContainerKind::kManifest));
  return ManifestWriter(std::make_unique<State>(std::move(container)));
}

Result<> ManifestWriter::add(const FileEntry& file, const std::vector<ExtentRef>& extents) {
  CHECK(path_is_safe(file.path));
  State& s = *state_;
  size_t at = 0;
  // A file with more runs than a chunk holds goes on in the next one.
  do {
    if (s.chunk.files() >= kChunkFilesMax || s.chunk.runs() >= kChunkRunsMax) TRY(s.flush());
    const size_t count = std::min(file.runs.size() - at, kChunkRunsMax - s.chunk.runs());
    std::vector<Run> runs(file.runs.begin() + static_cast<ptrdiff_t>(at),
                          file.runs.begin() + static_cast<ptrdiff_t>(at + count));
    for (Run& run : runs) run.extent = s.local_extent(extents.at(run.extent));
    s.chunk.add(file, runs, file.continued || at > 0);
    at += count;
  } while (at < file.runs.size());
  return {};
}

Result<ObjectInfo> ManifestWriter::commit(const std::vector<PackName>& packs, const std::string& document) && {
  State& s = *state_;
  TRY(s.flush());
  // Last, so that one read of the object's end gives what a listing of backups needs.
  TRY(s.container.append(FrameType::kPacks, encode_packs(packs), s.compressor));
  TRY(s.container.append(FrameType::kMeta, as_bytes(document), s.compressor));
  return std::move(s.container).commit();
}

struct ManifestReader::State {
  explicit State(ContainerReader reader) : container(std::move(reader)) {
    for (const FrameRef& frame : container.frames())
      if (frame.type == FrameType::kFiles) chunks.push_back(frame);
  }
  Error corrupt(std::string_view what) const {
    return Error(Errc::kCorrupt, fmt::format("manifest {}: {} does not decode", container.key().value, what));
  }

  ContainerReader container;
  std::vector<FrameRef> chunks;
};

ManifestReader::ManifestReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ManifestReader::ManifestReader(ManifestReader&&) noexcept = default;
ManifestReader& ManifestReader::operator=(ManifestReader&&) noexcept = default;
ManifestReader::~ManifestReader() = default;

Result<ManifestReader> ManifestReader::open(const Repository& repository, const std::string& stanza,
                                            const std::string& label, uint64_t object_bytes) {
  TRY_ASSIGN_CTX(auto container,
                 ContainerReader::open(repository, manifest_key(stanza, label), ContainerKind::kManifest,
                                       {.object_bytes = object_bytes}),
                 "read manifest of backup " + label);
  return ManifestReader(std::make_unique<State>(std::move(container)));
}

uint64_t ManifestReader::object_bytes() const { return state_->container.object_bytes(); }

Result<> ManifestReader::load() { return state_->container.load(); }

Result<std::string> ManifestReader::document() const {
  TRY_ASSIGN(const Buffer raw, state_->container.read_first(FrameType::kMeta));
  return std::string(as_text(raw));
}

Result<std::vector<PackName>> ManifestReader::packs() const {
  TRY_ASSIGN(const Buffer raw, state_->container.read_first(FrameType::kPacks));
  ByteReader reader{Bytes(raw)};
  const uint64_t count = reader.varint();
  if (!reader.ok() || count > raw.size()) return state_->corrupt("pack table");
  std::vector<PackName> packs(static_cast<size_t>(count));
  std::string label;
  for (PackName& pack : packs) {
    const std::string_view changed = reader.string();
    if (!changed.empty()) label = changed;
    const uint64_t number = reader.varint();
    if (!reader.ok() || label.empty() || number == 0 || number > UINT32_MAX) return state_->corrupt("pack table");
    pack = {label, static_cast<uint32_t>(number)};
  }
  if (reader.remaining() != 0) return state_->corrupt("pack table");
  return packs;
}

size_t ManifestReader::chunk_count() const { return state_->chunks.size(); }

Result<FileChunk> ManifestReader::chunk(size_t index) const {
  TRY_ASSIGN(const Buffer raw, state_->container.read(state_->chunks.at(index)));
  auto chunk = ChunkDecoder(raw).decode();
  if (!chunk.has_value()) return state_->corrupt(fmt::format("chunk {} of files", index));
  return std::move(*chunk);
}

}  // namespace pgark
