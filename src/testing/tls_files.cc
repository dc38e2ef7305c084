// By the openssl program: a test's certificates are not worth code of their own.
#include "testing/tls_files.h"

#include "core/file.h"
#include "testing/process.h"

namespace pgark::testing {

Result<TlsFiles> make_tls_files(const std::string& directory) {
  const TlsFiles files{.ca_file = directory + "/ca.pem",
                       .certificate = directory + "/server.pem",
                       .private_key = directory + "/server.key"};
  const std::string ca_key = directory + "/ca.key";
  const std::string request = directory + "/server.csr";
  const std::string extensions = directory + "/server.ext";
  TRY(write_file_durable(extensions,
                         "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost\n"
                         "extendedKeyUsage=serverAuth,clientAuth\n"));
  const std::vector<std::string> new_key{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"};
  std::vector<std::string> authority{"openssl", "req",  "-x509", "-days",      "1", "-subj", "/CN=pgark test authority",
                                     "-keyout", ca_key, "-out",  files.ca_file};
  std::vector<std::string> server{"openssl",         "req",  "-subj", "/CN=localhost", "-keyout",
                                  files.private_key, "-out", request};
  authority.insert(authority.end(), new_key.begin(), new_key.end());
  server.insert(server.end(), new_key.begin(), new_key.end());
  TRY_CTX(run_ok(authority), "make certificate authority");
  TRY_CTX(run_ok(server), "make certificate request");
  TRY_CTX(run_ok({"openssl", "x509", "-req", "-days", "1", "-in", request, "-CA", files.ca_file, "-CAkey", ca_key,
                  "-CAcreateserial", "-extfile", extensions, "-out", files.certificate}),
          "sign certificate");
  return files;
}

}  // namespace pgark::testing
