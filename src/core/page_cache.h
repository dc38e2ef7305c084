// Reading that passes over files once and leaves the page cache as it was: a backup of a large database must not push
// out of memory what its server uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/file.h"
#include "core/result.h"

namespace pgark {

/// Tell which pages of a file are in memory.
/// Shape:  an element for each page (of the machine) that `begin` to `end` touches.
/// Errors: those of mmap(2) and mincore(2). Who neither owns the file nor may write to it is told that all are.
Result<std::vector<bool>> cached_pages(const File& file, uint64_t begin, uint64_t end);

/// One pass over a file, front to back. Every stretch is announced before it is read, which asks the disk for what is
/// not in memory; once the pass is beyond it, exactly that leaves memory again. Where the system does not tell what is
/// in memory, everything stays as reading left it. Nothing here fails: it is all advice.
class CachePass {
 public:
  /// How the system is asked. cachestat(2) came with Linux 6.5, and is not for files of others in newer ones.
  enum class Ask : uint8_t { kCacheStat, kMincore };

  /// `file` must outlive it.
  explicit CachePass(const File& file, Ask ask = Ask::kCacheStat) : file_(file), ask_(ask) {}
  CachePass(const CachePass&) = delete;
  CachePass& operator=(const CachePass&) = delete;
  ~CachePass();

  /// What comes next, up to `end`; what was announced before is not looked at again. The disk is only asked with
  /// `read_ahead`: who reads at once has no use for it.
  void announce(uint64_t begin, uint64_t end, bool read_ahead = true);
  /// Everything before `offset` was read.
  void passed(uint64_t offset);

 private:
  struct Stretch {
    uint64_t begin = 0, end = 0;
  };
  enum class Known : uint8_t { kAllCached, kNoneCached, kSomeCached, kNothing };

  Known look(uint64_t begin, uint64_t end);
  Known look_at_pages(uint64_t begin, uint64_t end);
  void drop(const Stretch& stretch) const;

  const File& file_;
  Ask ask_;
  uint64_t announced_until_ = 0;
  std::vector<Stretch> absent_;  // When they were announced; ascending.
  size_t next_ = 0;              // The first of them that was not passed yet.
};

}  // namespace pgark
