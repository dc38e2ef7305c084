// run_dump_from_stdin: a dump made elsewhere, taken as it comes. What it is, is told by its first bytes; whether it is
// all there, by its last.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <set>

#include "core/log.h"
#include "ops/dump.h"
#include "ops/dump_assemble.h"
#include "ops/dump_run.h"
#include "ops/tar_rows.h"

namespace pgark {
namespace {

constexpr size_t kReadBytes = 256u << 10;
constexpr size_t kHeadBytes = 8192;  // Enough to tell what it is.
constexpr size_t kTailBytes = 8192;
constexpr std::string_view kPlainHead = "-- PostgreSQL database dump";
constexpr std::string_view kClusterHead = "-- PostgreSQL database cluster dump";

/// Read until `into` is full or the end. Errors: kCancelled; of the descriptor.
Result<size_t> read_fully(int fd, MutableBytes into, const CancelToken& cancel) {
  size_t done = 0;
  while (done < into.size()) {
    TRY(cancel.check());
    pollfd wanted{fd, POLLIN, 0};
    const int ready = ::poll(&wanted, 1, 50);
    if (ready < 0 && errno != EINTR) return errno_error(errno, "read standard input");
    if (ready <= 0) continue;
    const ssize_t count = ::read(fd, into.data() + done, into.size() - done);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return errno_error(errno, "read standard input");
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// Text behind `prefix` to the end of its line.
std::string line_after(std::string_view text, std::string_view prefix) {
  const size_t at = text.find(prefix);
  if (at == text.npos) return "";
  const std::string_view rest = text.substr(at + prefix.size());
  return std::string(rest.substr(0, rest.find('\n')));
}

unsigned leading_number(std::string_view text) {
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// server_version_num of "15.4 (Debian ...)"; 0 if it is none.
uint32_t version_num_of(std::string_view text) {
  const unsigned major = leading_number(text);
  const size_t dot = text.find('.');
  const unsigned minor = dot == text.npos ? 0 : leading_number(text.substr(dot + 1));
  return major < 10 ? 0 : major * 10000 + minor;
}

/// What came through standard input.
struct Given {
  DumpFormat format = DumpFormat::kPlain;
  std::string database;
  std::string server_version;
  std::string client;
  bool is_marked = false;  // pg_dump's SQL: its end is marked, too.
};

Result<Given> recognize(Bytes head) {
  if (head.empty())
    return Error(Errc::kInvalid, "standard input is empty")
        .with_hint("with 'pg_dump ... | pgark dump --stdin' it is when pg_dump fails: see what it says");
  const std::string_view text = as_text(head);
  Given given;
  if (pg::looks_like_archive(head)) {
    given.format = DumpFormat::kCustom;
    return given;
  }
  if (head.size() > 262 && text.substr(257, 5) == "ustar") {
    given.format = DumpFormat::kTar;
    return given;
  }
  for (const auto& [magic, name] : {std::pair<std::string_view, std::string_view>{"\x1f\x8b", "zcat"},
                                    {"\x28\xb5\x2f\xfd", "zstdcat"},
                                    {"\xfd"
                                     "7zXZ",
                                     "xzcat"},
                                    {"BZh", "bzcat"},
                                    {"\x04\x22\x4d\x18", "lz4cat"}})
    if (text.starts_with(magic))
      return Error(Errc::kInvalid, "standard input is compressed")
          .with_hint(
              fmt::format("decompress it on the way: {} FILE | pgark dump --stdin; pgark compresses itself", name));
  if (contains(text, std::string_view("\0", 1)))
    return Error(Errc::kInvalid, "standard input is no dump: neither an archive of pg_dump nor SQL");
  given.is_marked = contains(text, kPlainHead) || contains(text, kClusterHead);
  given.server_version = line_after(text, "-- Dumped from database version ");
  given.client = line_after(text, "-- Dumped by pg_dump version ");
  return given;
}

Result<> check_end(const Given& given, std::string_view tail, const pg::DumpRowCounter* counter, uint64_t bytes) {
  const auto cut = [&](std::string_view what) {
    return Error(Errc::kInvalid, fmt::format("standard input ended too early: {} after {} bytes", what, bytes))
        .with_hint("what made it failed on the way: 'set -o pipefail' shows its exit status");
  };
  switch (given.format) {
    case DumpFormat::kTar:
      // Two blocks of zeros end it.
      if (tail.size() < 1024 || tail.substr(tail.size() - 1024).find_first_not_of('\0') != tail.npos)
        return cut("the tar archive has no end");
      break;
    case DumpFormat::kPlain:
      if (given.is_marked && !contains(tail, "database dump complete") && !contains(tail, "cluster dump complete"))
        return cut("the script of pg_dump has no end");
      break;
    case DumpFormat::kCustom: {
      if (counter == nullptr || counter->toc() == nullptr) return cut("the archive has no whole table of contents");
      break;
    }
    case DumpFormat::kDirectory:
      break;
  }
  return {};
}

/// Take versions and tables from what passed by.
void take_counter(const pg::DumpRowCounter& counter, Given& given, DumpUnitResult& result) {
  const auto counts = counter.counts();
  const pg::DumpToc* toc = counter.toc();
  if (toc == nullptr) {
    result.tables = tables_of_counts(counts);
    return;
  }
  std::map<int32_t, uint64_t> rows;
  for (const auto& count : counts) rows[count.dump_id] = count.rows;
  result.tables = tables_of_toc(*toc, rows, {});
  given.database = toc->database;
  given.server_version = toc->server_version;
  given.client = toc->dump_version;
}

std::unique_ptr<pg::DumpRowCounter> counter_of(DumpFormat format) {
  switch (format) {
    case DumpFormat::kCustom:
      return pg::count_custom_rows();
    case DumpFormat::kTar:
      return count_tar_rows();
    case DumpFormat::kPlain:
    case DumpFormat::kDirectory:
      break;
  }
  return pg::count_plain_rows();
}

Result<DumpUnitResult> store_given(int fd, DumpPacks& packs, Given& given, const CancelToken& cancel,
                                   DumpProgress& progress) {
  Buffer buffer(kReadBytes);
  TRY_ASSIGN(size_t count, read_fully(fd, buffer.bytes(), cancel));
  TRY_ASSIGN(given, recognize(buffer.bytes().first(std::min(count, kHeadBytes))));
  const auto counter = counter_of(given.format);
  TRY_ASSIGN(DumpPacks::Writer writer, packs.begin("dump"));
  std::string tail;
  while (count > 0) {
    const Bytes data = buffer.bytes().first(count);
    TRY(writer.append(data));
    counter->add(data);
    progress.totals.bytes_done.fetch_add(count, std::memory_order_relaxed);
    tail.append(as_text(data.last(std::min(count, kTailBytes))));
    if (tail.size() > kTailBytes) tail.erase(0, tail.size() - kTailBytes);
    TRY_ASSIGN(count, read_fully(fd, buffer.bytes(), cancel));
  }
  TRY(check_end(given, tail, counter.get(), writer.bytes()));
  DumpUnitResult result;
  TRY_ASSIGN(DumpStream stream, std::move(writer).finish());
  take_counter(*counter, given, result);
  result.unit.streams.push_back(std::move(stream));
  return result;
}

}  // namespace

Result<DumpReport> run_dump_from_stdin(const DumpRequest& request, int fd, const RepositorySet& repositories,
                                       Clock& clock, const CancelToken& cancel, DumpProgress& progress) {
  progress.totals.phase = "take standard input";
  const Timestamp started = clock.now();
  TRY_ASSIGN(const std::string label, choose_dump_label(request, repositories, started));
  DumpPacks packs(repositories, {request.stanza, label, request.codec, request.level});
  const auto fail = [&](Error error) {
    packs.discard();
    return error;
  };
  Given given;
  auto stored = store_given(fd, packs, given, cancel, progress);
  if (!stored.has_value()) return fail(std::move(stored).error());
  if (auto done = packs.finish(); !done.has_value()) return fail(std::move(done).error());
  DumpUnit& unit = stored->unit;
  unit.kind = DumpUnit::Kind::kGiven;
  unit.name = request.name;
  unit.format = given.format;
  unit.client = given.client;
  unit.client_major = leading_number(given.client);
  DumpDatabase database;
  database.name = !request.databases.empty() ? request.databases.front() : given.database;
  if (database.name.empty()) database.name = request.name;
  unit.database = database.name;
  DumpAssembly assembly(request, label, started);
  assembly.meta().server = "standard input";
  assembly.meta().server_version = given.server_version;
  assembly.meta().pg_version_num = version_num_of(given.server_version);
  assembly.add_given(std::move(*stored), std::move(database));
  DumpReport report;
  report.dump = std::move(assembly).finish(packs, clock.now());
  TRY(publish_dump(request, repositories, report.dump, packs, progress));
  return report;
}

}  // namespace pgark
