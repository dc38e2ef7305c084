// Reading a piece of an object over HTTP: the range asked for, and whether the answer is that range.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/result.h"
#include "net/http_client.h"

namespace pgark {

/// "bytes=10-19" for ten bytes from offset 10; `wanted` > 0. A range that runs past the largest offset ends there.
std::string http_range(uint64_t offset, size_t wanted);

/// No store has objects that reach this offset, and some refuse to read it as a number.
inline constexpr uint64_t kHttpOffsetMax = uint64_t{1} << 62;

/// How many bytes a successful answer to a request for `wanted` bytes from `offset` put into HttpRequest::into.
/// Errors: kCorrupt if it holds other bytes than were asked for; kTransient if it ends before the object does.
Result<size_t> check_range_answer(const HttpResponse& answer, uint64_t offset, size_t wanted);

/// Asks once for `into.size()` bytes from `offset`, with HttpRequest::broken_off set; the count read.
using AskRange = std::function<Result<size_t>(uint64_t offset, MutableBytes into, HttpResponse& broken_off)>;

/// Read a range, and where a transfer breaks off go on behind what has come: objects never change. The caller's retries
/// are for what makes no progress.
Result<size_t> read_resumed(uint64_t offset, MutableBytes into, const AskRange& ask);

}  // namespace pgark
