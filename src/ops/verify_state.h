// What a round of verify has done so far, in a small file on this machine, so that the next run goes on from there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "ops/verify.h"

namespace pgark {

/// A set of numbers that are mostly neighbours: "1-340,350".
class NumberRanges {
 public:
  void add(uint64_t number);
  void remove(uint64_t number);
  bool has(uint64_t number) const;
  uint64_t count() const;
  /// In order.
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& [first, last] : ranges_)
      for (uint64_t number = first; number <= last; ++number) visit(number);
  }
  std::string text() const;
  /// None if it is no such text.
  static std::optional<NumberRanges> parse(std::string_view text);
  bool operator==(const NumberRanges&) const = default;

 private:
  std::map<uint64_t, uint64_t> ranges_;  // First to last, both included; never adjacent.
};

/// What reading a manifest told.
struct ManifestResult {
  std::vector<PackName> packs;  // Damaged ones that hit the backup, the first kHitPacksMax.
  std::vector<DamagedFile> files;
  uint64_t file_count = 0;
  std::vector<VerifiedBadPages> bad_pages;
  uint64_t bad_page_count = 0;
  bool operator==(const ManifestResult&) const = default;
};

inline constexpr size_t kHitPacksMax = 10'000;

struct VerifyState {
  // Which round this is: a state of another one is of no use.
  std::string repository_id;
  std::string stanza;
  std::vector<std::string> sets;
  double share = 1;

  uint64_t seed = 0;
  Timestamp started{};
  Timestamp saved{};
  /// By label: numbers of those done, or left out by the sample. Of dumps too, and by "<label>/streams" the streams
  /// done that lie in several packs.
  std::map<std::string, NumberRanges> packs;
  std::map<std::string, NumberRanges> segments;     // By "<cluster>/<timeline>".
  std::map<std::string, ManifestResult> manifests;  // By label.
  std::vector<VerifyDamage> damages;
  uint64_t damage_count = 0;
  uint64_t extent_count = 0;
  uint64_t dump_frame_count = 0;
  uint64_t segment_count = 0;  // Read, and not left out.
  uint64_t read_bytes = 0;
  bool operator==(const VerifyState&) const = default;

  bool same_round(const VerifyState& other) const;
};

std::string encode_verify_state(const VerifyState& state);
/// Errors: kCorrupt.
Result<VerifyState> decode_verify_state(std::string_view text);

/// Read the file. None if it does not exist, cannot be used (with a warning), or is older than 30 days at `now`.
/// Errors: of reading it.
Result<std::optional<VerifyState>> load_verify_state(const std::string& path, Timestamp now);
/// Write it, whole and durably; its directory is made. Errors: of writing.
Result<> save_verify_state(const std::string& path, const VerifyState& state);

/// "<spool-path>/<stanza>-verify-repo<N>.json"; rounds of another scope have a hash of it in their names, so that a
/// sample does not end a long round that was interrupted.
std::string verify_state_path(const std::string& spool_path, const VerifyOptions& options);

}  // namespace pgark
