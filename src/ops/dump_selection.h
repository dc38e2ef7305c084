// Which tables pg_dump would take, by its options: near enough for warnings and estimates. What a dump really has says
// pg_dump's own table of contents.
#pragma once

#include <map>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/dump.h"

namespace pgark {

/// A pattern as psql and pg_dump read it: "public.*", "tenant_?", "\"Odd.Name\"", "a|b".
class DumpPattern {
 public:
  explicit DumpPattern(std::string_view text);
  /// Of a name alone: the whole pattern counts, dots outside of quotes included.
  bool matches_name(std::string_view name) const;
  /// Of a relation; without a schema in the pattern only in schemas of `path`.
  bool matches(std::string_view schema, std::string_view name, const std::vector<std::string>& path) const;

 private:
  /// A literal, or an expression where the pattern has signs of one. One that cannot be read matches everything.
  struct Part {
    std::string literal;
    std::optional<std::regex> expression;
    bool any = false;
    bool matches(std::string_view name) const;
  };
  static Part part(std::string_view text);

  Part last_;
  std::optional<Part> schema_;
};

class DumpSelection {
 public:
  /// `arguments`: "--schema=tenant_42", "--schema-only", also "-n" with its value as the next word. `path`: schemas in
  /// which names without one are looked for.
  DumpSelection(const std::vector<std::string>& arguments, std::vector<std::string> path,
                const std::vector<DumpTable>& tables);

  bool has(std::string_view option) const;           // "schema-only"
  std::string value(std::string_view option) const;  // The last given.
  bool includes(const DumpTable& table) const;       // Its definition, which needs its lock.
  bool includes_data(const DumpTable& table) const;
  bool whole() const;  // Nothing was chosen or left out by name.
  bool definitions() const { return definitions_; }
  bool data() const { return data_; }
  bool large_objects() const;

 private:
  using Patterns = std::vector<DumpPattern>;
  using QualifiedName = std::pair<std::string, std::string>;
  bool any_matches(const std::string& option, const DumpTable& table, bool with_parents) const;
  bool any_name(const std::string& option, std::string_view name) const;

  std::map<std::string, std::vector<std::string>> given_;
  std::map<std::string, Patterns> patterns_;
  std::vector<std::string> path_;
  std::map<QualifiedName, std::string> parents_;  // As they are in DumpTable.
  bool definitions_ = true;
  bool data_ = true;
};

}  // namespace pgark
