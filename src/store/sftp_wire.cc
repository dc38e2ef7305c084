// SFTP version 3 as bytes: requests are built here and replies taken apart.
// Source: draft-ietf-secsh-filexfer-02; the extensions: OpenSSH, PROTOCOL, section 4.
#include "store/sftp_wire.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kLengthBytes = 4;
constexpr size_t kMessageBytesMax = 200;

// Bits of attributes: which of them follow.
constexpr uint32_t kAttrSize = 0x00000001;
constexpr uint32_t kAttrUidGid = 0x00000002;
constexpr uint32_t kAttrPermissions = 0x00000004;
constexpr uint32_t kAttrTimes = 0x00000008;
constexpr uint32_t kAttrExtended = 0x80000000;

void put_u32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
}

/// Reads big-endian integers and strings, never past the end. After a read that did not fit all are zero.
class BigReader {
 public:
  explicit BigReader(Bytes bytes) : bytes_(bytes) {}

  uint8_t u8() { return static_cast<uint8_t>(integer(1)); }
  uint32_t u32() { return static_cast<uint32_t>(integer(4)); }
  uint64_t u64() { return integer(8); }
  Bytes data() {
    const uint32_t count = u32();
    if (failed_ || count > remaining()) {
      failed_ = true;
      return {};
    }
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  std::string_view string() { return as_text(data()); }
  Bytes rest() { return failed_ ? Bytes() : bytes_.subspan(at_); }

  bool ok() const { return !failed_; }
  size_t remaining() const { return bytes_.size() - at_; }

 private:
  uint64_t integer(size_t count) {
    if (failed_ || count > remaining()) {
      failed_ = true;
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value = value << 8 | static_cast<uint64_t>(bytes_[at_ + i]);
    at_ += count;
    return value;
  }

  Bytes bytes_;
  size_t at_ = 0;
  bool failed_ = false;
};

// kTransient and not kCorrupt: what is broken is a connection, and a new one may be good.
Error malformed(std::string_view what) {
  return Error(Errc::kTransient, fmt::format("decode sftp packet: the server sent a malformed {}", what));
}

SftpAttrs read_attrs(BigReader& reader) {
  SftpAttrs attrs;
  const uint32_t flags = reader.u32();
  if ((flags & kAttrSize) != 0) attrs.bytes = reader.u64();
  if ((flags & kAttrUidGid) != 0) static_cast<void>(reader.u64());
  if ((flags & kAttrPermissions) != 0) attrs.permissions = reader.u32();
  if ((flags & kAttrTimes) != 0) {
    static_cast<void>(reader.u32());
    attrs.modified_unix = reader.u32();
  }
  if ((flags & kAttrExtended) != 0) {
    // Each pair takes 8 bytes at least, so that a count from a foreign hand cannot keep us here.
    for (uint32_t count = reader.u32(); count > 0 && reader.ok(); --count) {
      static_cast<void>(reader.data());
      static_cast<void>(reader.data());
    }
  }
  return attrs;
}

}  // namespace

SftpRequest::SftpRequest(SftpType type, uint32_t id) {
  put_u32(out_, 0);  // The length, known at the end.
  out_.push_back(static_cast<char>(type));
  put_u32(out_, id);
}

SftpRequest& SftpRequest::u32(uint32_t value) {
  put_u32(out_, value);
  return *this;
}

SftpRequest& SftpRequest::u64(uint64_t value) {
  put_u32(out_, static_cast<uint32_t>(value >> 32));
  put_u32(out_, static_cast<uint32_t>(value));
  return *this;
}

SftpRequest& SftpRequest::string(std::string_view text) {
  put_u32(out_, static_cast<uint32_t>(text.size()));
  out_.append(text);
  return *this;
}

SftpRequest& SftpRequest::permissions(uint32_t mode) { return u32(kAttrPermissions).u32(mode); }

std::string SftpRequest::packet() {
  std::string length;
  put_u32(length, static_cast<uint32_t>(out_.size() - kLengthBytes));
  out_.replace(0, kLengthBytes, length);
  return std::move(out_);
}

std::string sftp_init_packet() {
  std::string packet;
  put_u32(packet, 5);
  packet.push_back(static_cast<char>(SftpType::kInit));
  put_u32(packet, kVersion);
  return packet;
}

Result<std::optional<size_t>> sftp_packet_bytes(Bytes stream) {
  if (stream.size() < kLengthBytes) return std::optional<size_t>();
  const uint32_t length = BigReader(stream).u32();
  if (length == 0 || length > kSftpPacketBytesMax)
    return Error(Errc::kTransient, fmt::format("decode sftp packet: a length of {} bytes; what the server sends is not "
                                               "SFTP",
                                               length))
        .with_hint("a start-up file of the server's shell that prints text does this; so does an account without SFTP");
  return std::optional<size_t>(kLengthBytes + length);
}

Result<SftpReply> decode_sftp_reply(Bytes packet) {
  BigReader reader(packet);
  static_cast<void>(reader.u32());
  SftpReply reply;
  reply.type = static_cast<SftpType>(reader.u8());
  reply.id = reader.u32();
  reply.body = reader.rest();
  if (!reader.ok()) return malformed("packet");
  return reply;
}

Result<SftpExtensions> decode_sftp_version(Bytes packet) {
  BigReader reader(packet);
  static_cast<void>(reader.u32());
  const auto type = static_cast<SftpType>(reader.u8());
  const uint32_t version = reader.u32();
  if (!reader.ok() || type != SftpType::kVersion) return malformed("greeting");
  if (version < kVersion)
    return Error(Errc::kUnsupported,
                 fmt::format("decode sftp packet: the server speaks version {} of SFTP, needed is 3", version));
  SftpExtensions extensions;
  while (reader.ok() && reader.remaining() > 0) {
    const std::string_view name = reader.string();
    const std::string_view data = reader.string();
    if (reader.ok()) extensions.emplace(name, data);
  }
  if (!reader.ok()) return malformed("list of extensions");
  return extensions;
}

Result<SftpStatus> decode_sftp_status(Bytes body) {
  BigReader reader(body);
  SftpStatus status;
  status.code = static_cast<SftpCode>(reader.u32());
  if (!reader.ok()) return malformed("status");
  // Some servers leave out the message, or its language.
  if (reader.remaining() > 0) {
    std::string_view message = reader.string();
    if (!reader.ok()) return malformed("status");
    status.message = message.substr(0, kMessageBytesMax);
    std::ranges::replace_if(
        status.message, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  }
  return status;
}

Result<std::string> decode_sftp_handle(Bytes body) {
  BigReader reader(body);
  std::string handle(reader.string());
  if (!reader.ok() || handle.empty() || handle.size() > 256) return malformed("handle");
  return handle;
}

Result<Bytes> decode_sftp_data(Bytes body) {
  BigReader reader(body);
  const Bytes data = reader.data();
  if (!reader.ok()) return malformed("piece of data");
  return data;
}

Result<SftpAttrs> decode_sftp_attrs(Bytes body) {
  BigReader reader(body);
  const SftpAttrs attrs = read_attrs(reader);
  if (!reader.ok()) return malformed("list of attributes");
  return attrs;
}

Result<std::vector<SftpName>> decode_sftp_names(Bytes body) {
  BigReader reader(body);
  std::vector<SftpName> names;
  for (uint32_t count = reader.u32(); count > 0 && reader.ok(); --count) {
    SftpName name;
    name.name = reader.string();
    static_cast<void>(reader.string());  // As `ls -l` shows it: for people.
    name.attrs = read_attrs(reader);
    if (reader.ok()) names.push_back(std::move(name));
  }
  if (!reader.ok()) return malformed("list of names");
  return names;
}

Result<SftpSpace> decode_sftp_space(Bytes body) {
  BigReader reader(body);
  static_cast<void>(reader.u64());  // f_bsize
  const uint64_t unit_bytes = reader.u64();
  static_cast<void>(reader.u64());  // f_blocks
  static_cast<void>(reader.u64());  // f_bfree
  const uint64_t units_available = reader.u64();
  if (!reader.ok()) return malformed("file system status");
  SftpSpace space;
  if (__builtin_mul_overflow(unit_bytes, units_available, &space.bytes_available)) space.bytes_available = UINT64_MAX;
  return space;
}

}  // namespace pgark
