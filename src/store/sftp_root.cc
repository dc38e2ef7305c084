// The directory an SFTP store lives in.
#include "store/sftp_root.h"

#include <fmt/format.h>

namespace pgark {
namespace {

constexpr uint64_t kFullBelowBytes = 1u << 20;

std::string_view words_of(SftpCode code) {
  switch (code) {
    case SftpCode::kOk:
      return "ok";
    case SftpCode::kEof:
      return "end of file";
    case SftpCode::kNoSuchFile:
      return "no such file";
    case SftpCode::kPermissionDenied:
      return "permission denied";
    case SftpCode::kBadMessage:
      return "invalid request";
    case SftpCode::kNoConnection:
    case SftpCode::kConnectionLost:
      return "connection lost";
    case SftpCode::kUnsupported:
      return "operation not supported";
    case SftpCode::kFailure:
      break;
  }
  return "the server failed without saying why";
}

Errc code_of(SftpCode code) {
  switch (code) {
    case SftpCode::kPermissionDenied:
      return Errc::kPermission;
    case SftpCode::kBadMessage:
      return Errc::kInvalid;
    case SftpCode::kUnsupported:
      return Errc::kUnsupported;
    default:
      // "Failure" is what every other errno of the server becomes: the quota and the broken disk, but also what passes.
      return Errc::kTransient;
  }
}

}  // namespace

std::string SftpRoot::absolute(std::string_view relative) const {
  if (relative.empty()) return options().path;
  return fmt::format("{}/{}", options().path == "/" ? "" : options().path, relative);
}

Error SftpRoot::fail(Errc code, std::string_view operation, const std::string& object, std::string_view cause) const {
  return Error(code, fmt::format("{} '{}' in {}: {}", operation, object, where_, cause));
}

Error SftpRoot::fail(const SftpStatus& status, std::string_view operation, const std::string& object) const {
  std::string cause(words_of(status.code));
  // OpenSSH repeats the code in words; others say more.
  if (!status.message.empty() && status.message != "Failure" && status.message != "Permission denied" &&
      status.message != "No such file")
    cause += fmt::format(" (server: {})", status.message);
  Error error = fail(code_of(status.code), operation, object, cause);
  if (status.code == SftpCode::kPermissionDenied)
    return std::move(error).with_hint(fmt::format("user {} on {} has to be able to read and write {}", options().user,
                                                  options().host, options().path));
  if (status.code == SftpCode::kFailure)
    return std::move(error).with_hint("the log of sshd on the server may say more (LogLevel VERBOSE)");
  return error;
}

Error SftpRoot::fail_to_write(SftpConnection& connection, const SftpStatus& status, std::string_view operation,
                              const std::string& object) const {
  if (status.code == SftpCode::kFailure && connection.has("statvfs@openssh.com")) {
    const auto space = connection.await_space(connection.space(options().path));
    if (space.has_value() && space->ok() && space->value.bytes_available < kFullBelowBytes)
      return fail(Errc::kNoSpace, operation, object, "no space left on the server's file system");
  }
  return fail(status, operation, object);
}

Error SftpRoot::lost(Error error, std::string_view operation, const std::string& object) const {
  return std::move(error).with_context(fmt::format("{} '{}' in {}", operation, object, where_));
}

Result<> SftpRoot::check(SftpConnection& connection, std::string_view operation, const std::string& object) const {
  auto root = connection.await_attrs(connection.lstat(options().path + "/"));
  if (!root.has_value()) return lost(std::move(root).error(), operation, object);
  if (root->ok()) return {};
  return fail(Errc::kPermission, operation, object,
              fmt::format("the repository's directory is gone from the server: {}", words_of(root->status.code)))
      .with_hint("was it unmounted or removed there?");
}

std::vector<std::string> directories_up(std::string directory) {
  std::vector<std::string> directories;
  while (!directory.empty()) {
    directories.push_back(directory);
    const size_t slash = directory.rfind('/');
    directory.resize(slash == std::string::npos ? 0 : slash);
  }
  return directories;
}

std::vector<SftpTicket> SftpRoot::open_chain(SftpConnection& connection, const std::string& directory) const {
  std::vector<SftpTicket> opening;
  if (!connection.can_fsync()) return opening;
  // OpenSSH opens a directory like a file, and syncs it through fsync@openssh.com.
  for (const std::string& above : directories_up(directory)) opening.push_back(connection.open_file(absolute(above)));
  opening.push_back(connection.open_file(options().path));
  return opening;
}

Result<std::vector<std::string>> SftpRoot::await_chain(SftpConnection& connection,
                                                       const std::vector<SftpTicket>& opening) const {
  std::vector<std::string> handles;
  for (const SftpTicket ticket : opening) {
    TRY_ASSIGN(auto handle, connection.await_handle(ticket));
    // A server that does not open directories has no way to sync them; one that is gone needs none.
    if (handle.ok()) handles.push_back(std::move(handle.value));
  }
  return handles;
}

Result<> SftpRoot::await_synced(SftpConnection& connection, const std::vector<SftpTicket>& syncing) const {
  SftpStatus bad;
  for (const SftpTicket ticket : syncing) {
    TRY_ASSIGN(SftpStatus status, connection.await_status(ticket));
    // File systems that sync no directories say that the request is invalid.
    if (status.code != SftpCode::kBadMessage && status.code != SftpCode::kUnsupported && status.code != SftpCode::kOk)
      bad = std::move(status);
  }
  if (bad.code == SftpCode::kOk) return {};
  return Error(Errc::kTransient, fmt::format("fsync directory: {}", words_of(bad.code)));
}

Result<> SftpRoot::sync_chain(SftpConnection& connection, const std::string& directory) const {
  TRY_ASSIGN(const auto handles, await_chain(connection, open_chain(connection, directory)));
  std::vector<SftpTicket> syncing;
  for (const std::string& handle : handles) {
    syncing.push_back(connection.fsync(handle));
    connection.forget(connection.close(handle));
  }
  return await_synced(connection, syncing);
}

void SftpRoot::remove_empty_directories(SftpConnection& connection, const std::string& directory) const {
  std::vector<SftpTicket> removing;
  for (const std::string& above : directories_up(directory))
    removing.push_back(connection.remove_directory(absolute(above)));
  for (const SftpTicket ticket : removing) static_cast<void>(connection.await_status(ticket));
}

Result<> SftpRoot::check_name_free(SftpConnection& connection, const ObjectKey& key,
                                   const SftpAnswer<SftpAttrs>& found) const {
  if (found.absent()) return {};
  if (!found.ok()) return fail(found.status, "create object", key.value);
  if (found.value.is_directory())
    return fail(Errc::kInvalid, "create object", key.value, "the name is a directory of other objects");
  // Its writer may have died between giving the name and the fsync of the directory: see the contract, "Durable".
  const size_t slash = key.value.rfind('/');
  if (auto synced = sync_chain(connection, slash == std::string::npos ? "" : key.value.substr(0, slash));
      !synced.has_value())
    return lost(std::move(synced).error(), "make durable the existing object", key.value);
  return fail(Errc::kAlreadyExists, "create object", key.value, "the name is taken");
}

Timestamp modified_of(const SftpAttrs& attrs) {
  return Timestamp(std::chrono::seconds(attrs.modified_unix.value_or(0)));
}

}  // namespace pgark
