// The directory an SFTP store lives in: its connections, the paths below it, what its errors say, and what makes its
// directories durable.
#pragma once

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "store/object_store.h"
#include "store/sftp_pool.h"

namespace pgark {

/// Paths are relative to the repository, without a slash at either end; "" is the repository itself. Safe to use from
/// several threads; what takes a connection, from the one that has it.
class SftpRoot {
 public:
  explicit SftpRoot(SftpOptions options)
      : pool_(std::move(options)), where_(pool_.options().label + " at " + sftp_url(pool_.options())) {}

  const SftpOptions& options() const { return pool_.options(); }
  SftpPool& pool() { return pool_; }
  const std::string& describe() const { return where_; }
  std::string absolute(std::string_view relative) const;

  Error fail(Errc code, std::string_view operation, const std::string& object, std::string_view cause) const;
  /// Error of a request about `object`: never kNotFound, since a name missing where it must exist proves nothing.
  Error fail(const SftpStatus& status, std::string_view operation, const std::string& object) const;
  /// Like fail(), for a request that takes space: servers say only "Failure" when the disk is full, so it is looked up.
  Error fail_to_write(SftpConnection& connection, const SftpStatus& status, std::string_view operation,
                      const std::string& object) const;
  /// Put operation and object before the error of a connection.
  Error lost(Error error, std::string_view operation, const std::string& object) const;

  /// The repository's directory is still there: what is missing below it is then absent.
  /// Errors: kPermission if not.
  Result<> check(SftpConnection& connection, std::string_view operation, const std::string& object) const;

  // Making the entries durable that lead from the repository to an object in `directory`, where the server knows fsync;
  // elsewhere these do nothing. Three steps, so that others can be under way between them.
  std::vector<SftpTicket> open_chain(SftpConnection& connection, const std::string& directory) const;
  /// The directory first, the repository last.
  Result<std::vector<std::string>> await_chain(SftpConnection& connection,
                                               const std::vector<SftpTicket>& opening) const;
  Result<> await_synced(SftpConnection& connection, const std::vector<SftpTicket>& syncing) const;
  /// The three in one. Errors: of the connection; kTransient if the server fails to sync.
  Result<> sync_chain(SftpConnection& connection, const std::string& directory) const;

  /// Remove the directory and its parents as long as they are empty; failure to do so is of no consequence.
  void remove_empty_directories(SftpConnection& connection, const std::string& directory) const;

  /// What has the name of `key`. Success: nothing.
  /// Errors: kAlreadyExists, once the object is durable; kInvalid if it is a directory.
  Result<> check_name_free(SftpConnection& connection, const ObjectKey& key, const SftpAnswer<SftpAttrs>& found) const;

  /// Whether a hard link was seen to work, or to be refused by the file system.
  std::atomic<bool> links_work = false;
  std::atomic<bool> links_refused = false;

 private:
  SftpPool pool_;
  const std::string where_;
};

/// Time of the last write, as ObjectInfo has it.
Timestamp modified_of(const SftpAttrs& attrs);
/// The directories above and including `directory`, the nearest first, without the repository itself.
std::vector<std::string> directories_up(std::string directory);

}  // namespace pgark
