// The pass of expire over packs.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/log.h"
#include "ops/expire_parts.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

/// None if the key below "<stanza>/pack/" is not that of a pack.
std::optional<PackName> parse_pack_name(std::string_view below) {
  const size_t slash = below.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view digits = below.substr(slash + 1);
  PackName name{std::string(below.substr(0, slash)), 0};
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), name.number);
  if (status != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return name;
}

struct StoredPack {
  PackName name;
  ObjectInfo object;
};

/// Looks at packs backup by backup, and removes them together whoever wrote them.
class PackPass {
 public:
  PackPass(const ExpirePass& pass, const ExpirePackNeed& need) : pass_(pass), need_(need) {}

  /// The packs one backup wrote, all together: the age of an interrupted one is that of its newest pack.
  Result<> look_at(const std::vector<StoredPack>& packs) {
    if (packs.empty()) return {};
    const bool known = need_.labels.contains(packs.front().name.label);
    Timestamp newest = Timestamp::min();
    for (const StoredPack& pack : packs) newest = std::max(newest, pack.object.modified);
    for (const StoredPack& pack : packs) {
      if (need_.kept.has(pack.name)) continue;
      if (need_.waiting.has(pack.name) || !pass_.is_old(known ? pack.object.modified : newest)) {
        pass_.report.waiting_packs.add(pack.object.bytes);
        continue;
      }
      old_.push_back(pack.object);
      if (old_.size() >= kExpireBatch) TRY(remove());
    }
    return {};
  }

  /// Remove those that have gathered.
  Result<> remove() {
    TRY(pass_.remover.remove_many(old_, pass_.report.packs));
    old_.clear();
    return {};
  }

 private:
  const ExpirePass& pass_;
  const ExpirePackNeed& need_;
  std::vector<ObjectInfo> old_;
};

}  // namespace

Result<> expire_packs(const ExpirePass& pass, const ExpirePackNeed& need) {
  const std::string prefix = pass.stanza + "/pack/";
  PackPass packs_pass(pass, need);
  std::vector<StoredPack> packs;
  for (ListRequest request{.prefix = prefix, .after = "", .limit = list_page(pass.repository.store())};;) {
    TRY_ASSIGN_CTX(const ListPage page, pass.repository.store().list(request), "list packs of stanza " + pass.stanza);
    for (const ObjectInfo& object : page.objects) {
      request.after = object.key.value;
      auto name = parse_pack_name(std::string_view(object.key.value).substr(prefix.size()));
      if (!name) continue;
      if (!packs.empty() && packs.front().name.label != name->label) {
        TRY(packs_pass.look_at(packs));
        packs.clear();
      }
      packs.push_back({std::move(*name), object});
    }
    if (!page.more || page.objects.empty()) break;
  }
  TRY(packs_pass.look_at(packs));
  return packs_pass.remove();
}

}  // namespace pgark
