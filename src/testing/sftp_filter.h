// OpenSSH's sftp-server without SSH, behind a filter that loses connections and answers where a test says so.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_annotations.h"
#include "store/sftp_options.h"
#include "store/sftp_wire.h"

namespace pgark::testing {

enum class SftpFault : unsigned char {
  kLoseBefore,  // The connection ends; the request never reaches the server.
  kLoseAfter,   // The server has done it; the connection ends before the answer.
  kRefuse,      // The server is not asked; the answer is `code`.
  kShorten,     // A read of at most 1000 bytes is asked for.
};

struct SftpFaultRule {
  SftpType type = SftpType::kInit;  // kInit: any request.
  std::string extension = {};       // Of kExtended: which.
  uint64_t nth = 1;                 // Of the requests that match, from 1, over all connections; 0: every one.
  SftpFault fault = SftpFault::kLoseBefore;
  SftpCode code = SftpCode::kFailure;
};

/// Connections to servers of their own, all of them with the rights of this process. Must outlive the stores.
class SftpFilter {
 public:
  explicit SftpFilter(std::vector<SftpFaultRule> rules = {}) : rules_(std::move(rules)) {}

  /// Whether this machine has the server.
  static bool available();
  /// A store in `directory` through this filter.
  SftpOptions options(const std::string& directory);
  /// Faults that happened.
  uint64_t fired() const { return fired_; }
  /// Forget all rules.
  void heal();

 private:
  class Transport;

  /// The rule that strikes this request, if any.
  std::vector<SftpFaultRule> strike(std::string_view packet);

  Mutex mu_;
  std::vector<SftpFaultRule> rules_ GUARDED_BY(mu_);
  std::vector<uint64_t> matched_ GUARDED_BY(mu_);
  std::atomic<uint64_t> fired_ = 0;
};

}  // namespace pgark::testing
