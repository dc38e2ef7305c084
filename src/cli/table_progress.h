// Which table a dump or load works on: in the progress bar, and in the log at detail level.
#pragma once

#include <deque>
#include <string>

#include "core/thread_annotations.h"
#include "ops/dump.h"

namespace pgark {

/// Words for what is done with a table.
struct TableWords {
  const char* verb = "dump";
  const char* doing = "dumping";
  const char* done = "dumped";
};

/// Follows `progress`, which must outlive it.
class TableProgress {
 public:
  TableProgress(DumpProgress& progress, const TableWords& words);
  ~TableProgress();
  TableProgress(const TableProgress&) = delete;
  TableProgress& operator=(const TableProgress&) = delete;

 private:
  void tell(const std::string& what, uint64_t bytes, bool ended);

  DumpProgress& progress_;
  const TableWords words_;
  Mutex mu_;
  std::deque<std::string> phases_ GUARDED_BY(mu_);
};

}  // namespace pgark
