// Feeds arbitrary text to what cuts SQL into tokens and statements and renames roles in it.
#include <algorithm>

#include "core/check.h"
#include "pg/sql_text.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  CHECK(pg::identifier_name(pg::quote_identifier(text)) == text);
  const auto tokens = pg::split_sql_tokens(text);
  if (!tokens.has_value()) {
    CHECK(tokens.error().code() == Errc::kInvalid);
    CHECK(!pg::split_sql_statements(text).has_value() && !pg::named_roles(text).has_value());
    return 0;
  }
  std::string together;
  for (const pg::SqlToken& token : *tokens) together += token.text;
  CHECK(together == text);
  CHECK(pg::split_sql_statements(text).has_value());
  const auto literal = pg::split_sql_tokens(pg::quote_literal(text));
  CHECK(literal.has_value() && literal->size() == 1);

  // Whatever role the text names is gone after it was renamed, and the others stay.
  const auto roles = pg::named_roles(text);
  CHECK(roles.has_value());
  if (roles->empty() || std::find(roles->begin(), roles->end(), "renamed role") != roles->end()) return 0;
  const auto mapped = pg::map_roles(text, {{roles->front(), "renamed role"}});
  CHECK(mapped.has_value());
  auto expected = *roles;
  expected.front() = "renamed role";
  CHECK(pg::named_roles(*mapped) == expected);
  return 0;
}
