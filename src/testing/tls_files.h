// A certificate authority and a server certificate made for one test server.
#pragma once

#include <string>

#include "core/result.h"

namespace pgark::testing {

struct TlsFiles {
  std::string ca_file = {};  // To be trusted by the client.
  std::string certificate =
      {};  // Of the server, for 127.0.0.1, localhost, s3.localhost and *.s3.localhost; a client's too.
  std::string private_key = {};
};

/// Make them, valid for a day, in an existing directory. Needs the program openssl.
Result<TlsFiles> make_tls_files(const std::string& directory);

}  // namespace pgark::testing
