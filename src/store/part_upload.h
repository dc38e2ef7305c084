// Writing one object to a store that takes it in parts: what is small goes in one request, the rest in parts sent side
// by side while the caller goes on appending. Shared by the stores behind HTTP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/cloud_settings.h"
#include "store/object_store.h"

namespace pgark {

/// What a store does for one object. put_part() is called from several threads, the rest from one.
class PartUpload {
 public:
  virtual ~PartUpload() = default;
  /// The whole object in one request; of racing writers exactly one may succeed, where the store can say so.
  /// Errors: as ObjectWriter::commit().
  virtual Result<ObjectInfo> put_whole(Bytes content) = 0;
  /// Begin an upload in parts.
  virtual Result<> begin() = 0;
  /// Send part `number` (from 1); repeated after kTransient and kOutcomeUnknown. What complete() needs of it.
  virtual Result<std::string> put_part(unsigned number, Bytes content) = 0;
  /// Make the object of its parts, in order. Errors: as ObjectWriter::commit().
  virtual Result<ObjectInfo> complete(const std::vector<std::string>& parts, uint64_t bytes) = 0;
  /// Drop what was sent. Best effort.
  virtual void abort() = 0;
};

/// Threads that send parts, and the memory parts may take, shared by all writers of a store.
class PartSender;
std::shared_ptr<PartSender> make_part_sender(const CloudSettings& settings);

/// A writer that gathers appended bytes into chunks of `settings.chunk_bytes` (grown so that no object needs more than
/// `parts_max` parts) and sends them through `sender`. A part that fails is sent again by the writer, with delays, as
/// the retrying store above cannot repeat an append.
std::unique_ptr<ObjectWriter> make_part_writer(ObjectKey key, std::unique_ptr<PartUpload> upload,
                                               std::shared_ptr<PartSender> sender, const CloudSettings& settings,
                                               unsigned parts_max = 10'000);

}  // namespace pgark
