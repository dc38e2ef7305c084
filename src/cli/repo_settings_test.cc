#include "cli/repo_settings.h"

#include <gmock/gmock.h>

#include "cli/test_support.h"

namespace pgark {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::StartsWith;
using namespace std::chrono_literals;

constexpr const char* kS3 =
    "repo1-type=s3\nrepo1-s3-bucket=b\nrepo1-s3-endpoint=s3.example.com\nrepo1-s3-region=r\nrepo1-s3-key=hunter1\n"
    "repo1-s3-key-secret=hunter2\n";
constexpr const char* kAzure = "repo1-type=azure\nrepo1-azure-account=acc\nrepo1-azure-container=con\n";
constexpr const char* kGcs = "repo1-type=gcs\nrepo1-gcs-bucket=b\n";
constexpr const char* kSftp = "repo1-type=sftp\nrepo1-sftp-host=h\nrepo1-sftp-host-user=u\n";

class RepoSettingsTest : public ScratchTest {
 protected:
  /// What a command with this configuration is told of repository 1.
  Result<RepositorySettings> read(const std::string& configuration, unsigned repo = 1) {
    write("pgark.conf", "[global]\n" + configuration);
    auto settings = resolve({"backup", "--stanza=main", "--pg1-path=/pg"});
    if (!settings) return Error(std::move(settings).error());
    return repository_settings(*settings, repo);
  }
  template <typename Place>
  Place place(const std::string& configuration) {
    auto read_settings = read(configuration);
    EXPECT_TRUE(read_settings.has_value()) << (read_settings ? "" : read_settings.error().to_string());
    if (!read_settings || !std::holds_alternative<Place>(read_settings->place)) {
      ADD_FAILURE() << "another kind of repository";
      return {};
    }
    return std::get<Place>(read_settings->place);
  }
  std::string refusal(const std::string& configuration) {
    const auto read_settings = read(configuration);
    return read_settings ? "read" : read_settings.error().to_string();
  }
};

TEST_F(RepoSettingsTest, WithoutOptionsItIsADirectory) {
  const auto settings = read("");
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(std::get<DirectorySettings>(settings->place).path, "/var/lib/pgark");
  EXPECT_EQ(settings->label, "repo1");
  EXPECT_EQ(settings->bytes_per_second_max, 0u);
  EXPECT_EQ(read("repo1-bandwidth-max=10MiB\n")->bytes_per_second_max, 10u << 20);
}

TEST_F(RepoSettingsTest, S3IsToldEverything) {
  const auto plain = place<S3Settings>(kS3);
  EXPECT_EQ(plain.cloud.label, "repo1");
  EXPECT_EQ(plain.cloud.prefix, "var/lib/pgark/");
  EXPECT_EQ(plain.cloud.chunk_bytes, 8u << 20);
  EXPECT_EQ(plain.cloud.stall_timeout, 60s);
  EXPECT_EQ(plain.cloud.connect_timeout, 10s) << "a host that is gone is told sooner than a slow one";
  EXPECT_EQ(plain.cloud.total_timeout, 1830s);
  EXPECT_TRUE(plain.cloud.verify_tls);
  EXPECT_EQ(plain.bucket, "b");
  EXPECT_EQ(plain.endpoint, "s3.example.com");
  EXPECT_EQ(plain.region, "r");
  EXPECT_EQ(plain.key, "hunter1");
  EXPECT_EQ(plain.key_secret, "hunter2");
  EXPECT_EQ(plain.uri_style, S3UriStyle::kHost);
  EXPECT_EQ(plain.key_type, S3KeyType::kShared);
  EXPECT_FALSE(plain.requester_pays);

  const auto full = place<S3Settings>(
      std::string(kS3) +
      "repo1-path=/demo\nrepo1-s3-token=t\nrepo1-s3-uri-style=path\nrepo1-s3-kms-key-id=kms\n"
      "repo1-s3-requester-pays=y\nrepo1-s3-storage-class=STANDARD_IA\nrepo1-s3-object-lock-mode=compliance\n"
      "repo1-s3-object-lock-days=35\nrepo1-storage-host=10.0.0.1\nrepo1-storage-port=9000\n"
      "repo1-storage-ca-file=/ca.pem\nrepo1-storage-ca-path=/ca\nrepo1-storage-verify-tls=n\n"
      "repo1-storage-tag=team=db\nrepo1-storage-tag=env=prod\nrepo1-storage-upload-chunk-size=64MiB\n"
      "io-timeout=20\nprotocol-timeout=5m\n");
  EXPECT_EQ(full.cloud.prefix, "demo/");
  EXPECT_EQ(full.cloud.storage_host, "10.0.0.1");
  EXPECT_EQ(full.cloud.storage_port, 9000);
  EXPECT_EQ(full.cloud.ca_file, "/ca.pem");
  EXPECT_EQ(full.cloud.ca_path, "/ca");
  EXPECT_FALSE(full.cloud.verify_tls);
  EXPECT_THAT(full.cloud.tags, ElementsAre(Pair("team", "db"), Pair("env", "prod")));
  EXPECT_EQ(full.cloud.chunk_bytes, 64u << 20);
  EXPECT_GE(full.cloud.upload_memory_max, 128u << 20);
  EXPECT_EQ(full.cloud.stall_timeout, 20s);
  EXPECT_EQ(full.cloud.connect_timeout, 20s);
  EXPECT_EQ(full.cloud.total_timeout, 5min);
  EXPECT_EQ(full.token, "t");
  EXPECT_EQ(full.uri_style, S3UriStyle::kPath);
  EXPECT_EQ(full.kms_key_id, "kms");
  EXPECT_TRUE(full.requester_pays);
  EXPECT_EQ(full.storage_class, "STANDARD_IA");
  EXPECT_EQ(full.object_lock_mode, "compliance");
  EXPECT_EQ(full.object_lock_days, 35u);
  EXPECT_EQ(place<S3Settings>(std::string(kS3) + "repo1-path=/\n").cloud.prefix, "");
}

TEST_F(RepoSettingsTest, S3CredentialsComeFromWhereTheKeyTypeSays) {
  const std::string place_only =
      "repo1-type=s3\nrepo1-s3-bucket=b\nrepo1-s3-endpoint=e\nrepo1-s3-region=r\nrepo1-s3-role=role\n";
  EXPECT_EQ(place<S3Settings>(place_only + "repo1-s3-key-type=auto\n").key_type, S3KeyType::kAuto);
  EXPECT_EQ(place<S3Settings>(place_only + "repo1-s3-key-type=web-id\n").role, "role");
  EXPECT_EQ(place<S3Settings>(place_only + "repo1-s3-key-type=web-id\n").key_type, S3KeyType::kWebIdentity);
  const auto process =
      place<S3Settings>(place_only + "repo1-s3-key-type=process\nrepo1-s3-credential-process=vault read\n");
  EXPECT_EQ(process.key_type, S3KeyType::kProcess);
  EXPECT_EQ(process.credential_process, "vault read");
  EXPECT_THAT(refusal(place_only + "repo1-s3-key-type=process\n"),
              StartsWith("repo1-s3-credential-process is required with repo1-s3-key-type=process"));
  EXPECT_THAT(refusal(place_only), StartsWith("repo1-s3-key is required with repo1-s3-key-type=shared"));
  EXPECT_THAT(refusal(place_only + "repo1-s3-key=k\n"), StartsWith("repo1-s3-key-secret is required"));
}

TEST_F(RepoSettingsTest, S3RefusesWhatIsMissingOrContradictsItself) {
  EXPECT_THAT(refusal("repo1-type=s3\n"),
              AllOf(StartsWith("repo1-s3-bucket is required with repo1-type=s3"),
                    HasSubstr("set repo1-s3-bucket in [global] of " + directory_ + "/pgark.conf")));
  EXPECT_THAT(refusal("repo1-type=s3\nrepo1-s3-bucket=b\n"), StartsWith("repo1-s3-endpoint is required"));
  EXPECT_THAT(refusal("repo1-type=s3\nrepo1-s3-bucket=b\nrepo1-s3-endpoint=e\n"),
              StartsWith("repo1-s3-region is required"));
  const std::pair<const char*, const char*> cases[] = {
      {"repo1-s3-sse-customer-key=hunter3", "not 32 bytes in base64"},
      {"repo1-s3-sse-customer-key=AAAA", "not 32 bytes in base64"},
      {"repo1-s3-sse-customer-key=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nrepo1-s3-kms-key-id=k",
       "repo1-s3-kms-key-id is set as well"},
      {"repo1-s3-object-lock-mode=governance", "repo1-s3-object-lock-days is required"},
      {"repo1-s3-object-lock-days=3", "has no effect without repo1-s3-object-lock-mode"},
      {"repo1-s3-storage-class=DEEP_ARCHIVE", "use STANDARD_IA"},
      {"repo1-storage-upload-chunk-size=4MiB", "parts of an S3 upload are 5MiB or more"},
      {"repo1-path=/a/../b", "repo1-path in"},
  };
  for (const auto& [line, text] : cases) {
    EXPECT_THAT(refusal(std::string(kS3) + line + "\n"),
                AllOf(HasSubstr(text), HasSubstr("repo1-"), Not(HasSubstr("hunter"))))
        << line;
  }
  const std::string with = "repo1-type=s3\nrepo1-s3-region=r\nrepo1-s3-key=k\nrepo1-s3-key-secret=s\n";
  EXPECT_THAT(refusal(with + "repo1-s3-bucket=b\nrepo1-s3-endpoint=https://e/path/b\n"),
              HasSubstr("repo1-s3-endpoint"));
  EXPECT_THAT(refusal(with + "repo1-s3-bucket=b/x\nrepo1-s3-endpoint=e\n"), HasSubstr("goes into repo1-path"));
  EXPECT_THAT(refusal(with + "repo1-s3-bucket=b\nrepo1-s3-endpoint=b.s3.amazonaws.com\n"), HasSubstr("leave 'b.' out"));
  EXPECT_THAT(refusal(with + "repo1-s3-bucket=a.b\nrepo1-s3-endpoint=s3.eu-west-1.amazonaws.com\n"),
              HasSubstr("set repo1-s3-uri-style=path"));
  EXPECT_EQ(refusal(with + "repo1-s3-bucket=b\nrepo1-s3-endpoint=http://127.0.0.1:9000\n"), "read");
}

TEST_F(RepoSettingsTest, AzureIsToldEverything) {
  const auto shared = place<AzureSettings>(std::string(kAzure) + "repo1-azure-key=aGVsbG8=\n");
  EXPECT_EQ(shared.account, "acc");
  EXPECT_EQ(shared.container, "con");
  EXPECT_EQ(shared.endpoint, "blob.core.windows.net");
  EXPECT_EQ(shared.key_type, AzureKeyType::kShared);
  EXPECT_EQ(shared.uri_style, AzureUriStyle::kHost);
  EXPECT_EQ(shared.key, "aGVsbG8=");
  const auto sas =
      place<AzureSettings>(std::string(kAzure) +
                           "repo1-azure-key=?sv=1&sig=x\nrepo1-azure-key-type=sas\nrepo1-azure-uri-style=path\n"
                           "repo1-azure-endpoint=http://127.0.0.1:10000\n");
  EXPECT_EQ(sas.key, "sv=1&sig=x") << "without the question mark that the portal shows";
  EXPECT_EQ(sas.key_type, AzureKeyType::kSas);
  EXPECT_EQ(sas.uri_style, AzureUriStyle::kPath);
  EXPECT_EQ(place<AzureSettings>(std::string(kAzure) + "repo1-azure-key-type=auto\n").key_type,
            AzureKeyType::kManagedIdentity);
  EXPECT_THAT(refusal("repo1-type=azure\n"), StartsWith("repo1-azure-account is required with repo1-type=azure"));
  EXPECT_THAT(refusal("repo1-type=azure\nrepo1-azure-account=a\n"), StartsWith("repo1-azure-container is required"));
  EXPECT_THAT(refusal(kAzure), StartsWith("repo1-azure-key is required with repo1-azure-key-type=shared"));
  EXPECT_THAT(refusal(std::string(kAzure) + "repo1-azure-key=sv=hunter2\n"),
              AllOf(HasSubstr("set repo1-azure-key-type=sas"), Not(HasSubstr("hunter2"))));
}

TEST_F(RepoSettingsTest, GcsIsToldEverything) {
  const auto service = place<GcsSettings>(std::string(kGcs) + "repo1-gcs-key=/key.json\nrepo1-gcs-user-project=p\n");
  EXPECT_EQ(service.bucket, "b");
  EXPECT_EQ(service.endpoint, "storage.googleapis.com");
  EXPECT_EQ(service.key_type, GcsKeyType::kService);
  EXPECT_EQ(service.key, "/key.json");
  EXPECT_EQ(service.user_project, "p");
  EXPECT_EQ(place<GcsSettings>(std::string(kGcs) + "repo1-gcs-key-type=token\nrepo1-gcs-key=t\n").key_type,
            GcsKeyType::kToken);
  EXPECT_EQ(place<GcsSettings>(std::string(kGcs) + "repo1-gcs-key-type=auto\n").key_type, GcsKeyType::kMetadata);
  EXPECT_THAT(refusal("repo1-type=gcs\n"), StartsWith("repo1-gcs-bucket is required with repo1-type=gcs"));
  EXPECT_THAT(refusal(kGcs), StartsWith("repo1-gcs-key is required with repo1-gcs-key-type=service"));
  EXPECT_THAT(refusal(std::string(kGcs) + "repo1-gcs-key=hunter2\n"),
              AllOf(HasSubstr("set repo1-gcs-key-type=token"), Not(HasSubstr("hunter2"))));
  EXPECT_THAT(refusal(std::string(kGcs) + "repo1-gcs-key=/k\nrepo1-storage-upload-chunk-size=5000000\n"),
              HasSubstr("multiple of 256KiB"));
}

TEST_F(RepoSettingsTest, HmacKeysOfGoogleMakeAnS3Store) {
  const auto s3 = place<S3Settings>(std::string(kGcs) + "repo1-gcs-key-type=hmac\nrepo1-gcs-key=GOOG1:sec:ret\n");
  EXPECT_EQ(s3.endpoint, "storage.googleapis.com");
  EXPECT_EQ(s3.bucket, "b");
  EXPECT_EQ(s3.key, "GOOG1");
  EXPECT_EQ(s3.key_secret, "sec:ret");
  EXPECT_EQ(s3.uri_style, S3UriStyle::kPath);
  EXPECT_EQ(s3.region, "auto");
  EXPECT_FALSE(s3.conditional_create) << "which Google would not heed";
  EXPECT_THAT(refusal(std::string(kGcs) + "repo1-gcs-key-type=hmac\nrepo1-gcs-key=hunter2\n"),
              AllOf(HasSubstr("ACCESS-ID:SECRET"), Not(HasSubstr("hunter2"))));
  EXPECT_THAT(refusal(std::string(kGcs) + "repo1-gcs-key-type=hmac\nrepo1-gcs-key=a:b\nrepo1-gcs-user-project=p\n"),
              HasSubstr("not provided with repo1-gcs-key-type=hmac"));
  EXPECT_THAT(refusal(std::string(kGcs) + "repo1-gcs-key-type=hmac\nrepo1-gcs-key=a:b\nrepo1-storage-tag=a=b\n"),
              HasSubstr("repo1-storage-tag"));
}

TEST_F(RepoSettingsTest, SftpIsToldEverything) {
  const auto plain = place<SftpOptions>(kSftp);
  EXPECT_EQ(plain.label, "repo1");
  EXPECT_EQ(plain.host, "h");
  EXPECT_EQ(plain.port, 22);
  EXPECT_EQ(plain.user, "u");
  EXPECT_EQ(plain.path, "/var/lib/pgark");
  EXPECT_EQ(plain.host_key_check, SftpHostKeyCheck::kStrict);
  EXPECT_TRUE(plain.known_hosts.empty());
  EXPECT_FALSE(plain.create);
  EXPECT_EQ(plain.io_timeout, 60s);
  const auto full = place<SftpOptions>(
      std::string(kSftp) +
      "repo1-path=/backups\nrepo1-sftp-host-port=2222\nrepo1-sftp-private-key-file=/k\n"
      "repo1-sftp-public-key-file=/k.pub\nrepo1-sftp-private-key-passphrase=pp\nrepo1-sftp-known-host=/known\n"
      "repo1-sftp-host-key-check-type=accept-new\nrepo1-sftp-host-key-hash-type=sha1\n");
  EXPECT_EQ(full.path, "/backups");
  EXPECT_EQ(full.port, 2222);
  EXPECT_EQ(full.private_key_file, "/k");
  EXPECT_EQ(full.public_key_file, "/k.pub");
  EXPECT_EQ(full.private_key_passphrase, "pp");
  EXPECT_THAT(full.known_hosts, ElementsAre("/known"));
  EXPECT_EQ(full.host_key_check, SftpHostKeyCheck::kAcceptNew);
  EXPECT_EQ(full.host_key_hash, SftpHostKeyHash::kSha1);
  EXPECT_FALSE(place<SftpOptions>("repo1-type=sftp\nrepo1-sftp-host=h\n").user.empty()) << "whoever runs pgark";
  EXPECT_THAT(refusal("repo1-type=sftp\n"), StartsWith("repo1-sftp-host is required with repo1-type=sftp"));
  EXPECT_THAT(refusal(std::string(kSftp) + "repo1-sftp-host-key-check-type=fingerprint\n"),
              StartsWith("repo1-sftp-host-fingerprint is required"));
  EXPECT_THAT(refusal(std::string(kSftp) + "repo1-sftp-private-key-passphrase=hunter2\n"),
              AllOf(StartsWith("repo1-sftp-private-key-file is required"), Not(HasSubstr("hunter2"))));
  EXPECT_THAT(refusal(std::string(kSftp) + "repo1-sftp-known-host=known\n"), HasSubstr("not an absolute path"));
}

TEST_F(RepoSettingsTest, RepositoriesAreToldApart) {
  const std::string both = std::string(kS3) +
                           "repo2-type=azure\nrepo2-azure-account=a\nrepo2-azure-container=c\n"
                           "repo2-azure-key-type=auto\nrepo2-path=/other\n";
  const auto second = read(both, 2);
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_EQ(second->label, "repo2");
  EXPECT_EQ(std::get<AzureSettings>(second->place).cloud.label, "repo2");
  EXPECT_EQ(std::get<AzureSettings>(second->place).cloud.prefix, "other/");
  EXPECT_TRUE(std::holds_alternative<S3Settings>(read(both, 1)->place));
}

}  // namespace
}  // namespace pgark
