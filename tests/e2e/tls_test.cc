// A server that is reached by TLS: proven by its certificate, proving the client by its own, and refused with a reason
// where a certificate or a name is wrong.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/file.h"
#include "pgwire/pg_session.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/tls_files.h"

namespace pgark::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Tls : public ::testing::Test {
 protected:
  /// A server that takes no connection over TCP but those of TLS, with `more` in their lines of pg_hba.conf.
  void create(const std::string& more = "") {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(made_, PgServer::create(install));
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchDir::create("tls"));
    ASSERT_OK_AND_ASSIGN(tls_, make_tls_files(scratch_.path()));
    ASSERT_EQ(::chmod(tls_.private_key.c_str(), 0600), 0);
    ASSERT_OK(write_file_durable(made_->data_dir() + "/pg_hba.conf",
                                 fmt::format("local all all trust\nhostssl all all 127.0.0.1/32 trust {}\n"
                                             "hostssl all all ::1/128 trust {}\n",
                                             more, more)));
    // Another test that runs at the same time may have the port: each server of this process has the next one.
    Result<> started;
    for (int attempt = 0; attempt < 10; ++attempt) {
      ASSERT_OK_AND_ASSIGN(server_,
                           PgServer::adopt(made_->data_dir(), install,
                                           {"listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=" + tls_.certificate,
                                            "ssl_key_file=" + tls_.private_key, "ssl_ca_file=" + tls_.ca_file}));
      started = server_->start();
      if (started || started.error().message().find("Address already in use") == std::string::npos) break;
    }
    ASSERT_OK(started);
    ASSERT_OK_AND_ASSIGN(PgarkCli cli, PgarkCli::create(scratch_ / "pgark"));
    cli_.emplace(std::move(cli));
    ASSERT_OK(cli_->use_cluster(*server_));
    ASSERT_OK(cli_->set("main", "pg1-host", "localhost"));
  }
  std::string stanza_create(const std::vector<std::string>& options) {
    std::vector<std::string> args{"stanza-create"};
    args.insert(args.end(), options.begin(), options.end());
    const auto result = cli_->run(args);
    EXPECT_TRUE(result.has_value());
    if (!result) return "";
    return result->ok() ? "ok" : result->err + result->out;
  }

  ScratchDir scratch_;
  std::unique_ptr<PgServer> made_;
  std::unique_ptr<PgServer> server_;
  TlsFiles tls_;
  std::optional<PgarkCli> cli_;
};

TEST_F(Tls, ServerIsProvenByItsCertificate) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  EXPECT_THAT(stanza_create({"--pg1-sslmode=disable"}), AllOf(HasSubstr("no pg_hba.conf entry"), HasSubstr("hostssl")));
  EXPECT_THAT(stanza_create({"--pg1-sslmode=verify-full"}), HasSubstr("set pg1-sslrootcert"));
  ASSERT_OK_AND_ASSIGN(const ScratchDir other_place, ScratchDir::create("tls-other"));
  ASSERT_OK_AND_ASSIGN(const TlsFiles other, make_tls_files(other_place.path()));
  EXPECT_THAT(stanza_create({"--pg1-sslmode=verify-full", "--pg1-sslrootcert=" + other.ca_file}),
              AllOf(HasSubstr("certificate verify failed"), HasSubstr("signed by none of those in pg1-sslrootcert")));
  EXPECT_EQ(stanza_create({"--pg1-sslmode=verify-full", "--pg1-sslrootcert=" + tls_.ca_file}), "ok");

  PgEndpoint endpoint;
  endpoint.host = "localhost";
  endpoint.port = static_cast<uint16_t>(server_->port());
  endpoint.user = "postgres";
  endpoint.tls = {{"sslmode", "verify-full"}, {"sslrootcert", tls_.ca_file}};
  const CancelToken cancel;
  ASSERT_OK_AND_ASSIGN(const auto session, open_pg_session(endpoint, cancel));
  ASSERT_OK_AND_ASSIGN(const std::string encrypted,
                       session->query_value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"));
  EXPECT_EQ(encrypted, "t");
}

TEST_F(Tls, ClientIsProvenByItsCertificate) {
  ASSERT_NO_FATAL_FAILURE(create("clientcert=verify-ca"));
  if (IsSkipped()) return;
  const std::vector<std::string> server{"--pg1-sslmode=verify-full", "--pg1-sslrootcert=" + tls_.ca_file};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = server;
    all.insert(all.end(), more.begin(), more.end());
    return stanza_create(all);
  };
  EXPECT_THAT(with({}), HasSubstr("set pg1-sslcert and pg1-sslkey"));
  EXPECT_EQ(with({"--pg1-sslcert=" + tls_.certificate, "--pg1-sslkey=" + tls_.private_key}), "ok");
  ASSERT_EQ(::chmod(tls_.private_key.c_str(), 0644), 0);
  EXPECT_THAT(with({"--pg1-sslcert=" + tls_.certificate, "--pg1-sslkey=" + tls_.private_key}),
              HasSubstr("readable by its owner alone"));
}

}  // namespace
}  // namespace pgark::testing
