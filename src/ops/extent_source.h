// The repositories a restore reads its extents from: the one it was planned on, and the others that hold the same
// backup, for what is damaged there or when it is gone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/compress.h"
#include "core/bytes.h"
#include "core/result.h"
#include "ops/repository_source.h"
#include "ops/restore.h"
#include "ops/restore_plan.h"
#include "repo/pack.h"

namespace pgark {

/// Thread-safe. A backup that went to several repositories has the same packs in each, with the same extents at the
/// same offsets; so has one that was copied. Of another repository it is checked, before anything is read, that it has
/// the same backup: label, times, sizes, WAL and packs. Its frames are checked by its own tags.
class ExtentSource {
 public:
  /// `sources`, `stanza` and `plan` must outlive it. `first` was the plan made on.
  ExtentSource(std::span<const RepositorySource> sources, size_t first, const Repository& repository,
               const std::string& stanza, const RestorePlan& plan);
  ~ExtentSource();

  /// Whether there is only one repository: then a failure is final.
  bool single() const;
  /// Of the repository that is read from first.
  const Repository& first() const;
  ObjectKey key_of(uint32_t pack) const;

  /// Fill `into` from `offset` of a pack: from the first repository that can be read.
  /// Shape:  the result says which it was, for decode() and failed().
  /// Errors: that of the repository in use, with what the others said.
  Result<size_t> read(uint32_t pack, uint64_t offset, MutableBytes into);
  /// Check and decode an extent whose stored bytes came from repository `from`, as view_frame(): the result is `raw`,
  /// or a part of `stored`. `key` is that of its pack.
  Result<Bytes> decode(size_t from, const ObjectKey& key, const ExtentRef& extent, Bytes stored,
                       Decompressor& decompressor, MutableBytes raw) const;
  /// Fetch and decode one extent, repository after repository. `known`: an error and whose it is, which is not asked
  /// again. `stored` is for the bytes on their way.
  /// Errors: of the first that was asked, with what the others said; kCorrupt only if it is damaged in all that have
  ///         it.
  Result<> fetch_one(const ExtentRef& extent, std::optional<std::pair<size_t, Error>> known, Buffer& stored,
                     Decompressor& decompressor, MutableBytes raw);
  /// The hashes of an extent's blocks, as BlockHashes::of().
  Result<> block_hashes(const ExtentRef& extent, std::vector<uint64_t>& hashes);

  uint64_t fetched_bytes() const;
  /// In the order of the sources, those that gave something or failed.
  std::vector<SourceReport> reports() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
