// verify of dumps: every frame of their packs, and every stream against what the manifest says of it.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "core/cancel.h"
#include "ops/verify.h"
#include "ops/verify_ledger.h"
#include "ops/verify_manifest.h"
#include "ops/verify_objects.h"
#include "ops/verify_plan.h"

namespace pgark {

/// Frames of one pack that belong to a stream.
struct DumpSpan {
  uint32_t first_frame = 0;
  uint32_t frame_count = 0;
  const DumpStream* stream = nullptr;
  bool is_apart = false;  // The stream goes on in other packs: it is read on its own, and not with the pack.
};

/// Read a pack of a dump, or a sample of it, and check header, index, frames, and the streams that lie in it as a
/// whole. `spans` are by first frame. `whole` streams whose bytes are others than the manifest says are named in
/// `disagreeing`.
/// Errors: of the store; kCancelled.
Result<PackCheck> check_dump_pack(const Repository& repository, const ObjectKey& key,
                                  const std::vector<DumpSpan>& spans, const VerifySample& sample,
                                  const CancelToken& cancel, std::atomic<uint64_t>& done,
                                  std::vector<std::string>& disagreeing);

/// Goes through dumps one after the other. What was done is noted in the state of the round: packs by the label,
/// streams that lie in several packs by the label and "/streams".
class DumpChecker {
 public:
  DumpChecker(const Repository& repository, const std::string& stanza, const VerifySample& sample, VerifyLedger& ledger,
              const CancelToken& cancel, std::atomic<uint64_t>& done)
      : repository_(repository), stanza_(stanza), sample_(sample), ledger_(ledger), cancel_(cancel), done_(done) {}

  /// Errors: of the store; of `each`.
  Result<> check(const PlannedDump& dump, const VerifyEach& each);
  /// Of manifests that cannot be read: they are read in every run, so the state does not hold them.
  const std::vector<VerifyDamage>& damages() const { return damages_; }

 private:
  struct Work;
  Result<> check_streams(Work& work, const VerifyEach& each);
  Result<> check_pack(Work& work, uint32_t number);
  void note_pack(const Work& work, uint32_t number, PackCheck check, const std::vector<std::string>& disagreeing);
  bool done(const std::string& name, uint64_t number);

  const Repository& repository_;
  const std::string& stanza_;
  const VerifySample& sample_;
  VerifyLedger& ledger_;
  const CancelToken& cancel_;
  std::atomic<uint64_t>& done_;
  std::vector<VerifyDamage> damages_;
};

/// Complete `report` as to dumps: which streams damage hits, and where good copies are.
/// Errors: of the store. What another repository cannot tell is a warning.
Result<> finish_dump_report(const Repository& repository, const std::vector<OtherRepository>& others,
                            const std::string& stanza, const CancelToken& cancel, VerifyReport& report);

/// "its manifest is damaged", "3 streams are damaged".
std::string describe_damage(const DamagedDump& dump);

}  // namespace pgark
