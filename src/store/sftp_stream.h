// The bytes between us and a server's SFTP subsystem: TCP, SSH, login, and two directions that never wait for ever.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "store/sftp_host_key.h"
#include "store/sftp_options.h"
#include "store/sftp_transport.h"

struct ssh_session_struct;
struct ssh_channel_struct;

namespace pgark {

/// One SSH connection with one channel.
class SftpStream final : public SftpTransport {
 public:
  /// Connect, check the host key, log in, start the subsystem.
  /// Errors: kTransient if the server cannot be reached or ends the connection; kPermission if it is not the one it
  ///         should be or does not let us in; kInvalid if a key file is unusable.
  static Result<std::unique_ptr<SftpTransport>> open(const SftpOptions& options);
  ~SftpStream() override;
  SftpStream(const SftpStream&) = delete;
  SftpStream& operator=(const SftpStream&) = delete;

  Result<> write(std::string_view bytes) override;
  Result<> wait_for_input() override;
  Bytes input() const override { return input_.bytes().subspan(taken_); }
  void take(size_t bytes) override;
  bool alive() override;

 private:
  explicit SftpStream(const SftpOptions& options);

  Result<> connect();
  Result<> open_socket(std::chrono::steady_clock::time_point deadline);
  Result<> check_server(const std::vector<KnownHostLine>& known);
  Result<> log_in();
  Result<> log_in_with_file();
  Result<> log_in_with_agent();
  Result<> start_subsystem();
  /// Move into input_ what libssh holds; how many bytes. Errors: the connection has ended.
  Result<size_t> drain();
  /// Wait until the socket is ready for what libssh wants of it. Errors: kTransient at the deadline.
  Result<> poll_socket(std::chrono::steady_clock::time_point deadline);
  Error failed(Errc code, std::string_view what) const;
  Error lost() const;
  /// Why libssh failed, in its words.
  std::string reason() const;

  const SftpOptions options_;
  int socket_ = -1;
  uint64_t socket_inode_ = 0;
  ssh_session_struct* session_ = nullptr;
  ssh_channel_struct* channel_ = nullptr;
  Buffer input_;
  size_t taken_ = 0;
  size_t since_widened_ = SIZE_MAX / 2;  // Bytes that arrived since the server was last told to send more.
};

}  // namespace pgark
