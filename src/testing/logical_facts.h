// The oracle of dumps: what a database is made of and what is in it, read without pg_dump, and how two differ.
#pragma once

#include <regex>
#include <string>
#include <vector>

#include "core/result.h"

namespace pgark::testing {

/// One object of a database: of a kind ("column", "content of table"), by name, with its definition as text.
struct LogicalFact {
  std::string kind;
  std::string identity;
  std::string definition;
  auto operator<=>(const LogicalFact&) const = default;
  std::string to_string() const;  // One line.
};

struct LogicalFacts {
  int major = 0;                   // Of the server.
  std::vector<LogicalFact> facts;  // Sorted.
  /// One line a fact.
  std::string to_string() const;
  /// Keep only facts of these kinds, or with `drop` all others.
  LogicalFacts only(const std::vector<std::string>& kinds) const;
  LogicalFacts without(const std::vector<std::string>& kinds) const;
};

/// Read all of a database: every object of its catalogs (logical_catalog.sql), values of sequences, large objects, and
/// for each table, filled materialized view and view the number of rows and a hash that does not depend on their order.
/// Shape: read in one snapshot; changes nothing. The role must be a superuser.
Result<LogicalFacts> read_database_facts(const std::string& conninfo);

/// Kinds of which a database of the version could have facts, and these have none.
Result<std::vector<std::string>> kinds_without_facts(const LogicalFacts& facts);

/// Read what belongs to the cluster: roles with their passwords' verifiers, memberships, settings, tablespaces (without
/// their locations), privileges on parameters.
Result<LogicalFacts> read_global_facts(const std::string& conninfo);

/// A difference that is right between two versions.
struct ExpectedDifference {
  enum class What : unsigned char {
    kOnlyInSource,  // The fact is not on the other side.
    kOnlyInTarget,
    kRewritten,  // Definitions agree once `pattern` is replaced by `replacement` on both sides.
  };
  What what = What::kRewritten;
  std::string kind;
  std::string identity;  // A regular expression for the whole identity, written as one line.
  std::string pattern;   // kRewritten: in the definition; else for a part of the definition, empty for any.
  std::string replacement;
  std::string reason;
};

/// What is known to differ after a dump of version `source` was loaded into version `target` with pg_restore.
std::vector<ExpectedDifference> expected_differences(int source_major, int target_major);

struct LogicalComparison {
  std::vector<std::string> differences;
  std::vector<std::string> excused;  // "reason: fact", each expected difference that was seen.
  bool equal() const { return differences.empty(); }
  /// The first differences, one or two lines each.
  std::string to_string(size_t shown_max = 40) const;
};

LogicalComparison compare_facts(const LogicalFacts& source, const LogicalFacts& target,
                                const std::vector<ExpectedDifference>& expected = {});

}  // namespace pgark::testing
