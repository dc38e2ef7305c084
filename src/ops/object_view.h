// What an object of the repository holds, in a form that people and scripts can use.
#pragma once

#include <functional>

#include "core/bytes.h"
#include "core/cancel.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Decode an object and hand its content to `write`, piece by piece.
/// Shape:  a WAL file as PostgreSQL gave it; a record as its JSON document; a manifest as one JSON document with the
///         members "backup", "packs" and "files"; a pack as one with "extents"; pgark.json as it is.
/// Errors: kCorrupt naming object and frame; kNotFound; kCancelled; those of `write`.
Result<> write_decoded_object(const Repository& repository, const ObjectKey& key, const CancelToken& cancel,
                              const std::function<Result<>(Bytes)>& write);

}  // namespace pgark
