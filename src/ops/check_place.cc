#include "ops/check_place.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace pgark {
namespace {

struct KnownFileSystem {
  uint64_t magic;
  std::string_view name;
  bool is_network = false;
  bool is_memory = false;
};

constexpr uint64_t kFuseMagic = 0x65735546;

// Numbers, as the header of this machine may be older than the file system.
constexpr std::array kKnown = {
    KnownFileSystem{0xEF53, "ext4"},
    KnownFileSystem{0x58465342, "xfs"},
    KnownFileSystem{0x9123683E, "btrfs"},
    KnownFileSystem{0x2FC12FC1, "zfs"},
    KnownFileSystem{0xF2F52010, "f2fs"},
    KnownFileSystem{0xCA451A4E, "bcachefs"},
    KnownFileSystem{0x794C7630, "overlay"},
    KnownFileSystem{0x01021994, "tmpfs", false, true},
    KnownFileSystem{0x858458F6, "ramfs", false, true},
    KnownFileSystem{0x6969, "nfs", true},
    KnownFileSystem{0x517B, "smb", true},
    KnownFileSystem{0xFF534D42, "cifs", true},
    KnownFileSystem{0xFE534D42, "smb2", true},
    KnownFileSystem{0x00C36400, "ceph", true},
    KnownFileSystem{0x0BD00BD0, "lustre", true},
    KnownFileSystem{0x47504653, "gpfs", true},
    KnownFileSystem{0x5346414F, "afs", true},
    KnownFileSystem{0x6B414653, "afs", true},
    KnownFileSystem{0x73757245, "coda", true},
    KnownFileSystem{0x19830326, "beegfs", true},
    KnownFileSystem{0x01021997, "9p", true},
};

/// Programs behind FUSE that keep their bytes on other machines.
constexpr std::array<std::string_view, 12> kNetworkFuse = {
    "fuse.sshfs", "fuse.s3fs",  "fuse.glusterfs", "fuse.rclone",  "fuse.goofys",   "fuse.gcsfuse",
    "fuse.ceph",  "fuse.davfs", "fuse.curlftpfs", "fuse.juicefs", "fuse.blobfuse", "fuse.mount-s3"};

std::string_view next_word(std::string_view& rest) {
  const size_t begin = std::min(rest.find_first_not_of(' '), rest.size());
  const size_t end = std::min(rest.find(' ', begin), rest.size());
  const std::string_view word = rest.substr(begin, end - begin);
  rest.remove_prefix(end);
  return word;
}

}  // namespace

std::string mounted_type(const std::string& mountinfo, unsigned major, unsigned minor) {
  const std::string wanted = fmt::format("{}:{}", major, minor);
  std::string_view text = mountinfo;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    next_word(line);  // Mount ID.
    next_word(line);  // Of its parent.
    if (next_word(line) != wanted) continue;
    const size_t separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    line.remove_prefix(separator + 3);
    return std::string(next_word(line));
  }
  return "";
}

Result<FilePlace> look_at_file_place(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, "look at '" + path + "'");
  struct statfs system {};
  if (::statfs(path.c_str(), &system) != 0) return errno_error(errno, "look at file system of '" + path + "'");
  FilePlace place;
  place.device = status.st_dev;
  const auto block = static_cast<uint64_t>(system.f_frsize != 0 ? system.f_frsize : system.f_bsize);
  place.total_bytes = system.f_blocks * block;
  place.free_bytes = system.f_bavail * block;
  const auto magic = static_cast<uint64_t>(static_cast<uint32_t>(system.f_type));
  const auto known =
      std::find_if(kKnown.begin(), kKnown.end(), [&](const KnownFileSystem& one) { return one.magic == magic; });
  if (known != kKnown.end()) {
    place.file_system = known->name;
    place.is_network = known->is_network;
    place.is_memory = known->is_memory;
  } else {
    place.file_system = fmt::format("0x{:x}", magic);
  }
  if (magic == kFuseMagic) {
    place.file_system = "fuse";
    if (const auto mounts = read_file("/proc/self/mountinfo"); mounts) {
      const std::string type = mounted_type(*mounts, major(status.st_dev), minor(status.st_dev));
      if (!type.empty()) place.file_system = type;
    }
    place.is_network = std::find(kNetworkFuse.begin(), kNetworkFuse.end(), place.file_system) != kNetworkFuse.end();
  }
  return place;
}

}  // namespace pgark
