// Listings of objects that lie in directories, made by walking them in the order of whole keys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/object_store.h"

namespace pgark {

/// The directories of a store. Paths are relative to its root, without a slash at either end; "" is the root itself.
class DirectoryTree {
 public:
  struct Attributes {
    uint64_t bytes = 0;
    Timestamp modified{};
  };
  struct Entry {
    std::string name;
    bool is_directory = false;
    std::optional<Attributes> attributes{};  // Of an object, where reading the directory told them.
  };

  virtual ~DirectoryTree() = default;
  /// The objects and directories in a directory, in no order, without temporaries; nothing if it does not exist.
  virtual Result<std::vector<Entry>> read(const std::string& directory) = 0;
  /// The attributes of an object whose entry has none; no value if it is gone by now.
  virtual Result<std::optional<Attributes>> look(const std::string& key) = 0;
};

/// One page of a listing. Only directories that can hold keys of it are read, and only objects of it looked at.
Result<ListPage> list_tree(DirectoryTree& tree, const ListRequest& request);

}  // namespace pgark
