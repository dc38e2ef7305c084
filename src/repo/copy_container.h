// Carrying a container over to another repository: its frames are checked, opened and sealed anew, not coded anew.
#pragma once

#include "repo/container.h"

namespace pgark {

/// Copy the container `key` under the same name, with the same frames; extents of a pack keep their offsets.
/// Errors: kNotFound, kCorrupt, kPermission of the source; kAlreadyExists and the others of writing; kUnsupported for a
///         pack from before there were sealed repositories that goes into one.
Result<ObjectInfo> copy_container(const Repository& from, const Repository& to, const ObjectKey& key,
                                  ContainerKind kind);

}  // namespace pgark
