#include "store/tree_listing.h"

#include <algorithm>

#include "store/posix_root.h"

namespace pgark {
namespace {

class Lister {
 public:
  Lister(DirectoryTree& tree, const ListRequest& request) : tree_(tree), request_(request) {}

  Result<ListPage> run() {
    // Everything wanted lies below the directory part of the prefix; the rest of the tree need not be read.
    const std::string start = directory_of(request_.prefix);
    if (start.empty() ? request_.prefix.starts_with('/') : !check_object_key({start}).has_value()) return ListPage{};
    TRY(walk(start));
    return std::move(page_);
  }

 private:
  using Entry = DirectoryTree::Entry;

  /// False once the page is full.
  Result<bool> walk(const std::string& directory) {
    TRY_ASSIGN(std::vector<Entry> places, wanted_in(directory));
    for (Entry& place : places) {
      if (place.is_directory) {
        place.name.pop_back();
        TRY_ASSIGN(const bool more, walk(place.name));
        if (!more) return false;
        continue;
      }
      if (!place.attributes) {
        TRY_ASSIGN(place.attributes, tree_.look(place.name));
        if (!place.attributes) continue;  // Removed since the directory was read.
      }
      if (page_.objects.size() == request_.limit) {
        page_.more = true;
        return false;
      }
      page_.objects.push_back({ObjectKey{std::move(place.name)}, place.attributes->bytes, place.attributes->modified});
    }
    return true;
  }

  /// What may be of the page in a directory, in the order of whole keys, which the entries then have as their names:
  /// "a-b" comes before "a/c", so that a directory stands where its keys stand, behind the slash.
  Result<std::vector<Entry>> wanted_in(const std::string& directory) {
    const std::string above = directory.empty() ? "" : directory + "/";
    TRY_ASSIGN(std::vector<Entry> entries, tree_.read(directory));
    for (Entry& entry : entries) entry.name = above + entry.name + (entry.is_directory ? "/" : "");
    std::erase_if(entries, [this](const Entry& entry) {
      return !(entry.is_directory ? may_hold(entry.name) : wanted(entry.name));
    });
    std::ranges::sort(entries, {}, &Entry::name);
    return entries;
  }

  bool wanted(const std::string& key) const { return key.starts_with(request_.prefix) && key > request_.after; }
  bool may_hold(const std::string& directory_slash) const {
    const bool in_prefix = directory_slash.starts_with(request_.prefix) || request_.prefix.starts_with(directory_slash);
    return in_prefix && (directory_slash > request_.after || request_.after.starts_with(directory_slash));
  }

  DirectoryTree& tree_;
  const ListRequest& request_;
  ListPage page_;
};

}  // namespace

Result<ListPage> list_tree(DirectoryTree& tree, const ListRequest& request) { return Lister(tree, request).run(); }

}  // namespace pgark
