// A repository in a bucket that speaks the S3 API.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/cloud_settings.h"
#include "store/object_store.h"

namespace pgark {

enum class S3UriStyle : unsigned char { kHost, kPath };
/// Where credentials come from: the options; the chain of AWS (environment, ~/.aws, web identity, instance or container
/// metadata); web identity alone; a program.
enum class S3KeyType : unsigned char { kShared, kAuto, kWebIdentity, kProcess };

struct S3Settings {
  CloudSettings cloud{};
  std::string bucket;
  std::string endpoint;  // Host, host:port, or with a scheme: "s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000".
  std::string region;
  S3UriStyle uri_style = S3UriStyle::kHost;
  S3KeyType key_type = S3KeyType::kShared;
  std::string key{};         // kShared.
  std::string key_secret{};  // kShared.
  std::string token{};       // kShared: of temporary credentials; may be empty.
  std::string role{};        // kAuto: of the instance; empty: the one the metadata names. kWebIdentity: its ARN.
  std::string credential_process{};  // kProcess: a command as AWS defines credential_process.
  std::string kms_key_id{};          // Server-side encryption under this key.
  std::string sse_customer_key{};    // Server-side encryption under this key (base64).
  bool requester_pays = false;
  std::string storage_class{};
  std::string object_lock_mode{};  // "governance", "compliance", or empty.
  unsigned object_lock_days = 0;
  /// Objects with such a component in their key live for minutes and are never locked.
  std::vector<std::string> unlocked_components{"lease", "stream"};
  /// Whether to ask for creation under a condition (If-None-Match: *). Off for a server that takes no notice of it; one
  /// that refuses it is found out.
  bool conditional_create = true;
};

/// Objects are created under a condition (If-None-Match: *), so that of racing writers one wins, unless the server does
/// not implement it (501): then the store looks before and after, which leaves a gap between two writers at the same
/// moment, and caps().atomic_create_only is false from then on. Completion of a large object has the same gap on
/// servers that know the condition for small ones alone (Ceph before 18). With object lock, remove() deletes the
/// version itself, not merely its name, and is kPermission while it is locked.
class S3Store : public ObjectStore {
 public:
  /// No request is made yet. Errors: kInvalid for settings that contradict each other.
  static Result<std::unique_ptr<S3Store>> open(S3Settings settings);
};

}  // namespace pgark
