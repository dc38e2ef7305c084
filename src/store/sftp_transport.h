// The bytes between an SFTP client and a server, whatever carries them.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"

namespace pgark {

struct SftpOptions;

/// One connection to a server. Belongs to one thread at a time. After an error it is of no more use.
class SftpTransport {
 public:
  virtual ~SftpTransport() = default;
  /// Send whole packets. What arrives meanwhile is kept, so that neither side waits for the other to read.
  /// Errors: kTransient if the connection ends or nothing moves for too long.
  virtual Result<> write(std::string_view packets) = 0;
  /// Wait until more has arrived. Errors: as write().
  virtual Result<> wait_for_input() = 0;
  /// What has arrived and was not taken.
  virtual Bytes input() const = 0;
  virtual void take(size_t bytes) = 0;
  /// Whether the connection still stands, as far as one can tell without waiting.
  virtual bool alive() = 0;
};

/// Makes connections.
using SftpConnector = std::function<Result<std::unique_ptr<SftpTransport>>(const SftpOptions&)>;

}  // namespace pgark
