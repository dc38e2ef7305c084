// Directories of an SFTP server, and listings of objects made from them.
#pragma once

#include <string>
#include <vector>

#include "store/sftp_root.h"

namespace pgark {

/// An entry of a directory that belongs to the store.
struct SftpEntry {
  std::string name;
  bool is_temporary = false;
  SftpAttrs attrs;
};

/// The objects, temporaries and directories in a directory, in no order, with all attributes; nothing if it does not
/// exist.
Result<std::vector<SftpEntry>> read_sftp_directory(const SftpRoot& root, SftpConnection& connection,
                                                   const std::string& directory, std::string_view operation);

/// One page of a listing. Errors: of the connection; kPermission if a directory cannot be read.
Result<ListPage> list_sftp_objects(const SftpRoot& root, SftpConnection& connection, const ListRequest& request);

}  // namespace pgark
