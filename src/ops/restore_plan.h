// What a restore will make, worked out from the manifest and the request before anything is touched.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "ops/restore.h"
#include "ops/restore_select.h"
#include "repo/manifest.h"

namespace pgark {

/// A directory that files are restored into: the data directory, or where a link of it leads.
struct RestorePlace {
  std::string link;             // Path of the link below the data directory; empty for the data directory itself.
  std::string path;             // Absolute, without a slash at the end.
  std::string link_text;        // Content of the link: `path`, or relative as it was.
  uint32_t tablespace_oid = 0;  // 0: not a tablespace.
  std::string tablespace_name;
  uint64_t bytes = 0;  // Disk space its files need, in whole blocks of the file system.
  uint64_t file_count = 0;

  bool is_data_directory() const { return link.empty(); }
  bool is_tablespace() const { return tablespace_oid != 0; }
  std::string describe() const;  // "data directory '/x'", "tablespace ts1 at '/x'", "link pg_wal to '/x'"
};

/// A single file that is reached through a link.
struct RestoreFileLink {
  std::string path;    // Of the link, below the data directory.
  std::string target;  // Absolute.
  std::string link_text;
};

/// A link whose target the backup does not hold: made again as it was.
struct RestorePlainLink {
  std::string path;
  std::string link_text;
};

struct RestorePlan {
  BackupMeta backup;
  std::vector<RestorePlace> places;  // The data directory first.
  std::vector<RestoreFileLink> file_links;
  std::vector<RestorePlainLink> plain_links;
  std::vector<FileEntry> directories;  // To be made, parents first; places are not among them.
  uint32_t root_mode = 0700;           // Of the data directory.
  std::set<std::string> skip_files;    // Not restored: labels are written from the backup's document, ...
  std::string tablespace_map;          // Content of the file, with the new paths; empty: no file.
  DatabaseSelection selection;
  std::vector<PackName> packs;
  uint64_t file_count = 0;
  uint64_t logical_bytes = 0;
  uint64_t stored_run_bytes = 0;  // Bytes of runs: what is written.
  uint64_t bad_page_count = 0;
};

/// Work out the plan. One pass over the manifest, in memory that depends on the number of directories and links.
/// Errors: kInvalid if a map names what the backup does not have, or two places meet; kCorrupt if the manifest lacks
///         pg_control; of reading the manifest.
Result<RestorePlan> plan_restore(const ManifestReader& manifest, BackupMeta backup, const RestoreRequest& request,
                                 const CancelToken& cancel);

/// A chunk of the manifest as it is to be restored: files of databases that are left out are all hole.
Result<FileChunk> restored_chunk(const ManifestReader& manifest, const RestorePlan& plan, size_t index);

/// Path without "." and double or trailing slashes; kInvalid unless absolute and free of "..".
Result<std::string> clean_absolute_path(const std::string& path, std::string_view what);
/// True if `inner` is `outer` or lies below it. Both clean.
bool path_is_within(const std::string& inner, const std::string& outer);
/// The same path with every link of its existing part resolved.
std::string resolved_path(const std::string& path);

}  // namespace pgark
