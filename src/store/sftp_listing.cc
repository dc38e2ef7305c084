// Directories of an SFTP server, and listings of objects made from them.
#include "store/sftp_listing.h"

#include <algorithm>
#include <deque>

#include "store/posix_root.h"

namespace pgark {
namespace {

constexpr size_t kReaddirsInFlightMax = 16;

/// Everything in a directory, as the server names it; no value if it does not exist.
Result<SftpAnswer<std::vector<SftpName>>> read_names(SftpConnection& connection, const std::string& path) {
  SftpAnswer<std::vector<SftpName>> all;
  TRY_ASSIGN(auto opened, connection.await_handle(connection.open_directory(path)));
  all.status = std::move(opened.status);
  if (!all.ok()) return all;
  // Most directories come in one answer and "no more" in the next; large ones in hundreds.
  size_t in_flight = 2;
  std::deque<SftpTicket> reading;
  bool done = false;
  while (!done) {
    while (reading.size() < in_flight) reading.push_back(connection.read_directory(opened.value));
    in_flight = std::min(in_flight + 1, kReaddirsInFlightMax);
    TRY_ASSIGN(auto names, connection.await_names(reading.front()));
    reading.pop_front();
    if (names.ok()) {
      all.value.insert(all.value.end(), std::move_iterator(names.value.begin()), std::move_iterator(names.value.end()));
      continue;
    }
    done = true;
    if (names.status.code != SftpCode::kEof) all.status = std::move(names.status);
  }
  for (const SftpTicket ticket : reading) connection.forget(ticket);
  connection.forget(connection.close(opened.value));
  return all;
}

/// Collects one page by walking the directories that can hold keys of it, in the order of whole keys.
class SftpLister {
 public:
  SftpLister(const SftpRoot& root, SftpConnection& connection, const ListRequest& request)
      : root_(root), connection_(connection), request_(request) {}

  Result<ListPage> run() {
    // Everything wanted lies below the directory part of the prefix; the rest of the tree need not be read.
    const std::string start = directory_of(request_.prefix);
    if (start.empty() ? request_.prefix.starts_with('/') : !check_object_key({start}).has_value()) return ListPage{};
    TRY(walk(start));
    return std::move(page_);
  }

 private:
  /// False once the page is full.
  Result<bool> walk(const std::string& directory) {
    const std::string above = directory.empty() ? "" : directory + "/";
    TRY_ASSIGN(auto entries, read_sftp_directory(root_, connection_, directory, "list directory"));
    // "a-b" comes before "a/c": a directory stands where its keys stand, behind the slash.
    struct Place {
      std::string sort_key;
      SftpAttrs attrs;
    };
    std::vector<Place> places;
    for (SftpEntry& entry : entries) {
      if (entry.is_temporary) continue;
      const bool is_directory = entry.attrs.is_directory();
      std::string key = above + entry.name + (is_directory ? "/" : "");
      if (is_directory ? may_hold(key) : wanted(key)) places.push_back({std::move(key), entry.attrs});
    }
    std::ranges::sort(places, {}, &Place::sort_key);
    for (Place& place : places) {
      if (place.attrs.is_directory()) {
        place.sort_key.pop_back();
        TRY_ASSIGN(const bool more, walk(place.sort_key));
        if (!more) return false;
        continue;
      }
      if (page_.objects.size() == request_.limit) {
        page_.more = true;
        return false;
      }
      page_.objects.push_back(
          {ObjectKey{std::move(place.sort_key)}, place.attrs.bytes.value_or(0), modified_of(place.attrs)});
    }
    return true;
  }

  bool wanted(const std::string& key) const { return key.starts_with(request_.prefix) && key > request_.after; }
  bool may_hold(const std::string& directory_slash) const {
    const bool in_prefix = directory_slash.starts_with(request_.prefix) || request_.prefix.starts_with(directory_slash);
    return in_prefix && (directory_slash > request_.after || request_.after.starts_with(directory_slash));
  }

  const SftpRoot& root_;
  SftpConnection& connection_;
  const ListRequest& request_;
  ListPage page_;
};

}  // namespace

Result<std::vector<SftpEntry>> read_sftp_directory(const SftpRoot& root, SftpConnection& connection,
                                                   const std::string& directory, std::string_view operation) {
  auto names = read_names(connection, root.absolute(directory));
  if (!names.has_value()) return root.lost(std::move(names).error(), operation, directory);
  std::vector<SftpEntry> entries;
  if (names->absent()) return entries;
  if (!names->ok()) return root.fail(names->status, operation, directory);
  const std::string above = directory.empty() ? "" : directory + "/";
  for (SftpName& name : names->value) {
    const bool is_temporary = name.name.starts_with(".tmp-") && is_key_component(name.name.substr(1));
    if (!is_temporary && !is_key_component(name.name)) continue;  // ".", "..", "lost+found" and what people put there.
    // Some servers tell no attributes here.
    if (!name.attrs.permissions.has_value() || !name.attrs.bytes.has_value()) {
      auto attrs = connection.await_attrs(connection.lstat(root.absolute(above + name.name)));
      if (!attrs.has_value()) return root.lost(std::move(attrs).error(), operation, directory);
      if (!attrs->ok()) continue;
      name.attrs = attrs->value;
    }
    if (!name.attrs.is_directory() && !name.attrs.is_regular()) continue;
    entries.push_back({std::move(name.name), is_temporary && name.attrs.is_regular(), name.attrs});
  }
  return entries;
}

Result<ListPage> list_sftp_objects(const SftpRoot& root, SftpConnection& connection, const ListRequest& request) {
  return SftpLister(root, connection, request).run();
}

}  // namespace pgark
