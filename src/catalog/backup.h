// What a backup's manifest says of it beside the files: labels, times, WAL range, and what a restore must know.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/ids.h"
#include "repo/manifest.h"

namespace pgark {

enum class BackupType : uint8_t { kFull, kDiff, kIncr };
std::string_view backup_type_name(BackupType type);  // "full", "diff", "incr"

struct BackupDatabase {
  uint32_t oid = 0;
  std::string name;
  uint32_t last_system_oid = 0;
  std::string collation_provider;
  std::string collation_version;  // Empty where the server does not record one.
};
struct BackupExtension {
  std::string database;
  std::string name;
  std::string version;
};
struct BackupTablespace {
  uint32_t oid = 0;
  std::string name;
  std::string path;  // Where the link pointed.
};
/// A file of the cluster's configuration that lives outside the data directory, kept beside it (small files only).
struct OutsideFile {
  std::string path;
  std::string content;
};

/// The JSON document of a manifest. docs/format/manifest.md is normative; unknown members are ignored, missing optional
/// ones have the defaults here.
struct BackupMeta {
  std::string label;
  BackupType type = BackupType::kFull;
  std::string prior_label;  // Empty for full.
  std::string pgark_version;
  unsigned cluster_number = 1;
  uint64_t system_identifier = 0;
  unsigned pg_major = 0;
  uint32_t pg_version_num = 0;  // server_version_num
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  uint32_t block_bytes = 8192;
  uint32_t relation_segment_blocks = 131072;
  uint32_t wal_segment_bytes = 0;
  uint32_t checksum_version = 0;  // 0: the cluster has no page checksums.

  Timestamp started{};  // By the clock of the backup host.
  Timestamp
      stopped{};  // Taken from the server after pg_backup_stop: targets before it are not reachable with this backup.
  Lsn start_lsn;
  Lsn stop_lsn;
  Lsn checkpoint_lsn;
  TimelineId start_timeline;
  TimelineId stop_timeline;
  std::string wal_start;  // Names of the first and last segment needed.
  std::string wal_stop;
  std::string source;          // "primary" or "standby".
  std::string backup_label;    // Byte-exact content of the file.
  std::string tablespace_map;  // Byte-exact; may be empty.

  uint64_t logical_bytes = 0;     // Sum of file sizes.
  uint64_t read_bytes = 0;        // Read from the data directory.
  uint64_t stored_bytes = 0;      // Added to the repository by this backup.
  uint64_t referenced_bytes = 0;  // Taken from the prior backup, before compression.
  uint64_t reused_bytes = 0;      // Taken from packs of backups that were interrupted, before compression.
  uint64_t extent_count = 0;      // That a restore reads; those shared by files count once or a few times. 0: unknown.
  uint64_t file_count = 0;
  uint64_t bad_page_count = 0;
  std::string codec;  // compress-type used.
  std::string scan;   // How changes were found: "wal", "lsn", "hash"; empty for full.

  std::string data_directory;
  std::map<std::string, std::string>
      settings;  // max_connections and its kin, shared_preload_libraries, data_checksums, ...
  std::vector<BackupDatabase> databases;
  std::vector<BackupExtension> extensions;
  std::vector<BackupTablespace> tablespaces;
  std::vector<OutsideFile> outside_files;
  std::string libc_version;                        // gnu_get_libc_version() of the host.
  std::map<std::string, std::string> annotations;  // As given to backup; `annotate` adds objects beside the manifest.
};

std::string encode_backup_meta(const BackupMeta& meta);
/// Errors: kCorrupt, naming the member that is missing or of the wrong type.
Result<BackupMeta> decode_backup_meta(std::string_view document);

/// "20261122-101500F"; a diff or incr appends "_20261123-101500D|I" to the label of its full. Times in UTC.
std::string make_backup_label(BackupType type, Timestamp started, const std::string& full_label);
struct BackupLabel {
  BackupType type = BackupType::kFull;
  std::string full_label;
};
/// Errors: kInvalid with what a label looks like.
Result<BackupLabel> parse_backup_label(std::string_view label);

/// The label of a backup that starts now: later than all of `used`, also when the clock went back.
std::string next_backup_label(BackupType type, Timestamp started, const std::string& full_label,
                              const std::vector<std::string>& used);

/// Labels of the backups that exist (their manifest does), oldest first.
Result<std::vector<std::string>> list_backup_labels(const Repository& repository, const std::string& stanza);
/// Labels some object of which exists (packs, too): a new label must differ from all of them.
Result<std::vector<std::string>> list_used_labels(const Repository& repository, const std::string& stanza);
/// Document of one backup with its annotations applied.
/// Errors: kNotFound with the hint to run info; kCorrupt naming the backup.
Result<BackupMeta> read_backup(const Repository& repository, const std::string& stanza, const std::string& label);

/// A backup as a listing shows it: one that cannot be read is shown with its error, not left out.
struct ListedBackup {
  std::string label;
  std::optional<BackupMeta> meta;
  std::optional<Error> error;
};
/// Given the packs that a manifest names, or why they cannot be read. From a far store it is called by several threads
/// at once.
using TakePacks = std::function<void(const std::string& label, Result<std::vector<PackName>> packs)>;
/// `take_packs`, if not empty, is called for each backup whose document could be read: both cost no more than one.
Result<std::vector<ListedBackup>> list_backups(const Repository& repository, const std::string& stanza,
                                               const TakePacks& take_packs = {});

/// Add or remove (empty value) annotations: a new object "<stanza>/backup/<label>/annotation.<n>" (I1).
Result<> annotate_backup(const Repository& repository, const std::string& stanza, const std::string& label,
                         const std::map<std::string, std::string>& changes);

}  // namespace pgark
