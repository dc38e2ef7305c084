// A bounded set of connections to one SFTP server.
#include "store/sftp_pool.h"

#include <algorithm>

namespace pgark {
namespace {

// sshd refuses some connections at random when more than ten are not logged in yet (MaxStartups).
constexpr unsigned kOpeningMax = 4;
// A server that comes and goes must not make this grow; the rest is found by age.
constexpr size_t kLeftBehindMax = 1000;

}  // namespace

SftpLease::~SftpLease() {
  if (slot_ != nullptr) pool_->give_back(*slot_);
}

std::shared_ptr<SftpSlot> SftpPool::best_idle() {
  std::shared_ptr<SftpSlot> best;
  for (const auto& slot : slots_)
    if (!slot->busy && (best == nullptr || slot->writers < best->writers)) best = slot;
  return best;
}

Result<SftpLease> SftpPool::take(bool for_writer) {
  MutexLock lock(mu_);
  for (;;) {
    if (const auto idle = best_idle(); idle != nullptr) {
      const bool may_open = slots_.size() + opening_ < options_.connections_max && opening_ < kOpeningMax;
      if (!for_writer || idle->writers == 0 || !may_open) {
        // The server may have closed it since.
        if (idle->connection->alive()) {
          idle->busy = true;
          return SftpLease(*this, idle);
        }
        std::erase(slots_, idle);
        continue;
      }
    }
    if (slots_.size() + opening_ < options_.connections_max && opening_ < kOpeningMax) break;
    changed_.wait(mu_);
  }
  ++opening_;
  lock.unlock();
  auto opened = SftpConnection::open(options_);
  lock.lock();
  --opening_;
  changed_.notify_all();
  if (opened.has_value()) {
    auto slot = std::make_shared<SftpSlot>();
    slot->connection = std::move(*opened);
    slot->busy = true;
    slots_.push_back(slot);
    return SftpLease(*this, slot);
  }
  // A server that allows fewer connections than we do still serves those it has allowed.
  while (opened.error().code() == Errc::kTransient && !slots_.empty()) {
    if (const auto idle = best_idle(); idle != nullptr) {
      if (idle->connection->alive()) {
        idle->busy = true;
        return SftpLease(*this, idle);
      }
      std::erase(slots_, idle);
      continue;
    }
    changed_.wait(mu_);
  }
  return std::move(opened).error();
}

SftpLease SftpPool::acquire(const std::shared_ptr<SftpSlot>& slot) {
  MutexLock lock(mu_);
  while (slot->busy) changed_.wait(mu_);
  slot->busy = true;
  return SftpLease(*this, slot);
}

void SftpPool::add_writer(SftpSlot& slot) {
  const MutexLock lock(mu_);
  ++slot.writers;
}

void SftpPool::remove_writer(SftpSlot& slot) {
  const MutexLock lock(mu_);
  --slot.writers;
}

void SftpPool::give_back(SftpSlot& slot) {
  const MutexLock lock(mu_);
  slot.busy = false;
  if (slot.connection->broken()) std::erase_if(slots_, [&](const auto& other) { return other.get() == &slot; });
  changed_.notify_all();
}

void SftpPool::leave_behind(std::string path) {
  const MutexLock lock(mu_);
  if (left_behind_.size() < kLeftBehindMax) left_behind_.push_back(std::move(path));
}

std::vector<std::string> SftpPool::take_left_behind() {
  const MutexLock lock(mu_);
  return std::exchange(left_behind_, {});
}

}  // namespace pgark
