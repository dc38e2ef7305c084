// One object on its way into an SFTP store. Requests are sent in batches whose answers are awaited together: an object
// costs three round trips, however many steps it takes.
#include "store/sftp_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "store/posix_root.h"

namespace pgark {
namespace {

constexpr size_t kWritesInFlight = 64;  // 2 MiB, as much as OpenSSH takes before it waits for its disk.
constexpr int kRaceRetriesMax = 200;

/// ".tmp-<host>-<pid>-<random>": tells who left it behind.
std::string temporary_name() {
  std::array<char, 256> host{};
  static_cast<void>(::gethostname(host.data(), host.size() - 1));
  std::string name(host.data());
  name.resize(std::min<size_t>(name.size(), 40));
  std::ranges::replace_if(
      name,
      [](char c) {
        return !is_key_component({&c, 1}) && c != '.';
      },
      '_');
  return fmt::format(".tmp-{}-{}-{:016x}", name, ::getpid(), random_seed());
}

/// What of the path is a file, so that no directory can be made there; empty if nothing.
Result<std::string> file_on_the_way(SftpRoot& root, SftpConnection& connection, const std::string& directory) {
  const auto directories = directories_up(directory);
  std::vector<SftpTicket> looking;
  for (const std::string& above : directories) looking.push_back(connection.lstat(root.absolute(above)));
  std::string file;
  for (size_t i = 0; i < directories.size(); ++i) {
    TRY_ASSIGN(const auto found, connection.await_attrs(looking[i]));
    if (found.ok() && found.value.is_regular()) file = directories[i];
  }
  return file;
}

}  // namespace

SftpWriter::SftpWriter(SftpRoot& root, ObjectKey key, std::string directory, std::shared_ptr<SftpSlot> slot,
                       std::string handle, std::string temporary)
    : root_(root),
      key_(std::move(key)),
      directory_(std::move(directory)),
      slot_(std::move(slot)),
      handle_(std::move(handle)),
      temporary_(std::move(temporary)) {
  root_.pool().add_writer(*slot_);
}

Result<std::unique_ptr<ObjectWriter>> SftpWriter::create(SftpRoot& root, const ObjectKey& key) {
  constexpr std::string_view kOperation = "create object";
  const std::string directory = directory_of(key.value);
  auto leased = root.pool().acquire_for_writer();
  if (!leased.has_value()) return root.lost(std::move(leased).error(), kOperation, key.value);
  const SftpLease lease = std::move(*leased);
  SftpConnection& connection = *lease;
  for (const std::string& path : root.pool().take_left_behind()) connection.forget(connection.remove(path));

  for (int attempt = 0; attempt < kRaceRetriesMax; ++attempt) {
    if (attempt > 0) {
      const auto directories = directories_up(directory);
      for (auto above = directories.rbegin(); above != directories.rend(); ++above)
        connection.forget(connection.make_directory(root.absolute(*above), root.options().directory_mode));
    }
    const std::string temporary =
        root.absolute(directory.empty() ? temporary_name() : directory + "/" + temporary_name());
    const SftpTicket looking = connection.lstat(root.absolute(key.value));
    const SftpTicket creating = connection.create_file(temporary, root.options().file_mode);
    auto found = connection.await_attrs(looking);
    auto created = connection.await_handle(creating);
    if (!created.has_value()) {
      root.pool().leave_behind(temporary);
      return root.lost(std::move(created).error(), kOperation, key.value);
    }
    if (!found.has_value()) return root.lost(std::move(found).error(), kOperation, key.value);
    if (!found->absent()) {
      if (created->ok()) {
        connection.forget(connection.close(created->value));
        if (!connection.await_status(connection.remove(temporary)).has_value()) root.pool().leave_behind(temporary);
      }
      TRY(root.check_name_free(connection, key, *found));
    }
    if (created->ok())
      return std::unique_ptr<ObjectWriter>(
          new SftpWriter(root, key, directory, lease.slot(), std::move(created->value), temporary));
    if (!created->absent()) {
      root.remove_empty_directories(connection, directory);
      return root.fail_to_write(connection, created->status, kOperation, key.value);
    }
    if (attempt == 0) continue;
    TRY(root.check(connection, kOperation, key.value));
    auto file = file_on_the_way(root, connection, directory);
    if (!file.has_value()) return root.lost(std::move(file).error(), kOperation, key.value);
    if (!file->empty())
      return root.fail(Errc::kInvalid, kOperation, key.value,
                       fmt::format("part of the name, '{}', is an object or another file", *file));
    // The directory cannot be made at all, or it was empty and somebody tidied it away since: only the first lasts.
    auto made =
        connection.await_status(connection.make_directory(root.absolute(directory), root.options().directory_mode));
    if (!made.has_value()) return root.lost(std::move(made).error(), kOperation, key.value);
    if (made->code == SftpCode::kPermissionDenied) return root.fail(*made, "make directory of", key.value);
  }
  return root.fail(Errc::kTransient, kOperation, key.value, "its directory is removed again and again");
}

SftpWriter::~SftpWriter() {
  if (!temporary_.empty()) {
    const SftpLease lease = root_.pool().acquire(slot_);
    for (const SftpTicket ticket : writing_) lease->forget(ticket);
    if (!handle_.empty()) lease->forget(lease->close(handle_));
    if (auto removed = remove_temporary(*lease); !removed.has_value()) {
      root_.pool().leave_behind(temporary_);
    } else {
      root_.remove_empty_directories(*lease, directory_);
    }
  }
  root_.pool().remove_writer(*slot_);
}

Result<> SftpWriter::remove_temporary(SftpConnection& connection) {
  TRY_ASSIGN(const SftpStatus status, connection.await_status(connection.remove(temporary_)));
  // Whatever it said, there is no more that we can do: what stays is found by its age.
  temporary_.clear();
  return {};
}

Result<> SftpWriter::send(SftpConnection& connection, Bytes piece) {
  writing_.push_back(connection.write(handle_, sent_, piece));
  sent_ += piece.size();
  if (writing_.size() > kWritesInFlight) return await_write(connection);
  return {};
}

Result<> SftpWriter::await_write(SftpConnection& connection) {
  const SftpTicket ticket = writing_.front();
  writing_.pop_front();
  auto status = connection.await_status(ticket);
  if (!status.has_value()) return root_.lost(std::move(status).error(), "write object", key_.value);
  if (status->code == SftpCode::kOk) return {};
  return root_.fail_to_write(connection, *status, "write object", key_.value);
}

Result<> SftpWriter::append(Bytes data) {
  if (failure_.has_value()) return *failure_;
  const auto note = [this](Result<> result) -> Result<> {
    if (!result.has_value()) failure_ = std::move(result).error();
    if (failure_.has_value()) return *failure_;
    return {};
  };
  if (piece_.size() + data.size() < kSftpDataBytes) {
    piece_.append(data);
    return {};
  }
  const SftpLease lease = root_.pool().acquire(slot_);
  if (!piece_.empty()) {
    const Bytes head = data.first(kSftpDataBytes - piece_.size());
    piece_.append(head);
    data = data.subspan(head.size());
    TRY(note(send(*lease, piece_)));
    piece_.clear();
  }
  for (; data.size() >= kSftpDataBytes; data = data.subspan(kSftpDataBytes))
    TRY(note(send(*lease, data.first(kSftpDataBytes))));
  piece_.append(data);
  return {};
}

Result<ObjectInfo> SftpWriter::commit() && {
  if (failure_.has_value()) return *failure_;
  const SftpLease lease = root_.pool().acquire(slot_);
  std::vector<std::string> chain;
  auto finished = finish(*lease, chain);
  auto published = finished.has_value() ? publish(*lease, chain) : Result<>(Error(Errc::kInternal, ""));
  for (const std::string& handle : chain) lease->forget(lease->close(handle));
  if (!finished.has_value()) {
    failure_ = finished.error();
    return std::move(finished).error();
  }
  if (!published.has_value()) {
    failure_ = published.error();
    return std::move(published).error();
  }
  return finished;
}

Result<ObjectInfo> SftpWriter::finish(SftpConnection& connection, std::vector<std::string>& chain) {
  constexpr std::string_view kOperation = "commit object";
  if (!piece_.empty()) TRY(send(connection, piece_));
  const std::string handle = std::exchange(handle_, {});
  const SftpTicket syncing = connection.can_fsync() ? connection.fsync(handle) : SftpTicket{};
  const SftpTicket looking = connection.fstat(handle);
  // Before the name appears: a server on a network file system may tell only now that something went wrong.
  const SftpTicket closing = connection.close(handle);
  const auto opening = root_.open_chain(connection, directory_);

  // Every answer is taken, whatever one of them says.
  Result<> written;
  while (!writing_.empty()) {
    auto one = await_write(connection);
    if (written.has_value()) written = std::move(one);
  }
  auto synced = connection.can_fsync() ? connection.await_status(syncing) : Result<SftpStatus>(SftpStatus{});
  auto attrs = connection.await_attrs(looking);
  auto closed = connection.await_status(closing);
  auto handles = root_.await_chain(connection, opening);
  if (handles.has_value()) chain = std::move(*handles);
  TRY(written);
  if (!handles.has_value()) return root_.lost(std::move(handles).error(), kOperation, key_.value);
  // None of these lost the connection: the last one did not.
  if (!synced.has_value()) return root_.lost(std::move(synced).error(), kOperation, key_.value);
  if (!attrs.has_value()) return root_.lost(std::move(attrs).error(), kOperation, key_.value);
  if (!closed.has_value()) return root_.lost(std::move(closed).error(), kOperation, key_.value);
  if (synced->code != SftpCode::kOk) return root_.fail_to_write(connection, *synced, "fsync object", key_.value);
  if (closed->code != SftpCode::kOk) return root_.fail_to_write(connection, *closed, "close object", key_.value);
  if (!attrs->ok()) return root_.fail(attrs->status, kOperation, key_.value);
  if (attrs->value.bytes.value_or(sent_) != sent_)
    return root_.fail(Errc::kTransient, kOperation, key_.value,
                      fmt::format("{} bytes were written and the file holds {}", sent_, *attrs->value.bytes));
  return ObjectInfo{key_, sent_, modified_of(attrs->value)};
}

Result<> SftpWriter::publish(SftpConnection& connection, const std::vector<std::string>& chain) {
  if (connection.can_link() && !root_.links_refused) {
    bool refused = false;
    TRY(publish_by_link(connection, chain, refused));
    if (!refused) return {};
    root_.links_refused = true;
  }
  return publish_by_rename(connection, chain);
}

Result<> SftpWriter::publish_by_link(SftpConnection& connection, const std::vector<std::string>& chain, bool& refused) {
  constexpr std::string_view kOperation = "commit object";
  const std::string path = root_.absolute(key_.value);
  const auto unknown = [&](Error error) {
    return root_.lost(std::move(error), kOperation, key_.value).with_code(Errc::kOutcomeUnknown);
  };
  // Where the file system has links, a link that fails means that the name is taken, and the file is needed no more.
  const bool remove_at_once = root_.links_work;
  std::vector<SftpTicket> syncing;
  for (size_t i = 1; i < chain.size(); ++i) syncing.push_back(connection.fsync(chain[i]));
  const SftpTicket linking = connection.hard_link(temporary_, path);
  if (!chain.empty()) syncing.push_back(connection.fsync(chain.front()));
  const SftpTicket removing = remove_at_once ? connection.remove(temporary_) : SftpTicket{};

  auto synced = root_.await_synced(connection, syncing);
  auto linked = connection.await_status(linking);
  if (!linked.has_value()) return unknown(std::move(linked).error());
  if (remove_at_once && connection.await_status(removing).has_value()) temporary_.clear();
  if (linked->code == SftpCode::kOk) {
    root_.links_work = true;
    if (!synced.has_value()) return unknown(std::move(synced).error());
    // The object is there and durable; a second name that stays is swept up as stale.
    if (!temporary_.empty() && !remove_temporary(connection).has_value())
      root_.pool().leave_behind(std::exchange(temporary_, {}));
    return {};
  }
  auto found = connection.await_attrs(connection.lstat(path));
  if (!found.has_value()) return root_.lost(std::move(found).error(), kOperation, key_.value);
  TRY(root_.check_name_free(connection, key_, *found));
  // Nothing has the name: removed in this instant, or the server cannot link at all.
  if (root_.links_work) return root_.fail_to_write(connection, *linked, kOperation, key_.value);
  refused = true;
  return {};
}

Result<> SftpWriter::publish_by_rename(SftpConnection& connection, const std::vector<std::string>& chain) {
  constexpr std::string_view kOperation = "commit object";
  const std::string path = root_.absolute(key_.value);
  // By the protocol a rename fails if the name is taken, but some servers overwrite: look first.
  auto found = connection.await_attrs(connection.lstat(path));
  if (!found.has_value()) return root_.lost(std::move(found).error(), kOperation, key_.value);
  TRY(root_.check_name_free(connection, key_, *found));
  std::vector<SftpTicket> syncing;
  for (size_t i = 1; i < chain.size(); ++i) syncing.push_back(connection.fsync(chain[i]));
  const SftpTicket renaming = connection.rename(temporary_, path);
  if (!chain.empty()) syncing.push_back(connection.fsync(chain.front()));
  auto synced = root_.await_synced(connection, syncing);
  auto renamed = connection.await_status(renaming);
  if (!renamed.has_value())
    return root_.lost(std::move(renamed).error(), kOperation, key_.value).with_code(Errc::kOutcomeUnknown);
  if (renamed->code == SftpCode::kOk) {
    temporary_.clear();
    if (!synced.has_value())
      return root_.lost(std::move(synced).error(), kOperation, key_.value).with_code(Errc::kOutcomeUnknown);
    return {};
  }
  found = connection.await_attrs(connection.lstat(path));
  if (!found.has_value()) return root_.lost(std::move(found).error(), kOperation, key_.value);
  TRY(root_.check_name_free(connection, key_, *found));
  return root_.fail_to_write(connection, *renamed, kOperation, key_.value);
}

}  // namespace pgark
