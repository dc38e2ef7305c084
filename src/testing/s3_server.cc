// Three daemons in the foreground, children of the test. What makes them quick to start and to answer is marked below.
#include "testing/s3_server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "testing/http_client.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

constexpr int kAttempts = 3;  // Somebody else may take a port between its choice and its use.
constexpr auto kStartBound = std::chrono::seconds(180);

ProcessOptions ceph_environment(const std::string& conf) {
  return {.env = {"CEPH_CONF=" + conf, "CEPH_ARGS", "CEPH_KEYRING", "LC_ALL=C"}};
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  const std::string_view all = path != nullptr ? path : "/usr/bin:/bin";
  for (size_t begin = 0; begin <= all.size();) {
    const size_t end = std::min(all.find(':', begin), all.size());
    if (::access(fmt::format("{}/{}", all.substr(begin, end - begin), program).c_str(), X_OK) == 0) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

Result<> s3_server_installed() {
  for (const char* program :
       {"ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin", "openssl"}) {
    if (!in_path(program)) {
      return Error(Errc::kNotFound, fmt::format("start an S3 server: {} is not installed", program))
          .with_hint("run ./dev setup stores");
    }
  }
  return {};
}

Result<std::unique_ptr<S3Server>> S3Server::start() {
  TRY(s3_server_installed());
  Result<> outcome;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::unique_ptr<S3Server> server(new S3Server);
    TRY_ASSIGN(server->scratch_, ScratchDir::create("s3"));
    outcome = [&]() -> Result<> {
      TRY(server->write_configuration());
      TRY(server->make_keyring());
      TRY(server->start_store());
      TRY_ASSIGN_CTX(server->endpoint_.keys, create_s3_user(server->endpoint_, "pgark"), "create the owner");
      return server->start_gateway();
    }();
    if (outcome) return server;
    outcome = std::move(outcome).error().with_context("start an S3 server").with_hint(server->log_tail());
  }
  return std::move(outcome).error();
}

S3Server::~S3Server() {
  // At once, and the gateway first: it does not end on its own once its monitor is gone. Nothing of it is kept.
  for (Process* process : {&gateway_, &store_, &monitor_}) {
    if (process->pid() > 0) (void)process->kill_and_wait();
  }
}

Result<> S3Server::write_configuration() {
  TRY_ASSIGN(const std::string uuid, read_file("/proc/sys/kernel/random/uuid"));
  fsid_ = uuid.substr(0, 36);
  TRY_ASSIGN(monitor_port_, free_port());
  TRY_ASSIGN(endpoint_.port, free_port());
  TRY_ASSIGN(endpoint_.tls_port, free_port());
  endpoint_.host = "127.0.0.1";
  endpoint_.dns_name = "s3.localhost";
  endpoint_.region = "us-east-1";
  endpoint_.admin_conf = scratch_ / "ceph.conf";
  for (const char* directory : {"mon", "osd", "run", "log", "gateway", "tls"})
    TRY(make_directories(scratch_ / directory));
  TRY_ASSIGN(tls_, make_tls_files(scratch_ / "tls"));
  endpoint_.ca_file = tls_.ca_file;
  const std::string dir = scratch_.path();
  std::string conf = fmt::format(
      "[global]\nfsid = {}\nmon_initial_members = a\nmon_host = v2:127.0.0.1:{}/0\nkeyring = {}/keyring\n"
      "mon_data = {}/mon\nosd_data = {}/osd\nrgw_data = {}/gateway\nrun_dir = {}/run\n",
      fsid_, monitor_port_, dir, dir, dir, dir, dir);
  conf += fmt::format("log_file = {}/log/$name.log\nadmin_socket = {}/run/$name.asok\npid_file = {}/run/$name.pid\n",
                      dir, dir, dir);
  // Loopback only; keys are on, because the gateway hangs without.
  conf +=
      "ms_bind_ipv4 = true\nms_bind_msgr1 = false\npublic_addr = 127.0.0.1\ncluster_addr = 127.0.0.1\n"
      "auth_cluster_required = cephx\nauth_service_required = cephx\nauth_client_required = cephx\n"
      // One store in memory, each pool once on it.
      "osd_objectstore = memstore\nmemstore_device_bytes = 17179869184\n"
      "osd_pool_default_size = 1\nosd_pool_default_min_size = 1\nosd_pool_default_pg_num = 4\n"
      "osd_pool_default_pgp_num = 4\nosd_pool_default_pg_autoscale_mode = off\nosd_crush_chooseleaf_type = 0\n"
      "mon_allow_pool_size_one = true\nmon_warn_on_pool_no_redundancy = false\nmon_max_pg_per_osd = 1000\n"
      // The disk of the machine may well be fuller than a monitor likes.
      "mon_data_avail_crit = 1\nmon_data_avail_warn = 2\n"
      // A start is some twenty rounds of agreement with oneself: ten seconds with the default intervals.
      "paxos_propose_interval = 0.05\npaxos_min_wait = 0.01\n"
      // A gateway that is killed while it puts parts together leaves a lock: ten minutes with the default.
      "rgw_mp_lock_max_time = 10\n"
      "rgw_crypt_require_ssl = false\nrgw_enable_usage_log = false\nrgw_thread_pool_size = 64\n"
      "rgw_s3_auth_use_sts = true\nrgw_sts_key = abcdefghijklmnop\n";
  // Without tcp_nodelay every answer on a kept connection waits 40 ms for an acknowledgement.
  conf += fmt::format(
      "rgw_dns_name = {}\nrgw_frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:{} ssl_endpoint=127.0.0.1:{} "
      "ssl_certificate={} ssl_private_key={}\n",
      endpoint_.dns_name, endpoint_.port, endpoint_.tls_port, tls_.certificate, tls_.private_key);
  return write_file_durable(endpoint_.admin_conf, conf);
}

Result<> S3Server::make_keyring() {
  struct Entity {
    std::string name;
    std::vector<std::string> caps;
  };
  const std::vector<Entity> entities = {
      {"mon.", {"mon", "allow *"}},
      {"client.admin", {"mon", "allow *", "osd", "allow *", "mgr", "allow *"}},
      {"osd.0", {"mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd"}},
      {"client.rgw.a", {"mon", "allow *", "osd", "allow *", "mgr", "allow *"}},
  };
  const ProcessOptions options = ceph_environment(endpoint_.admin_conf);
  for (const Entity& entity : entities) {
    std::vector<std::string> argv{"ceph-authtool", scratch_ / "keyring", "--gen-key", "-n", entity.name};
    if (entity.name == "mon.") argv.emplace_back("--create-keyring");
    for (size_t i = 0; i < entity.caps.size(); i += 2) {
      argv.insert(argv.end(), {"--cap", entity.caps[i], entity.caps[i + 1]});
    }
    TRY_CTX(run_ok(argv, options), "make key of " + entity.name);
  }
  return {};
}

Result<Process> S3Server::start_daemon(const std::string& program, const std::string& name) {
  ProcessOptions options = ceph_environment(endpoint_.admin_conf);
  options.output_path = scratch_ / ("log/" + program + ".out");
  options.die_with_caller = true;
  return Process::start({program, "-f", program == "radosgw" ? "-n" : "-i", name}, options);
}

Result<> S3Server::start_store() {
  const ProcessOptions options = ceph_environment(endpoint_.admin_conf);
  const std::string map = scratch_ / "monmap";
  TRY_CTX(run_ok({"monmaptool", "--create", "--addv", "a", fmt::format("[v2:127.0.0.1:{}]", monitor_port_), "--fsid",
                  fsid_, "--clobber", map},
                 options),
          "make the map of monitors");
  TRY_CTX(run_ok({"ceph-mon", "--mkfs", "-i", "a", "--monmap", map, "--keyring", scratch_ / "keyring"}, options),
          "make the monitor's store");
  TRY_ASSIGN(monitor_, start_daemon("ceph-mon", "a"));
  TRY(wait_for(
      "the monitor to listen",
      [&]() -> Result<bool> {
        if (!monitor_.running()) return Error(Errc::kTransient, "it ended");
        return accepts_connections(monitor_port_);
      },
      kStartBound));
  TRY_CTX(run_ok({"ceph-osd", "-i", "0", "--mkfs"}, options, kStartBound), "make the store");
  TRY_ASSIGN(store_, start_daemon("ceph-osd", "0"));
  // Pools that are made before it is active wait for a timer of five seconds.
  return wait_for(
      "the store to be active",
      [&]() -> Result<bool> {
        if (!store_.running()) return Error(Errc::kTransient, "it ended");
        auto log = read_file(scratch_ / "log/osd.0.log");
        return log && log->find("booting -> active") != std::string::npos;
      },
      kStartBound);
}

Result<> S3Server::start_gateway() {
  TRY_ASSIGN(gateway_, start_daemon("radosgw", "client.rgw.a"));
  return wait_for(
      "the S3 gateway to answer",
      [&]() -> Result<bool> {
        if (!gateway_.running()) return Error(Errc::kTransient, "it ended");
        return http_exchange(endpoint_.host, endpoint_.port, "GET", "/").has_value();
      },
      kStartBound);
}

Result<> S3Server::pause() { return gateway_.signal(SIGSTOP); }
Result<> S3Server::resume() { return gateway_.signal(SIGCONT); }

Result<> S3Server::kill_gateway() {
  TRY(gateway_.kill_and_wait());
  return {};
}

std::string S3Server::log_tail() const {
  std::string out;
  for (const char* name :
       {"mon.a.log", "osd.0.log", "client.rgw.a.log", "ceph-mon.out", "ceph-osd.out", "radosgw.out"}) {
    auto text = read_file(scratch_ / (std::string("log/") + name));
    if (!text || text->empty()) continue;
    const size_t from = text->size() > 1500 ? text->size() - 1500 : 0;
    out += fmt::format("--- {}\n{}\n", name, text->substr(from));
  }
  return out;
}

Result<std::string> radosgw_admin(const S3Endpoint& endpoint, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "radosgw-admin");
  return run_ok(std::move(arguments), ceph_environment(endpoint.admin_conf), kStartBound);
}

Result<S3Keys> create_s3_user(const S3Endpoint& endpoint, const std::string& name) {
  S3Keys keys{.access_key = "AK" + name, .secret = "secret/of+" + name};  // With characters that need care.
  TRY(radosgw_admin(endpoint, {"user", "create", "--uid=" + name, "--display-name=" + name,
                               "--access-key=" + keys.access_key, "--secret-key=" + keys.secret, "--caps=roles=*"}));
  return keys;
}

}  // namespace pgark::testing
