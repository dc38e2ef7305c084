#include "ops/archive_push.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "catalog/wal.h"
#include "codec/hash.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/cluster_files.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// How often the state of the repository may change under a push before it gives up; PostgreSQL tries again.
constexpr int kRoundsMax = 5;

struct SourceFile {
  std::string name;
  pg::WalFileName parsed;
  Buffer content;
};

Result<SourceFile> read_source(const std::string& path) {
  SourceFile source;
  source.name = path.substr(path.rfind('/') + 1);
  TRY_ASSIGN(source.parsed, pg::parse_wal_file_name(source.name));
  TRY_ASSIGN(const File file, File::open(path, O_RDONLY));
  TRY_ASSIGN(const struct stat status, file.stat());
  if (!S_ISREG(status.st_mode)) return Error(Errc::kInvalid, fmt::format("'{}' is no regular file", path));
  if (static_cast<uint64_t>(status.st_size) > pg::kWalSegmentBytesMax) {
    return Error(Errc::kCorrupt, fmt::format("'{}' has {} bytes, more than any WAL file", path, status.st_size));
  }
  source.content.resize(static_cast<size_t>(status.st_size));
  TRY_ASSIGN(const size_t got, file.pread(source.content.bytes(), 0));
  if (got != source.content.size()) {
    return Error(Errc::kTransient,
                 fmt::format("'{}' shrank from {} to {} bytes while it was read", path, source.content.size(), got));
  }
  return source;
}

/// Histories do not say which cluster they are of: ask the data directory they come from.
Result<> check_origin(const SourceFile& source, const ClusterRecord& cluster, const ArchivePushOptions& options,
                      Clock& clock) {
  const bool names_itself = std::holds_alternative<pg::WalSegmentName>(source.parsed) ||
                            std::holds_alternative<pg::WalPartialName>(source.parsed);
  if (names_itself || options.data_directory.empty()) return {};
  TRY_ASSIGN(const ClusterFiles files, read_cluster_files(options.data_directory, clock));
  return check_same_cluster(options.stanza, cluster, cluster_record(files, Timestamp{}));
}

Result<> check_source(const SourceFile& source, const ClusterRecord& cluster, const ArchivePushOptions& options,
                      Clock& clock) {
  TRY(check_origin(source, cluster, options, clock));
  auto checked = check_archive_file(source.parsed, source.content, cluster);
  if (checked) return {};
  Error error = std::move(checked).error();
  if (error.code() == Errc::kInvalid) {
    error = std::move(error).with_hint(
        fmt::format("stanza {} belongs to the PostgreSQL {} cluster with system identifier {}: check --stanza in "
                    "archive_command; a cluster created anew or upgraded needs a new stanza",
                    options.stanza, cluster.pg_major, cluster.system_identifier));
  } else {
    error = std::move(error).with_hint("the file in pg_wal is damaged: check the disk and the server's log");
  }
  return error;
}

std::string describe_source(const SourceFile& source, const ClusterRecord& cluster, const ArchivePushOptions& options,
                            Clock& clock) {
  nlohmann::json document{{"name", source.name},
                          {"system_identifier", std::to_string(cluster.system_identifier)},
                          {"pg_major", cluster.pg_major},
                          {"raw_bytes", source.content.size()},
                          {"raw_hash", fmt::format("{:016x}", content_hash(source.content))},
                          {"pushed_us", clock.now().time_since_epoch().count()},
                          {"host", options.host}};
  if (const auto* name = std::get_if<pg::WalSegmentName>(&source.parsed)) {
    const auto segment = pg::parse_segment_name(name->text(), cluster.wal_segment_bytes);
    const uint64_t valid = segment ? valid_wal_bytes(source.content, *segment) : 0;
    if (valid < source.content.size()) {
      // Not refused: a standby with archive_mode=always hands over the segment its upstream's timeline ended in.
      log_warn("segment {} holds WAL up to byte {} only: what follows is left over from before", source.name, valid);
      document["valid_bytes"] = valid;
    }
  }
  // Bytes that are not UTF-8 can only be in the host's name.
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class Pusher {
 public:
  Pusher(const Repository& repository, const ArchivePushOptions& options, const ClusterRecord& cluster,
         const SourceFile& source, std::string document)
      : repository_(repository),
        options_(options),
        cluster_(cluster),
        source_(source),
        document_(std::move(document)) {}

  /// Look what is there, then act; again while others or the store's uncertainty change it.
  Result<ArchivePushResult> run() {
    for (int round = 1;; ++round) {
      auto done = attempt();
      if (done) return done;
      const Errc code = done.error().code();
      if ((code != Errc::kAlreadyExists && code != Errc::kOutcomeUnknown && code != Errc::kNotFound) ||
          round == kRoundsMax) {
        return done;
      }
      log_debug("{}: look again", done.error().message());
    }
  }

 private:
  /// Errors: kAlreadyExists, kOutcomeUnknown, kNotFound if the repository changed since it was looked at.
  Result<ArchivePushResult> attempt() {
    TRY_ASSIGN(const auto copies, find_wal_copies(repository_, options_.stanza, cluster_.number, source_.name));
    for (const ObjectKey& key : copies) {
      auto same = holds_same_bytes(key);
      if (!same && same.error().code() == Errc::kCorrupt) {
        log_warn("a stored copy is damaged: {}", same.error().message());
        continue;
      }
      if (!same) return Error(std::move(same).error());
      if (!*same) return different(key);
      return acknowledge(key);
    }
    TRY_ASSIGN(const ObjectKey key, free_key(copies));
    TRY_ASSIGN(const ObjectInfo written, write(key));
    const auto outcome = copies.empty() ? ArchivePushOutcome::kStored : ArchivePushOutcome::kRepaired;
    if (outcome == ArchivePushOutcome::kRepaired) {
      log_warn("stored {} again as {}: every earlier copy is damaged", source_.name, key.value);
    }
    return ArchivePushResult{outcome, key, source_.content.size(), written.bytes};
  }

  Result<ObjectInfo> write(const ObjectKey& key) const {
    return write_stored_file(repository_, key, source_.content, document_, options_.codec, options_.level,
                             options_.threads);
  }

  Result<bool> holds_same_bytes(const ObjectKey& key) const {
    TRY_ASSIGN_CTX(const StoredFile stored, read_stored_file(repository_, key), "compare with " + key.value);
    return stored.raw.size() == source_.content.size() &&
           (stored.raw.empty() || std::memcmp(stored.raw.data(), source_.content.data(), stored.raw.size()) == 0);
  }

  /// The copy is seen, but its writer may have died before it was durable; the store answers kAlreadyExists only when
  /// it is. Should the copy be gone by now, this writes it.
  Result<ArchivePushResult> acknowledge(const ObjectKey& key) const {
    auto written = write(key);
    if (written) return ArchivePushResult{ArchivePushOutcome::kStored, key, source_.content.size(), written->bytes};
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error());
    return ArchivePushResult{ArchivePushOutcome::kAlreadyThere, key, source_.content.size(), 0};
  }

  Result<ObjectKey> free_key(const std::vector<ObjectKey>& copies) const {
    for (auto generation = static_cast<unsigned>(copies.size());; ++generation) {
      TRY_ASSIGN(ObjectKey key, wal_key(options_.stanza, cluster_.number, source_.name, generation));
      if (std::find(copies.begin(), copies.end(), key) == copies.end()) return key;
    }
  }

  Error different(const ObjectKey& key) const {
    return Error(Errc::kInvalid, fmt::format("'{}' differs from {} in {}, which stays as it is", options_.source_path,
                                             key.value, repository_.store().describe()))
        .with_hint(
            fmt::format("two clusters may archive to stanza {}: a copy or a restored cluster of the original needs "
                        "a stanza of its own, or archive_mode=off",
                        options_.stanza))
        .with_hint(fmt::format("compare with 'pgark repo-get {}'", key.value));
  }

  const Repository& repository_;
  const ArchivePushOptions& options_;
  const ClusterRecord& cluster_;
  const SourceFile& source_;
  const std::string document_;
};

}  // namespace

Result<ArchivePushResult> archive_push(const Repository& repository, Clock& clock, const ArchivePushOptions& options) {
  const std::string name = options.source_path.substr(options.source_path.rfind('/') + 1);
  const std::string context = "push " + name;
  TRY_ASSIGN_CTX(const SourceFile source, read_source(options.source_path), context);
  TRY_ASSIGN_CTX(const ClusterRecord cluster, current_cluster(repository, options.stanza), context);
  TRY_CTX(check_source(source, cluster, options, clock), context);
  Pusher pusher(repository, options, cluster, source, describe_source(source, cluster, options, clock));
  auto result = pusher.run();
  if (!result) return Error(std::move(result).error()).with_context(context);
  return result;
}

}  // namespace pgark
