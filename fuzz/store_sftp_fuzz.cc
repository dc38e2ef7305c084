// Feeds arbitrary bytes to what reads the packets of an SFTP server.
#include "core/check.h"
#include "store/sftp_wire.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  if (const auto length = sftp_packet_bytes(bytes); length.has_value() && length->has_value())
    CHECK(**length > 4 && **length <= kSftpPacketBytesMax + 4);
  static_cast<void>(decode_sftp_version(bytes));
  const auto reply = decode_sftp_reply(bytes);
  const Bytes body = reply.has_value() ? reply->body : bytes;
  CHECK(body.size() <= size);
  if (const auto status = decode_sftp_status(body); status.has_value()) CHECK(status->message.size() <= 200);
  if (const auto handle = decode_sftp_handle(body); handle.has_value())
    CHECK(!handle->empty() && handle->size() <= 256);
  if (const auto content = decode_sftp_data(body); content.has_value()) CHECK(content->size() + 4 <= body.size());
  static_cast<void>(decode_sftp_attrs(body));
  // A name takes twelve bytes at least: no count makes us hold more than was sent.
  if (const auto names = decode_sftp_names(body); names.has_value()) CHECK(names->size() * 12 <= body.size());
  static_cast<void>(decode_sftp_space(body));
  return 0;
}
