// Keyrings as objects: "keyring.<n>" at the root of a repository, the highest of which counts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "repo/keyring.h"
#include "store/object_store.h"

namespace pgark {

/// What the names of keyrings begin with.
inline constexpr const char* kKeyringPrefix = "keyring.";

/// The newest keyring; none if there is none.
/// Errors: kCorrupt if it is damaged; those of the store.
Result<std::optional<Keyring>> find_keyring(ObjectStore& store);

/// Read the newest keyring of the repository `id`.
/// Errors: kCorrupt if there is none, or it is damaged or of another repository; those of the store.
Result<Keyring> read_keyring(ObjectStore& store, const RepositoryId& id);

/// Read it and open it: read_keyring(), Keyring::unlock(). Messages begin with "open repository <where>".
Result<RepositoryKeys> open_keyring(ObjectStore& store, const RepositoryId& id, const KeyConfig& config);

/// Make the keyring of a repository that has no pgark.json yet. It is the first object of a repository and decides its
/// id: of two makers one wins, and both go on with the keyring returned here, which is there already after a crash as
/// well. Errors: as Keyring::create(); those of the store.
Result<Keyring> create_keyring(ObjectStore& store, const RepositoryId& proposed_id, const KeyConfig& config);

/// Write the keyring that follows the newest, read it back, and remove the older ones.
/// Returns what should be known: an older keyring that could not be removed still opens the repository with its keys.
/// Errors: kAlreadyExists if another command has changed the keys in the meantime; those of the store.
Result<std::vector<std::string>> replace_keyring(ObjectStore& store, const Keyring& next);

}  // namespace pgark
