// Notes beside manifests: what is said of a backup or a dump after it was made, as write-once objects "<name>.<n>" of
// which the newest counts (I1).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Where notes lie: "<stanza>/backup/<label>/hold.<n>" has prefix "<stanza>/backup/" and name "hold".
struct NotePlace {
  std::string prefix;
  std::string_view name;

  ObjectKey key(const std::string& label, unsigned number) const;
};

/// Objects below `prefix` but the packs, whose names begin with a digit. A dump of many packs costs a page or two.
Result<std::vector<ObjectInfo>> list_beside_packs(ObjectStore& store, const std::string& prefix);

/// The number of the newest note of each label that has one; of `label` alone, unless it is empty.
Result<std::map<std::string, unsigned>> newest_notes(const Repository& repository, const NotePlace& place,
                                                     const std::string& label = "");

/// Write one that counts from now on. Of two writers at the same moment the later number wins, as the later command
/// should. Errors: of the store; kTransient if others keep doing so.
Result<> write_note(const Repository& repository, const NotePlace& place, const std::string& label,
                    const std::string& document);

}  // namespace pgark
