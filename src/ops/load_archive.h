// Units of a dump as load takes them: tables of contents however the unit was stored, scripts of a part of them through
// pg_restore, and their rows.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/dump.h"
#include "core/cancel.h"
#include "core/result.h"
#include "ops/dump_store.h"
#include "ops/load.h"
#include "ops/load_psql.h"
#include "ops/load_script.h"
#include "ops/load_select.h"

namespace pgark {

/// A unit and what is taken of it.
struct LoadUnit {
  uint32_t index = 0;  // In DumpMeta::units.
  const DumpUnit* unit = nullptr;
  std::optional<pg::DumpToc> toc;  // None: SQL text, which can only be taken whole.
  ChosenEntries chosen;
  std::map<std::string_view, const DumpStream*> streams;  // By name; see index_streams().

  void index_streams();
  const DumpStream* find_stream(const std::string& name) const;
  /// The one stream of a unit that is no directory. Errors: kCorrupt if there is none.
  Result<const DumpStream*> only_stream() const;
};

/// Read the table of contents of a unit from wherever its format keeps it.
/// Errors: as of read_dump_toc() and DumpReader.
Result<std::optional<pg::DumpToc>> read_unit_toc(const DumpUnit& unit, const DumpReader& reader,
                                                 const CancelToken& cancel);

/// Give what roles own and are granted to others.
Result<> map_toc_roles(pg::DumpToc& toc, const pg::RoleMap& roles);

/// A private directory that goes with its handle.
class ScratchDirectory {
 public:
  static Result<ScratchDirectory> create(const std::string& parent);
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// What all steps of a load share.
struct LoadTools {
  const LoadRequest& request;
  const DumpReader& reader;
  const PgClientSet& client;
  ScriptNeeds needs;
  std::string scratch;
  const CancelToken& cancel;
  DumpProgress& progress;
};

/// A directory that pg_restore takes for an archive of the unit: its table of contents alone, whatever the format, so
/// that definitions need no data. Made once for a unit.
Result<std::string> make_toc_directory(const LoadTools& tools, const LoadUnit& unit);

/// What pg_restore would do with entries, as a file. `arguments` beside those of the request.
Result<std::string> make_script(const LoadTools& tools, const LoadUnit& unit, const std::vector<size_t>& entries,
                                const std::string& name, const std::vector<std::string>& arguments = {});
/// A file with the list of entries for pg_restore -L.
Result<std::string> make_list(const LoadTools& tools, const LoadUnit& unit, const std::vector<size_t>& entries,
                              const std::string& name);

/// Write the data of an entry of a directory unit: COPY with its rows, INSERTs, or large objects. The caller holds a
/// transaction. Errors: kCorrupt naming the object; of the server, with the name of the table.
Result<> write_entry_data(const LoadTools& tools, const LoadUnit& unit, const pg::DumpTocEntry& entry,
                          PsqlSession& psql);
/// Write the chosen data of a unit that is one stream, in its order, through pg_restore.
Result<> write_stream_data(const LoadTools& tools, const LoadUnit& unit, PsqlSession& psql);
/// Write a unit that is SQL text.
Result<> write_plain(const LoadTools& tools, const LoadUnit& unit, PsqlSession& psql);

/// Bytes that write_entry_data() fetches.
uint64_t entry_bytes(const LoadUnit& unit, const pg::DumpTocEntry& entry);

}  // namespace pgark
