// Sinks are stacked: the tar or file, encryption, the file on disk.
#include "ops/dump_sinks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/subprocess.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

class FunctionSink : public ByteSink {
 public:
  explicit FunctionSink(std::function<Result<>(Bytes)> function) : function_(std::move(function)) {}
  Result<> write(Bytes data) override { return function_(data); }
  Result<> finish() override { return {}; }

 private:
  std::function<Result<>(Bytes)> function_;
};

class FileSink : public ByteSink {
 public:
  explicit FileSink(File file) : file_(std::move(file)) {}
  Result<> write(Bytes data) override { return file_.write(data); }
  Result<> finish() override {
    TRY(file_.fsync());
    return file_.close();
  }

 private:
  File file_;
};

class AgeSink : public ByteSink {
 public:
  AgeSink(AgeEncryptor encryptor, std::unique_ptr<ByteSink> next)
      : next_(std::move(next)), encryptor_(std::move(encryptor)) {}
  Result<> write(Bytes data) override { return encryptor_.write(data); }
  Result<> finish() override {
    TRY(encryptor_.finish());
    return next_->finish();
  }

 private:
  std::unique_ptr<ByteSink> next_;
  AgeEncryptor encryptor_;
};

// What gpg gives back is passed on by a thread, because gpg stops reading when nobody takes what it wrote.
class GpgSink : public ByteSink {
 public:
  GpgSink(Subprocess gpg, std::unique_ptr<ByteSink> next, const CancelToken& cancel)
      : gpg_(std::move(gpg)), next_(std::move(next)), cancel_(cancel), passing_on_(&cancel) {
    passing_on_.spawn([this] { return pass_on(); });
  }

  Result<> write(Bytes data) override {
    if (auto written = gpg_.write_input(data, passing_on_.cancel()); !written) return explain(written.error());
    return {};
  }
  Result<> finish() override {
    gpg_.close_input();
    TRY(end());
    return next_->finish();
  }

 private:
  static constexpr size_t kPieceBytes = size_t{256} << 10;

  Result<> pass_on() {
    Buffer piece(kPieceBytes);
    while (true) {
      TRY_ASSIGN(const size_t count, gpg_.read_output(piece.bytes(), passing_on_.cancel()));
      if (count == 0) return {};
      TRY(next_->write(piece.bytes().first(count)));
    }
  }

  Result<> end() {
    TRY(passing_on_.wait());
    TRY_ASSIGN(const SubprocessExit exit, gpg_.wait(cancel_));
    if (exit.ok()) return {};
    std::string words = exit.error_text;
    while (!words.empty() && words.back() == '\n') words.pop_back();
    return Error(Errc::kInvalid, fmt::format("encrypt with gpg: {}",
                                             words.empty() ? fmt::format("exit status {}", exit.status) : words))
        .with_hint(
            "the keys have to be in the keyring of the user that runs pgark, and trusted: gpg --list-keys, gpg "
            "--lsign-key");
  }

  // gpg no longer reads: its own words say why, unless the other side failed.
  Error explain(const Error& error) {
    if (cancel_.cancelled() || error.code() != Errc::kInvalid) {
      if (auto passed = passing_on_.wait(); !passed && passed.error().code() != Errc::kCancelled)
        return std::move(passed).error();
      return error;
    }
    if (auto ended = end(); !ended) return std::move(ended).error();
    return error;
  }

  Subprocess gpg_;
  std::unique_ptr<ByteSink> next_;
  const CancelToken& cancel_;
  TaskGroup passing_on_;  // Last: its threads end before what they use goes.
};

}  // namespace

std::unique_ptr<ByteSink> make_function_sink(std::function<Result<>(Bytes)> function) {
  return std::make_unique<FunctionSink>(std::move(function));
}

Result<std::unique_ptr<ByteSink>> make_file_sink(const std::string& path) {
  TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return std::unique_ptr<ByteSink>(std::make_unique<FileSink>(std::move(file)));
}

Result<std::unique_ptr<ByteSink>> make_age_sink(std::span<const AgeRecipient> recipients,
                                                std::unique_ptr<ByteSink> next) {
  TRY_ASSIGN(AgeEncryptor encryptor,
             AgeEncryptor::start(recipients, [to = next.get()](Bytes part) { return to->write(part); }));
  return std::unique_ptr<ByteSink>(std::make_unique<AgeSink>(std::move(encryptor), std::move(next)));
}

Result<std::unique_ptr<ByteSink>> make_gpg_sink(const std::vector<std::string>& recipients,
                                                std::unique_ptr<ByteSink> next, const CancelToken& cancel) {
  SubprocessOptions options;
  options.program = "gpg";
  // Dumps were compressed in the repository, not here: gpg does it as it is set up to.
  options.arguments = {"--batch", "--no-tty", "--quiet", "--encrypt"};
  for (const std::string& recipient : recipients) {
    options.arguments.emplace_back("--recipient");
    options.arguments.push_back(recipient);
  }
  options.input = options.output = SubprocessOptions::Stream::kPipe;
  auto gpg = Subprocess::start(std::move(options));
  if (!gpg && gpg.error().code() == Errc::kNotFound)
    return std::move(gpg).error().with_hint("install gnupg, or use --age, which needs no program");
  if (!gpg) return Error(std::move(gpg).error());
  return std::unique_ptr<ByteSink>(std::make_unique<GpgSink>(*std::move(gpg), std::move(next), cancel));
}

// ---- PendingPath ----------------------------------------------------------------------------------------------------

namespace {

// Names of a run differ from those of another that writes the same.
std::string temporary_name(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  return fmt::format("{}.{}.{}.tmp", path.substr(0, name), path.substr(name), ::getpid());
}

void remove_quietly(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
}

}  // namespace

PendingPath::PendingPath(std::string path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  remove_quietly(temporary_);  // Of a run with this process id that was killed.
}

PendingPath::PendingPath(PendingPath&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}

PendingPath::~PendingPath() {
  if (!temporary_.empty()) remove_quietly(temporary_);
}

Result<> PendingPath::commit(bool replace) && {
  int renamed = rename_with(temporary_, path_, RENAME_NOREPLACE);
  if (renamed != 0 && errno == EEXIST && replace) {
    // What was there is under the temporary name then, and goes with it.
    renamed = rename_with(temporary_, path_, RENAME_EXCHANGE);
    if (renamed == 0) {
      remove_quietly(temporary_);
    } else if (errno == EINVAL) {
      renamed = ::rename(temporary_.c_str(), path_.c_str());
    }
  } else if (renamed != 0 && errno == EINVAL) {  // File systems that cannot tell; who called has looked.
    renamed = ::rename(temporary_.c_str(), path_.c_str());
  }
  if (renamed != 0) return errno_error(errno, "rename to " + path_);
  temporary_.clear();
  return fsync_directory(parent_path(path_));
}

}  // namespace pgark
