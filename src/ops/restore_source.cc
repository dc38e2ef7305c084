#include "ops/restore_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/log.h"
#include "ops/restore_target.h"

namespace pgark {
namespace {

bool is_of_object(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kNotFound; }

/// The part of a label that tells when the backup was made.
std::string_view time_of_label(std::string_view label) {
  const size_t joint = label.rfind('_');
  return joint == label.npos ? label : label.substr(joint + 1);
}

}  // namespace

Error join_source_errors(std::vector<std::pair<std::string, Error>> errors) {
  if (errors.size() == 1) return std::move(errors.front().second);
  const auto passing =
      std::find_if(errors.begin(), errors.end(), [](const auto& e) { return !is_of_object(e.second); });
  const Errc code = passing != errors.end() ? passing->second.code() : errors.front().second.code();
  // "repo1, repo2: what both said; repo3: what that said".
  std::vector<std::pair<std::string, std::string>> said;
  std::vector<std::string> hints;
  for (const auto& [name, error] : errors) {
    const auto before = std::find_if(said.begin(), said.end(),
                                     [&, &text = error.message()](const auto& each) { return each.second == text; });
    if (before != said.end())
      before->first += ", " + name;
    else
      said.emplace_back(name, error.message());
    for (const std::string& hint : error.hints())
      if (std::find(hints.begin(), hints.end(), hint) == hints.end()) hints.push_back(hint);
  }
  std::string text;
  for (const auto& [names, message] : said) text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", names, message);
  Error joined(code, std::move(text));
  for (std::string& hint : hints) joined = std::move(joined).with_hint(std::move(hint));
  return joined;
}

struct SourceChooser::Candidate {
  ChosenSource chosen;
  bool hides_newer = false;  // A backup newer than the planned one cannot be read.

  bool is_perfect() const { return !chosen.plan.clamped && !hides_newer; }
  /// Whether another repository, further behind, is worth going on to.
  bool is_better_than(const Candidate& other) const {
    const RecoveryPlan& mine = chosen.plan;
    const RecoveryPlan& theirs = other.chosen.plan;
    if (mine.clamped != theirs.clamped) return theirs.clamped;
    if (mine.clamped && mine.timeline == theirs.timeline && mine.end != theirs.end) return theirs.end < mine.end;
    return !hides_newer && other.hides_newer;
  }
};

Result<SourceChooser::Candidate> SourceChooser::plan_on(size_t index) const {
  Candidate candidate;
  candidate.chosen.index = index;
  TRY_ASSIGN(candidate.chosen.repository, sources_[index].open());
  std::vector<std::string> unreadable;
  TRY_ASSIGN(candidate.chosen.plan,
             plan_restore_target(*candidate.chosen.repository, stanza_, request_, clock_, &unreadable));
  const std::string& label = candidate.chosen.plan.backup.label;
  // One that was asked for by name is meant, whatever else there is.
  candidate.hides_newer = !request_.set && std::any_of(unreadable.begin(), unreadable.end(), [&](const auto& other) {
    return time_of_label(other) > time_of_label(label);
  });
  return candidate;
}

Result<ChosenSource> SourceChooser::choose() {
  std::optional<Candidate> best;
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (errors_[i]) continue;
    auto candidate = plan_on(i);
    if (!candidate) {
      if (candidate.error().code() == Errc::kCancelled) return std::move(candidate).error();
      exclude(i, std::move(candidate).error());
      continue;
    }
    if (!best || candidate->is_better_than(*best)) best = std::move(*candidate);
    if (best->is_perfect()) break;
  }
  if (best) {
    if (sources_.size() > 1) log_info("restore from {}", sources_[best->chosen.index].name);
    return std::move(best->chosen);
  }
  std::vector<std::pair<std::string, Error>> errors;
  for (size_t i = 0; i < sources_.size(); ++i)
    if (errors_[i]) errors.emplace_back(sources_[i].name, *errors_[i]);
  return join_source_errors(std::move(errors));
}

void SourceChooser::exclude(size_t index, Error error) {
  if (sources_.size() > 1) log_warn("{} is passed over: {}", sources_[index].name, error.message());
  errors_[index] = std::move(error);
}

}  // namespace pgark
