// Directories of an SFTP server, and listings of objects made from them.
#include "store/sftp_listing.h"

#include <algorithm>
#include <deque>

#include "store/posix_root.h"
#include "store/tree_listing.h"

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

/// The directories of a server, whose entries tell everything.
class SftpTree final : public DirectoryTree {
 public:
  SftpTree(const SftpRoot& root, SftpConnection& connection) : root_(root), connection_(connection) {}

  Result<std::vector<Entry>> read(const std::string& directory) override {
    TRY_ASSIGN(auto found, read_sftp_directory(root_, connection_, directory, "list directory"));
    std::vector<Entry> entries;
    entries.reserve(found.size());
    for (SftpEntry& entry : found) {
      if (entry.is_temporary) continue;
      entries.push_back({std::move(entry.name), entry.attrs.is_directory(),
                         Attributes{entry.attrs.bytes.value_or(0), modified_of(entry.attrs)}});
    }
    return entries;
  }
  Result<std::optional<Attributes>> look(const std::string&) override { return std::optional<Attributes>(); }

 private:
  const SftpRoot& root_;
  SftpConnection& connection_;
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
  SftpTree tree(root, connection);
  return list_tree(tree, request);
}

}  // namespace pgark
