// Handing a dump back: as the files pg_dump would have written, which plain pg_restore and psql read.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "catalog/dump.h"
#include "codec/age.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/result.h"
#include "ops/dump_store.h"

namespace pgark {

/// What a part of a dump is called with --part: "globals", "common", "definition", a schema, "schema.name" of a
/// partition, else the database.
std::string dump_part_name(const DumpUnit& unit);
/// Name of the file or directory it becomes, without the directory: "app", "app.tenant_42", "app.sql", "globals.sql".
/// Bytes that a file name had better not have are written as %XX.
std::string dump_part_file_name(const DumpUnit& unit);

/// Indices of the units that are asked for: of these databases (none: all) and of this part (empty: all). `one`: a
/// single one is wanted; globals step back then, unless they are the part.
/// Errors: kNotFound if there is none, kInvalid if there are several where one is wanted; both list what there is.
Result<std::vector<uint32_t>> choose_dump_parts(const Dump& dump, const std::vector<std::string>& databases,
                                                const std::string& part, bool one);

struct DumpExportRequest {
  std::vector<uint32_t> units;
  /// A directory that gets a file or directory for each unit; a file, or "-" for `output`, for one unit. A unit of the
  /// directory format becomes a tar archive then, as it does where it is encrypted; pg_restore reads that, too.
  std::string destination;
  bool into_directory = false;
  std::function<Result<>(Bytes)> output;  // For "-".
  std::vector<std::string> gpg;           // Not with `age`.
  std::vector<AgeRecipient> age;
  bool force = false;  // Replace what exists.
};

struct ExportedPart {
  uint32_t unit = 0;
  std::string path;  // "-" for standard output.
  bool is_tar = false;
  uint64_t raw_bytes = 0;
};

/// Shape:  a path exists whole or not at all, with mode 0600 (directories: 0700). Memory: a few MiB.
/// Errors: kAlreadyExists naming all that is in the way, before anything is written; of DumpReader; of writing.
Result<std::vector<ExportedPart>> export_dump(const DumpExportRequest& request, const Dump& dump,
                                              const DumpReader& reader, const CancelToken& cancel, Progress& progress);

}  // namespace pgark
