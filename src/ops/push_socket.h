// The place where archive-push and its background worker meet: "<spool-path>/archive/<stanza>/push.sock".
//
// One request a connection, in lines of text; the first word says what is meant, so that later versions can add words:
//   push <absolute path>            push this file, answer when it is durable in every repository
//   push-as <settings id> <path>    the same, if the worker has these settings; else it hangs up and ends
// The answer ends with the connection:
//   ok                              durable in every repository
//   ok dropped                      given up under archive-push-queue-max, and not stored
//   error <exit code>               and then the message, to the end
// A connection that ends without an answer says nothing: ask again.
#pragma once

#include <optional>
#include <string>

#include "core/file.h"
#include "core/result.h"

namespace pgark {

/// "<spool_path>/archive/<stanza>".
std::string push_directory(const std::string& spool_path, const std::string& stanza);

/// A failure in the directory, with what it is for and what to do about it.
Error about_spool(Error error, const std::string& directory);

/// Create the directory if need be (0750) and check that this user can work in it.
/// Errors: naming spool-path and the next step.
Result<> make_push_directory(const std::string& directory);

/// Connect to the worker's socket; no value if nobody listens there.
/// Errors: kPermission and others, naming spool-path.
Result<std::optional<File>> connect_push_socket(const std::string& directory);

/// Listen on the worker's socket (0600), in place of one that a dead worker left. Only the holder of the worker's lock
/// may do so. Errors: naming spool-path.
Result<File> listen_push_socket(const std::string& directory);

/// Take the socket's name away: whoever comes next starts another worker.
void remove_push_socket(const std::string& directory);

}  // namespace pgark
