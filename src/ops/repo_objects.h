// Objects that people put into a repository and remove from it by hand, beside those that pgark keeps there.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/cancel.h"
#include "core/result.h"
#include "store/object_store.h"

namespace pgark {

/// Whether `path` (of an object, or what objects lie below) is, or would be taken for, part of what pgark keeps: the
/// identity and keys of the repository, anything of a stanza, and names as those of a stanza.
Result<bool> belongs_to_pgark(ObjectStore& store, std::string_view path);

/// Read up to `into.size()` bytes; 0 at the end.
using ReadSome = std::function<Result<size_t>(MutableBytes into)>;

/// Store what `read` gives as one object.
/// Errors: kAlreadyExists if the name is taken; kCancelled; of `read` and of the store. Nothing is left after an error.
Result<ObjectInfo> put_object(ObjectStore& store, const ObjectKey& key, const ReadSome& read,
                              const CancelToken& cancel);

struct RemovedObjects {
  uint64_t count = 0;
  uint64_t bytes = 0;
};

/// Remove one object.
/// Errors: kNotFound; kInvalid if objects lie below the name and none is called so; of the store.
Result<RemovedObjects> remove_object(ObjectStore& store, const ObjectKey& key);

/// Remove the object and everything below it.
/// Errors: kNotFound if there is nothing; kCancelled; of the store: what was removed before stays removed.
Result<RemovedObjects> remove_objects_below(ObjectStore& store, const ObjectKey& path, const CancelToken& cancel);

}  // namespace pgark
