// What a long operation has done so far, for whoever shows it.
#pragma once

#include <atomic>
#include <cstdint>

namespace pgark {

/// Written by workers, read by a display; every field on its own, no order between them.
struct Progress {
  std::atomic<uint64_t> bytes_total = 0;  // 0: not known yet.
  std::atomic<uint64_t> bytes_done = 0;
  std::atomic<uint64_t> files_total = 0;
  std::atomic<uint64_t> files_done = 0;
  std::atomic<const char*> phase = "";  // A literal: "copy files", "wait for WAL".
};

}  // namespace pgark
