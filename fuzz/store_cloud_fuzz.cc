// Feeds arbitrary bytes to what reads the answers of Azure Blob Storage and Google Cloud Storage.
#include "core/check.h"
#include "store/azure_list.h"
#include "store/cloud_errors.h"
#include "store/gcs_client.h"
#include "store/gcs_upload.h"
#include "store/http_range.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  // An entry takes more bytes than it counts for: no document makes us hold more than a few times what was sent.
  if (const auto page = parse_azure_page(bytes); page.has_value()) CHECK(page->entries.size() * 10 <= size);
  if (const auto page = parse_gcs_page(bytes); page.has_value()) CHECK(page->objects.size() * 10 <= size);
  static_cast<void>(parse_gcs_object(bytes));
  HttpResponse answer;
  answer.status = 206;
  answer.headers = {{"range", std::string(as_text(bytes))}, {"content-range", std::string(as_text(bytes))}};
  answer.into_bytes = size;
  if (const auto persisted = parse_gcs_persisted(answer); persisted.has_value()) CHECK(*persisted == 0 || size > 8);
  if (const auto count = check_range_answer(answer, 10, size); count.has_value()) CHECK(*count <= size);
  answer.status = 404;
  answer.body.append(bytes);
  CHECK(read_xml_failure(answer).message.size() <= 300);
  CHECK(read_json_failure(answer).message.size() <= 300);
  return 0;
}
