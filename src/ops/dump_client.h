// Running PostgreSQL's dump programs: what they say on standard error, and what their failures mean.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/subprocess.h"
#include "core/thread_annotations.h"
#include "ops/dump.h"

namespace pgark {

/// What a pg_dump or pg_dumpall says, sorted as it comes. Safe from several threads.
class DumpMessages {
 public:
  /// Called with "schema.table" (as the program names it) when the data of a table begin, and when they have ended.
  using OnTable = std::function<void(const std::string& table, bool ended)>;
  explicit DumpMessages(OnTable on_table = {}) : on_table_(std::move(on_table)) {}

  void add(std::string_view line);
  /// What it warned of: each a line, with its hint.
  std::vector<std::string> warnings() const;
  /// Its error, and what it said with it, in one line; empty if it told none.
  std::string error() const;

 private:
  enum class Last : uint8_t { kOther, kWarning, kError };

  const OnTable on_table_;
  mutable Mutex mu_;
  Last last_ GUARDED_BY(mu_) = Last::kOther;
  std::vector<std::string> warnings_ GUARDED_BY(mu_);
  std::vector<std::string> errors_ GUARDED_BY(mu_);
};

/// A program of `client` that finds its way to `database` of the server: no password prompt, messages in English.
SubprocessOptions dump_program(const DumpRequest& request, const PgClientSet& client, std::string_view program,
                               const std::string& database, DumpMessages& messages);

/// The error of a program that failed: its own words, a code, and hints for those that are known.
Error dump_program_error(std::string_view program, const PgClientSet& client, const SubprocessExit& exit,
                         const DumpMessages& messages);

/// Pure: what is known of an error text.
Error explain_dump_error(std::string_view program, std::string_view text);

}  // namespace pgark
