// One object on its way into a posix store.
#pragma once

#include <memory>
#include <string>

#include "core/file.h"
#include "store/object_store.h"
#include "store/posix_root.h"

namespace pgark {

/// Writes a temporary file beside the object's place; commit() syncs it and gives it the name.
class PosixWriter final : public ObjectWriter {
 public:
  /// Errors: kAlreadyExists, after making the object that has the name durable; kInvalid if the name is a directory's:
  ///         both only where looking costs nothing, else commit() says it.
  static Result<std::unique_ptr<ObjectWriter>> create(PosixRoot& root, const ObjectKey& key);
  ~PosixWriter() override;

  Result<> append(Bytes data) override;
  Result<ObjectInfo> commit() && override;

 private:
  PosixWriter(PosixRoot& root, ObjectKey key, std::string directory, std::shared_ptr<const File> opened_directory,
              File file, std::string temporary)
      : root_(root),
        key_(std::move(key)),
        directory_(std::move(directory)),
        opened_directory_(std::move(opened_directory)),
        file_(std::move(file)),
        temporary_(std::move(temporary)) {}

  Result<> write(Bytes data);
  Result<> write_gathered();
  /// Give the file its name, if nothing has it. Errors: kAlreadyExists, kInvalid for a directory, kUnsupported.
  Result<> publish();
  Result<> publish_by_link();
  std::string temporary_path() const;
  /// The error of a temporary file that is not where it was made.
  Error moved_away();

  PosixRoot& root_;
  const ObjectKey key_;
  const std::string directory_;
  std::shared_ptr<const File> opened_directory_;  // The other owner is the root's memory of directories.
  File file_;
  std::string temporary_;         // Empty once nothing is left to remove.
  uint64_t bytes_ = 0;            // Appended.
  Buffer gathered_;               // The last of them, on their way into the file.
  uint64_t written_ = 0;          // In the file.
  uint64_t write_back_from_ = 0;  // What lies before is on its way to the disk.
  std::optional<Error> failure_;  // Of an append; commit() must not hide it.
};

/// What has the name `key`.
/// Errors: kAlreadyExists, once the object is durable; kInvalid if it is a directory. Success: the name is free.
Result<> check_name_free(PosixRoot& root, const ObjectKey& key);

}  // namespace pgark
