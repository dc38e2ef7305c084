// Files kept whole: 1 MiB frames and a document.
#include "repo/stored_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/thread_annotations.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr size_t kPieceBytes = 1u << 20;
// A segment of 16 MiB, and what belongs to it.
constexpr uint64_t kReadAtOnceMax = 18u << 20;
constexpr int kIndexLevel = 3;

Bytes piece_of(Bytes raw, size_t index) {
  const size_t at = index * kPieceBytes;
  return raw.subspan(at, std::min(kPieceBytes, raw.size() - at));
}

Result<> append_pieces(ContainerWriter& writer, Bytes raw, Codec codec, int level, size_t count) {
  Compressor compressor(codec, level);
  CodedFrame frame;
  for (size_t i = 0; i < count; ++i) {
    TRY(code_frame(FrameType::kWalData, piece_of(raw, i), compressor, frame));
    TRY(writer.append(frame));
  }
  return {};
}

/// Codes the pieces on threads of its own, a bounded number ahead of the one thread that appends them in order.
class PieceCoder {
 public:
  PieceCoder(Bytes raw, Codec codec, int level, size_t count, unsigned threads)
      : raw_(raw), codec_(codec), level_(level), count_(count), slots_(size_t{2} * threads) {
    for (unsigned i = 0; i < threads; ++i) group_.spawn([this] { return work(); });
  }
  ~PieceCoder() { stop(); }

  Result<> append_to(ContainerWriter& writer) {
    for (size_t i = 0; i < count_; ++i) {
      Slot& slot = slots_[i % slots_.size()];
      if (!wait_until_ready(slot)) {
        stop();
        return group_.wait();
      }
      TRY(writer.append(slot.frame));
      MutexLock lock(mu_);
      slot.ready = false;
      appended_ = i + 1;
      changed_.notify_all();
    }
    return group_.wait();
  }

 private:
  struct Slot {
    CodedFrame frame;
    bool ready = false;  // Guarded by mu_; the frame belongs to the appender while it is set, else to a worker.
  };

  void stop() {
    MutexLock lock(mu_);
    stopped_ = true;
    changed_.notify_all();
  }

  /// False if it never will be, because a thread failed or none could be started.
  bool wait_until_ready(const Slot& slot) {
    MutexLock lock(mu_);
    while (!slot.ready && !failed_ && !group_.cancel().cancelled()) changed_.wait(mu_);
    return slot.ready;
  }

  Result<> work() {
    Compressor compressor(codec_, level_);
    for (;;) {
      size_t index = 0;
      {
        MutexLock lock(mu_);
        index = next_++;
        if (index >= count_) return {};
        while (index >= appended_ + slots_.size() && !stopped_) changed_.wait(mu_);
        if (stopped_) return {};
      }
      Slot& slot = slots_[index % slots_.size()];
      auto coded = code_frame(FrameType::kWalData, piece_of(raw_, index), compressor, slot.frame);
      MutexLock lock(mu_);
      slot.ready = coded.has_value();
      failed_ = failed_ || !coded.has_value();
      changed_.notify_all();
      if (!coded) return coded;
    }
  }

  const Bytes raw_;
  const Codec codec_;
  const int level_;
  const size_t count_;
  std::vector<Slot> slots_;
  Mutex mu_;
  CondVar changed_;
  size_t next_ GUARDED_BY(mu_) = 0;      // Piece that no worker took yet.
  size_t appended_ GUARDED_BY(mu_) = 0;  // Pieces already in the container.
  bool failed_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  TaskGroup group_;  // Last: its threads end before what they use.
};

}  // namespace

Result<ContainerWriter> begin_stored_file(const Repository& repository, const ObjectKey& key) {
  return ContainerWriter::create(repository, key, ContainerKind::kWal);
}

Result<> fill_stored_file(ContainerWriter& writer, Bytes raw, const std::string& document, Codec codec, int level,
                          unsigned threads, Bytes index) {
  const size_t pieces = (raw.size() + kPieceBytes - 1) / kPieceBytes;
  const auto workers = static_cast<unsigned>(std::min<size_t>(threads, pieces));
  if (workers <= 1) {
    TRY(append_pieces(writer, raw, codec, level, pieces));
  } else {
    PieceCoder coder(raw, codec, level, pieces, workers);
    TRY(coder.append_to(writer));
  }
  if (!document.empty()) {
    Compressor compressor(codec, level);
    TRY(writer.append(FrameType::kMeta, as_bytes(document), compressor));
  }
  if (!index.empty()) {
    // Read far more often than written, and small: worth a better compression than the file itself.
    Compressor compressor(Codec::kZstd, kIndexLevel);
    for (size_t at = 0; at < index.size(); at += kFrameRawBytesMax) {
      const Bytes part = index.subspan(at, std::min<size_t>(kFrameRawBytesMax, index.size() - at));
      TRY(writer.append(FrameType::kWalIndex, part, compressor));
    }
  }
  return {};
}

Result<ObjectInfo> write_stored_file(const Repository& repository, const ObjectKey& key, Bytes raw,
                                     const std::string& document, Codec codec, int level, unsigned threads,
                                     Bytes index) {
  TRY_ASSIGN(ContainerWriter writer, begin_stored_file(repository, key));
  TRY(fill_stored_file(writer, raw, document, codec, level, threads, index));
  return std::move(writer).commit();
}

namespace {

/// A frame to decode and where its bytes go.
struct DecodeTask {
  FrameRef ref;
  MutableBytes raw;
};

/// Decode all frames of an object, whose bytes are at hand, by `threads` threads.
Result<> decode_all(const Repository& repository, const ObjectKey& key, Bytes object,
                    const std::vector<DecodeTask>& tasks, unsigned threads) {
  std::atomic<size_t> next = 0;
  const auto work = [&]() -> Result<> {
    Decompressor decompressor;
    for (size_t i = next++; i < tasks.size(); i = next++) {
      const FrameRef& ref = tasks[i].ref;
      const Bytes stored = object.subspan(static_cast<size_t>(ref.offset), ref.stored_bytes);
      TRY(decode_frame(repository, key, ref, stored, decompressor, tasks[i].raw));
    }
    return {};
  };
  const size_t helpers = std::min<size_t>(threads, tasks.size());
  if (helpers <= 1) return work();
  TaskGroup group;
  for (size_t i = 1; i < helpers; ++i) group.spawn(work);
  auto own = work();
  auto others = group.wait();
  return own ? std::move(others) : std::move(own);
}

}  // namespace

Result<ContainerReader> open_stored_file(const Repository& repository, const ObjectKey& key, uint64_t raw_bytes_max) {
  return ContainerReader::open(repository, key, ContainerKind::kWal,
                               {.whole_bytes_max = raw_bytes_max < kReadAtOnceMax ? kReadAtOnceMax : 0});
}

Result<StoredFile> read_stored_file(const Repository& repository, const ObjectKey& key, uint64_t raw_bytes_max,
                                    unsigned threads) {
  TRY_ASSIGN(ContainerReader reader, open_stored_file(repository, key, raw_bytes_max));
  uint64_t total = 0;
  for (const FrameRef& ref : reader.frames())
    if (ref.type == FrameType::kWalData) total += ref.raw_bytes;
  if (total > raw_bytes_max)
    return Error(Errc::kInvalid,
                 fmt::format("read {}: it holds {} bytes, more than {}", key.value, total, raw_bytes_max));
  // One ranged read for the whole object: its frames lie back to back, and almost all of them are wanted.
  TRY(reader.load());
  StoredFile file{Buffer(static_cast<size_t>(total)), {}, reader.object_bytes()};
  Buffer document;
  std::vector<DecodeTask> tasks;
  size_t at = 0;
  for (const FrameRef& ref : reader.frames()) {
    if (ref.type == FrameType::kWalData) {
      tasks.push_back({ref, file.raw.bytes().subspan(at, ref.raw_bytes)});
      at += ref.raw_bytes;
    } else if (ref.type == FrameType::kMeta && document.empty()) {
      document.resize(ref.raw_bytes);
      tasks.push_back({ref, document.bytes()});
    }
  }
  TRY(decode_all(repository, key, reader.loaded(), tasks, threads));
  file.document = as_text(document);
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

Result<std::optional<Buffer>> read_stored_index(const Repository& repository, const ObjectKey& key) {
  TRY_ASSIGN(const ContainerReader reader, ContainerReader::open(repository, key, ContainerKind::kWal));
  std::optional<Buffer> index;
  for (const FrameRef& ref : reader.frames()) {
    if (ref.type != FrameType::kWalIndex) continue;
    TRY_ASSIGN(Buffer part, reader.read(ref));
    if (index)
      index->append(part);
    else
      index = std::move(part);
  }
  return index;
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
