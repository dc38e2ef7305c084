// Requests to an SFTP server, many in flight: each is sent at once and its answer asked for when it is needed.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/sftp_options.h"
#include "store/sftp_transport.h"
#include "store/sftp_wire.h"

namespace pgark {

/// What a server said to a request: a value, or a status that is not "ok".
template <typename T>
struct SftpAnswer {
  SftpStatus status{};
  T value{};
  bool ok() const { return status.code == SftpCode::kOk; }
  bool absent() const { return status.code == SftpCode::kNoSuchFile; }
};

/// Names a request whose answer is still to come.
struct SftpTicket {
  uint32_t id = 0;
};

/// One connection. Belongs to one thread at a time. The server does requests in the order of sending (section 6.1 of
/// the draft for those about one file; OpenSSH for all), so that what depends on something else needs no waiting.
/// An error of await() means that the connection is lost, and stays so; sending on one that is lost does nothing, and
/// the next await() says so.
class SftpConnection {
 public:
  /// Connect and find the repository's directory, or make it if the options say so.
  /// Errors: of SftpStream::open(); kPermission if the directory does not exist or is none.
  static Result<std::unique_ptr<SftpConnection>> open(const SftpOptions& options);

  bool has(std::string_view extension) const { return extensions_.contains(extension); }
  bool can_fsync() const { return has("fsync@openssh.com"); }
  bool can_link() const { return has("hardlink@openssh.com"); }
  bool broken() const { return failure_.has_value(); }
  /// Whether it still stands, as far as one can tell without waiting.
  bool alive();

  SftpTicket lstat(std::string_view path) { return send(start(SftpType::kLstat).string(path)); }
  SftpTicket fstat(std::string_view handle) { return send(start(SftpType::kFstat).string(handle)); }
  SftpTicket open_file(std::string_view path) {
    return send(start(SftpType::kOpen).string(path).u32(kSftpRead).u32(0));
  }
  SftpTicket create_file(std::string_view path, uint32_t mode) {
    return send(start(SftpType::kOpen).string(path).u32(kSftpWrite | kSftpCreate | kSftpExclusive).permissions(mode));
  }
  SftpTicket close(std::string_view handle) { return send(start(SftpType::kClose).string(handle)); }
  SftpTicket read(std::string_view handle, uint64_t offset, uint32_t bytes) {
    return send(start(SftpType::kRead).string(handle).u64(offset).u32(bytes));
  }
  SftpTicket write(std::string_view handle, uint64_t offset, Bytes data) {
    return send(start(SftpType::kWrite).string(handle).u64(offset).data(data));
  }
  SftpTicket fsync(std::string_view handle) {
    return send(start(SftpType::kExtended).string("fsync@openssh.com").string(handle));
  }
  SftpTicket hard_link(std::string_view from, std::string_view to) {
    return send(start(SftpType::kExtended).string("hardlink@openssh.com").string(from).string(to));
  }
  SftpTicket rename(std::string_view from, std::string_view to) {
    return send(start(SftpType::kRename).string(from).string(to));
  }
  SftpTicket remove(std::string_view path) { return send(start(SftpType::kRemove).string(path)); }
  SftpTicket make_directory(std::string_view path, uint32_t mode) {
    return send(start(SftpType::kMkdir).string(path).permissions(mode));
  }
  SftpTicket remove_directory(std::string_view path) { return send(start(SftpType::kRmdir).string(path)); }
  SftpTicket open_directory(std::string_view path) { return send(start(SftpType::kOpendir).string(path)); }
  SftpTicket read_directory(std::string_view handle) { return send(start(SftpType::kReaddir).string(handle)); }
  SftpTicket space(std::string_view path) {
    return send(start(SftpType::kExtended).string("statvfs@openssh.com").string(path));
  }

  // Wait for an answer, each once. Errors: kTransient, the connection is lost.
  Result<SftpStatus> await_status(SftpTicket ticket);
  Result<SftpAnswer<SftpAttrs>> await_attrs(SftpTicket ticket);
  Result<SftpAnswer<std::string>> await_handle(SftpTicket ticket);
  Result<SftpAnswer<std::vector<SftpName>>> await_names(SftpTicket ticket);
  Result<SftpAnswer<SftpSpace>> await_space(SftpTicket ticket);
  /// The bytes are copied to the front of `into`; the value is their count.
  Result<SftpAnswer<size_t>> await_data(SftpTicket ticket, MutableBytes into);
  /// Nobody will ask for the answer.
  void forget(SftpTicket ticket);

 private:
  struct Packet {
    std::vector<std::byte> bytes;
    SftpReply reply;  // Its body lies in `bytes`.
  };

  explicit SftpConnection(std::unique_ptr<SftpTransport> stream) : stream_(std::move(stream)) {}

  Result<> greet(const SftpOptions& options);
  Result<> check_root(const SftpOptions& options);
  SftpRequest start(SftpType type) { return SftpRequest(type, ++last_id_); }
  SftpTicket send(SftpRequest& request);
  /// The next packet of the stream, whoever waits for it.
  Result<std::vector<std::byte>> next_packet();
  Result<Packet> await(SftpTicket ticket);
  /// Note that the connection is of no more use, and why.
  Error break_off(Error error);
  /// An answer that is a status, or `type`, which `decode` reads.
  template <typename T, typename Decode>
  Result<SftpAnswer<T>> await_answer(SftpTicket ticket, SftpType type, Decode decode);

  std::unique_ptr<SftpTransport> stream_;
  SftpExtensions extensions_;
  uint32_t last_id_ = 0;
  std::set<uint32_t> expected_;         // Sent and not answered; bounded by those who send.
  std::set<uint32_t> forgotten_;        // Of these, whose answer nobody wants.
  std::map<uint32_t, Packet> arrived_;  // Answered and not asked for.
  std::optional<Error> failure_;
};

}  // namespace pgark
