// The bytes of dumps in repositories: streams are cut into frames, frames gathered in packs that many streams share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "core/bytes.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "repo/container.h"
#include "repo/repository_set.h"

namespace pgark {

/// How errors end that are about a stream whose frames are good, and whose bytes are others all the same.
inline constexpr std::string_view kDumpDisagrees = "its bytes are not those the manifest tells of";

struct DumpPackOptions {
  std::string stanza;
  std::string label;
  Codec codec = Codec::kZstd;
  int level = 1;
  uint64_t pack_bytes = 64u << 20;  // A pack is closed once it is larger.
};

/// Packs of one dump while it is written. Safe from several threads; a stream belongs to one.
class DumpPacks {
 public:
  DumpPacks(RepositorySet repositories, DumpPackOptions options);
  ~DumpPacks();
  DumpPacks(const DumpPacks&) = delete;
  DumpPacks& operator=(const DumpPacks&) = delete;

  /// One stream being written: cut into frames of 1 MiB, compressed on the caller's thread.
  class Writer {
   public:
    Writer(Writer&&) noexcept;
    Writer& operator=(Writer&&) noexcept;
    ~Writer();
    Result<> append(Bytes data);
    uint64_t bytes() const;
    /// The stream, whose packs are not yet all closed.
    Result<DumpStream> finish() &&;

   private:
    friend class DumpPacks;
    struct State;
    explicit Writer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  Result<Writer> begin(std::string name);

  /// Close the packs: all bytes are durable. To be called once no stream is open.
  Result<> finish();
  /// Remove what was written, as far as possible: of a dump that failed.
  void discard();
  uint32_t pack_count() const;
  uint64_t stored_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Read streams of a dump, from the first of `repositories` that has a good copy of each pack.
class DumpReader {
 public:
  DumpReader(std::vector<const Repository*> repositories, std::string stanza, std::string label);
  ~DumpReader();
  DumpReader(DumpReader&&) noexcept;

  /// Pass the bytes of a stream to `sink`, in order, in pieces of up to 1 MiB, after their checks; the hash of the
  /// whole is checked at the end. Safe from several threads for different streams. Errors: kCorrupt naming the object;
  /// of `sink`, unchanged; kCancelled.
  Result<> read(const DumpStream& stream, const CancelToken& cancel, const std::function<Result<>(Bytes)>& sink) const;
  /// All of a small one. Errors: kInvalid if larger than `bytes_max`.
  Result<std::string> read_whole(const DumpStream& stream, const CancelToken& cancel, uint64_t bytes_max) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
