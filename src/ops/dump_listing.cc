#include "ops/dump_listing.h"

#include "ops/dump_expire.h"

namespace pgark {
namespace {

bool is_damage(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kUnsupported; }

template <typename Map>
const typename Map::mapped_type* find_in(const Map& map, const std::string& label) {
  const auto found = map.find(label);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

const DumpVerdict* DumpListing::verdict(const std::string& label) const { return find_in(verdicts, label); }

const Hold* DumpListing::hold(const std::string& label, Timestamp now) const {
  const Hold* found = find_in(holds, label);
  return found != nullptr && found->holds(now) ? found : nullptr;
}

const RetentionDecision* DumpListing::decision(const std::string& label) const { return find_in(retention, label); }

Result<DumpListing> read_dump_listing(const Repository& repository, const std::string& stanza,
                                      const std::optional<RetentionRules>& rules, std::optional<Timestamp> now) {
  DumpListing listing;
  TRY_ASSIGN(listing.dumps, list_dumps(repository, stanza));
  if (listing.dumps.empty()) return listing;
  auto verdicts = read_dump_verdicts(repository, stanza);
  if (!verdicts && !is_damage(verdicts.error())) return Error(std::move(verdicts).error());
  if (verdicts) {
    listing.verdicts = std::move(*verdicts);
  } else {
    listing.errors.push_back(std::move(verdicts).error());
  }
  auto holds = read_dump_holds(repository, stanza);
  if (!holds && !is_damage(holds.error())) return Error(std::move(holds).error());
  if (!holds) {
    listing.errors.push_back(std::move(holds).error());
    return listing;  // What cannot be read might hold: nothing is said of retention.
  }
  listing.holds = std::move(*holds);
  if (!rules || !now || !listing.errors.empty()) return listing;
  TRY_ASSIGN(auto decisions, decide_dump_retention(*rules, listing.dumps, listing.verdicts, listing.holds, *now));
  for (RetentionDecision& decision : decisions) listing.retention[decision.label] = std::move(decision);
  return listing;
}

}  // namespace pgark
