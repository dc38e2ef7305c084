// Writing one object to S3, and what is known of a server's conditions.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "store/part_upload.h"
#include "store/s3_client.h"

namespace pgark {

/// What the server has shown of itself. Shared by the writers of a store.
struct S3Conditions {
  explicit S3Conditions(bool create) : conditional_create(create) {}
  std::atomic<bool> conditional_create;            // Takes If-None-Match, as far as is known.
  std::atomic<bool> conditional_complete = false;  // Has refused a completion for it.
  std::atomic<bool> wants_md5 = false;             // Has refused content without it.
};

/// What HEAD says of an object.
struct S3Head {
  ObjectInfo info;
  std::string writer_mark;
  std::string version_id;    // Empty if the bucket is not versioned.
  std::string locked_until;  // As the store writes it; empty if it is not locked, or may not be known.
  bool has_tags = false;
};
/// No value if the object is absent, which a missing bucket is not.
Result<std::optional<S3Head>> s3_head(S3Client& client, const ObjectKey& key, std::string_view verb);

/// "verb object 'key' in repo1 at s3://...".
std::string s3_what(const S3Client& client, std::string_view verb, const ObjectKey& key);
/// With the prefix: what stands in URLs.
std::string s3_key(const S3Client& client, const ObjectKey& key);

/// `client` and `conditions` must outlive it.
std::unique_ptr<PartUpload> make_s3_upload(S3Client& client, S3Conditions& conditions, ObjectKey key);

}  // namespace pgark
