// What is known to differ between a database and its copy in a newer version, each with the reason.
#include <fmt/format.h>

#include "testing/logical_facts.h"

namespace pgark::testing {
namespace {

using What = ExpectedDifference::What;

/// A rule for copies from a version below `since` into that one or a later one.
struct Rule {
  int since;
  ExpectedDifference difference;
};

// A pattern for members of a JSON object, with the comma before or after.
std::string json_members(const std::string& names) {
  return fmt::format(R"re(("({0})": [^,}}]+, )|(, "({0})": [^,}}]+))re", names);
}

ExpectedDifference rewritten(std::string kind, std::string identity, std::string pattern, std::string replacement,
                             std::string reason) {
  return {What::kRewritten,   std::move(kind),        std::move(identity),
          std::move(pattern), std::move(replacement), std::move(reason)};
}

std::vector<Rule> rules() {
  return {
      {11, rewritten("publication", ".*", json_members("pubtruncate"), "", "11 publishes TRUNCATE")},
      {11, rewritten("aggregate", ".*", json_members("aggfinalmodify|aggmfinalmodify"), "",
                     "11 tells what aggregates change")},
      {12, rewritten("column", ".*", "; name; collation=pg_catalog\\.\"C\"", "; name",
                     "12 gives the type name a collation")},
      {12, rewritten("statistics", ".*", "; kinds=.*", "", "12 adds most common values where all kinds are wanted")},
      {12, rewritten("trigger", ".*", " EXECUTE (PROCEDURE|FUNCTION) ", " EXECUTE ", "12 says EXECUTE FUNCTION")},
      {13, rewritten("publication", ".*", json_members("pubviaroot"), "", "13 publishes partitions as their table")},
      {14, rewritten("type", ".*", " multirange=.*", "", "14 makes a multirange of each range")},
      {14, rewritten("function", "procedure .*", "\\bIN ", "", "14 writes IN for parameters of procedures")},
      {15,
       rewritten("schema", "public", "/(postgres|pg_database_owner)\\b", "/owner", "15 has another owner of public")},
      {15, rewritten("schema", "public", "owner=\\w+; acl==\\w*/owner \\w+=UC/owner", "as initdb made it",
                     "15 has other privileges of public")},
      {15, {What::kOnlyInTarget, "trigger of a partition", ".*", "", "", "15 tells triggers of partitions apart"}},
      {16, rewritten("global membership", ".*", json_members("inherit_option|set_option"), "",
                     "16 has more options of memberships")},
      {16, rewritten("view", ".*", "\\b\\w+\\.", "", "16 writes columns of a single table without its name")},
      {17, rewritten("relation", ".*", "xtm?([*]?)/", "xt$1/", "17 has the privilege to maintain tables")},
      {17, rewritten("privileges on system objects", ".*", "xtm?([*]?)/", "xt$1/", "17 has the privilege to maintain")},
      {17,
       {What::kOnlyInTarget, "constraint", ".*", "^type=n; NOT NULL$", "",
        "17 makes a constraint of NOT NULL in a domain"}},
      {18, rewritten("publication", ".*", json_members("pubgencols"), "", "18 publishes generated columns")},
      {18, {What::kOnlyInTarget, "constraint", ".*", "^type=n; NOT NULL", "", "18 makes a constraint of NOT NULL"}},
  };
}

}  // namespace

std::vector<ExpectedDifference> expected_differences(int source_major, int target_major) {
  std::vector<ExpectedDifference> expected;
  for (auto& rule : rules()) {
    if (source_major < rule.since && rule.since <= target_major) expected.push_back(std::move(rule.difference));
  }
  if (source_major == target_major) return expected;
  expected.push_back(
      rewritten("extension version", ".*", ".*", "", "a server makes an extension in the version it has"));
  expected.push_back(rewritten("subscription", ".*",
                               json_members("suborigin|subpasswordrequired|subrunasowner|subfailover|substream|"
                                            "subbinary|subtwophasestate|subdisableonerr"),
                               "", "later versions have more options of subscriptions"));
  return expected;
}

}  // namespace pgark::testing
