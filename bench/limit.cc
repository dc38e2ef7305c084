// What no backup program can beat on this machine: the same bytes through the bare codec and the bare system calls, on
// as many threads, made durable. No checks, no hashes, no repository, no server. It is written to be fast, not kind:
// streams of 128 KiB extents, contexts and buffers used again, writes on their way to the disk while the processors
// work.
//
//   limit backup  --data=DIR --out=DIR [--codec=zst|lz4|none] [--level=N] [--threads=N] [--pages=FILE]
//       read all files of DIR (or only pages: lines "PATH BLOCK", sorted), compress, write, sync
//   limit restore --data=DIR --out=DIR [--threads=N]    DIR of a `limit backup`: decompress, write all files, sync
//   limit read    --data=DIR [--threads=N]              read all files once
//   limit delta   --data=DIR --pages=FILE [--threads=N] read all files once, write these pages again, sync
//   limit copy    --data=DIR --out=DIR                  copy and sync one file after the other, as WAL segments are
//
// What it leaves out of a data directory is what a base backup leaves out: WAL, and a running server's files.
#include <fcntl.h>
#include <lz4.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr size_t kExtentBytes = 128u << 10;
constexpr size_t kPackExtents = 512;  // 64 MiB of raw bytes in a pack: what a thread of a restore takes at a time.
constexpr uint64_t kPartBytes = 64u << 20;
constexpr size_t kWriteBytes = 1u << 20;
constexpr size_t kWriteAlignment = 512u << 10;  // The page cache takes what begins at its multiples in large folios.
constexpr uint64_t kFlushBytes = 8u << 20;
constexpr size_t kPageBytes = 8192;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "limit: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

struct Options {
  std::string data, out, codec = "zst", pages;
  int level = 1;
  unsigned threads = 2;
};

struct File {
  std::string path;
  uint64_t bytes = 0;
};

/// A stretch of a file, where it lies in the raw bytes of a pack.
struct Piece {
  uint32_t file = 0;
  uint64_t offset = 0, bytes = 0, at = 0;
};

struct Pack {
  std::string name;
  std::vector<uint32_t> coded;  // Bytes of each extent; the raw size itself: stored as it is.
  uint64_t raw_bytes = 0;
  std::vector<Piece> pieces;
};

struct Part {
  uint32_t file = 0;
  uint64_t begin = 0, end = 0;
};

using Memory = std::unique_ptr<char, decltype(&std::free)>;
Memory aligned(size_t bytes) {
  return {static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)), &std::free};
}

class Fd {
 public:
  Fd(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    if (fd_ < 0 && errno != ENOENT) die("open " + path);
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

size_t read_at(int fd, char* into, size_t bytes, uint64_t offset) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd, into + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0) die("read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

void write_at(int fd, const char* from, size_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd, from, bytes, static_cast<off_t>(offset));
    if (n < 0) die("write");
    from += n;
    bytes -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
}

void begin_writeback(int fd, uint64_t from, uint64_t bytes) {
  (void)::sync_file_range(fd, static_cast<off_t>(from), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

std::vector<File> list_files(const std::string& root) {
  static const std::set<std::string> kEmptied = {"pg_wal",    "pg_replslot",  "pg_dynshmem", "pg_notify",
                                                 "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
  std::vector<File> files;
  for (auto at = fs::recursive_directory_iterator(root); at != fs::recursive_directory_iterator(); ++at) {
    const std::string path = at->path().string().substr(root.size() + 1);
    if (at->is_directory() && kEmptied.contains(path)) at.disable_recursion_pending();
    if (!at->is_regular_file() || path == "postmaster.pid" || path == "postmaster.opts") continue;
    files.push_back({path, at->file_size()});
  }
  // Large ones first, so that all threads end together; small ones directory by directory, as they are made again.
  const auto rank = [](const File& file) { return file.bytes < kWriteBytes ? 0 : file.bytes; };
  std::stable_sort(files.begin(), files.end(), [&](const File& a, const File& b) { return rank(a) > rank(b); });
  return files;
}

std::vector<Part> cut(const std::vector<File>& files) {
  std::vector<Part> parts;
  for (uint32_t i = 0; i < files.size(); ++i)
    for (uint64_t begin = 0; begin == 0 || begin < files[i].bytes; begin += kPartBytes)
      parts.push_back({i, begin, std::min(files[i].bytes, begin + kPartBytes)});
  return parts;
}

template <typename Work>
void in_parallel(unsigned threads, Work work) {
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i) running.emplace_back(work, i);
  for (std::thread& thread : running) thread.join();
}

/// One thread's stream of extents, in packs.
class Stream {
 public:
  Stream(const Options& options, unsigned number) : options_(options), number_(number) {
    ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, options.level);
    ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_contentSizeFlag, 0);
  }

  void add(int fd, uint32_t file, uint64_t begin, uint64_t end) {
    // What is written in large pieces begins a pack, so that these lie at their multiples in the restored file.
    if (end - begin >= kWriteBytes) {
      flush_extent();
      end_pack();
    }
    while (begin < end) {
      const size_t want = static_cast<size_t>(std::min<uint64_t>(kExtentBytes - used_, end - begin));
      const size_t got = read_at(fd, raw() + used_, want, begin);
      if (got == 0) break;
      if (pack_.pieces.empty() || pack_.pieces.back().file != file ||
          pack_.pieces.back().offset + pack_.pieces.back().bytes != begin)
        pack_.pieces.push_back({file, begin, 0, pack_.raw_bytes + used_});
      pack_.pieces.back().bytes += got;
      used_ += got;
      begin += got;
      if (used_ == kExtentBytes) flush_extent();
    }
  }
  void add_empty(uint32_t file) { pack_.pieces.push_back({file, 0, 0, pack_.raw_bytes + used_}); }

  std::vector<Pack> finish() {
    flush_extent();
    end_pack();
    return std::move(packs_);
  }

 private:
  /// Where the extent is read to: what is not coded is written from there.
  char* raw() { return options_.codec == "none" ? coded_.get() + buffered_ : raw_.get(); }

  void flush_extent() {
    if (used_ == 0) return;
    if (!out_) {
      pack_.name = "pack" + std::to_string(number_) + "-" + std::to_string(packs_.size());
      out_ = std::make_unique<Fd>(options_.out + "/" + pack_.name, O_WRONLY | O_CREAT | O_TRUNC);
    }
    char* const to = coded_.get() + buffered_;
    size_t coded = 0;
    if (options_.codec == "zst") {
      coded = ZSTD_compress2(zstd_.get(), to, ZSTD_compressBound(kExtentBytes), raw_.get(), used_);
    } else if (options_.codec == "lz4") {
      coded = static_cast<size_t>(
          LZ4_compress_default(raw_.get(), to, static_cast<int>(used_), LZ4_compressBound(static_cast<int>(used_))));
    }
    if (coded == 0 || coded >= used_) {
      if (raw() != to) std::memcpy(to, raw(), used_);
      coded = used_;
    }
    buffered_ += coded;
    if (buffered_ >= kWriteBytes) write_buffer(buffered_ / kWriteAlignment * kWriteAlignment);
    pack_.coded.push_back(static_cast<uint32_t>(coded));
    pack_.raw_bytes += used_;
    used_ = 0;
    if (pack_.coded.size() == kPackExtents) end_pack();
  }

  void write_buffer(size_t bytes) {
    write_at(out_->get(), coded_.get(), bytes, written_);
    written_ += bytes;
    buffered_ -= bytes;
    std::memmove(coded_.get(), coded_.get() + bytes, buffered_);
    if (written_ - flushed_ < kFlushBytes) return;
    begin_writeback(out_->get(), flushed_, written_ - flushed_);
    flushed_ = written_;
  }

  void end_pack() {
    if (out_) {
      if (buffered_ > 0) write_buffer(buffered_);
      begin_writeback(out_->get(), flushed_, written_ - flushed_);
    }
    out_.reset();
    written_ = flushed_ = 0;
    if (!pack_.pieces.empty()) packs_.push_back(std::move(pack_));
    pack_ = Pack();
  }

  static constexpr size_t kBufferBytes = kWriteBytes + 2 * kExtentBytes;
  const Options& options_;
  const unsigned number_;
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd_{ZSTD_createCCtx(), &ZSTD_freeCCtx};
  const Memory raw_ = aligned(kExtentBytes);
  const Memory coded_ = aligned(kBufferBytes);
  size_t used_ = 0, buffered_ = 0;
  std::unique_ptr<Fd> out_;
  uint64_t written_ = 0, flushed_ = 0;
  Pack pack_;
  std::vector<Pack> packs_;
};

/// Everything below the directory has reached the disk.
void sync_all(const std::string& directory) {
  const Fd fd(directory, O_RDONLY | O_DIRECTORY);
  if (::syncfs(fd.get()) != 0) die("sync " + directory);
}

/// The pages named in a file, neighbours in one stretch.
std::vector<Part> read_pages(const std::string& name, std::vector<File>& files) {
  std::ifstream in(name);
  if (!in) die("open " + name);
  std::map<std::string, uint32_t> known;
  std::vector<Part> parts;
  std::string path;
  uint64_t block = 0;
  while (in >> path >> block) {
    const auto [at, is_new] = known.emplace(path, static_cast<uint32_t>(files.size()));
    if (is_new) files.push_back({path, 0});
    const uint64_t begin = block * kPageBytes;
    if (!parts.empty() && parts.back().file == at->second && parts.back().end == begin)
      parts.back().end = begin + kPageBytes;
    else
      parts.push_back({at->second, begin, begin + kPageBytes});
  }
  return parts;
}

void write_index(const std::string& name, const std::vector<File>& files, const std::vector<Pack>& packs) {
  std::ofstream out(name, std::ios::binary);
  out << files.size() << ' ' << packs.size() << '\n';
  for (const File& file : files) out << file.bytes << ' ' << file.path << '\n';
  for (const Pack& pack : packs) {
    // A pack of empty files only has no name of its own.
    out << (pack.name.empty() ? "-" : pack.name) << ' ' << pack.raw_bytes << ' ' << pack.coded.size() << ' '
        << pack.pieces.size() << '\n';
    for (const uint32_t bytes : pack.coded) out << bytes << ' ';
    for (const Piece& piece : pack.pieces)
      out << piece.file << ' ' << piece.offset << ' ' << piece.bytes << ' ' << piece.at << '\n';
  }
  if (!out.flush()) die("write " + name);
}

void read_index(const std::string& name, std::vector<File>& files, std::vector<Pack>& packs) {
  std::ifstream in(name, std::ios::binary);
  size_t file_count = 0, pack_count = 0;
  in >> file_count >> pack_count;
  files.resize(file_count);
  for (File& file : files) {
    in >> file.bytes;
    in.get();
    std::getline(in, file.path);
  }
  packs.resize(pack_count);
  for (Pack& pack : packs) {
    size_t extents = 0, pieces = 0;
    in >> pack.name >> pack.raw_bytes >> extents >> pieces;
    pack.coded.resize(extents);
    for (uint32_t& bytes : pack.coded) in >> bytes;
    pack.pieces.resize(pieces);
    for (Piece& piece : pack.pieces) in >> piece.file >> piece.offset >> piece.bytes >> piece.at;
  }
  if (!in) die("read " + name);
}

void backup(const Options& options) {
  std::vector<File> files;
  std::vector<Part> parts;
  if (options.pages.empty()) {
    files = list_files(options.data);
    parts = cut(files);
  } else {
    parts = read_pages(options.pages, files);
  }
  std::atomic<size_t> next = 0;
  std::mutex mu;
  std::vector<Pack> packs;
  // Stretches of one file side by side go to one thread.
  const size_t together = options.pages.empty() ? 1 : 64;
  in_parallel(options.threads, [&](unsigned number) {
    Stream stream(options, number);
    for (;;) {
      const size_t first = next.fetch_add(together);
      if (first >= parts.size()) break;
      std::unique_ptr<Fd> fd;
      for (size_t i = first; i < std::min(parts.size(), first + together); ++i) {
        const Part& part = parts[i];
        if (i == first || parts[i - 1].file != part.file)
          fd = std::make_unique<Fd>(options.data + "/" + files[part.file].path, O_RDONLY);
        if (fd->get() < 0) continue;
        if (part.begin == part.end) stream.add_empty(part.file);
        stream.add(fd->get(), part.file, part.begin, part.end);
      }
    }
    std::vector<Pack> mine = stream.finish();
    const std::lock_guard lock(mu);
    for (Pack& pack : mine) packs.push_back(std::move(pack));
  });
  write_index(options.out + "/index", files, packs);
  sync_all(options.out);
}

/// Packs shared out among threads in stretches, so that as a rule they write to different files: the kernel lets only
/// one at a time write to a file. Who has done its own takes from the end of the longest that is left.
class Shares {
 public:
  Shares(size_t count, unsigned threads) {
    for (size_t i = 0; i < threads; ++i) shares_.push_back({i * count / threads, (i + 1) * count / threads});
  }
  bool take(unsigned thread, size_t& taken) {
    const std::lock_guard lock(mu_);
    auto& [begin, end] = shares_[thread];
    if (begin < end) {
      taken = begin++;
      return true;
    }
    auto& longest = *std::max_element(shares_.begin(), shares_.end(), [](const auto& a, const auto& b) {
      return a.second - a.first < b.second - b.first;
    });
    if (longest.first == longest.second) return false;
    taken = --longest.second;
    return true;
  }

 private:
  std::mutex mu_;
  std::vector<std::pair<size_t, size_t>> shares_;
};

/// Decode a pack, and write its pieces into files.
class Unpacker {
 public:
  Unpacker(const Options& options, const std::vector<File>& files) : options_(options), files_(files) {}

  void unpack(const Pack& pack) {
    const Fd in(options_.data + "/" + pack.name, O_RDONLY);
    uint64_t offset = 0, at = 0;
    size_t piece = 0;
    std::unique_ptr<Fd> fd;
    for (size_t extent = 0; piece < pack.pieces.size();) {
      // As many extents as go into one write.
      const size_t last = std::min(extent + kWriteBytes / kExtentBytes, pack.coded.size());
      size_t coded = 0, raw = 0;
      for (size_t i = extent; i < last; ++i) coded += pack.coded[i];
      if (coded > 0 && read_at(in.get(), coded_.get(), coded, offset) != coded) die("read " + pack.name);
      offset += coded;
      const size_t want_all =
          static_cast<size_t>(std::min<uint64_t>((last - extent) * kExtentBytes, pack.raw_bytes - at));
      // Nothing is gained by moving what is stored as it is; no extent is longer coded than raw.
      const bool as_it_is = coded == want_all;
      const char* const content = as_it_is ? coded_.get() : raw_.get();
      const char* from = coded_.get();
      for (; extent < last; ++extent) {
        const size_t want = static_cast<size_t>(std::min<uint64_t>(kExtentBytes, pack.raw_bytes - at - raw));
        if (!as_it_is) decode(from, pack.coded[extent], want, raw_.get() + raw);
        from += pack.coded[extent];
        raw += want;
      }
      const bool at_end = extent == pack.coded.size();
      for (; piece < pack.pieces.size(); ++piece) {
        const Piece& p = pack.pieces[piece];
        if (p.at > at + raw || (p.at == at + raw && !at_end)) break;
        if (!fd || open_file_ != p.file) {
          flush_behind(fd.get());
          fd = std::make_unique<Fd>(options_.out + "/" + files_[p.file].path, O_WRONLY | O_CREAT);
          open_file_ = p.file;
        }
        const uint64_t begin = std::max(p.at, at), end = std::min(p.at + p.bytes, at + raw);
        if (end > begin) {
          const uint64_t offset_in_file = p.offset + (begin - p.at);
          write_at(fd->get(), content + (begin - at), static_cast<size_t>(end - begin), offset_in_file);
          if (dirty_begin_ == dirty_end_) dirty_begin_ = offset_in_file;
          dirty_end_ = offset_in_file + (end - begin);
          if (dirty_end_ - dirty_begin_ >= kFlushBytes) flush_behind(fd.get());
        }
        if (p.at + p.bytes > at + raw) break;  // The rest is in what follows.
      }
      at += raw;
      if (at_end && piece >= pack.pieces.size()) break;
    }
    flush_behind(fd.get());
  }

 private:
  /// Send what was written of the open file, which is one stretch, on its way.
  void flush_behind(const Fd* fd) {
    if (fd != nullptr && dirty_end_ - dirty_begin_ >= kExtentBytes)
      begin_writeback(fd->get(), dirty_begin_, dirty_end_ - dirty_begin_);
    dirty_begin_ = dirty_end_ = 0;
  }

  void decode(const char* from, size_t coded, size_t raw, char* to) {
    if (coded == raw)
      std::memcpy(to, from, raw);
    else if (options_.codec == "lz4")
      LZ4_decompress_safe(from, to, static_cast<int>(coded), static_cast<int>(raw));
    else if (ZSTD_decompressDCtx(zstd_.get(), to, raw, from, coded) != raw)
      die("decode");
  }

  const Options& options_;
  const std::vector<File>& files_;
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> zstd_{ZSTD_createDCtx(), &ZSTD_freeDCtx};
  const Memory coded_ = aligned(2 * kWriteBytes);
  const Memory raw_ = aligned(kWriteBytes);
  uint32_t open_file_ = 0;
  uint64_t dirty_begin_ = 0, dirty_end_ = 0;
};

void restore(const Options& options) {
  std::vector<File> files;
  std::vector<Pack> packs;
  read_index(options.data + "/index", files, packs);
  std::set<std::string> directories;
  for (const File& file : files) directories.insert(fs::path(file.path).parent_path().string());
  for (const std::string& directory : directories) fs::create_directories(options.out + "/" + directory);
  const auto place = [](const Pack& pack) { return std::pair(pack.pieces.front().file, pack.pieces.front().offset); };
  std::sort(packs.begin(), packs.end(), [&](const Pack& a, const Pack& b) { return place(a) < place(b); });
  Shares shares(packs.size(), options.threads);
  in_parallel(options.threads, [&](unsigned thread) {
    Unpacker unpacker(options, files);
    for (size_t i = 0; shares.take(thread, i);) unpacker.unpack(packs[i]);
  });
  sync_all(options.out);
}

void read_all(const Options& options) {
  const std::vector<File> files = list_files(options.data);
  const std::vector<Part> parts = cut(files);
  std::atomic<size_t> next = 0;
  in_parallel(options.threads, [&](unsigned) {
    const Memory buffer = aligned(kWriteBytes);
    for (size_t i = next++; i < parts.size(); i = next++) {
      const Fd fd(options.data + "/" + files[parts[i].file].path, O_RDONLY);
      for (uint64_t at = parts[i].begin; at < parts[i].end; at += kWriteBytes)
        read_at(fd.get(), buffer.get(), static_cast<size_t>(std::min<uint64_t>(kWriteBytes, parts[i].end - at)), at);
    }
  });
}

/// What a comparison cannot do without that finds these pages to differ, and has what belongs there at hand.
void delta(const Options& options) {
  const std::vector<File> files = list_files(options.data);
  std::vector<File> changed_files;
  const std::vector<Part> changed = read_pages(options.pages, changed_files);
  std::map<std::string, std::vector<Part>> changed_of;
  for (const Part& part : changed) changed_of[changed_files[part.file].path].push_back(part);
  const std::vector<Part> parts = cut(files);
  std::atomic<size_t> next = 0;
  in_parallel(options.threads, [&](unsigned) {
    const Memory buffer = aligned(kWriteBytes);
    for (size_t i = next++; i < parts.size(); i = next++) {
      const auto here = changed_of.find(files[parts[i].file].path);
      const Fd fd(options.data + "/" + files[parts[i].file].path, here == changed_of.end() ? O_RDONLY : O_RDWR);
      auto change = std::vector<Part>::const_iterator();
      if (here != changed_of.end())
        change = std::partition_point(here->second.begin(), here->second.end(),
                                      [&](const Part& one) { return one.end <= parts[i].begin; });
      for (uint64_t at = parts[i].begin; at < parts[i].end; at += kWriteBytes) {
        const size_t got = read_at(fd.get(), buffer.get(),
                                   static_cast<size_t>(std::min<uint64_t>(kWriteBytes, parts[i].end - at)), at);
        if (here == changed_of.end()) continue;
        for (; change != here->second.end() && change->begin < at + got; ++change) {
          const uint64_t begin = std::max(change->begin, at), end = std::min(change->end, at + got);
          write_at(fd.get(), buffer.get() + (begin - at), static_cast<size_t>(end - begin), begin);
          if (change->end > at + got) break;  // The rest is in what follows.
        }
      }
      if (here != changed_of.end()) begin_writeback(fd.get(), parts[i].begin, parts[i].end - parts[i].begin);
    }
  });
  sync_all(options.data);
}

void copy(const Options& options) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(options.data))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const Memory buffer = aligned(kWriteBytes);
  const Fd directory(options.out, O_RDONLY | O_DIRECTORY);
  for (const fs::path& path : files) {
    const Fd from(path.string(), O_RDONLY);
    const Fd to(options.out + "/" + path.filename().string(), O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t at = 0;;) {
      const size_t got = read_at(from.get(), buffer.get(), kWriteBytes, at);
      if (got == 0) break;
      write_at(to.get(), buffer.get(), got, at);
      at += got;
    }
    if (::fsync(to.get()) != 0 || ::fsync(directory.get()) != 0) die("sync " + path.string());
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const std::string_view command = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; ++i) {
    const std::string_view word = argv[i];
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const std::string value(equals == std::string_view::npos ? "" : word.substr(equals + 1));
    if (name == "--data")
      options.data = value;
    else if (name == "--out")
      options.out = value;
    else if (name == "--codec")
      options.codec = value;
    else if (name == "--pages")
      options.pages = value;
    else if (name == "--level")
      options.level = std::atoi(value.c_str());
    else if (name == "--threads")
      options.threads = static_cast<unsigned>(std::max(1, std::atoi(value.c_str())));
    else {
      std::fprintf(stderr, "limit: unknown option '%s'\n", argv[i]);
      return 2;
    }
  }
  const bool writes_elsewhere = command != "read" && command != "delta";
  if (options.data.empty() || (options.out.empty() && writes_elsewhere) ||
      (command == "delta" && options.pages.empty())) {
    std::fputs(
        "usage: limit backup|restore|read|delta|copy --data=DIR --out=DIR [--codec=zst|lz4|none] [--level=N] "
        "[--threads=N] "
        "[--pages=FILE]\n",
        stderr);
    return 2;
  }
  if (command == "backup")
    backup(options);
  else if (command == "restore")
    restore(options);
  else if (command == "read")
    read_all(options);
  else if (command == "delta")
    delta(options);
  else if (command == "copy")
    copy(options);
  else
    return 2;
  return 0;
}
