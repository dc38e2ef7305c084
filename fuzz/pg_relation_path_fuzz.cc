// Feeds arbitrary paths to the classifier of relation files and to the exclusion table, which must agree.
#include <fmt/format.h>

#include "core/check.h"
#include "pg/exclusions.h"
#include "pg/relation_path.h"

using namespace pgark;

namespace {

/// The name as PostgreSQL builds it; a temporary's backend number is not kept.
std::string build_name(const pg::RelationFileName& name) {
  std::string text = std::to_string(name.relfilenode);
  if (name.fork != pg::Fork::kMain) text += "_" + std::string(pg::to_string(name.fork));
  if (name.segment > 0) text += "." + std::to_string(name.segment);
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view path(reinterpret_cast<const char*>(data), size);
  if (const auto name = pg::parse_relation_file_name(path); name && !name->is_temporary)
    CHECK(build_name(*name) == path);
  if (const auto relation = pg::parse_relation_path(path)) {
    CHECK(path.ends_with(build_name(relation->name)));
    CHECK(pg::is_relation_directory(path.substr(0, path.rfind('/'))));
    for (const pg::PgVersionFacts& facts : pg::pg_versions()) {
      const auto inclusion = pg::classify_path({.major = facts.major}, path, false);
      const bool dropped = relation->name.is_temporary && relation->database_oid != 0;
      CHECK((inclusion == pg::Inclusion::kExclude) == dropped);
    }
  }
  for (const bool is_directory : {false, true}) {
    const auto inclusion = pg::classify_path({.major = {17}, .log_directory = "base/log"}, path, is_directory);
    CHECK(is_directory || inclusion != pg::Inclusion::kDirectoryOnly);
  }
  return 0;
}
