// Where bytes of a dump go when it is handed back: files that appear whole or not at all, other sinks, encryption on
// the way.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codec/age.h"
#include "core/bytes.h"
#include "core/cancel.h"
#include "core/file.h"
#include "core/result.h"

namespace pgark {

/// A sequence of bytes being written. Nothing is complete before finish().
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<> write(Bytes data) = 0;
  virtual Result<> finish() = 0;
};

/// To a function, for example standard output.
std::unique_ptr<ByteSink> make_function_sink(std::function<Result<>(Bytes)> function);
/// To a new file of mode 0600, synced by finish(). Errors: of opening it.
Result<std::unique_ptr<ByteSink>> make_file_sink(const std::string& path);
/// Encrypted to every recipient, on the way to `next`.
Result<std::unique_ptr<ByteSink>> make_age_sink(std::span<const AgeRecipient> recipients,
                                                std::unique_ptr<ByteSink> next);
/// Through `gpg --encrypt` with the keys of the user's keyring, on the way to `next`.
/// Errors: kNotFound without the program; write() and finish(): kInvalid with gpg's own words.
Result<std::unique_ptr<ByteSink>> make_gpg_sink(const std::vector<std::string>& recipients,
                                                std::unique_ptr<ByteSink> next, const CancelToken& cancel);

/// A path under a temporary name beside the one it shall have. Destroyed before commit(), what is there is removed.
class PendingPath {
 public:
  explicit PendingPath(std::string path);
  PendingPath(PendingPath&&) noexcept;
  PendingPath& operator=(PendingPath&&) = delete;
  ~PendingPath();
  const std::string& temporary() const { return temporary_; }
  const std::string& path() const { return path_; }
  /// Give it its name, and make that durable. `replace`: what is there under that name goes.
  /// Errors: kAlreadyExists.
  Result<> commit(bool replace) &&;

 private:
  std::string path_;
  std::string temporary_;
};

}  // namespace pgark
