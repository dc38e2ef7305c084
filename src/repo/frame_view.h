// Decoding frames without moving what is stored as it is.
#pragma once

#include "repo/container.h"

namespace pgark {

/// As decode_frame(), but content that is not coded stays where it is.
/// Shape: the result is `raw`, filled, or a part of `stored`; then `raw` is untouched.
Result<Bytes> view_frame(const Repository& repository, const ObjectKey& key, const FrameRef& ref, Bytes stored,
                         Decompressor& decompressor, MutableBytes raw);

}  // namespace pgark
