// What every store behind HTTP is told: where it is, how it is reached, and how large the parts of an upload are.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "store/backoff.h"

namespace pgark {

struct CloudSettings {
  std::string label = "repo1";  // For messages.
  std::string prefix{};         // Before every key: "" or "a/b/", never with a leading slash.
  std::string storage_host{};   // Connect here instead of the endpoint (repo-storage-host); may be empty.
  uint16_t storage_port = 0;    // 0: of the endpoint's scheme.
  bool verify_tls = true;
  std::string ca_file{};
  std::string ca_path{};
  std::vector<std::pair<std::string, std::string>> tags{};  // Put on every object.
  uint64_t chunk_bytes = 8u << 20;          // Of one part of an upload; an object no larger is sent in one request.
  uint64_t upload_memory_max = 128u << 20;  // Parts held by all writers of the store.
  unsigned connections_max = 32;
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{60'000};
  std::chrono::milliseconds total_timeout{0};  // Of one request; 0: none.
  RetryPolicy retry{};  // Of parts and completions, which the retrying store above cannot repeat.
  const CancelToken* cancel = nullptr;
  Clock* clock = &system_clock();
};

}  // namespace pgark
