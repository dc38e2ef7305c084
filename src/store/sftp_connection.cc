// Requests to an SFTP server, many in flight.
#include "store/sftp_connection.h"

#include <fmt/format.h>

#include <algorithm>

#include "store/sftp_stream.h"

namespace pgark {
namespace {

Error out_of_place(std::string_view what) {
  return Error(Errc::kTransient, fmt::format("talk to the sftp server: it sent {}", what));
}

}  // namespace

std::string sftp_url(const SftpOptions& options) {
  const bool ipv6 = options.host.find(':') != std::string::npos;
  const std::string host = ipv6 ? "[" + options.host + "]" : options.host;
  const std::string port = options.port == 22 ? "" : fmt::format(":{}", options.port);
  return fmt::format("sftp://{}@{}{}{}", options.user, host, port, options.path);
}

Result<> check_sftp_options(const SftpOptions& options) {
  const auto refuse = [&](std::string_view option, std::string_view rule) {
    return Error(Errc::kInvalid, fmt::format("{}-{}: {}", options.label, option, rule));
  };
  if (options.host.empty()) return refuse("sftp-host", "is missing");
  if (options.user.empty()) return refuse("sftp-host-user", "is missing");
  if (options.port == 0) return refuse("sftp-host-port", "must not be 0");
  if (!options.path.starts_with('/'))
    return refuse("path", fmt::format("'{}' does not begin with a slash", options.path));
  if (options.host_key_check == SftpHostKeyCheck::kFingerprint && options.host_fingerprint.empty())
    return refuse("sftp-host-fingerprint", "is missing, and the check of the host key is 'fingerprint'");
  if (options.connections_max < 1 || options.connections_max > 16)
    return refuse("sftp", fmt::format("{} connections are not 1 to 16", options.connections_max));
  return {};
}

Result<std::unique_ptr<SftpConnection>> SftpConnection::open(const SftpOptions& options) {
  TRY_ASSIGN(auto stream, options.connector ? options.connector(options) : SftpStream::open(options));
  std::unique_ptr<SftpConnection> connection(new SftpConnection(std::move(stream)));
  TRY(connection->greet(options));
  TRY(connection->check_root(options));
  return connection;
}

Result<> SftpConnection::greet(const SftpOptions& options) {
  TRY(stream_->write(sftp_init_packet()));
  TRY_ASSIGN(const auto packet, next_packet());
  TRY_ASSIGN(extensions_, decode_sftp_version(packet));
  for (const std::string& ignored : options.ignored_extensions) extensions_.erase(ignored);
  return {};
}

Result<> SftpConnection::check_root(const SftpOptions& options) {
  const std::string& path = options.path;
  if (options.create) {
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
      forget(make_directory(path.substr(0, slash), options.directory_mode));
    forget(make_directory(path, options.directory_mode));
  }
  // With a slash behind it a symbolic link is followed.
  TRY_ASSIGN(const auto root, await_attrs(lstat(path + "/")));
  const auto refuse = [&](std::string_view cause) {
    return Error(Errc::kPermission,
                 fmt::format("open repository {} at {}: {}", options.label, sftp_url(options), cause));
  };
  if (root.absent())
    return refuse("the directory does not exist on the server")
        .with_hint("is it mounted there? `pgark stanza-create` makes a new one, if its parent may be written");
  if (!root.ok()) return refuse(root.status.message);
  if (root.value.permissions.has_value() && !root.value.is_directory()) return refuse("it is not a directory");
  return {};
}

bool SftpConnection::alive() {
  if (broken()) return false;
  if (stream_->alive()) return true;
  static_cast<void>(break_off(Error(Errc::kTransient, "talk to the sftp server: it has closed the connection")));
  return false;
}

Error SftpConnection::break_off(Error error) {
  if (!failure_.has_value()) failure_ = std::move(error);
  return *failure_;
}

SftpTicket SftpConnection::send(SftpRequest& request) {
  const SftpTicket ticket{last_id_};
  if (broken()) return ticket;
  expected_.insert(ticket.id);
  if (auto sent = stream_->write(request.packet()); !sent.has_value())
    static_cast<void>(break_off(std::move(sent).error()));
  return ticket;
}

Result<std::vector<std::byte>> SftpConnection::next_packet() {
  for (;;) {
    const Bytes input = stream_->input();
    TRY_ASSIGN(const auto bytes, sftp_packet_bytes(input));
    if (bytes.has_value() && *bytes <= input.size()) {
      std::vector<std::byte> packet(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(*bytes));
      stream_->take(*bytes);
      return packet;
    }
    TRY(stream_->wait_for_input());
  }
}

Result<SftpConnection::Packet> SftpConnection::await(SftpTicket ticket) {
  for (;;) {
    if (const auto found = arrived_.find(ticket.id); found != arrived_.end()) {
      Packet packet = std::move(found->second);
      arrived_.erase(found);
      return packet;
    }
    if (failure_.has_value()) return *failure_;
    auto bytes = next_packet();
    if (!bytes.has_value()) return break_off(std::move(bytes).error());
    Packet packet{std::move(*bytes), {}};
    auto reply = decode_sftp_reply(packet.bytes);
    if (!reply.has_value()) return break_off(std::move(reply).error());
    packet.reply = *reply;
    const uint32_t id = packet.reply.id;
    if (expected_.erase(id) == 0) return break_off(out_of_place("an answer to nothing that was asked"));
    if (forgotten_.erase(id) == 0) arrived_.emplace(id, std::move(packet));
  }
}

void SftpConnection::forget(SftpTicket ticket) {
  if (arrived_.erase(ticket.id) == 0 && expected_.contains(ticket.id)) forgotten_.insert(ticket.id);
}

Result<SftpStatus> SftpConnection::await_status(SftpTicket ticket) {
  TRY_ASSIGN(const Packet packet, await(ticket));
  if (packet.reply.type != SftpType::kStatus) return break_off(out_of_place("another kind of answer than a status"));
  auto status = decode_sftp_status(packet.reply.body);
  if (!status.has_value()) return break_off(std::move(status).error());
  return status;
}

template <typename T, typename Decode>
Result<SftpAnswer<T>> SftpConnection::await_answer(SftpTicket ticket, SftpType type, Decode decode) {
  TRY_ASSIGN(const Packet packet, await(ticket));
  SftpAnswer<T> answer;
  if (packet.reply.type == SftpType::kStatus) {
    auto status = decode_sftp_status(packet.reply.body);
    if (!status.has_value()) return break_off(std::move(status).error());
    answer.status = std::move(*status);
    if (answer.ok()) return break_off(out_of_place("'ok' without the answer"));
    return answer;
  }
  if (packet.reply.type != type) return break_off(out_of_place("another kind of answer than was due"));
  auto value = decode(packet.reply.body);
  if (!value.has_value()) return break_off(std::move(value).error());
  answer.value = std::move(*value);
  return answer;
}

Result<SftpAnswer<SftpAttrs>> SftpConnection::await_attrs(SftpTicket ticket) {
  return await_answer<SftpAttrs>(ticket, SftpType::kAttrs, decode_sftp_attrs);
}

Result<SftpAnswer<std::string>> SftpConnection::await_handle(SftpTicket ticket) {
  return await_answer<std::string>(ticket, SftpType::kHandle, decode_sftp_handle);
}

Result<SftpAnswer<std::vector<SftpName>>> SftpConnection::await_names(SftpTicket ticket) {
  return await_answer<std::vector<SftpName>>(ticket, SftpType::kName, decode_sftp_names);
}

Result<SftpAnswer<SftpSpace>> SftpConnection::await_space(SftpTicket ticket) {
  return await_answer<SftpSpace>(ticket, SftpType::kExtendedReply, decode_sftp_space);
}

Result<SftpAnswer<size_t>> SftpConnection::await_data(SftpTicket ticket, MutableBytes into) {
  return await_answer<size_t>(ticket, SftpType::kData, [&](Bytes body) -> Result<size_t> {
    TRY_ASSIGN(const Bytes data, decode_sftp_data(body));
    if (data.size() > into.size()) return out_of_place("more data than was asked for");
    std::copy(data.begin(), data.end(), into.begin());
    return data.size();
  });
}

}  // namespace pgark
