// The table of versions. A new major version is one row here, a layout in control.cc and samples in testdata.
#include "pg/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace pgark::pg {
namespace {

constexpr uint32_t kControl10[] = {1002};
constexpr uint32_t kControl11[] = {1100};
constexpr uint32_t kControl12[] = {1201};
constexpr uint32_t kControl13[] = {1300};  // To 16.
constexpr uint32_t kControl17[] = {1700};
constexpr uint32_t kControl18[] = {1800};
constexpr uint32_t kControl19[] = {1905, 1903, 1902};  // Release candidate, betas.

constexpr uint16_t kMagic10[] = {0xd097};
constexpr uint16_t kMagic11[] = {0xd098};
constexpr uint16_t kMagic12[] = {0xd101};
constexpr uint16_t kMagic13[] = {0xd106};
constexpr uint16_t kMagic14[] = {0xd10d};
constexpr uint16_t kMagic15[] = {0xd110};
constexpr uint16_t kMagic16[] = {0xd113};
constexpr uint16_t kMagic17[] = {0xd116};
constexpr uint16_t kMagic18[] = {0xd118};
constexpr uint16_t kMagic19[] = {0xd122, 0xd121, 0xd120};

constexpr PgVersionFacts facts(uint32_t major, std::span<const uint32_t> control_versions, uint32_t catalog_version,
                               std::span<const uint16_t> wal_magics) {
  return {.major = {major},
          .control_versions = control_versions,
          .catalog_version = catalog_version,
          .wal_magics = wal_magics,
          .backup_functions_renamed = major >= 15,
          .recovery_conf = major < 12,
          .wal_summaries = major >= 17,
          .backup_manifest = major >= 13,
          .stats_temp_directory = major < 15,
          .tablespace_map_escapes_backslash = major >= 14,
          .checksums_by_default = major >= 18,
          .twophase_name_digits = major >= 17 ? 16u : 8u};
}

constexpr std::array kVersions = {
    facts(10, kControl10, 201707211, kMagic10), facts(11, kControl11, 201809051, kMagic11),
    facts(12, kControl12, 201909212, kMagic12), facts(13, kControl13, 202007201, kMagic13),
    facts(14, kControl13, 202107181, kMagic14), facts(15, kControl13, 202209061, kMagic15),
    facts(16, kControl13, 202307071, kMagic16), facts(17, kControl17, 202406281, kMagic17),
    facts(18, kControl18, 202506291, kMagic18), facts(19, kControl19, 0, kMagic19),
};
static_assert(kVersions.front().major == kPgMajorMin && kVersions.back().major == kPgMajorMax);

Error unsupported(std::string_view version) {
  return Error(Errc::kUnsupported, fmt::format("PostgreSQL {} is not supported, only {} to {} are", version,
                                               kPgMajorMin.value, kPgMajorMax.value));
}

}  // namespace

std::string to_string(PgMajor major) { return std::to_string(major.value); }

std::span<const PgVersionFacts> pg_versions() { return kVersions; }

Result<const PgVersionFacts*> pg_version_facts(PgMajor major) {
  if (major < kPgMajorMin || major > kPgMajorMax) return unsupported(to_string(major));
  return &kVersions[major.value - kPgMajorMin.value];
}

const PgVersionFacts* pg_version_of_wal_magic(uint16_t magic) {
  const auto found = std::ranges::find_if(
      kVersions, [magic](const PgVersionFacts& f) { return std::ranges::count(f.wal_magics, magic) > 0; });
  return found == kVersions.end() ? nullptr : &*found;
}

Result<PgMajor> parse_pg_version(std::string_view content) {
  std::string_view text = content;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  uint32_t major = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), major);
  const std::string_view rest = text.substr(static_cast<size_t>(end - text.data()));
  // Before 10 the major version had two numbers: "9.6".
  const bool two_numbers = rest.size() > 1 && rest.front() == '.' &&
                           rest.substr(1).find_first_not_of("0123456789") == std::string_view::npos;
  if (error != std::errc{} || (!rest.empty() && !two_numbers))
    return Error(Errc::kCorrupt, fmt::format("PG_VERSION holds '{}', which is no version", text.substr(0, 40)));
  if (two_numbers || major < kPgMajorMin.value || major > kPgMajorMax.value) return unsupported(text.substr(0, 40));
  return PgMajor{major};
}

Result<PgMajor> major_of_version_num(uint32_t server_version_num) {
  const PgMajor major{server_version_num / 10000};
  if (major.value < 10) return unsupported(fmt::format("{}.{}", major.value, server_version_num / 100 % 100));
  TRY(pg_version_facts(major));
  return major;
}

}  // namespace pgark::pg
