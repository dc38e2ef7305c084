// Notes of segments that were given up.
#include "ops/push_drops.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "catalog/wal_dropped.h"
#include "core/file.h"
#include "core/log.h"
#include "pg/wal.h"

namespace pgark {
namespace {

constexpr uint64_t kNotesBytesMax = 256u << 20;

std::string encode(const DroppedSegment& dropped) {
  const nlohmann::json line{{"segment", dropped.segment},
                            {"time_us", dropped.time.time_since_epoch().count()},
                            {"host", dropped.host},
                            {"queue_bytes", dropped.queue_bytes},
                            {"limit_bytes", dropped.limit_bytes},
                            {"waiting", dropped.waiting}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// No value for a line that a crash cut short: what it was to tell was never acknowledged.
std::optional<DroppedSegment> decode(const std::string& line) {
  const auto document = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("segment") || !document["segment"].is_string()) return std::nullopt;
  const auto number = [&](const char* name) -> uint64_t {
    return document.contains(name) && document[name].is_number_unsigned() ? document[name].get<uint64_t>() : 0;
  };
  DroppedSegment dropped;
  dropped.segment = document["segment"].get<std::string>();
  dropped.time = Timestamp(std::chrono::microseconds(static_cast<int64_t>(number("time_us"))));
  dropped.queue_bytes = number("queue_bytes");
  dropped.limit_bytes = number("limit_bytes");
  if (document.contains("host") && document["host"].is_string()) dropped.host = document["host"].get<std::string>();
  if (document.contains("waiting") && document["waiting"].is_array()) {
    for (const auto& name : document["waiting"])
      if (name.is_string()) dropped.waiting.push_back(name.get<std::string>());
  }
  return dropped;
}

std::vector<DroppedSegment> decode_all(const std::string& text) {
  std::vector<DroppedSegment> all;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (auto dropped = decode(text.substr(at, end - at))) all.push_back(std::move(*dropped));
    at = end + 1;
  }
  return all;
}

/// Keeps other processes and threads away while it lives.
Result<File> lock_notes(const std::string& directory) {
  TRY_ASSIGN(File file, File::open(directory + "/dropped.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0640));
  while (::flock(file.fd(), LOCK_EX) != 0) {
    if (errno != EINTR) return errno_error(errno, fmt::format("lock '{}'", file.path()));
  }
  return file;
}

Result<std::vector<DroppedSegment>> read_notes(const std::string& path) {
  auto text = read_file(path, kNotesBytesMax);
  if (!text && text.error().code() == Errc::kNotFound) return std::vector<DroppedSegment>{};
  if (!text) return Error(std::move(text).error()).with_context("read what archive-push-queue-max gave up");
  return decode_all(*text);
}

/// Neighbours on one timeline become one record.
std::vector<DroppedWal> runs_of(std::vector<DroppedSegment> dropped, uint32_t wal_segment_bytes) {
  std::sort(dropped.begin(), dropped.end(), [](const auto& a, const auto& b) { return a.segment < b.segment; });
  std::vector<DroppedWal> runs;
  std::optional<pg::WalSegment> expected;
  for (const DroppedSegment& one : dropped) {
    if (!runs.empty() && runs.back().last == one.segment) continue;
    const auto segment = pg::parse_segment_name(one.segment, wal_segment_bytes);
    if (segment && expected && *segment == *expected) {
      runs.back().last = one.segment;
    } else {
      runs.push_back({one.segment, one.segment, one.time, one.host, one.queue_bytes, one.limit_bytes});
    }
    expected.reset();
    if (segment) expected = segment->next();
  }
  return runs;
}

}  // namespace

Result<> DropNotes::add(const DroppedSegment& dropped) const {
  TRY_CTX(make_directories(directory_), "note that " + dropped.segment + " is given up");
  TRY_ASSIGN(const File lock, lock_notes(directory_));
  TRY_ASSIGN(File file, File::open(path(), O_RDWR | O_CREAT | O_NOFOLLOW, 0640));
  TRY_ASSIGN(const struct stat status, file.stat());
  const auto bytes = static_cast<uint64_t>(status.st_size);
  std::string text = encode(dropped);
  if (bytes > 0) {
    Buffer last(1);
    TRY_ASSIGN(const size_t got, file.pread(last.bytes(), bytes - 1));
    if (got == 1 && last.data()[0] != std::byte{'\n'}) text.insert(0, "\n");  // A line that a crash cut short.
  }
  TRY(file.pwrite(as_bytes(text), bytes));
  TRY(file.fsync());
  if (bytes == 0) TRY(fsync_directory(directory_));
  return file.close();
}

Result<std::vector<DroppedSegment>> DropNotes::waiting_for(const std::string& repository) const {
  TRY_ASSIGN(std::vector<DroppedSegment> all, read_notes(path()));
  std::erase_if(all, [&](const DroppedSegment& one) {
    return std::find(one.waiting.begin(), one.waiting.end(), repository) == one.waiting.end();
  });
  return all;
}

Result<> DropNotes::carry_over(const std::string& name, const Repository& repository, const std::string& stanza,
                               unsigned cluster_number, uint32_t wal_segment_bytes) const {
  TRY_ASSIGN(const std::vector<DroppedSegment> waiting, waiting_for(name));
  if (waiting.empty()) return {};
  for (const DroppedWal& run : runs_of(waiting, wal_segment_bytes)) {
    TRY(write_dropped_wal(repository, stanza, cluster_number, run, wal_segment_bytes));
    log_warn("WAL from {} to {} was given up and is not in {}: recovery cannot go past it; make a new backup",
             run.first, run.last, repository.store().describe());
  }
  std::set<std::string> carried;
  for (const DroppedSegment& one : waiting) carried.insert(one.segment);
  TRY_ASSIGN(const File lock, lock_notes(directory_));
  TRY_ASSIGN(const std::vector<DroppedSegment> all, read_notes(path()));
  std::string text;
  for (DroppedSegment one : all) {
    if (carried.contains(one.segment)) std::erase(one.waiting, name);
    if (!one.waiting.empty()) text += encode(one);
  }
  if (!text.empty()) return write_file_durable(path(), text);
  if (::unlink(path().c_str()) != 0 && errno != ENOENT) return errno_error(errno, fmt::format("remove '{}'", path()));
  return {};
}

}  // namespace pgark
