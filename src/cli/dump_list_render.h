// What dump-ls and info tell of dumps, as text and JSON. The JSON is a contract: docs/reference/json.md.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/clock.h"
#include "ops/dump_expire.h"
#include "ops/dump_listing.h"

namespace pgark {

/// A dump of a listing.
nlohmann::ordered_json listed_dump_json(const DumpListing& listing, const ListedDump& dump, Timestamp now);
/// A table of all; empty if there is none.
std::string dump_table_text(const DumpListing& listing, Timestamp now);
/// Lines of one, indented as `info` does.
std::string listed_dump_text(const DumpListing& listing, const ListedDump& dump, Timestamp now);

/// Everything of one dump; `listing` has it.
nlohmann::ordered_json dump_detail_json(const DumpListing& listing, const Dump& dump, Timestamp now);
std::string dump_detail_text(const DumpListing& listing, const Dump& dump, Timestamp now);

/// What dump-expire did in a repository.
nlohmann::ordered_json dump_expire_json(const DumpExpireReport& report);
std::string dump_expire_text(const DumpExpireReport& report, std::chrono::milliseconds grace, bool dry_run);

}  // namespace pgark
