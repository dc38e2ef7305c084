// What a directory's file system is: which one, of what kind, and how much space is left.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"

namespace pgark {

struct FilePlace {
  uint64_t device = 0;      // st_dev: equal for two paths on one mounted file system.
  std::string file_system;  // "ext4", "nfs", "fuse.sshfs"; "0x..." where the kind has no name here.
  bool is_network = false;  // The bytes live on another machine.
  bool is_memory = false;   // They are gone after a restart.
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // That a process without privileges may still fill.
};

/// Ask the system about the file system `path` is on.
/// Shape:  a network file system is told by statfs(2); one behind FUSE by the name it was mounted with, and taken for
///         local if that is not known to be of the network. A block device over the network looks local.
/// Errors: of the system calls, naming the path.
/// Source: Linux include/uapi/linux/magic.h; proc(5), mountinfo.
Result<FilePlace> look_at_file_place(const std::string& path);

/// Pure: the file system type that the lines of /proc/self/mountinfo give for a device; empty if none does.
std::string mounted_type(const std::string& mountinfo, unsigned major, unsigned minor);

}  // namespace pgark
