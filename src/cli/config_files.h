// The configuration files of a run: read once, with a memory of what each one held, so that who runs on can tell that
// they changed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/secret.h"
#include "core/ini.h"
#include "core/result.h"

namespace pgark {

class ConfigFiles {
 public:
  /// parse_ini() of a file. A file that is not there is an error only if it is `required`: else it has no entries.
  Result<std::vector<IniEntry>> read(const std::string& path, bool required);
  /// The files of a directory that end in .conf, by name. As of read(): none if it is not there and need not be.
  Result<std::vector<std::string>> list(const std::string& directory, bool required);
  /// Whether the file or directory was there when it was read.
  bool found(const std::string& path) const;
  /// Whether one of them holds something else now than what was read from it, is gone, or has come since. It compares
  /// content: neither a change in the middle of reading nor one within the grain of file times stays unseen.
  bool changed() const;

 private:
  enum class Kind : unsigned char { kFile, kDirectory };
  struct Source {
    std::string path;
    Kind kind;
    std::optional<uint64_t> content;  // Hash of what was read; none if nothing was there.
  };

  Result<uint64_t> keyed_hash(const std::string& text);
  std::optional<uint64_t> current(const Source& source) const;

  std::vector<Source> sources_;
  // Without it a core file would give whoever guesses a passphrase a quick way to try guesses. Shared among copies.
  std::shared_ptr<const Secret> hash_key_;
};

}  // namespace pgark
