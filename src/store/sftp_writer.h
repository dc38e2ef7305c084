// One object on its way into an SFTP store.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "store/object_store.h"
#include "store/sftp_root.h"

namespace pgark {

/// Writes a temporary file beside the object's place, many pieces in flight; commit() syncs it and gives it the name.
class SftpWriter final : public ObjectWriter {
 public:
  /// Errors: kAlreadyExists, after making the object that has the name durable; kInvalid if the name is a directory's
  ///         or runs through an object.
  static Result<std::unique_ptr<ObjectWriter>> create(SftpRoot& root, const ObjectKey& key);
  ~SftpWriter() override;

  Result<> append(Bytes data) override;
  Result<ObjectInfo> commit() && override;

 private:
  SftpWriter(SftpRoot& root, ObjectKey key, std::string directory, std::shared_ptr<SftpSlot> slot, std::string handle,
             std::string temporary);

  /// Send a piece; waits for the oldest answer when too many are due.
  Result<> send(SftpConnection& connection, Bytes piece);
  Result<> await_write(SftpConnection& connection);
  /// Everything is on the server's disk, under the temporary name. `chain`: handles of the directories above.
  Result<ObjectInfo> finish(SftpConnection& connection, std::vector<std::string>& chain);
  /// Give it the name, if nothing has it. Errors: kAlreadyExists, kInvalid for a directory, kOutcomeUnknown.
  Result<> publish(SftpConnection& connection, const std::vector<std::string>& chain);
  Result<> publish_by_link(SftpConnection& connection, const std::vector<std::string>& chain, bool& refused);
  Result<> publish_by_rename(SftpConnection& connection, const std::vector<std::string>& chain);
  Result<> remove_temporary(SftpConnection& connection);

  SftpRoot& root_;
  const ObjectKey key_;
  const std::string directory_;
  const std::shared_ptr<SftpSlot> slot_;  // Shared with the pool, which gives it up when it is lost.
  std::string handle_;                    // Empty once closed.
  std::string temporary_;                 // Its path on the server; empty once nothing is left to remove.
  Buffer piece_;                          // Not sent yet: less than one packet holds.
  std::deque<SftpTicket> writing_;
  uint64_t sent_ = 0;
  std::optional<Error> failure_;  // Of an append; commit() must not hide it.
};

}  // namespace pgark
