// A bounded set of connections to one SFTP server, lent to one call at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/thread_annotations.h"
#include "store/sftp_connection.h"

namespace pgark {

class SftpPool;

/// A connection and who uses it. Shared by the pool and by the writers whose file is open on it.
struct SftpSlot {
  std::unique_ptr<SftpConnection> connection;
  bool busy = false;     // Under the pool's lock.
  unsigned writers = 0;  // Under the pool's lock.
};

/// A connection lent until the end of scope.
class SftpLease {
 public:
  SftpLease(SftpPool& pool, std::shared_ptr<SftpSlot> slot) : pool_(&pool), slot_(std::move(slot)) {}
  SftpLease(SftpLease&&) noexcept = default;
  SftpLease& operator=(SftpLease&&) = delete;
  ~SftpLease();

  SftpConnection& operator*() const { return *slot_->connection; }
  SftpConnection* operator->() const { return slot_->connection.get(); }
  const std::shared_ptr<SftpSlot>& slot() const { return slot_; }

 private:
  SftpPool* pool_;
  std::shared_ptr<SftpSlot> slot_;
};

/// Opens connections when they are needed, up to the bound, and gives up those that are lost. Nobody holds a connection
/// while waiting for another, so that all get their turn: a writer has its connection for each of its calls only.
class SftpPool {
 public:
  explicit SftpPool(SftpOptions options) : options_(std::move(options)) {}

  const SftpOptions& options() const { return options_; }

  /// Any connection, for one call. Errors: of SftpConnection::open().
  Result<SftpLease> acquire() { return take(false); }
  /// One for a new writer: rather a new one than one on which another writer's data is under way.
  Result<SftpLease> acquire_for_writer() { return take(true); }
  /// The connection of a writer.
  SftpLease acquire(const std::shared_ptr<SftpSlot>& slot);
  void add_writer(SftpSlot& slot);
  void remove_writer(SftpSlot& slot);

  /// A temporary file that could not be removed because its connection was lost; removed by a later writer.
  void leave_behind(std::string path);
  std::vector<std::string> take_left_behind();

 private:
  friend class SftpLease;
  Result<SftpLease> take(bool for_writer);
  std::shared_ptr<SftpSlot> best_idle() REQUIRES(mu_);
  void give_back(SftpSlot& slot);

  const SftpOptions options_;
  Mutex mu_;
  CondVar changed_;
  std::vector<std::shared_ptr<SftpSlot>> slots_ GUARDED_BY(mu_);
  unsigned opening_ GUARDED_BY(mu_) = 0;
  std::vector<std::string> left_behind_ GUARDED_BY(mu_);
};

}  // namespace pgark
