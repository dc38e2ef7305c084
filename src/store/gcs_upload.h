// Writing one object to Google Cloud Storage: in one request, or through a resumable upload.
#pragma once

#include <memory>

#include "store/gcs_client.h"
#include "store/part_upload.h"

namespace pgark {

std::unique_ptr<PartUpload> make_gcs_upload(std::shared_ptr<GcsClient> client, const CloudSettings& cloud,
                                            ObjectKey key);

/// First byte that the service does not have yet, from the header Range of an answer 308: "bytes=0-99" gives 100, none
/// at all 0. Errors: kCorrupt.
Result<uint64_t> parse_gcs_persisted(const HttpResponse& answer);

}  // namespace pgark
