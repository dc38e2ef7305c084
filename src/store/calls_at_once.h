// Calls to a store side by side, where each of them takes its time.
#pragma once

#include <cstddef>
#include <functional>

#include "store/object_store.h"

namespace pgark {

/// Calls of one caller that are worth having under way at once on a store behind a network.
inline constexpr unsigned kCallsAtOnce = 8;

/// Whether a store answers so late, as all behind a network do, that its calls are worth hiding behind each other.
bool is_far(const ObjectStore& store);

/// How many objects a listing that is read to its end is best asked for at once: a store of directories reads them
/// again for every page, while a far one gives a thousand at a time, and what fails is asked for again by the page.
size_t list_page(const ObjectStore& store);

/// Do `call(i)` for each i below `count`: in order on a store that is near, up to kCallsAtOnce at once on one that is
/// far.
/// Errors: the first that came; calls not begun by then are left out.
Result<> for_each_call(const ObjectStore& store, size_t count, const std::function<Result<>(size_t)>& call);

}  // namespace pgark
