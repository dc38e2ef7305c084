// A repository in a directory of an SSH server, reached by SFTP.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "store/object_store.h"
#include "store/sftp_options.h"

namespace pgark {

class SftpRoot;
class SftpConnection;
struct SftpAttrs;

/// Keeps the object "a/b/c" in the file "<path>/a/b/c". An object is written to ".tmp-<host>-<pid>-<random>" beside its
/// place, synced (fsync@openssh.com), and given its name by a hard link, which cannot overwrite (hardlink@openssh.com);
/// then the directories up to the repository are synced. Directories come and go on demand. Servers that are not
/// OpenSSH may lack these extensions: without the link a rename is used, which the protocol, but not every server,
/// forbids to overwrite, and caps() says so; without fsync an object is as durable as the server's disk makes it by
/// itself. Connections are opened at the first call and lent to one call at a time; a lost one is an error of the calls
/// on it and replaced at the next. SIGPIPE must be ignored in the process: libssh writes to sockets that may be closed.
class SftpStore final : public ObjectStore {
 public:
  /// Connects only if the directory is to be made.
  /// Errors: kInvalid if the options contradict themselves; kUnsupported if libssh is missing; else of connecting.
  static Result<std::unique_ptr<SftpStore>> open(SftpOptions options);
  /// Writers must be gone.
  ~SftpStore() override;

  /// Connects to find out, if nothing did before; says the less if it cannot.
  StoreCaps caps() const override;
  std::string describe() const override;
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;

  /// Remove what writers that died left behind, where nothing was written for `age_min` by the clocks of the server and
  /// of this machine. A living writer is known by its age only.
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override;

 private:
  explicit SftpStore(std::unique_ptr<SftpRoot> root);

  Result<> sweep_directory(SftpConnection& connection, const std::string& directory, std::chrono::seconds age_min,
                           StaleTemporaries& found);

  std::unique_ptr<SftpRoot> root_;
};

}  // namespace pgark
