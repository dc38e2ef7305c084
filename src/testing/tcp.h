// TCP sockets on the loopback interface, for the servers and proxies that tests run inside their own process.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/result.h"

namespace pgark::testing {

/// Listen on 127.0.0.1; `port` 0 takes a free one.
Result<File> listen_on_loopback(int port = 0);
/// Port that a socket is bound to.
Result<int> local_port(const File& socket);
/// Port that nobody listens on now. Somebody else may take it before it is used: try again with another one then.
Result<int> free_port();
/// Accept a connection, with TCP_NODELAY. Errors: kCancelled once the listener was shut down.
Result<File> accept_connection(const File& listener);
/// Connect within `bound`, with TCP_NODELAY. `host` is a name or an address.
Result<File> connect_to(const std::string& host, int port, std::chrono::milliseconds bound = std::chrono::seconds(10));
/// Whether a connection is accepted there now.
bool accepts_connections(int port);
/// Send all of `data`; false once the peer is gone.
bool send_all(int socket, std::string_view data);
/// Have the coming close(2) send a reset instead of an orderly end.
void reset_on_close(int socket);

}  // namespace pgark::testing
