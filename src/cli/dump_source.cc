#include "cli/dump_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/log.h"

namespace pgark {
namespace {

struct Holder {
  std::string name;
  const Repository* repository = nullptr;
  std::vector<std::string> labels;
};

}  // namespace

Result<std::unique_ptr<DumpSource>> DumpSource::open(const CommandContext& context, const std::string& reads_data) {
  std::unique_ptr<DumpSource> source(new DumpSource(context, reads_data));
  TRY(source->choose(context));
  return source;
}

Result<> DumpSource::choose(const CommandContext& context) {
  const std::string& stanza = context.settings.stanza();
  const std::string set = context.settings.text("set");
  if (set != "latest") TRY(parse_dump_label(set));
  std::vector<Holder> holders;
  std::optional<Error> failed;
  const auto fail = [&](const std::string& name, Error error) {
    log_warn("{} is passed over: {}", name, error.message());
    if (!failed) failed = std::move(error);
  };
  for (const RepositorySource& one : repositories_.sources()) {
    auto repository = one.open();
    if (!repository) {
      fail(one.name, std::move(repository).error());
      continue;
    }
    auto labels = list_dump_labels(**repository, stanza);
    if (!labels) {
      fail(one.name, std::move(labels).error());
      continue;
    }
    holders.push_back({one.name, *repository, std::move(*labels)});
  }
  if (holders.empty() && failed) return std::move(*failed);
  std::string label = set;
  if (set == "latest") {
    label.clear();
    for (const Holder& holder : holders)
      if (!holder.labels.empty()) label = std::max(label, holder.labels.back());
  }
  std::erase_if(holders, [&](const Holder& holder) {
    return std::find(holder.labels.begin(), holder.labels.end(), label) == holder.labels.end();
  });
  if (holders.empty() && failed) return std::move(*failed);
  if (holders.empty())
    return Error(Errc::kNotFound, label.empty() ? fmt::format("stanza {} has no dump", stanza)
                                                : fmt::format("dump {} of stanza {} does not exist", label, stanza))
        .with_hint(fmt::format("run 'pgark --stanza={} dump-ls' to see the dumps there are", stanza));
  std::optional<Error> unread;
  for (const Holder& holder : holders) {
    holders_.push_back(holder.repository);
    if (!repository_.empty()) continue;
    auto dump = read_dump(*holder.repository, stanza, label);
    if (dump) {
      dump_ = std::move(*dump);
      repository_ = holder.name;
    } else {
      log_warn("{} is passed over: {}", holder.name, dump.error().message());
      if (!unread) unread = std::move(dump).error();
    }
  }
  if (repository_.empty()) return std::move(*unread);
  reader_ = std::make_unique<DumpReader>(holders_, stanza, label);
  return {};
}

}  // namespace pgark
