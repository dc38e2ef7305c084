// SQL scripts of pg_dump and pg_restore on their way to psql: what an older server or psql does not know and does not
// need is taken out, and nothing else.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"
#include "pgwire/pg_client.h"

namespace pgark {

struct ScriptNeeds {
  /// "SET transaction_timeout = 0" of programs from 17 on: it is the default, and older servers refuse it.
  bool drop_transaction_timeout = false;
  /// "\restrict" and "\unrestrict", which programs before August 2025 do not know.
  bool drop_restrict = false;
};
ScriptNeeds script_needs(uint32_t server_version_num, const PgClientSet& client);

/// Passes a script on.
/// Shape:  looks at settings and comments at the head alone, never at what stands behind the first other line; of
///         \restrict also at the last line, which repeats its key.
class ScriptFilter {
 public:
  using Sink = std::function<Result<>(Bytes)>;
  ScriptFilter(ScriptNeeds needs, Sink sink) : needs_(needs), sink_(std::move(sink)) {}
  Result<> add(Bytes data);
  Result<> finish();

 private:
  Result<> pass_head();

  const ScriptNeeds needs_;
  const Sink sink_;
  bool in_head_ = true;
  std::string held_;  // The head while it is read; then the end, if the key is looked for there.
  std::string key_;
};

/// What a script drops, of one that drops first and then makes: all before the first object is made.
std::string drops_of_script(std::string_view script);

}  // namespace pgark
