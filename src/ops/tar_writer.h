// A tar archive as pg_dump writes one, member by member: so that a dump of the directory format can go through a pipe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// Writes POSIX ustar headers, with sizes of 8 GiB and more in base 256: GNU tar, bsdtar and pg_restore read them. By
/// hand, because pg_restore knows no other extensions, and a library would choose some.
class TarWriter {
 public:
  using Sink = std::function<Result<>(Bytes)>;
  /// `time` is what all members get as their time of change.
  TarWriter(Sink sink, Timestamp time) : sink_(std::move(sink)), time_(time) {}

  /// Begin a member of exactly `bytes` bytes, a regular file of mode 0600.
  /// Errors: kInvalid if the name is empty, longer than 99 bytes, or leads out of the directory; of the sink.
  Result<> begin(std::string_view name, uint64_t bytes);
  Result<> append(Bytes data);
  /// Errors: kCorrupt if the member is shorter or longer than was said.
  Result<> end();
  /// Write the end of the archive.
  Result<> finish();

 private:
  Sink sink_;
  Timestamp time_;
  std::string name_;
  uint64_t left_ = 0;
  uint64_t bytes_ = 0;
};

/// Whether a name is that of a file in a directory, and of nothing outside.
bool is_plain_file_name(std::string_view name);

}  // namespace pgark
