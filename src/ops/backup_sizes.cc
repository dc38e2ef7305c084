#include "ops/backup_sizes.h"

#include <algorithm>
#include <charconv>

#include "repo/manifest.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

constexpr uint32_t kNobody = UINT32_MAX;
constexpr uint32_t kSeveral = UINT32_MAX - 1;

struct Pack {
  uint32_t number = 0;
  uint32_t owner = kNobody;  // Index of the only backup that names it.
  uint64_t bytes = 0;
};

bool before(const Pack& a, const Pack& b) { return a.number < b.number; }

/// Packs by label of the backup that wrote them, by number.
using Packs = std::map<std::string, std::vector<Pack>, std::less<>>;

Result<Packs> list_packs(const Repository& repository, const std::string& stanza) {
  const std::string prefix = stanza + "/pack/";
  Packs packs;
  for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(repository.store())};;) {
    TRY_ASSIGN_CTX(const ListPage page, repository.store().list(request), "list packs of stanza " + stanza);
    for (const ObjectInfo& object : page.objects) {
      request.after = object.key.value;
      const std::string_view name = std::string_view(object.key.value).substr(prefix.size());
      const size_t slash = name.find('/');
      if (slash == std::string_view::npos) continue;
      Pack pack{.number = 0, .owner = kNobody, .bytes = object.bytes};
      const std::string_view digits = name.substr(slash + 1);
      const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), pack.number);
      if (status != std::errc{} || end != digits.data() + digits.size()) continue;
      auto found = packs.find(name.substr(0, slash));
      if (found == packs.end()) found = packs.emplace(std::string(name.substr(0, slash)), std::vector<Pack>{}).first;
      found->second.push_back(pack);
    }
    if (!page.more || page.objects.empty()) break;
  }
  // Past six digits names do not sort as numbers.
  for (auto& [label, numbers] : packs) std::sort(numbers.begin(), numbers.end(), before);
  return packs;
}

Pack* find_pack(Packs& packs, const PackName& name) {
  const auto numbers = packs.find(name.label);
  if (numbers == packs.end()) return nullptr;
  const auto found = std::lower_bound(numbers->second.begin(), numbers->second.end(),
                                      Pack{.number = name.number, .owner = kNobody, .bytes = 0}, before);
  return found != numbers->second.end() && found->number == name.number ? &*found : nullptr;
}

/// The pack table of a manifest, each pack once; none if it cannot be read, or is gone.
Result<std::vector<PackName>> read_table(const Repository& repository, const std::string& stanza,
                                         const std::string& label, const PackTables& known) {
  std::vector<PackName> names;
  if (auto table = known.get(label)) {
    names = std::move(*table);
  } else {
    TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository, stanza, label));
    TRY_ASSIGN(names, manifest.packs());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

bool leaves_out(const Error& error) {
  return error.code() == Errc::kCorrupt || error.code() == Errc::kNotFound || error.code() == Errc::kUnsupported;
}

}  // namespace

Result<std::map<std::string, BackupSizes>> backup_sizes(const Repository& repository, const std::string& stanza,
                                                        const std::vector<std::string>& labels,
                                                        const PackTables& known) {
  TRY_ASSIGN(Packs packs, list_packs(repository, stanza));
  std::map<std::string, BackupSizes> sizes;
  std::vector<BackupSizes*> by_index(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto names = read_table(repository, stanza, labels[i], known);
    if (!names && !leaves_out(names.error())) return Error(names.error());
    if (!names) continue;
    BackupSizes& one = sizes[labels[i]];
    by_index[i] = &one;
    for (const PackName& name : *names) {
      Pack* pack = find_pack(packs, name);
      if (pack == nullptr) continue;
      one.repository_bytes += pack->bytes;
      pack->owner = pack->owner == kNobody ? static_cast<uint32_t>(i) : kSeveral;
    }
  }
  for (const auto& [label, numbers] : packs) {
    for (const Pack& pack : numbers)
      if (pack.owner < by_index.size() && by_index[pack.owner] != nullptr)
        by_index[pack.owner]->unique_bytes += pack.bytes;
  }
  return sizes;
}

}  // namespace pgark
