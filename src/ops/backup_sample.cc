// The sample of blocks that are believed to be unchanged: a look at their pages before the belief is acted upon.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>

#include <array>
#include <deque>
#include <utility>

#include "core/file.h"
#include "ops/backup_prior.h"
#include "pg/page.h"

namespace pgark {
namespace {

/// Looks at sampled pages of one file after the other. Of a page that is not in memory the disk is asked at once, and
/// the answer looked at later: one after the other, some thousand of them would be what a small backup spends its time
/// on.
class SampleReader {
 public:
  SampleReader(const PriorBackup& prior, const BackupPlan& plan, const std::string& data_directory, Lsn start_lsn)
      : prior_(prior), plan_(plan), data_directory_(data_directory), start_lsn_(start_lsn) {}

  /// Look at a sample, or put it off. The samples of a file follow each other.
  Result<> look(const SampledBlock& sample) {
    if (files_.empty() || files_.back().entry != sample.entry) TRY(open(sample.entry));
    if (!files_.back().file.has_value()) return {};
    std::array<std::byte, pg::kPageHeaderBytes> header{};
    const File& file = *files_.back().file;
    const auto offset = static_cast<off_t>(sample.block * kHashBlockBytes);
    iovec into{header.data(), header.size()};
    const ssize_t got = ::preadv2(file.fd(), &into, 1, offset, RWF_NOWAIT);
    if (got == static_cast<ssize_t>(header.size())) {
      judge(sample, header);
      return {};
    }
    // Not in memory; or an end of file, an error, a file system that cannot tell: reading it says which.
    ::posix_fadvise(file.fd(), offset, kMachinePage, POSIX_FADV_WILLNEED);
    absent_.push_back({sample, files_.size() - 1});
    return {};
  }

  /// Look at what was put off, and let it leave memory again.
  Result<> look_at_absent(const CancelToken& cancel) {
    std::array<std::byte, pg::kPageHeaderBytes> header{};
    for (const auto& [sample, at] : absent_) {
      TRY(cancel.check());
      const File& file = *files_[at].file;
      const uint64_t offset = sample.block * kHashBlockBytes;
      TRY_ASSIGN(const size_t got, file.pread(header, offset));
      if (got == header.size()) judge(sample, header);
      ::posix_fadvise(file.fd(), static_cast<off_t>(offset), kMachinePage, POSIX_FADV_DONTNEED);
    }
    absent_.clear();
    files_.clear();
    return {};
  }

  size_t open_files() const { return files_.size(); }
  const std::optional<std::string>& found() const { return found_; }

 private:
  struct Opened {
    uint32_t entry = 0;
    std::optional<File> file;  // None if it was dropped: WAL replays that.
  };
  struct Absent {
    SampledBlock sample;
    size_t file = 0;
  };

  Result<> open(uint32_t entry) {
    auto opened = File::open(data_directory_ + "/" + plan_.path(plan_.entries()[entry]), O_RDONLY);
    if (!opened.has_value() && opened.error().code() != Errc::kNotFound) return std::move(opened).error();
    Opened& file = files_.emplace_back();
    file.entry = entry;
    if (!opened.has_value()) return {};
    // What lies beside a sample is not wanted.
    ::posix_fadvise(opened->fd(), 0, 0, POSIX_FADV_RANDOM);
    file.file.emplace(std::move(*opened));
    return {};
  }

  void judge(const SampledBlock& sample, Bytes header) {
    const Lsn lsn = pg::decode_page_header(header).lsn;  // Of a page of zeros it is 0.
    if (found_.has_value() || lsn <= prior_.start_lsn || lsn > start_lsn_) return;
    found_ = fmt::format("block {} of file '{}' was changed at {}, of which the WAL says nothing", sample.block,
                         plan_.path(plan_.entries()[sample.entry]), to_string(lsn));
  }

  static constexpr off_t kMachinePage = 4096;

  const PriorBackup& prior_;
  const BackupPlan& plan_;
  const std::string& data_directory_;
  const Lsn start_lsn_;
  std::deque<Opened> files_;
  std::vector<Absent> absent_;
  std::optional<std::string> found_;
};

// Open at a time.
constexpr size_t kSampledFilesMax = 64;

}  // namespace

Result<std::optional<std::string>> find_silent_change(const PriorBackup& prior, const PriorSurvey& survey,
                                                      const BackupPlan& plan, const std::string& data_directory,
                                                      Lsn start_lsn, const CancelToken& cancel) {
  SampleReader reader(prior, plan, data_directory, start_lsn);
  for (const SampledBlock& sample : survey.samples) {
    TRY(cancel.check());
    TRY(reader.look(sample));
    if (reader.open_files() >= kSampledFilesMax) TRY(reader.look_at_absent(cancel));
    if (reader.found().has_value()) return reader.found();
  }
  TRY(reader.look_at_absent(cancel));
  return reader.found();
}

}  // namespace pgark
