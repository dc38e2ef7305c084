#include "catalog/label.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "store/calls_at_once.h"

namespace pgark {
namespace {

std::optional<int> parse_digits(std::string_view text) {
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

std::string format_label_stamp(Timestamp time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time) - day);
  return fmt::format("{:04}{:02}{:02}-{:02}{:02}{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

std::optional<Timestamp> parse_label_stamp(std::string_view text) {
  if (text.size() != kLabelStampBytes || text[8] != '-') return std::nullopt;
  const auto year = parse_digits(text.substr(0, 4));
  const auto month = parse_digits(text.substr(4, 2));
  const auto day = parse_digits(text.substr(6, 2));
  const auto hour = parse_digits(text.substr(9, 2));
  const auto minute = parse_digits(text.substr(11, 2));
  const auto second = parse_digits(text.substr(13, 2));
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  return Timestamp(std::chrono::sys_days(date)) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

Result<> append_components(ObjectStore& store, const std::string& prefix, std::vector<std::string>& components) {
  // A store of directories reads that of `prefix` again for each page, so that pages grow where they bring much that is
  // new. A far one asks for a thousand whatever is wanted.
  constexpr size_t kNearMin = 32, kNearMax = 16384, kGrowth = 8;
  const bool far = is_far(store);
  ListRequest request{prefix, "", far ? size_t{1000} : kNearMin};
  std::string component;
  for (;;) {
    const size_t known = components.size();
    TRY_ASSIGN(const ListPage page, store.list(request));
    for (const ObjectInfo& object : page.objects) {
      const std::string& key = object.key.value;
      std::string next = key.substr(prefix.size(), key.find('/', prefix.size()) - prefix.size());
      if (next == component) continue;
      component = std::move(next);
      components.push_back(component);
    }
    if (page.objects.empty() || !page.more) return {};
    // '~' sorts after every byte a key may hold.
    request.after = prefix + component + "/~";
    if (far) continue;
    const bool much = components.size() - known >= kGrowth;
    request.limit = much ? std::min(request.limit * kGrowth, kNearMax) : std::max(request.limit / kGrowth, kNearMin);
  }
}

std::optional<unsigned> parse_generation(std::string_view digits) {
  unsigned number = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (status != std::errc{} || end != digits.data() + digits.size() || number == 0) return std::nullopt;
  return number;
}

}  // namespace pgark
