// What labels of backups and of dumps have in common: the time in them, and finding them in a repository.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "store/object_store.h"

namespace pgark {

inline constexpr size_t kLabelStampBytes = 15;

/// "20261122-101500", in UTC.
std::string format_label_stamp(Timestamp time);
/// The reverse; none if it is no time written so.
std::optional<Timestamp> parse_label_stamp(std::string_view text);

/// First components of the keys below `prefix`, at most one listing call each, however many objects a component has.
/// A far store gives a whole page as soon as a single name.
Result<> append_components(ObjectStore& store, const std::string& prefix, std::vector<std::string>& components);

/// The number at the end of a name such as "hold.3", where names count from 1; none if it is no such number.
std::optional<unsigned> parse_generation(std::string_view digits);

}  // namespace pgark
