#include "ops/archive_get.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "catalog/wal.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/cluster_files.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// The record of the cluster that asks, by its own pg_control; the current one if it cannot be read yet.
Result<ClusterRecord> asking_cluster(const Repository& repository, Clock& clock, const ArchiveGetOptions& options) {
  TRY_ASSIGN(const auto records, list_clusters(repository, options.stanza));
  if (records.empty()) return current_cluster(repository, options.stanza);  // Says what is missing.
  if (options.data_directory.empty()) return records.back();
  const auto files = read_cluster_files(options.data_directory, clock);
  if (!files) {
    log_debug("take the stanza's current cluster: {}", files.error().message());
    return records.back();
  }
  const ClusterRecord asking = cluster_record(*files, Timestamp{});
  const auto found = std::find_if(records.rbegin(), records.rend(), [&](const ClusterRecord& record) {
    return record.system_identifier == asking.system_identifier && record.pg_major == asking.pg_major;
  });
  if (found != records.rend()) return *found;
  TRY(check_same_cluster(options.stanza, records.back(), asking));
  return records.back();
}

/// A file that is removed unless it was moved to where it belongs.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!moved_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  Result<> fill(Bytes content) const {
    TRY_ASSIGN(File file, File::open(path_, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY(file.write(content));
    return file.close();
  }
  Result<> move_to(const std::string& destination) {
    if (std::rename(path_.c_str(), destination.c_str()) != 0) {
      return errno_error(errno, fmt::format("rename '{}' to '{}'", path_, destination));
    }
    moved_ = true;
    return {};
  }

 private:
  const std::string path_;
  bool moved_ = false;
};

/// Not synced: PostgreSQL syncs a restored segment when it keeps it, and fetches it again after a crash.
Result<> deliver(Bytes content, const std::string& destination) {
  // PostgreSQL itself removes left-over "xlogtemp." files from pg_wal, should this process be killed.
  TemporaryFile temporary(fmt::format("{}/xlogtemp.pgark.{}", parent_path(destination), ::getpid()));
  TRY(temporary.fill(content));
  return temporary.move_to(destination);
}

Result<Buffer> read_checked(const Repository& repository, const ObjectKey& key, const pg::WalFileName& name,
                            const ClusterRecord& cluster, unsigned threads) {
  const std::string context = "read " + key.value;
  TRY_ASSIGN_CTX(StoredFile stored, read_stored_file(repository, key, 1u << 30, threads), context);
  TRY_CTX(check_archive_file(name, stored.raw, cluster), context);
  return std::move(stored.raw);
}

}  // namespace

Result<ArchiveGetOutcome> archive_get(const Repository& repository, Clock& clock, const ArchiveGetOptions& options) {
  const std::string context = "get " + options.name;
  TRY_ASSIGN(const auto name, pg::parse_wal_file_name(options.name));
  TRY_ASSIGN_CTX(const ClusterRecord cluster, asking_cluster(repository, clock, options), context);
  TRY_ASSIGN_CTX(const auto copies, find_wal_copies(repository, options.stanza, cluster.number, options.name), context);
  if (copies.empty()) return ArchiveGetOutcome::kAbsent;

  std::optional<Error> damage;
  for (const ObjectKey& key : copies) {
    auto content = read_checked(repository, key, name, cluster, options.threads);
    if (content) {
      TRY_CTX(deliver(*content, options.destination), context);
      return ArchiveGetOutcome::kFetched;
    }
    Error error = std::move(content).error();
    // Only damage is a reason to try another copy. A copy that vanished since it was listed is no proof of absence.
    if (error.code() == Errc::kNotFound) error = std::move(error).with_code(Errc::kTransient);
    if (error.code() != Errc::kCorrupt && error.code() != Errc::kInvalid) return std::move(error).with_context(context);
    log_warn("pass over a damaged copy: {}", error.message());
    if (!damage) damage = std::move(error);
  }
  return std::move(*damage)
      .with_context(fmt::format("{}: none of {} stored {} can be used", context, copies.size(),
                                copies.size() == 1 ? "copy" : "copies"))
      .with_hint(
          "if the segment is still in pg_wal of the primary or of a standby, push it again: pgark archive-push "
          "stores a good copy beside the damaged one");
}

}  // namespace pgark
