#include "ops/wal_source.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "catalog/wal.h"
#include "core/file.h"
#include "ops/cluster_files.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

Error too_large(const std::string& name, uint64_t bytes, uint64_t bytes_max) {
  return Error(Errc::kInvalid, fmt::format("{} has {} bytes, more than {}", name, bytes, bytes_max));
}

class DirectorySource final : public WalSource {
 public:
  DirectorySource(std::string data_directory, Clock& clock)
      : data_directory_(std::move(data_directory)), clock_(clock) {}

  std::string describe() const override { return data_directory_ + "/pg_wal"; }
  Result<> open(const std::string& stanza, const ClusterRecord& cluster) override {
    TRY_ASSIGN(const ClusterFiles files, read_cluster_files(data_directory_, clock_));
    return check_same_cluster(stanza, cluster, cluster_record(files, Timestamp{}));
  }
  Result<std::optional<Buffer>> fetch(const std::string& name, uint64_t bytes_max) override {
    auto file = File::open(describe() + "/" + name, O_RDONLY);
    if (!file && file.error().code() == Errc::kNotFound) return std::optional<Buffer>{};
    if (!file) return Error(std::move(file).error());
    TRY_ASSIGN(const struct stat status, file->stat());
    const auto bytes = static_cast<uint64_t>(status.st_size);
    if (bytes > bytes_max) return too_large(name, bytes, bytes_max);
    Buffer content(bytes);
    TRY_ASSIGN(const size_t got, file->pread(content.bytes(), 0));
    if (got != bytes) return Error(Errc::kTransient, name + " shrank while it was read");
    return std::optional(std::move(content));
  }

 private:
  const std::string data_directory_;
  Clock& clock_;
};

/// Digits of encode(..., 'hex'), appended to `out`.
Result<> append_hex(std::string_view digits, Buffer& out) {
  const auto value = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  const size_t at = out.size();
  if (digits.size() % 2 != 0) return Error(Errc::kCorrupt, "the server's answer has half a byte");
  out.resize(at + digits.size() / 2);
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = value(digits[i]);
    const int low = value(digits[i + 1]);
    if (high < 0 || low < 0) return Error(Errc::kCorrupt, "the server's answer is not hexadecimal");
    out.data()[at + i / 2] = static_cast<std::byte>(high * 16 + low);
  }
  return {};
}

class ServerSource final : public WalSource {
 public:
  explicit ServerSource(std::function<Result<std::unique_ptr<PgSession>>()> open_session)
      : open_session_(std::move(open_session)) {}

  std::string describe() const override { return session_ ? "pg_wal of " + session_->describe() : "the server"; }
  Result<> open(const std::string& stanza, const ClusterRecord& cluster) override {
    TRY_ASSIGN(session_, open_session_());
    TRY_ASSIGN(const ServerInfo server, read_server_info(*session_));
    return check_same_cluster(stanza, cluster,
                              {.number = 1,
                               .system_identifier = server.system_id,
                               .pg_major = server.major.value,
                               .control_version = server.control_version,
                               .catalog_version = server.catalog_version,
                               .wal_segment_bytes = server.wal_segment_bytes,
                               .created = {}});
  }
  /// Piece by piece: text of a field is limited to a gigabyte, and the server builds it in memory.
  Result<std::optional<Buffer>> fetch(const std::string& name, uint64_t bytes_max) override {
    constexpr uint64_t kPieceBytes = 4u << 20;
    Buffer content;
    for (;;) {
      const uint64_t offset = content.size();
      TRY_ASSIGN(const PgRows rows,
                 session_->query("SELECT encode(pg_read_binary_file('pg_wal/' || $1, $2::bigint, $3::bigint, true), "
                                 "'hex')",
                                 {name, std::to_string(offset), std::to_string(kPieceBytes)}));
      if (rows.size() != 1 || rows.front().size() != 1) {
        return Error(Errc::kInternal, "read " + name + " from the server: answer is not one value");
      }
      const auto& digits = rows.front().front();
      if (!digits && offset == 0) return std::optional<Buffer>{};
      if (!digits) return Error(Errc::kTransient, name + " was removed while it was read");
      TRY_CTX(append_hex(*digits, content), "read " + name + " from the server");
      if (content.size() > bytes_max) return too_large(name, content.size(), bytes_max);
      if (content.size() < offset + kPieceBytes) return std::optional(std::move(content));
    }
  }

 private:
  std::function<Result<std::unique_ptr<PgSession>>()> open_session_;
  std::unique_ptr<PgSession> session_;
};

class RepositorySource final : public WalSource {
 public:
  explicit RepositorySource(const Repository& repository) : repository_(repository) {}

  std::string describe() const override { return repository_.store().describe(); }
  Result<> open(const std::string& stanza, const ClusterRecord& cluster) override {
    TRY_ASSIGN(const auto records, list_clusters(repository_, stanza));
    const auto same = std::find_if(records.rbegin(), records.rend(), [&](const ClusterRecord& record) {
      return check_same_cluster(stanza, cluster, record).has_value();
    });
    if (same == records.rend()) {
      return Error(Errc::kNotFound, fmt::format("it has no cluster with system identifier {} in stanza {}",
                                                cluster.system_identifier, stanza));
    }
    stanza_ = stanza;
    cluster_ = same->number;
    return {};
  }
  Result<std::optional<Buffer>> fetch(const std::string& name, uint64_t bytes_max) override {
    TRY_ASSIGN(const auto copies, find_wal_copies(repository_, stanza_, cluster_, name));
    std::optional<Error> damage;
    for (const ObjectKey& key : copies) {
      auto stored = read_stored_file(repository_, key, bytes_max);
      if (stored) return std::optional(std::move(stored->raw));
      if (stored.error().code() != Errc::kCorrupt) return Error(std::move(stored).error());
      if (!damage) damage = std::move(stored).error();
    }
    if (damage) return *damage;
    return std::optional<Buffer>{};
  }

 private:
  const Repository& repository_;
  std::string stanza_;
  unsigned cluster_ = 0;
};

}  // namespace

std::unique_ptr<WalSource> directory_wal_source(std::string data_directory, Clock& clock) {
  return std::make_unique<DirectorySource>(std::move(data_directory), clock);
}

std::unique_ptr<WalSource> server_wal_source(std::function<Result<std::unique_ptr<PgSession>>()> open_session) {
  return std::make_unique<ServerSource>(std::move(open_session));
}

std::unique_ptr<WalSource> repository_wal_source(const Repository& repository) {
  return std::make_unique<RepositorySource>(repository);
}

}  // namespace pgark
