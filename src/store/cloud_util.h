// What the stores behind HTTP share besides errors: endpoints, prefixes, times, and the mark of a writer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/result.h"
#include "net/http_client.h"
#include "store/cloud_settings.h"

namespace pgark {

struct CloudEndpoint {
  bool tls = true;
  std::string host;   // An IPv6 address stands in brackets.
  uint16_t port = 0;  // 0: the scheme's own.

  /// "host" or "host:port": of URLs and the Host header.
  std::string authority() const;
  /// "https://host:port", without a slash behind.
  std::string origin() const { return (tls ? "https://" : "http://") + authority(); }
};

/// Read "host", "host:port", "http://host:port" or "https://host:port", a slash behind it allowed; https if no scheme
/// is given. A port that is the scheme's own is dropped.
/// Errors: kInvalid, naming `option`.
Result<CloudEndpoint> parse_cloud_endpoint(std::string_view text, std::string_view option);

/// Errors: kInvalid unless it is "" or "a/b/" of at most 512 bytes, with no component empty, "." or "..", and without
/// control characters.
Result<> check_cloud_prefix(const std::string& prefix);

/// Options of the client that talks to the store.
HttpOptions http_options(const CloudSettings& settings);

/// If an answer refuses for now (429, 503) and asks to be left alone for a time (Retry-After), wait that long, at most
/// retry.asked_delay_max. The retrying store adds its own delay, which keeps apart those who were told the same.
/// Errors: kCancelled.
Result<> wait_as_asked(const HttpResponse& answer, const CloudSettings& settings, std::string_view what);

/// Read "Sun, 22 Nov 2026 22:10:00 GMT". Source: RFC 9110, section 5.6.7 (the form every server sends).
std::optional<Timestamp> parse_http_date(std::string_view text);
/// Read "2026-11-22T22:10:00Z", with or without a fraction of a second.
std::optional<Timestamp> parse_utc_time(std::string_view text);
/// "20261122T221000Z".
std::string format_basic_time(Timestamp time);

/// 32 random hexadecimal digits. An object carries its writer's as metadata, so that after a lost answer the writer can
/// tell its own object from another's.
std::string new_writer_mark();
/// Name of that metadata: "x-amz-meta-pgark-writer" and the like.
inline constexpr std::string_view kWriterMarkName = "pgark-writer";

}  // namespace pgark
