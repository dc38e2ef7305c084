#include "store/part_upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <system_error>
#include <thread>

#include "core/check.h"
#include "core/log.h"
#include "core/thread_annotations.h"

namespace pgark {
namespace {

constexpr unsigned kSenderThreadsMax = 16;
constexpr size_t kBuffersKeptMax = 4;
constexpr unsigned kPartSizes = 8;  // Sizes a part may have in one upload, each twice the one before.

bool may_retry(Errc code) { return code == Errc::kTransient || code == Errc::kOutcomeUnknown; }

/// Who gave a part away and waits for it.
class PartOwner {
 public:
  virtual ~PartOwner() = default;
  /// Called by a thread of the sender.
  virtual void send(unsigned number, Bytes content) = 0;
};

}  // namespace

/// Threads come as parts do, up to a maximum, and stay until the end.
class PartSender {
 public:
  explicit PartSender(const CloudSettings& settings)
      : settings_(settings),
        threads_max_(static_cast<unsigned>(
            std::clamp<uint64_t>(settings.upload_memory_max / std::max<uint64_t>(settings.chunk_bytes, 1), 1,
                                 std::clamp(settings.connections_max, 1u, kSenderThreadsMax)))),
        rng_(random_seed()) {}

  ~PartSender() {
    {
      MutexLock lock(mu_);
      CHECK(queue_.empty());  // Each owner waits for its parts, and holds us.
      closed_ = true;
      changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  PartSender(const PartSender&) = delete;
  PartSender& operator=(const PartSender&) = delete;

  /// Wait until memory allows another part, then have it sent.
  void submit(PartOwner& owner, unsigned number, Buffer content) {
    MutexLock lock(mu_);
    const size_t bytes = content.size();
    while (sending_bytes_ > 0 && sending_bytes_ + gathering_bytes_ + bytes > settings_.upload_memory_max)
      changed_.wait(mu_);
    sending_bytes_ += bytes;
    queue_.push_back({&owner, number, std::move(content)});
    if (idle_ < queue_.size() && threads_.size() < threads_max_) add_thread();
    if (!threads_.empty()) {
      changed_.notify_all();
      return;
    }
    Job job = std::move(queue_.back());
    queue_.pop_back();
    lock.unlock();
    run(std::move(job));
  }

  /// Room for a part of an object that has more than one.
  Buffer take_buffer(size_t bytes) {
    Buffer buffer;
    {
      MutexLock lock(mu_);
      gathering_bytes_ += bytes;
      if (!spare_.empty()) {
        buffer = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    buffer.clear();
    buffer.reserve(bytes);
    return buffer;
  }
  /// The room is given back, or handed over to submit().
  void end_gathering(size_t bytes) {
    MutexLock lock(mu_);
    gathering_bytes_ -= bytes;
    changed_.notify_all();
  }

  Result<> wait_to_retry(RetryAttempts& attempts, const Error& error) {
    if (attempts.made() == settings_.retry.attempts_max)
      log_warn("{}; trying on for {} s", error.message(), settings_.retry.patience.count() / 1000);
    std::chrono::milliseconds delay;
    {
      MutexLock lock(mu_);
      delay = attempts.next_delay(settings_.retry, rng_);
    }
    return sleep_unless_cancelled(*settings_.clock, delay, settings_.cancel, error.message());
  }

 private:
  struct Job {
    PartOwner* owner = nullptr;
    unsigned number = 0;
    Buffer content;
  };

  void add_thread() REQUIRES(mu_) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // At the limit of processes: those there are do all, or the caller itself.
    }
  }

  void work() {
    for (;;) {
      Job job;
      {
        MutexLock lock(mu_);
        ++idle_;
        while (queue_.empty() && !closed_) changed_.wait(mu_);
        --idle_;
        if (queue_.empty()) return;
        job = std::move(queue_.front());
        queue_.pop_front();
      }
      run(std::move(job));
    }
  }

  void run(Job job) {
    const size_t bytes = job.content.size();
    job.owner->send(job.number, job.content);
    MutexLock lock(mu_);
    sending_bytes_ -= bytes;
    if (spare_.size() < kBuffersKeptMax && job.content.capacity() <= settings_.chunk_bytes)
      spare_.push_back(std::move(job.content));
    changed_.notify_all();
  }

  const CloudSettings settings_;
  const unsigned threads_max_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Job> queue_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_;  // Grows under mu_; joined when nobody else is left.
  std::vector<Buffer> spare_ GUARDED_BY(mu_);
  size_t idle_ GUARDED_BY(mu_) = 0;
  uint64_t sending_bytes_ GUARDED_BY(mu_) = 0;    // Queued and under way.
  uint64_t gathering_bytes_ GUARDED_BY(mu_) = 0;  // Being filled by writers of large objects.
  bool closed_ GUARDED_BY(mu_) = false;
  Rng rng_ GUARDED_BY(mu_);
};

namespace {

class PartWriter final : public ObjectWriter, private PartOwner {
 public:
  PartWriter(ObjectKey key, std::unique_ptr<PartUpload> upload, std::shared_ptr<PartSender> sender,
             const CloudSettings& settings, unsigned parts_max)
      : key_(std::move(key)),
        upload_(std::move(upload)),
        sender_(std::move(sender)),
        settings_(settings),
        parts_max_(parts_max) {
    CHECK(settings_.chunk_bytes > 0 && parts_max_ >= kPartSizes);
  }

  ~PartWriter() override {
    {
      MutexLock lock(mu_);
      given_up_ = true;
    }
    wait_for_parts();
    drop_reservation();
    if (begun_ && !committed_) upload_->abort();
  }

  Result<> append(Bytes data) override {
    while (!data.empty()) {
      TRY(failed());
      if (gathered_.size() == part_bytes()) {
        if (auto sent = send_gathered(); !sent.has_value()) return fail(std::move(sent).error());
      }
      if (begun_ && reserved_ == 0) {
        reserved_ = part_bytes();
        gathered_ = sender_->take_buffer(reserved_);
      }
      const size_t count = std::min(data.size(), part_bytes() - gathered_.size());
      gathered_.append(data.first(count));
      data = data.subspan(count);
      bytes_ += count;
    }
    return failed();
  }

  Result<ObjectInfo> commit() && override {
    TRY(failed());
    if (!begun_) return commit_whole();
    if (!gathered_.empty()) {
      if (auto sent = send_gathered(); !sent.has_value()) return fail(std::move(sent).error());
    }
    wait_for_parts();
    TRY(failed());
    std::vector<std::string> parts;
    {
      MutexLock lock(mu_);
      parts = std::move(results_);
    }
    return settle([&] { return upload_->complete(parts, bytes_); }, true);
  }

 private:
  Result<ObjectInfo> commit_whole() {
    return settle([this] { return upload_->put_whole(gathered_); },
                  gathered_.size() > settings_.retry.replay_bytes_max);
  }

  /// Make the object, and where the answer is lost find out what became of it. With `again`, also try again.
  template <typename Make>
  Result<ObjectInfo> settle(Make make, bool again) {
    bool lost = false;
    for (RetryAttempts attempts;;) {
      auto made = make();
      committed_ = made.has_value();
      if (committed_) return made;
      Error error = std::move(made).error();
      // An object that is in the way may be our own: made by an attempt whose answer was lost, or by this very request,
      // if somebody on the way sent it twice and the answer is the second one's.
      lost = lost || error.code() == Errc::kOutcomeUnknown;
      if (error.code() == Errc::kOutcomeUnknown || error.code() == Errc::kAlreadyExists) {
        const auto found = find_own(error, again);
        if (!found.has_value()) return lost ? found.error() : error;
        committed_ = found->has_value();
        if (committed_) return **found;
      }
      if (!again || !may_retry(error.code()) || !attempts.may_go_on(settings_.retry, *settings_.clock)) return error;
      TRY(sender_->wait_to_retry(attempts, error));
    }
  }

  /// Errors: `cause` if the store cannot tell or does not answer; kAlreadyExists.
  Result<std::optional<ObjectInfo>> find_own(const Error& cause, bool again) {
    for (RetryAttempts attempts;;) {
      auto found = upload_->find_own();
      if (found.has_value() || found.error().code() == Errc::kAlreadyExists) return found;
      if (found.error().code() == Errc::kUnsupported) {
        if (may_retry(cause.code())) return std::optional<ObjectInfo>();
        return cause;
      }
      if (!may_retry(found.error().code()) || !again || !attempts.may_go_on(settings_.retry, *settings_.clock))
        return Error(cause).with_code(Errc::kOutcomeUnknown);
      TRY(sender_->wait_to_retry(attempts, found.error()));
    }
  }

  size_t part_bytes() const {
    const uint64_t grown = settings_.chunk_bytes << std::min(next_ / (parts_max_ / kPartSizes), kPartSizes - 1);
    return static_cast<size_t>(
        std::min(grown, std::max(settings_.chunk_bytes,
                                 settings_.upload_memory_max / 2 / settings_.chunk_bytes * settings_.chunk_bytes)));
  }

  /// Give what is gathered to the sender as the next part.
  Result<> send_gathered() {
    if (next_ >= parts_max_)
      return Error(Errc::kInvalid, fmt::format("write object '{}': after {} bytes, the store takes no further part",
                                               key_.value, bytes_))
          .with_hint("raise repo-storage-upload-chunk-size");
    if (!begun_) TRY(begin());
    if (!upload_->parallel()) {
      wait_for_parts();
      TRY(failed());
    }
    {
      MutexLock lock(mu_);
      results_.emplace_back();
      ++under_way_;
    }
    const unsigned number = ++next_;
    Buffer content = std::move(gathered_);
    gathered_ = Buffer();
    drop_reservation();
    sender_->submit(*this, number, std::move(content));
    return {};
  }

  Result<> begin() {
    for (RetryAttempts attempts;;) {
      auto begun = upload_->begin();
      if (begun.has_value()) break;
      // One that began without our knowing is found and dropped by its age.
      if (!may_retry(begun.error().code()) || !attempts.may_go_on(settings_.retry, *settings_.clock))
        return std::move(begun).error().with_code(begun.error().code() == Errc::kOutcomeUnknown ? Errc::kTransient
                                                                                                : begun.error().code());
      TRY(sender_->wait_to_retry(attempts, begun.error()));
    }
    begun_ = true;
    return {};
  }

  void send(unsigned number, Bytes content) override {
    auto sent = send_with_retries(number, content);
    MutexLock lock(mu_);
    if (sent.has_value()) {
      results_[number - 1] = std::move(*sent);
    } else if (!failure_.has_value()) {
      failure_ = std::move(sent).error();
    }
    --under_way_;
    changed_.notify_all();
  }

  Result<std::string> send_with_retries(unsigned number, Bytes content) {
    for (RetryAttempts attempts;;) {
      {
        MutexLock lock(mu_);
        if (given_up_ || failure_.has_value()) return Error(Errc::kCancelled, "the object is given up");
      }
      auto sent = upload_->put_part(number, content);
      if (sent.has_value() || !may_retry(sent.error().code())) return sent;
      if (!attempts.may_go_on(settings_.retry, *settings_.clock)) {
        // A part has no outcome of its own: without completion nobody sees it.
        Error error = std::move(sent).error().with_code(Errc::kTransient);
        if (attempts.made() == 1) return error;
        return std::move(error).with_context(fmt::format("given up after {} attempts", attempts.made()));
      }
      TRY(sender_->wait_to_retry(attempts, sent.error()));
    }
  }

  void wait_for_parts() {
    MutexLock lock(mu_);
    while (under_way_ > 0) changed_.wait(mu_);
  }
  void drop_reservation() {
    if (reserved_ > 0) sender_->end_gathering(reserved_);
    reserved_ = 0;
  }

  Result<> failed() {
    MutexLock lock(mu_);
    if (failure_.has_value()) return *failure_;
    return {};
  }
  Error fail(Error error) {
    MutexLock lock(mu_);
    if (!failure_.has_value()) failure_ = error;
    return error;
  }

  const ObjectKey key_;
  const std::unique_ptr<PartUpload> upload_;
  const std::shared_ptr<PartSender> sender_;  // Shared with the store and its other writers.
  const CloudSettings settings_;
  const unsigned parts_max_;

  // Of the thread that writes.
  Buffer gathered_;
  size_t reserved_ = 0;  // Accounted with the sender as being gathered.
  unsigned next_ = 0;    // Parts given away.
  uint64_t bytes_ = 0;
  bool begun_ = false;
  bool committed_ = false;

  Mutex mu_;
  CondVar changed_;
  std::vector<std::string> results_ GUARDED_BY(mu_);
  unsigned under_way_ GUARDED_BY(mu_) = 0;
  bool given_up_ GUARDED_BY(mu_) = false;
  std::optional<Error> failure_ GUARDED_BY(mu_);
};

}  // namespace

std::shared_ptr<PartSender> make_part_sender(const CloudSettings& settings) {
  return std::make_shared<PartSender>(settings);
}

std::unique_ptr<ObjectWriter> make_part_writer(ObjectKey key, std::unique_ptr<PartUpload> upload,
                                               std::shared_ptr<PartSender> sender, const CloudSettings& settings,
                                               unsigned parts_max) {
  return std::make_unique<PartWriter>(std::move(key), std::move(upload), std::move(sender), settings, parts_max);
}

}  // namespace pgark
