// `pgark repo-ls`: names of the repository as a directory listing.
#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace pgark {
namespace {

struct Entry {
  std::string name;  // Relative to the path that is listed.
  bool is_path = false;
  ObjectInfo info;
};

/// POSIX extended regular expression.
class Filter {
 public:
  static Result<Filter> compile(const std::string& pattern) {
    Filter filter;
    if (pattern.empty()) return filter;
    auto compiled = std::make_unique<regex_t>();
    const int failure = ::regcomp(compiled.get(), pattern.c_str(), REG_EXTENDED | REG_NOSUB);
    if (failure != 0) {
      std::string reason(256, '\0');
      reason.resize(::regerror(failure, compiled.get(), reason.data(), reason.size()) - 1);
      return Error(Errc::kInvalid, fmt::format("--filter: '{}' is no regular expression: {}", pattern, reason));
    }
    filter.compiled_.reset(compiled.release());
    return filter;
  }
  bool matches(const std::string& name) const {
    return compiled_ == nullptr || ::regexec(compiled_.get(), name.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  struct Free {
    void operator()(regex_t* compiled) const {
      ::regfree(compiled);
      delete compiled;
    }
  };
  std::unique_ptr<regex_t, Free> compiled_;
};

/// What lies under `prefix`; without `recurse` one entry for each first component.
Result<std::vector<Entry>> list_entries(CommandContext& context, ObjectStore& store, const std::string& prefix,
                                        bool recurse) {
  std::vector<Entry> entries;
  ListRequest request{.prefix = prefix};
  for (;;) {
    TRY(context.cancel.check());
    TRY_ASSIGN(const ListPage page, store.list(request));
    bool jumped = false;
    for (const ObjectInfo& object : page.objects) {
      const std::string name = object.key.value.substr(prefix.size());
      const size_t slash = recurse ? std::string::npos : name.find('/');
      request.after = object.key.value;
      if (slash == std::string::npos) {
        entries.push_back({name, false, object});
        continue;
      }
      entries.push_back({name.substr(0, slash), true, {}});
      // Keys are ASCII below 0x7f: go on behind everything of this path.
      request.after = prefix + name.substr(0, slash + 1) + '\x7f';
      jumped = true;
      break;
    }
    if (!jumped && !page.more) return entries;
  }
}

nlohmann::json entry_json(const Entry& entry) {
  if (entry.is_path) return {{"type", "path"}};
  return {{"type", "file"},
          {"size", entry.info.bytes},
          {"time", std::chrono::duration_cast<std::chrono::seconds>(entry.info.modified.time_since_epoch()).count()}};
}

Result<> print_entries(CommandContext& context, const std::vector<Entry>& entries) {
  if (context.json()) {
    nlohmann::ordered_json document = nlohmann::ordered_json::object();
    for (const Entry& entry : entries) document[entry.name] = entry_json(entry);
    return context.out.print(document.dump(2) + "\n");
  }
  std::string text;
  for (const Entry& entry : entries) text += entry.name + (entry.is_path ? "/\n" : "\n");
  return context.out.print(text);
}

}  // namespace

Result<int> cmd_repo_ls(CommandContext& context) {
  const Settings& settings = context.settings;
  std::string path = settings.arguments().empty() ? "" : settings.arguments().front();
  path.erase(0, path.find_first_not_of('/'));
  path.erase(path.find_last_not_of('/') + 1);
  TRY_ASSIGN(const Filter filter, Filter::compile(settings.text("filter")));
  TRY_ASSIGN(const auto store, context.open_store(static_cast<unsigned>(settings.integer("repo")), false));
  const std::string prefix = path.empty() ? "" : path + "/";
  TRY_ASSIGN(std::vector<Entry> entries, list_entries(context, *store, prefix, settings.boolean("recurse")));
  if (entries.empty() && !path.empty()) {
    // The name of an object lists itself.
    TRY_ASSIGN(const ObjectKey key, make_object_key(path));
    TRY_ASSIGN(const std::optional<ObjectInfo> info, store->stat(key));
    if (info) entries.push_back({path, false, *info});
  }
  std::erase_if(entries, [&](const Entry& entry) { return !filter.matches(entry.name); });
  std::ranges::sort(entries, {}, &Entry::name);
  if (settings.text("sort") == "desc") std::ranges::reverse(entries);
  TRY(print_entries(context, entries));
  return kExitOk;
}

}  // namespace pgark
