// The check of a manifest: every chunk decodes, and every extent it names lies where it says and can be read.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "catalog/damage.h"
#include "core/result.h"
#include "ops/verify_objects.h"
#include "ops/verify_state.h"
#include "repo/manifest.h"

namespace pgark {

/// Call a function with every number below `count`, on several threads.
using VerifyEach = std::function<Result<>(size_t count, const std::function<Result<>(size_t)>& do_one)>;

struct ManifestCheck {
  bool vanished = false;  // It is not there any more.
  std::string damage;     // Of the manifest itself; empty: none.
  ManifestResult result;  // What is known of its files all the same.
};

/// Holds manifests against what was found of the packs.
class ManifestChecker {
 public:
  /// `damaged`: every pack that is damaged where it matters.
  ManifestChecker(const Repository& repository, std::string stanza, PackIndexes& indexes,
                  std::map<PackName, PackDamage> damaged)
      : repository_(repository), stanza_(std::move(stanza)), indexes_(indexes), damaged_(std::move(damaged)) {}

  /// Read one, its chunks by `each`. Extents of packs whose index cannot be read are read one by one.
  /// Shape:  bytes read are added to `done`.
  /// Errors: of the store; of `each`.
  Result<ManifestCheck> check(const std::string& label, const VerifyEach& each, std::atomic<uint64_t>& done);

 private:
  struct Read;
  struct PackView;
  Result<> read_chunks(Read& read, const VerifyEach& each, std::atomic<uint64_t>& done);
  Result<> judge_chunk(const FileChunk& chunk, Read& read);
  Result<PackView> view_of(const PackName& pack);
  Result<bool> is_damaged(const ExtentRef& extent, const PackView& pack, std::string& wrong);

  const Repository& repository_;
  const std::string stanza_;
  PackIndexes& indexes_;
  const std::map<PackName, PackDamage> damaged_;
};

}  // namespace pgark
