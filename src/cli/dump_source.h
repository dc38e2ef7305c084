// The dump that --set names, from whichever repositories have it: what commands need that read one dump.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/access.h"
#include "ops/dump_store.h"

namespace pgark {

class DumpSource {
 public:
  /// Open "latest" or a label. `reads_data`: what is done ("load app"), for errors of missing keys.
  /// Shape:  the newest of all repositories; a repository that fails is passed over with a warning while another has
  ///         the dump. `context` must outlive it.
  /// Errors: kNotFound with the hint to run dump-ls; of the repositories if none can be read.
  static Result<std::unique_ptr<DumpSource>> open(const CommandContext& context, const std::string& reads_data);

  const Dump& dump() const { return dump_; }
  const DumpReader& reader() const { return *reader_; }
  const std::string& repository() const { return repository_; }  // The first that has it.
  /// All that have it.
  const std::vector<const Repository*>& holders() const { return holders_; }

 private:
  DumpSource(const CommandContext& context, const std::string& reads_data) : repositories_(context, reads_data) {}
  Result<> choose(const CommandContext& context);

  ChosenRepositories repositories_;
  Dump dump_;
  std::unique_ptr<DumpReader> reader_;
  std::string repository_;
  std::vector<const Repository*> holders_;
};

}  // namespace pgark
