// The XML documents of the S3 API that a repository needs.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "store/cloud_errors.h"

namespace pgark {

struct S3ListedObject {
  std::string key;
  uint64_t bytes = 0;
  Timestamp modified{};
};
struct S3Listing {
  std::vector<S3ListedObject> objects;
  bool truncated = false;
  std::string next_token;
};
/// Read a ListBucketResult (ListObjectsV2). Errors: kCorrupt.
Result<S3Listing> parse_s3_listing(Bytes body);

struct S3ListedUpload {
  std::string key;
  std::string id;
  Timestamp begun{};
};
struct S3Uploads {
  std::vector<S3ListedUpload> uploads;
  bool truncated = false;
  std::string next_key;
  std::string next_id;
};
/// Read a ListMultipartUploadsResult. Errors: kCorrupt.
Result<S3Uploads> parse_s3_uploads(Bytes body);

/// Read the UploadId of an InitiateMultipartUploadResult. Errors: kCorrupt.
Result<std::string> parse_s3_upload_id(Bytes body);

/// A CompleteMultipartUpload; parts from 1, each with the ETag the store gave it.
std::string s3_complete_document(const std::vector<std::string>& etags);
/// The answer to it comes with status 200 before the store is done: what its body says went wrong, if something did.
/// A body that says neither is a failure with status 500, whose outcome is unknown.
bool s3_completed(const HttpResponse& response, CloudFailure& failure);

std::string s3_retention_document(std::string_view mode, std::string_view until);
std::string s3_tagging_document(const std::vector<std::pair<std::string, std::string>>& tags);

std::string s3_delete_document(const std::vector<std::string>& keys);
struct S3NotDeleted {
  std::string key;
  CloudFailure failure;
};
/// Read a DeleteResult. Errors: kCorrupt.
Result<std::vector<S3NotDeleted>> parse_s3_not_deleted(Bytes body);

/// The region an <Error> document names as the bucket's; empty if it names none.
std::string s3_region_in_error(Bytes body);

}  // namespace pgark
