// OAuth bearer tokens of Google and Azure: made from a service account's key or fetched from a metadata server, and
// fresh when a request is signed.
#pragma once

#include <memory>
#include <string>

#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// Safe from several threads.
class BearerTokenSource {
 public:
  virtual ~BearerTokenSource() = default;
  /// A token good for at least another minute; refreshed some minutes before it expires.
  /// Errors: kPermission if it is refused; kTransient if the service that makes it is not reached.
  virtual Result<std::string> get() = 0;
  /// The store did not accept it: the next get() asks anew.
  virtual void invalidate() = 0;
};

}  // namespace pgark
