// A repository in a directory of an SSH server: looking, reading, removing. Writing is in sftp_writer.cc.
#include "store/sftp_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "store/libssh.h"
#include "store/posix_root.h"
#include "store/sftp_listing.h"
#include "store/sftp_root.h"
#include "store/sftp_writer.h"

namespace pgark {
namespace {

constexpr size_t kReadsInFlight = 96;  // 3 MiB, the window of SSH: 90 MiB/s at 30 ms on one connection.

/// Reads a range of one open file with many requests in flight.
class RangeReader {
 public:
  RangeReader(SftpConnection& connection, const std::string& handle, uint64_t offset, MutableBytes into)
      : connection_(connection), handle_(handle), offset_(offset), into_(into) {}
  ~RangeReader() {
    for (const Piece& piece : reading_) connection_.forget(piece.ticket);
  }
  RangeReader(const RangeReader&) = delete;
  RangeReader& operator=(const RangeReader&) = delete;

  /// The count read; less than asked for if the file ends before. A status that is neither ok nor end is an answer.
  Result<SftpAnswer<size_t>> run() {
    SftpAnswer<size_t> answer;
    size_t end = into_.size();
    while (!reading_.empty() || asked_ < end) {
      while (asked_ < end && reading_.size() < kReadsInFlight) {
        const size_t bytes = std::min(end - asked_, kSftpDataBytes);
        reading_.push_back(ask(asked_, bytes));
        asked_ += bytes;
      }
      const Piece piece = reading_.front();
      TRY_ASSIGN(auto data, connection_.await_data(piece.ticket, into_.subspan(piece.at, piece.bytes)));
      reading_.pop_front();
      if (data.status.code == SftpCode::kEof || (data.ok() && data.value == 0)) {
        end = std::min(end, piece.at);
        continue;
      }
      if (!data.ok()) {
        answer.status = std::move(data.status);
        return answer;
      }
      // Servers may send less than was asked for without being at the end.
      if (data.value < piece.bytes) reading_.push_front(ask(piece.at + data.value, piece.bytes - data.value));
    }
    answer.value = end;
    return answer;
  }

 private:
  struct Piece {
    SftpTicket ticket;
    size_t at;
    size_t bytes;
  };
  Piece ask(size_t at, size_t bytes) {
    return {connection_.read(handle_, offset_ + at, static_cast<uint32_t>(bytes)), at, bytes};
  }

  SftpConnection& connection_;
  const std::string& handle_;
  const uint64_t offset_;
  const MutableBytes into_;
  size_t asked_ = 0;
  std::deque<Piece> reading_;
};

}  // namespace

SftpStore::SftpStore(std::unique_ptr<SftpRoot> root) : root_(std::move(root)) {}
SftpStore::~SftpStore() = default;

Result<std::unique_ptr<SftpStore>> SftpStore::open(SftpOptions options) {
  while (options.path.size() > 1 && options.path.ends_with('/')) options.path.pop_back();
  TRY(check_sftp_options(options));
  TRY(load_libssh());
  const bool create = options.create;
  std::unique_ptr<SftpStore> store(new SftpStore(std::make_unique<SftpRoot>(std::move(options))));
  if (create) {
    TRY_CTX(store->root_->pool().acquire(), "open repository " + store->describe());
  }
  return store;
}

std::string SftpStore::describe() const { return root_->describe(); }

StoreCaps SftpStore::caps() const {
  StoreCaps caps{.kind = "sftp", .atomic_create_only = !root_->links_refused};
  if (root_->links_work || root_->links_refused) return caps;
  const auto lease = root_->pool().acquire();
  caps.atomic_create_only = lease.has_value() && (*lease)->can_link();
  return caps;
}

Result<std::unique_ptr<ObjectWriter>> SftpStore::create(const ObjectKey& key) {
  TRY(check_object_key(key));
  return SftpWriter::create(*root_, key);
}

Result<std::optional<ObjectInfo>> SftpStore::stat(const ObjectKey& key) {
  constexpr std::string_view kOperation = "stat object";
  TRY(check_object_key(key));
  auto lease = root_->pool().acquire();
  if (!lease.has_value()) return root_->lost(std::move(lease).error(), kOperation, key.value);
  auto found = (*lease)->await_attrs((*lease)->lstat(root_->absolute(key.value)));
  if (!found.has_value()) return root_->lost(std::move(found).error(), kOperation, key.value);
  if (found->absent() || found->value.is_directory()) {
    TRY(root_->check(**lease, kOperation, key.value));
    return std::optional<ObjectInfo>();
  }
  if (!found->ok()) return root_->fail(found->status, kOperation, key.value);
  if (!found->value.is_regular() || !found->value.bytes.has_value())
    return root_->fail(Errc::kInvalid, kOperation, key.value, "it is not a regular file");
  return std::optional<ObjectInfo>(ObjectInfo{key, *found->value.bytes, modified_of(found->value)});
}

Result<size_t> SftpStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  constexpr std::string_view kOperation = "read object";
  TRY(check_object_key(key));
  auto leased = root_->pool().acquire();
  if (!leased.has_value()) return root_->lost(std::move(leased).error(), kOperation, key.value);
  SftpConnection& connection = **leased;
  const SftpTicket looking = connection.lstat(root_->absolute(key.value));
  const SftpTicket opening = connection.open_file(root_->absolute(key.value));
  auto found = connection.await_attrs(looking);
  auto opened = connection.await_handle(opening);
  if (!opened.has_value()) return root_->lost(std::move(opened).error(), kOperation, key.value);
  if (!found.has_value()) return root_->lost(std::move(found).error(), kOperation, key.value);
  const std::string handle = opened->value;
  struct Closer {
    SftpConnection& connection;
    const std::string& handle;
    ~Closer() {
      if (!handle.empty()) connection.forget(connection.close(handle));
    }
  } closer{connection, handle};
  // OpenSSH opens directories too.
  if (found->absent() || found->value.is_directory() || opened->absent()) {
    TRY(root_->check(connection, kOperation, key.value));
    return root_->fail(Errc::kNotFound, kOperation, key.value, "no such object");
  }
  if (!found->ok()) return root_->fail(found->status, kOperation, key.value);
  if (!found->value.is_regular() || !found->value.bytes.has_value())
    return root_->fail(Errc::kInvalid, kOperation, key.value, "it is not a regular file");
  if (!opened->ok()) return root_->fail(opened->status, kOperation, key.value);

  // The size is only to ask for no more than there is; that it is the open file's is found out on the way.
  const uint64_t size = *found->value.bytes;
  const SftpTicket looking_again = connection.fstat(handle);
  const uint64_t wanted = offset >= size ? 0 : std::min<uint64_t>(into.size(), size - offset);
  auto done = RangeReader(connection, handle, offset, into.first(static_cast<size_t>(wanted))).run();
  auto again = connection.await_attrs(looking_again);
  if (!done.has_value()) return root_->lost(std::move(done).error(), kOperation, key.value);
  if (!again.has_value()) return root_->lost(std::move(again).error(), kOperation, key.value);
  if (!done->ok()) return root_->fail(done->status, kOperation, key.value);
  if (done->value < wanted || (again->ok() && again->value.bytes.value_or(size) != size))
    return root_->fail(Errc::kTransient, kOperation, key.value, "it was replaced while it was read");
  return done->value;
}

Result<ListPage> SftpStore::list(const ListRequest& request) {
  constexpr std::string_view kOperation = "list objects of";
  if (request.limit == 0) return root_->fail(Errc::kInvalid, kOperation, request.prefix, "the limit is 0");
  auto lease = root_->pool().acquire();
  if (!lease.has_value()) return root_->lost(std::move(lease).error(), kOperation, request.prefix);
  TRY_ASSIGN(ListPage page, list_sftp_objects(*root_, **lease, request));
  // After the walk, since what it did not find is believed to be absent.
  TRY(root_->check(**lease, kOperation, request.prefix));
  return page;
}

Result<bool> SftpStore::remove(const ObjectKey& key) {
  constexpr std::string_view kOperation = "remove object";
  TRY(check_object_key(key));
  const std::string directory = directory_of(key.value);
  auto leased = root_->pool().acquire();
  if (!leased.has_value()) return root_->lost(std::move(leased).error(), kOperation, key.value);
  SftpConnection& connection = **leased;
  const std::string path = root_->absolute(key.value);
  const SftpTicket removing = connection.remove(path);
  const SftpTicket looking = connection.lstat(path);
  auto removed = connection.await_status(removing);
  auto found = connection.await_attrs(looking);
  if (!removed.has_value())
    return root_->lost(std::move(removed).error(), kOperation, key.value).with_code(Errc::kOutcomeUnknown);
  if (removed->code == SftpCode::kOk) {
    auto synced = root_->sync_chain(connection, directory);
    if (!synced.has_value())
      return root_->lost(std::move(synced).error(), kOperation, key.value).with_code(Errc::kOutcomeUnknown);
    root_->remove_empty_directories(connection, directory);
    return true;
  }
  if (!found.has_value()) return root_->lost(std::move(found).error(), kOperation, key.value);
  if (found->absent() || found->value.is_directory()) {
    TRY(root_->check(connection, kOperation, key.value));
    return false;
  }
  return root_->fail(*removed, kOperation, key.value);
}

Result<StaleTemporaries> SftpStore::remove_stale_temporaries(std::chrono::seconds age_min) {
  constexpr std::string_view kOperation = "remove stale temporaries of";
  StaleTemporaries found;
  auto lease = root_->pool().acquire();
  if (!lease.has_value()) return root_->lost(std::move(lease).error(), kOperation, "");
  TRY_CTX(sweep_directory(**lease, "", age_min, found), "remove stale temporaries");
  TRY(root_->check(**lease, kOperation, ""));
  return found;
}

Result<> SftpStore::sweep_directory(SftpConnection& connection, const std::string& directory,
                                    std::chrono::seconds age_min, StaleTemporaries& found) {
  constexpr std::string_view kOperation = "remove temporary file";
  TRY_ASSIGN(const auto entries, read_sftp_directory(*root_, connection, directory, "list directory"));
  const std::string above = directory.empty() ? "" : directory + "/";
  const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  bool removed = false;
  for (const SftpEntry& entry : entries) {
    const std::string path = above + entry.name;
    if (entry.attrs.is_directory()) {
      TRY(sweep_directory(connection, path, age_min, found));
      continue;
    }
    if (!entry.is_temporary) continue;
    if (now - modified_of(entry.attrs) < age_min) {
      ++found.kept;
      continue;
    }
    auto status = connection.await_status(connection.remove(root_->absolute(path)));
    if (!status.has_value()) return root_->lost(std::move(status).error(), kOperation, path);
    if (status->code == SftpCode::kNoSuchFile) continue;  // Committed or aborted just now.
    if (status->code != SftpCode::kOk) return root_->fail(*status, kOperation, path);
    removed = true;
    ++found.removed;
    found.removed_bytes += entry.attrs.bytes.value_or(0);
  }
  if (removed) root_->remove_empty_directories(connection, directory);
  return {};
}

}  // namespace pgark
