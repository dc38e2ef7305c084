// The options that say where a repository lives and with which keys, with pgBackRest's names, units and meanings.
#include "cli/option_specs.h"

namespace pgark::option_specs {
namespace {

using enum OptionType;

constexpr int64_t kMiB = int64_t{1} << 20;

/// An option of a repository; what else it is, the caller adds.
constexpr OptionSpec repo(std::string_view name, OptionType type, std::string_view summary,
                          std::string_view description = "") {
  return {.name = name,
          .type = type,
          .commands = kWithRepo,
          .group = OptionGroup::kRepository,
          .family = OptionFamily::kRepo,
          .summary = summary,
          .description = description};
}

constexpr OptionSpec secret(std::string_view name, std::string_view summary, std::string_view description = "") {
  OptionSpec spec = repo(name, kString, summary, description);
  spec.secret = true;
  return spec;
}

constexpr OptionSpec with_default(OptionSpec spec, std::string_view value) {
  spec.value_default = value;
  return spec;
}

constexpr OptionSpec with_note(OptionSpec spec, std::string_view note) {
  spec.default_note = note;
  return spec;
}

constexpr OptionSpec within(OptionSpec spec, int64_t min, int64_t max) {
  spec.min = min;
  spec.max = max;
  return spec;
}

/// An enumeration; `value` is the default, "" for none.
constexpr OptionSpec choice(std::string_view name, std::string_view allowed, std::string_view value,
                            std::string_view summary, std::string_view description = "") {
  OptionSpec spec = repo(name, kEnum, summary, description);
  spec.allowed = allowed;
  spec.value_default = value;
  return spec;
}

// clang-format off
constexpr OptionSpec kOptions[] = {
    choice("repo-type", "azure|gcs|posix|s3|sftp", "posix", "kind of storage",
           "posix: a directory of a local or mounted file system that honours fsync. s3: Amazon S3, or what speaks its "
           "protocol. azure: Azure Blob Storage. gcs: Google Cloud Storage. sftp: a directory of an SSH server. What each "
           "one needs is in docs/guide/repositories.md; `pgark repo-check` tries it."),
    with_default(
        repo("repo-path", kPath, "directory of the repository, or its prefix in a bucket or container",
             "For s3, azure and gcs, everything lies below this path in the bucket: with repo1-path=/demo, objects are named "
             "demo/...; / is the bucket itself. repo2-path and on name further repositories, each a full copy that can be "
             "restored alone; in a directory (posix, sftp) only repo1 has a default."),
        "/var/lib/pgark"),

    // -- S3.
    repo("repo-s3-bucket", kString, "bucket of the repository", "Has to exist; pgark does not create buckets."),
    repo("repo-s3-endpoint", kString, "host name of the service",
         "Such as s3.eu-central-1.amazonaws.com. Without a bucket in it; see repo-s3-uri-style. A port may follow (minio:9000), "
         "and http:// may precede it where no TLS is wanted, as on a network of the machine's own."),
    repo("repo-s3-region", kString, "region of the bucket",
         "Part of every signature. Services that know no regions take any name, mostly us-east-1."),
    secret("repo-s3-key", "access key id", "With repo-s3-key-type=shared."),
    secret("repo-s3-key-secret", "secret access key", "With repo-s3-key-type=shared."),
    secret("repo-s3-token", "session token of temporary credentials",
           "With repo-s3-key-type=shared. Such a token ends; auto, web-id and process get new ones in time."),
    choice("repo-s3-key-type", "auto|process|shared|web-id", "shared", "where the credentials come from",
           "shared: repo-s3-key and repo-s3-key-secret. auto: what the AWS tools would find: the environment "
           "(AWS_ACCESS_KEY_ID, ...), the files in ~/.aws, the container's and the instance's metadata service (IMDSv2). "
           "web-id: a token in the file AWS_WEB_IDENTITY_TOKEN_FILE is exchanged for the role AWS_ROLE_ARN, as in Kubernetes. "
           "process: repo-s3-credential-process prints them. Temporary credentials are renewed before they end."),
    repo("repo-s3-credential-process", kString, "command that prints credentials as JSON",
         "With repo-s3-key-type=process; run by /bin/sh. Prints what credential_process of the AWS tools does: Version, "
         "AccessKeyId, SecretAccessKey, and for temporary ones SessionToken and Expiration."),
    with_note(repo("repo-s3-role", kString, "role whose credentials are used",
                   "With repo-s3-key-type=auto: name of the role of the instance. With web-id: ARN of the role to assume, by "
                   "default that of the variable AWS_ROLE_ARN."),
              "the instance's, or AWS_ROLE_ARN"),
    choice("repo-s3-uri-style", "host|path", "host", "where the bucket is named: in the host name or in the path",
           "host: bucket.endpoint, as Amazon wants it. path: endpoint/bucket, as most other services want it."),
    secret("repo-s3-kms-key-id", "key of AWS KMS with which the service encrypts what it stores",
           "On top of what repo-cipher-type does; the service holds this key."),
    secret("repo-s3-sse-customer-key", "key, in base64, with which the service encrypts what it stores, and forgets it",
           "256 bits (SSE-C). Without it nothing can be read again."),
    with_default(repo("repo-s3-requester-pays", kBoolean, "pay for requests to a bucket of somebody else"), "n"),
    with_note(repo("repo-s3-storage-class", kString, "storage class of new objects",
                   "Such as STANDARD_IA or INTELLIGENT_TIERING. Not one that has to be thawed before it can be read (GLACIER, "
                   "DEEP_ARCHIVE): a restore would have to wait for hours."),
              "that of the bucket"),
    choice("repo-s3-object-lock-mode", "compliance|governance", "", "lock new objects against deletion",
           "For repo-s3-object-lock-days. The bucket has to have object lock. governance: whoever holds a special "
           "permission can still delete; compliance: nobody can. expire lets what is locked be and removes it later."),
    within(repo("repo-s3-object-lock-days", kInteger, "number of days for which new objects are locked",
                "With repo-s3-object-lock-mode. At least as long as retention keeps backups, and not much longer: what "
                "expire may not remove costs space."),
           1, 36500),

    // -- Azure.
    repo("repo-azure-account", kString, "storage account"),
    repo("repo-azure-container", kString, "container of the repository", "Has to exist; pgark does not create containers."),
    with_default(repo("repo-azure-endpoint", kString, "domain of the service",
                      "The host is ACCOUNT.ENDPOINT, or ENDPOINT itself with repo-azure-uri-style=path. A port may follow, and "
                      "http:// may precede it where no TLS is wanted."),
                 "blob.core.windows.net"),
    secret("repo-azure-key", "shared key in base64, or shared access signature", "As repo-azure-key-type says."),
    choice("repo-azure-key-type", "auto|sas|shared", "shared", "how requests are authorized",
           "shared: by the account's key. sas: by a shared access signature. auto: by the managed identity of the virtual "
           "machine, without a key."),
    choice("repo-azure-uri-style", "host|path", "host", "where the account is named: in the host name or in the path"),

    // -- Google Cloud Storage.
    repo("repo-gcs-bucket", kString, "bucket of the repository", "Has to exist; pgark does not create buckets."),
    with_default(repo("repo-gcs-endpoint", kString, "host name of the service",
                      "A port may follow, and http:// may precede it where no TLS is wanted."),
                 "storage.googleapis.com"),
    secret("repo-gcs-key", "key file of a service account, access token, or HMAC key", "As repo-gcs-key-type says."),
    choice("repo-gcs-key-type", "auto|hmac|service|token", "service", "how requests are authorized",
           "service: repo-gcs-key is the path of a service account's key file (JSON). token: it is an access token, which "
           "ends within an hour. hmac: it is ACCESS-ID:SECRET of an interoperability key. auto: by the metadata server of the "
           "instance, without a key."),
    repo("repo-gcs-user-project", kString, "project that pays for requests to a bucket of somebody else"),

    // -- SFTP.
    repo("repo-sftp-host", kString, "host name of the SSH server"),
    within(with_default(repo("repo-sftp-host-port", kInteger, "port of the SSH server"), "22"), 1, 65535),
    with_note(repo("repo-sftp-host-user", kString, "user to log in as"), "the operating system user"),
    with_note(repo("repo-sftp-private-key-file", kPath, "private key to log in with",
                   "ed25519, ECDSA or RSA. Without it, the agent of SSH_AUTH_SOCK is asked."),
              "those of the SSH agent"),
    secret("repo-sftp-private-key-passphrase", "passphrase of the private key"),
    with_note(repo("repo-sftp-public-key-file", kPath, "public key that belongs to the private one"),
              "taken from the private key"),
    choice("repo-sftp-host-key-check-type", "accept-new|fingerprint|none|strict", "strict",
           "how the server proves who it is",
           "strict: its key has to be in a known_hosts file. accept-new: a key of a host that is not known is added there and "
           "accepted. fingerprint: its key has to have the hash repo-sftp-host-fingerprint. none: anybody on the way can pose "
           "as the server."),
    with_note(repo("repo-sftp-known-host", kList, "path of a known_hosts file",
                   "Repeatable; with repo-sftp-host-key-check-type=strict or accept-new. accept-new adds to the first. "
                   "By default ~/.ssh/known_hosts, ~/.ssh/known_hosts2, /etc/ssh/ssh_known_hosts and /etc/ssh/ssh_known_hosts2."),
              "those of ssh"),
    repo("repo-sftp-host-fingerprint", kString, "hash of the server's key, in hexadecimal",
         "With repo-sftp-host-key-check-type=fingerprint. `ssh-keyscan HOST | ssh-keygen -lf - -E md5` shows it; for sha1 "
         "and sha256 also in base64, as that prints it."),
    choice("repo-sftp-host-key-hash-type", "md5|sha1|sha256", "sha256", "hash of repo-sftp-host-fingerprint"),

    // -- The way there.
    repo("repo-storage-host", kString, "host to connect to instead of the endpoint",
         "The endpoint is still the name that the certificate and the signature are for. For proxies and tests."),
    with_note(within(repo("repo-storage-port", kInteger, "port to connect to"), 1, 65535), "that of the endpoint, else 443"),
    with_note(repo("repo-storage-ca-file", kPath, "file of certificates that are trusted"), "those of the system"),
    with_note(repo("repo-storage-ca-path", kPath, "directory of certificates that are trusted"), "those of the system"),
    with_default(repo("repo-storage-verify-tls", kBoolean, "check the certificate of the service",
                      "With n, anybody on the way can read and change what is sent, keys included."),
                 "y"),
    repo("repo-storage-tag", kMap, "tag of new objects: KEY=VALUE", "Repeatable. For s3 and azure tags, for gcs metadata."),
    with_note(within(repo("repo-storage-upload-chunk-size", kSize, "size of the parts in which large objects are sent",
                          "Memory of that size is used for each object that is written. s3 wants at least 5MiB, gcs a multiple "
                          "of 256KiB."),
                     kMiB, 1024 * kMiB),
              "8MiB"),
    with_note(within(repo("repo-bandwidth-max", kSize, "bytes a second that go to and from the repository",
                          "Of all threads of a command together; each command counts for itself."),
                     4096, int64_t{1} << 50),
              "no limit"),

    // -- Keys.
    choice("repo-cipher-type", "aes-256-gcm|none", "none", "encryption of what is stored",
           "aes-256-gcm: everything is encrypted and authenticated before it leaves this machine; the keys come from a "
           "passphrase (repo-cipher-pass, -file or -command) or from recipients (repo-recipient). Decided when the "
           "repository is created, and kept for ever."),
    secret("repo-cipher-pass", "passphrase of the repository",
           "Long and random, such as `openssl rand -base64 48` prints. Without it, or another key of the repository, nothing "
           "can be read again: keep a copy where a fire at both places does not reach it."),
    repo("repo-cipher-pass-file", kPath, "file that holds the passphrase",
         "Its first line. Only the user that runs pgark may have access to it."),
    repo("repo-cipher-pass-command", kString, "command that prints the passphrase",
         "Its first line of output; run by /bin/sh, for at most io-timeout. For vaults and key services."),
    repo("repo-recipient", kList, "public key (age1...) of somebody who can read the repository",
         "Repeatable. Made by `pgark key generate` or age-keygen. Data is then sealed to these keys: with the passphrase next to "
         "it, this machine writes backups and cannot read what is in them; who restores needs repo-identity-file."),
    repo("repo-identity-file", kList, "path of a file with private keys (AGE-SECRET-KEY-1...)",
         "Repeatable. For reading a repository of recipients: restore, verify, archive-get. Only the user that runs pgark may "
         "have access to it."),
};
// clang-format on

}  // namespace

std::span<const OptionSpec> repository_options() { return kOptions; }

}  // namespace pgark::option_specs
