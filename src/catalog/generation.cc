#include "catalog/generation.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/label.h"
#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

constexpr int kAttemptsMax = 100;

}  // namespace

ObjectKey NotePlace::key(const std::string& label, unsigned number) const {
  return {fmt::format("{}{}/{}.{}", prefix, label, name, number)};
}

Result<std::vector<ObjectInfo>> list_beside_packs(ObjectStore& store, const std::string& prefix) {
  std::vector<ObjectInfo> found;
  ListRequest request{.prefix = prefix, .after = "", .limit = list_page(store)};
  for (;;) {
    TRY_ASSIGN(ListPage page, store.list(request));
    const bool more = page.more && !page.objects.empty();
    if (more) request.after = page.objects.back().key.value;
    for (ObjectInfo& object : page.objects) {
      const std::string& key = object.key.value;
      const size_t slash = key.find('/', prefix.size());
      const bool is_pack =
          slash != key.npos && slash + 1 < key.size() && key[slash + 1] >= '0' && key[slash + 1] <= '9';
      // ':' sorts right behind the digits: the rest of the packs is skipped.
      if (is_pack && more && &object == &page.objects.back()) request.after = key.substr(0, slash) + "/:";
      if (!is_pack) found.push_back(std::move(object));
    }
    if (!more) return found;
  }
}

Result<std::map<std::string, unsigned>> newest_notes(const Repository& repository, const NotePlace& place,
                                                     const std::string& label) {
  const std::string middle = fmt::format("/{}.", place.name);
  TRY_ASSIGN(const auto objects, label.empty() ? list_beside_packs(repository.store(), place.prefix)
                                               : repository.store().list_all(place.prefix + label + middle));
  std::map<std::string, unsigned> newest;
  for (const ObjectInfo& object : objects) {
    const std::string_view name = std::string_view(object.key.value).substr(place.prefix.size());
    const size_t at = name.find(middle);
    if (at == name.npos) continue;
    const auto number = parse_generation(name.substr(at + middle.size()));
    if (!number) continue;
    unsigned& known = newest[std::string(name.substr(0, at))];
    known = std::max(known, *number);
  }
  return newest;
}

Result<> write_note(const Repository& repository, const NotePlace& place, const std::string& label,
                    const std::string& document) {
  TRY_ASSIGN(const auto numbers, newest_notes(repository, place, label));
  const auto known = numbers.find(label);
  const unsigned first = known == numbers.end() ? 1 : known->second + 1;
  for (unsigned number = first; number < first + kAttemptsMax; ++number) {
    auto written = write_record(repository, place.key(label, number), document);
    if (written) return {};
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error());
  }
  return Error(Errc::kTransient, "others keep doing so at the same time");
}

}  // namespace pgark
