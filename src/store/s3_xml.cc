#include "store/s3_xml.h"

#include <fmt/format.h>

#include <charconv>
#include <pugixml.hpp>

#include "store/cloud_util.h"

namespace pgark {
namespace {

constexpr std::string_view kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";

Result<pugi::xml_node> load(pugi::xml_document& document, Bytes body, const char* root) {
  // Keys may begin or end with a space.
  const auto parsed =
      document.load_buffer(body.data(), body.size(), pugi::parse_default | pugi::parse_ws_pcdata_single);
  const pugi::xml_node node = document.child(root);
  if (!parsed || !node)
    return Error(Errc::kCorrupt, fmt::format("the answer is no {}: {}", root, one_line(as_text(body), 100)));
  return node;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Undo encoding-type=url, which is that of forms: a space may be '+'.
std::string url_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (escape) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string key_of(const pugi::xml_node& node, const char* name, bool encoded) {
  const char* text = node.child_value(name);
  return encoded ? url_decoded(text) : std::string(text);
}

bool is_url_encoded(const pugi::xml_node& root) { return std::string_view(root.child_value("EncodingType")) == "url"; }

bool is_true(const pugi::xml_node& node, const char* name) {
  return std::string_view(node.child_value(name)) == "true";
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

Result<S3Listing> parse_s3_listing(Bytes body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, load(document, body, "ListBucketResult"));
  const bool encoded = is_url_encoded(root);
  S3Listing listing;
  listing.truncated = is_true(root, "IsTruncated");
  listing.next_token = root.child_value("NextContinuationToken");
  for (const pugi::xml_node node : root.children("Contents")) {
    S3ListedObject object;
    object.key = key_of(node, "Key", encoded);
    const std::string_view size = node.child_value("Size");
    const auto [end, status] = std::from_chars(size.data(), size.data() + size.size(), object.bytes);
    if (object.key.empty() || status != std::errc{} || end != size.data() + size.size())
      return Error(Errc::kCorrupt,
                   fmt::format("the listing has an entry '{}' of size '{}'", one_line(object.key), one_line(size, 30)));
    object.modified = parse_utc_time(node.child_value("LastModified")).value_or(Timestamp{});
    listing.objects.push_back(std::move(object));
  }
  return listing;
}

Result<S3Uploads> parse_s3_uploads(Bytes body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, load(document, body, "ListMultipartUploadsResult"));
  const bool encoded = is_url_encoded(root);
  S3Uploads found;
  found.truncated = is_true(root, "IsTruncated");
  found.next_key = key_of(root, "NextKeyMarker", encoded);
  found.next_id = root.child_value("NextUploadIdMarker");
  for (const pugi::xml_node node : root.children("Upload")) {
    // Without a time its age is not known, and it is let be.
    const auto begun = parse_utc_time(node.child_value("Initiated"));
    if (begun) found.uploads.push_back({key_of(node, "Key", encoded), node.child_value("UploadId"), *begun});
  }
  return found;
}

Result<std::string> parse_s3_upload_id(Bytes body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, load(document, body, "InitiateMultipartUploadResult"));
  std::string id = root.child_value("UploadId");
  if (id.empty()) return Error(Errc::kCorrupt, "the answer names no upload");
  return id;
}

std::string s3_complete_document(const std::vector<std::string>& etags) {
  std::string text = fmt::format("<CompleteMultipartUpload xmlns=\"{}\">", kNamespace);
  for (size_t i = 0; i < etags.size(); ++i)
    text += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, escaped(etags[i]));
  return text + "</CompleteMultipartUpload>";
}

bool s3_completed(const HttpResponse& response, CloudFailure& failure) {
  pugi::xml_document document;
  if (document.load_buffer(response.body.data(), response.body.size())) {
    if (document.child("CompleteMultipartUploadResult")) return true;
    if (document.child("Error")) {
      failure = read_xml_failure(response);
      failure.status = 500;
      return false;
    }
  }
  failure = {.status = 500, .code = "", .message = "the answer ends before it says whether it was done"};
  return false;
}

std::string s3_retention_document(std::string_view mode, std::string_view until) {
  return fmt::format("<Retention xmlns=\"{}\"><Mode>{}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
                     kNamespace, mode, until);
}

std::string s3_tagging_document(const std::vector<std::pair<std::string, std::string>>& tags) {
  std::string text = fmt::format("<Tagging xmlns=\"{}\"><TagSet>", kNamespace);
  for (const auto& [name, value] : tags)
    text += fmt::format("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escaped(name), escaped(value));
  return text + "</TagSet></Tagging>";
}

std::string s3_delete_document(const std::vector<std::string>& keys) {
  std::string text = fmt::format("<Delete xmlns=\"{}\"><Quiet>true</Quiet>", kNamespace);
  for (const std::string& key : keys) text += fmt::format("<Object><Key>{}</Key></Object>", escaped(key));
  return text + "</Delete>";
}

Result<std::vector<S3NotDeleted>> parse_s3_not_deleted(Bytes body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, load(document, body, "DeleteResult"));
  std::vector<S3NotDeleted> failed;
  for (const pugi::xml_node node : root.children("Error")) {
    S3NotDeleted one;
    one.key = node.child_value("Key");
    one.failure.status = 500;
    one.failure.code = one_line(node.child_value("Code"));
    one.failure.message = one_line(node.child_value("Message"));
    failed.push_back(std::move(one));
  }
  return failed;
}

std::string s3_region_in_error(Bytes body) {
  pugi::xml_document document;
  if (body.empty() || !document.load_buffer(body.data(), body.size())) return {};
  return document.child("Error").child_value("Region");
}

}  // namespace pgark
