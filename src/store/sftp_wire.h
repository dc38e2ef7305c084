// SFTP version 3 as bytes: requests are built here and replies taken apart; nothing here knows a connection.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace pgark {

/// Types of packets. Source: draft-ietf-secsh-filexfer-02, section 3.
enum class SftpType : uint8_t {
  kInit = 1,
  kVersion = 2,
  kOpen = 3,
  kClose = 4,
  kRead = 5,
  kWrite = 6,
  kLstat = 7,
  kFstat = 8,
  kOpendir = 11,
  kReaddir = 12,
  kRemove = 13,
  kMkdir = 14,
  kRmdir = 15,
  kRename = 18,
  kStatus = 101,
  kHandle = 102,
  kData = 103,
  kName = 104,
  kAttrs = 105,
  kExtended = 200,
  kExtendedReply = 201,
};

/// Codes of a status reply; a server may send others. Source: the same, section 7.
enum class SftpCode : uint32_t {
  kOk = 0,
  kEof = 1,
  kNoSuchFile = 2,
  kPermissionDenied = 3,
  kFailure = 4,
  kBadMessage = 5,
  kNoConnection = 6,
  kConnectionLost = 7,
  kUnsupported = 8,
};

// What open asks for. Source: the same, section 6.3.
constexpr uint32_t kSftpRead = 0x01;
constexpr uint32_t kSftpWrite = 0x02;
constexpr uint32_t kSftpCreate = 0x08;
constexpr uint32_t kSftpExclusive = 0x20;

/// The largest packet any server must take is 34000 bytes: 32 KiB of data fit.
constexpr size_t kSftpDataBytes = 32u << 10;
/// Servers answer with no more than 256 KiB; a longer packet is not SFTP.
constexpr size_t kSftpPacketBytesMax = 256u << 10;

/// What a server tells of a file; what it left out is empty.
struct SftpAttrs {
  std::optional<uint64_t> bytes;
  std::optional<uint32_t> permissions;    // With the kind of file, as st_mode has it.
  std::optional<uint32_t> modified_unix;  // Seconds.

  bool is_directory() const { return permissions.has_value() && (*permissions & 0170000) == 0040000; }
  bool is_regular() const { return permissions.has_value() && (*permissions & 0170000) == 0100000; }
};

struct SftpStatus {
  SftpCode code = SftpCode::kOk;
  std::string message{};  // In the server's words; printable, and cut at 200 bytes.
};

struct SftpName {
  std::string name;
  SftpAttrs attrs;
};

/// What statvfs@openssh.com tells, as far as it is used.
struct SftpSpace {
  uint64_t bytes_available = 0;
};

/// Extensions of the server's version packet: name and its data.
using SftpExtensions = std::map<std::string, std::string, std::less<>>;

/// Append requests to a byte string: length and type first, integers big-endian.
class SftpRequest {
 public:
  SftpRequest(SftpType type, uint32_t id);
  SftpRequest& u32(uint32_t value);
  SftpRequest& u64(uint64_t value);
  SftpRequest& string(std::string_view text);
  SftpRequest& data(Bytes bytes) { return string(as_text(bytes)); }
  /// Attributes that hold permissions only.
  SftpRequest& permissions(uint32_t mode);
  /// The whole packet; the request is used up.
  std::string packet();

 private:
  std::string out_;
};

/// The first packet: the version we speak.
std::string sftp_init_packet();

/// A reply to request `id`; `body` is what follows the id, and lives in the packet.
struct SftpReply {
  SftpType type{};
  uint32_t id = 0;
  Bytes body{};
};

/// Length of the packet that begins `stream`, its 4 bytes of length included; no value if they are not there yet.
/// Errors: kTransient if it is longer than any packet may be: the stream is no SFTP, or we have lost our place in it.
Result<std::optional<size_t>> sftp_packet_bytes(Bytes stream);
/// Take a packet apart that is neither init nor version. Errors: kTransient if it is too short.
Result<SftpReply> decode_sftp_reply(Bytes packet);
/// Errors: kUnsupported if the server speaks a version older than 3; kTransient if the packet is none of a server.
Result<SftpExtensions> decode_sftp_version(Bytes packet);

// What a reply holds. Errors: kTransient if its body is too short or goes on behind its end.
Result<SftpStatus> decode_sftp_status(Bytes body);
Result<std::string> decode_sftp_handle(Bytes body);
Result<Bytes> decode_sftp_data(Bytes body);
Result<SftpAttrs> decode_sftp_attrs(Bytes body);
Result<std::vector<SftpName>> decode_sftp_names(Bytes body);
Result<SftpSpace> decode_sftp_space(Bytes body);

}  // namespace pgark
