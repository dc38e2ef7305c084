// Writing one object to a store that takes it in parts: what is small goes in one request, the rest in parts sent side
// by side while the caller goes on appending. Shared by the stores behind HTTP.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/cloud_settings.h"
#include "store/object_store.h"

namespace pgark {

/// What a store does for one object. put_part() is called from several threads (one after the other unless parallel()),
/// the rest from one.
class PartUpload {
 public:
  virtual ~PartUpload() = default;
  /// Whether parts may be sent side by side. If not, each begins when the one before is there, though the caller goes
  /// on appending meanwhile.
  virtual bool parallel() const { return true; }
  /// The whole object in one request; of racing writers exactly one may succeed, where the store can say so.
  /// Errors: as ObjectWriter::commit().
  virtual Result<ObjectInfo> put_whole(Bytes content) = 0;
  /// Begin an upload in parts.
  virtual Result<> begin() = 0;
  /// Send part `number` (from 1); repeated after kTransient and kOutcomeUnknown. What complete() needs of it.
  virtual Result<std::string> put_part(unsigned number, Bytes content) = 0;
  /// Make the object of its parts, in order. Errors: as ObjectWriter::commit().
  virtual Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) = 0;
  /// Asked after put_whole() or complete() ended in kOutcomeUnknown or kAlreadyExists: whether the object is there and
  /// made by this very upload, which its metadata tells; no value if it is absent.
  /// Errors: kAlreadyExists if another's is there; kUnsupported if the store cannot tell: the caller is then told what
  ///         put_whole() or complete() said.
  virtual Result<std::optional<ObjectInfo>> find_own() { return Error(Errc::kUnsupported, "tell whose object it is"); }
  /// Drop what was sent. Best effort.
  virtual void abort() = 0;
};

/// Threads that send parts, and the memory parts may take, shared by all writers of a store.
class PartSender;
std::shared_ptr<PartSender> make_part_sender(const CloudSettings& settings);

/// A writer that gathers appended bytes into chunks of `settings.chunk_bytes` (later ones larger, so that a huge object
/// needs no more than `parts_max`) and sends them through `sender`. As the retrying store above cannot repeat an
/// append, nor keep a large object, the writer itself tries again, as `settings.retry` says: parts, completion, and
/// what is longer than retry.replay_bytes_max. Whether a commit without an answer has worked it finds out by
/// find_own(), and also whether a name that is taken is taken by this very object.
std::unique_ptr<ObjectWriter> make_part_writer(ObjectKey key, std::unique_ptr<PartUpload> upload,
                                               std::shared_ptr<PartSender> sender, const CloudSettings& settings,
                                               unsigned parts_max = 10'000);

}  // namespace pgark
