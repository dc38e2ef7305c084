// libpq, loaded when a server is first talked to: it and the thirty libraries it needs are more than half of what a
// process takes to start, and archive-push and archive-get, which run for every segment, talk to no server.
#pragma once

#include <libpq-fe.h>

#include "core/result.h"

namespace pgark {

// clang-format off
#define PGARK_LIBPQ_FUNCTIONS(X) \
  X(PQcancel) X(PQclear) X(PQconndefaults) X(PQconninfoFree) X(PQconnectPoll) X(PQconnectStartParams) \
  X(PQconsumeInput) X(PQerrorMessage) X(PQfinish) X(PQflush) X(PQfreeCancel) X(PQgetCancel) X(PQgetResult) \
  X(PQgetisnull) X(PQgetlength) X(PQgetvalue) X(PQisBusy) X(PQnfields) X(PQntuples) X(PQresultErrorField) \
  X(PQresultErrorMessage) X(PQresultStatus) X(PQsendQueryParams) X(PQserverVersion) X(PQsetNoticeReceiver) X(PQsetnonblocking) \
  X(PQsocket) X(PQstatus)
// clang-format on

/// libpq's functions, by their own names and types.
struct LibPq {
#define PGARK_LIBPQ_MEMBER(name) decltype(&::name) name = nullptr;
  PGARK_LIBPQ_FUNCTIONS(PGARK_LIBPQ_MEMBER)
#undef PGARK_LIBPQ_MEMBER
};

/// Load the library, once in a process. To be called with success before pq().
/// Errors: kUnsupported if it is not installed or too old, with what the loader says.
Result<> load_libpq();

/// The functions of the loaded library.
const LibPq& pq();

}  // namespace pgark
