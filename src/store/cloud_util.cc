#include "store/cloud_util.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <random>

#include "core/log.h"

namespace pgark {
namespace {

constexpr size_t kPrefixBytesMax = 512;

bool is_host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_host(std::string_view host) {
  if (host.starts_with('['))
    return host.size() > 2 && host.ends_with(']') &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
  return !host.empty() && std::all_of(host.begin(), host.end(), is_host_char);
}

/// Reads fixed-width numbers and literals off the front of a text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  int number(size_t digits) {
    int value = 0;
    const auto* begin = rest_.data();
    if (rest_.size() < digits || rest_[0] < '0' || rest_[0] > '9') return fail();
    const auto [end, status] = std::from_chars(begin, begin + digits, value);
    if (status != std::errc{} || end != begin + digits) return fail();
    rest_.remove_prefix(digits);
    return value;
  }
  void literal(std::string_view text) {
    if (rest_.starts_with(text)) {
      rest_.remove_prefix(text.size());
    } else {
      fail();
    }
  }
  void skip(size_t count) {
    if (rest_.size() < count) {
      fail();
    } else {
      rest_.remove_prefix(count);
    }
  }
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }

 private:
  int fail() {
    ok_ = false;
    return 0;
  }
  std::string_view rest_;
  bool ok_ = true;
};

std::optional<Timestamp> time_of(int year, int month, int day, int hour, int minute, int second) {
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return Timestamp(sys_days(date)) + hours(hour) + minutes(minute) + seconds(second);
}

}  // namespace

std::string CloudEndpoint::authority() const { return port == 0 ? host : fmt::format("{}:{}", host, port); }

Result<CloudEndpoint> parse_cloud_endpoint(std::string_view text, std::string_view option) {
  const auto invalid = [&] {
    return Error(Errc::kInvalid,
                 fmt::format("{}: '{}' is no host name with or without a port and scheme", option, text))
        .with_hint("write for example s3.eu-central-1.amazonaws.com, minio:9000 or http://127.0.0.1:9000");
  };
  CloudEndpoint endpoint;
  std::string_view rest = text;
  if (rest.starts_with("http://")) {
    endpoint.tls = false;
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.starts_with('[') ? rest.find(':', std::min(rest.find(']'), rest.size())) : rest.find(':');
  endpoint.host = rest.substr(0, colon);
  if (!is_host(endpoint.host)) return invalid();
  std::transform(endpoint.host.begin(), endpoint.host.end(), endpoint.host.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
  if (colon != std::string_view::npos) {
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (status != std::errc{} || end != digits.data() + digits.size() || endpoint.port == 0) return invalid();
    if (endpoint.port == (endpoint.tls ? 443 : 80)) endpoint.port = 0;
  }
  return endpoint;
}

Result<> check_cloud_prefix(const std::string& prefix) {
  if (prefix.empty()) return {};
  const auto invalid = [&](std::string_view rule) {
    return Error(Errc::kInvalid, fmt::format("repository path '/{}': {}", prefix, rule));
  };
  if (!prefix.ends_with('/')) return invalid("it does not end at a slash");
  if (prefix.size() > kPrefixBytesMax) return invalid("it is longer than 512 bytes");
  for (std::string_view rest = prefix; !rest.empty();) {
    const size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    if (component.empty()) return invalid("a component is empty");
    if (component == "." || component == "..") return invalid("a component is '.' or '..'");
    for (const char c : component)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return invalid("it has a control character");
    rest.remove_prefix(slash + 1);
  }
  return {};
}

HttpOptions http_options(const CloudSettings& settings) {
  return {.connections_max = settings.connections_max,
          .connect_timeout = settings.connect_timeout,
          .stall_timeout = settings.stall_timeout,
          .total_timeout = settings.total_timeout,
          .verify_tls = settings.verify_tls,
          .ca_file = settings.ca_file,
          .ca_path = settings.ca_path,
          .ca_option = settings.label + "-storage-ca-file",
          .connect_host = settings.storage_host,
          .connect_port = settings.storage_port,
          .cancel = settings.cancel};
}

Result<> wait_as_asked(const HttpResponse& answer, const CloudSettings& settings, std::string_view what) {
  if ((answer.status != 429 && answer.status != 503) || answer.retry_after.count() <= 0) return {};
  const auto wait = std::min<std::chrono::milliseconds>(answer.retry_after, settings.retry.asked_delay_max);
  log_detail("{}: HTTP {}, and the service asks for {} s before another attempt; wait {} ms", what, answer.status,
             answer.retry_after.count(), wait.count());
  return sleep_unless_cancelled(*settings.clock, wait, settings.cancel, what);
}

std::optional<Timestamp> parse_http_date(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  Scanner scanner(text);
  scanner.skip(3);
  scanner.literal(", ");
  const int day = scanner.number(2);
  scanner.literal(" ");
  const auto month = std::find(kMonths.begin(), kMonths.end(), scanner.rest().substr(0, 3));
  scanner.skip(3);
  scanner.literal(" ");
  const int year = scanner.number(4);
  scanner.literal(" ");
  const int hour = scanner.number(2);
  scanner.literal(":");
  const int minute = scanner.number(2);
  scanner.literal(":");
  const int second = scanner.number(2);
  scanner.literal(" GMT");
  if (!scanner.ok() || month == kMonths.end()) return std::nullopt;
  return time_of(year, static_cast<int>(month - kMonths.begin()) + 1, day, hour, minute, second);
}

std::optional<Timestamp> parse_utc_time(std::string_view text) {
  Scanner scanner(text);
  const int year = scanner.number(4);
  scanner.literal("-");
  const int month = scanner.number(2);
  scanner.literal("-");
  const int day = scanner.number(2);
  scanner.literal("T");
  const int hour = scanner.number(2);
  scanner.literal(":");
  const int minute = scanner.number(2);
  scanner.literal(":");
  const int second = scanner.number(2);
  if (!scanner.ok()) return std::nullopt;
  auto time = time_of(year, month, day, hour, minute, second);
  std::string_view rest = scanner.rest();
  if (time && rest.starts_with('.')) {
    rest.remove_prefix(1);
    for (auto unit = std::chrono::microseconds(100'000); !rest.empty() && rest[0] >= '0' && rest[0] <= '9';
         unit /= 10) {
      *time += unit * (rest[0] - '0');
      rest.remove_prefix(1);
    }
  }
  if (rest != "Z" && rest != "+00:00") return std::nullopt;
  return time;
}

std::string format_basic_time(Timestamp time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(floor<seconds>(time - day));
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

std::string new_writer_mark() {
  const std::array<uint64_t, 2> random{random_seed(), random_seed()};
  return to_hex(std::as_bytes(std::span(random)));
}

}  // namespace pgark
