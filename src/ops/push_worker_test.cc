#include "ops/push_worker.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "ops/push_client.h"
#include "testing/pg_server.h"
#include "testing/push_scene.h"
#include "testing/wait.h"

namespace pgark {
namespace {

using ::pgark::testing::PushScene;
using ::pgark::testing::wait_until;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// A clock whose wall time jumps about; only what people read may depend on it.
class JumpingClock final : public Clock {
 public:
  Timestamp now() override {
    const int64_t hours = static_cast<int64_t>(calls_++ % 3) - 1;
    return system_clock().now() + std::chrono::hours(hours);
  }
  std::chrono::steady_clock::time_point steady() override { return system_clock().steady(); }
  void sleep_for(milliseconds duration) override { system_clock().sleep_for(duration); }

 private:
  std::atomic<uint64_t> calls_ = 0;
};

/// A worker in a thread of the test, and clients that ask it.
class PushWorkerTest : public ::testing::Test {
 protected:
  ~PushWorkerTest() override { stop(); }

  PushWorkerOptions options() {
    PushWorkerOptions options;
    options.engine.push = scene_.options();
    options.engine.threads = 2;
    options.engine.retry_first = milliseconds(20);
    options.engine.retry_max = milliseconds(50);
    options.directory = scene_.spool();
    options.wal_directory = scene_.wal();
    options.limit = {.queue_bytes_max = queue_bytes_max_, .spool_directory = scene_.spool()};
    options.settings_id = "0123456789abcdef";
    options.archive_timeout = archive_timeout_;
    options.idle_after = idle_after_;
    options.exit_code = [](const Error& error) { return static_cast<int>(error.code()) + 2; };
    options.check_stopped = [this]() -> Result<> {
      if (stopped_) return Error(Errc::kInvalid, "stopped");
      return {};
    };
    options.settings_changed = [this] { return changed_.load(); };
    return options;
  }
  Result<> start() {
    stop();
    std::vector<PushTarget> targets = scene_.targets();
    targets[1].open = [this, open = targets[1].open]() -> Result<PushTarget::Opened> {
      while (stuck_) system_clock().sleep_for(milliseconds(1));
      return open();
    };
    TRY_ASSIGN(auto worker, PushWorker::open(std::move(targets), clock_, options()));
    cancel_ = std::make_unique<CancelToken>();
    ended_ = false;
    thread_ = std::thread([this, worker = std::shared_ptr<PushWorker>(std::move(worker))]() mutable {
      EXPECT_TRUE(worker->run(*cancel_).has_value());
      worker.reset();
      ended_ = true;
    });
    return {};
  }
  void stop() {
    if (!thread_.joinable()) return;
    stuck_ = false;
    cancel_->cancel();
    thread_.join();
  }

  Result<PushAnswer> ask(const std::string& name, const std::string& id = "0123456789abcdef") {
    const PushClientOptions client{.directory = scene_.spool(),
                                   .path = scene_.path(name),
                                   .settings_id = id,
                                   .timeout = client_timeout_,
                                   .start_worker = [this](milliseconds) -> Result<> {
                                     ++starts_;
                                     if (start_error_) return Error(*start_error_);
                                     return start();
                                   },
                                   .errc_of = [](int code) { return static_cast<Errc>(code - 2); },
                                   .settings_changed = [this] { return client_is_old_; }};
    const CancelToken none;
    return ask_push_worker(client, clock_, none);
  }

  /// What comes back for bytes sent as they are.
  std::string raw(const std::string& request) {
    auto socket = connect_push_socket(scene_.spool());
    if (!socket || !*socket) return "not connected";
    EXPECT_EQ(::send((*socket)->fd(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string answer;
    wait_until([&] {
      char buffer[256];
      const ssize_t got = ::recv((*socket)->fd(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got > 0) answer.append(buffer, static_cast<size_t>(got));
      return got == 0;
    });
    return answer;
  }

  PushScene scene_{2};
  JumpingClock clock_;
  std::optional<uint64_t> queue_bytes_max_;
  milliseconds archive_timeout_{20'000};
  milliseconds client_timeout_{20'000};
  milliseconds idle_after_{60'000};
  std::atomic<bool> stopped_ = false;
  std::atomic<bool> changed_ = false;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> stuck_ = false;  // repo2 does not open.
  std::optional<Error> start_error_;
  bool client_is_old_ = false;
  int starts_ = 0;
  std::unique_ptr<CancelToken> cancel_;
  std::thread thread_;
};

TEST_F(PushWorkerTest, StoresWhatIsAskedForAndPushesAhead) {
  for (uint64_t number = 1; number <= 6; ++number) scene_.put_segment(number);
  ASSERT_OK_AND_ASSIGN(const PushAnswer answer, ask(scene_.segment_name(1)));
  EXPECT_EQ(answer, PushAnswer::kStored);
  EXPECT_EQ(starts_, 1);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(scene_.holds(scene_.segment_name(1), i));
    EXPECT_TRUE(wait_until([&] { return scene_.holds(scene_.segment_name(6), i); })) << "nobody asked for it";
  }
}

TEST_F(PushWorkerTest, OnlyOneServesADirectory) {
  ASSERT_OK(start());
  const auto second = PushWorker::open(scene_.targets(), clock_, options());
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Errc::kAlreadyExists);
  scene_.put_segment(1);
  ASSERT_OK(ask(scene_.segment_name(1)));
  EXPECT_EQ(starts_, 0) << "the first still has the socket";
}

TEST_F(PushWorkerTest, ErrorsComeBackWithCodeTextAndHints) {
  scene_.put_segment(1);
  ASSERT_OK(ask(scene_.segment_name(1)));
  scene_.put_segment(1, 77);
  const auto refused = ask(scene_.segment_name(1));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_THAT(refused.error().message(), AllOf(HasSubstr("repo1: "), HasSubstr("differs from")));
  EXPECT_THAT(refused.error().to_string(), HasSubstr("\nHINT: two clusters may archive to stanza main"));
  const auto absent = ask(scene_.segment_name(9));
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), Errc::kNotFound);
}

TEST_F(PushWorkerTest, AnswersAtArchiveTimeoutWithWhatLags) {
  archive_timeout_ = milliseconds(100);
  scene_.put_segment(1);
  stuck_ = true;
  const auto late = ask(scene_.segment_name(1));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code(), Errc::kTransient);
  EXPECT_THAT(late.error().message(),
              AllOf(HasSubstr("archive-timeout"), HasSubstr("repo2 lags: 1 files wait for repo2")));
  stuck_ = false;
  EXPECT_TRUE(wait_until([&] { return ask(scene_.segment_name(1)).has_value(); })) << "it goes on meanwhile";
}

TEST_F(PushWorkerTest, SpeaksOnlyItsProtocol) {
  ASSERT_OK(start());
  scene_.put_segment(1);
  EXPECT_EQ(raw("push " + scene_.segment_path(1) + "\n"), "ok\n");
  EXPECT_EQ(raw("push-as 0123456789abcdef " + scene_.segment_path(1) + "\nmore"), "ok\n");
  EXPECT_THAT(raw("pull " + scene_.segment_path(1) + "\n"),
              HasSubstr("error 10\nthe worker does not understand 'pull'"));
  EXPECT_THAT(raw("push relative\n"), HasSubstr("error"));
  EXPECT_THAT(raw("\n"), HasSubstr("error"));
  EXPECT_THAT(raw("push " + scene_.wal() + "/postgresql.conf\n"), HasSubstr("error"));
  EXPECT_EQ(raw(std::string(20'000, 'x')), "") << "hung up on";
  EXPECT_EQ(raw("push " + scene_.segment_path(1) + "\n"), "ok\n") << "and nobody else minds";
}

TEST_F(PushWorkerTest, ClientOfOtherSettingsGetsAnotherWorker) {
  ASSERT_OK(start());
  scene_.put_segment(1);
  EXPECT_EQ(raw("push-as fedcba9876543210 " + scene_.segment_path(1) + "\n"), "") << "no word of this one counts";
  EXPECT_TRUE(wait_until([&] { return ended_.load(); }));
  ASSERT_OK(ask(scene_.segment_name(1)));
  EXPECT_EQ(starts_, 1);
  changed_ = true;
  EXPECT_TRUE(wait_until([&] { return ended_.load(); })) << "so do changed files";
}

TEST_F(PushWorkerTest, ClientThatOutlivedItsSettingsSaysSoAtOnce) {
  ASSERT_OK(start());
  scene_.put_segment(1);
  client_is_old_ = true;
  const auto answer = ask(scene_.segment_name(1), "fedcba9876543210");
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Errc::kTransient);
  EXPECT_THAT(answer.error().message(), HasSubstr("the configuration changed while it waited"));
  EXPECT_EQ(starts_, 0) << "no worker would serve it";
}

TEST_F(PushWorkerTest, EndsWhenIdleOrStoppedOrWithoutDirectory) {
  idle_after_ = milliseconds(50);
  ASSERT_OK(start());
  EXPECT_TRUE(wait_until([&] { return ended_.load(); }));
  EXPECT_NE(::access((scene_.spool() + "/push.sock").c_str(), F_OK), 0);
  idle_after_ = milliseconds(60'000);
  ASSERT_OK(start());
  stopped_ = true;
  EXPECT_TRUE(wait_until([&] { return ended_.load(); }));
  stopped_ = false;
  ASSERT_OK(start());
  ASSERT_OK(testing::remove_tree(scene_.spool()));
  EXPECT_TRUE(wait_until([&] { return ended_.load(); }));
}

TEST_F(PushWorkerTest, GivesUpOnlyWhatIsNotStoredYet) {
  for (uint64_t number = 1; number <= 5; ++number) scene_.put_segment(number);
  ASSERT_OK(ask(scene_.segment_name(1)));
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(wait_until([&] { return scene_.holds(scene_.segment_name(5), i); }));
  }
  stop();
  queue_bytes_max_ = 1;
  for (size_t i = 0; i < 2; ++i) scene_.store(i).set_rules({{.nth = 1, .every = 1, .fault = Fault::kFail}});
  ASSERT_OK_AND_ASSIGN(const PushAnswer answer, ask(scene_.segment_name(2)));
  EXPECT_EQ(answer, PushAnswer::kDropped) << "a new worker knows of nothing, and cannot look";
  EXPECT_EQ(raw("push " + scene_.segment_path(3) + "\n"), "ok dropped\n");
}

TEST_F(PushWorkerTest, FailureToStartIsTheAnswer) {
  start_error_ = Error(Errc::kNoSpace, "no room in the spool");
  scene_.put_segment(1);
  const auto failed = ask(scene_.segment_name(1));
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Errc::kNoSpace);
  EXPECT_THAT(failed.error().message(), HasSubstr("no room in the spool"));
}

TEST_F(PushWorkerTest, WorkersThatDieAreReplacedUntilTheTimeout) {
  scene_.put_segment(1);
  client_timeout_ = milliseconds(300);
  // Listens, takes the request, and goes away.
  ASSERT_OK(make_push_directory(scene_.spool()));
  ASSERT_OK_AND_ASSIGN(const File listener, listen_push_socket(scene_.spool()));
  std::atomic<bool> done = false;
  std::thread dying([&] {
    while (!done) {
      const int fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0)
        ::close(fd);
      else
        std::this_thread::yield();
    }
  });
  const auto unanswered = ask(scene_.segment_name(1));
  done = true;
  dying.join();
  ASSERT_FALSE(unanswered.has_value());
  EXPECT_EQ(unanswered.error().code(), Errc::kTransient);
  EXPECT_THAT(unanswered.error().message(), HasSubstr("no answer within archive-timeout"));
}

TEST(PushProtocol, ErrorsSurviveTheWay) {
  Error error(Errc::kNoSpace, "push x: repo2: no room");
  error = std::move(error).with_hint("make room").with_hint("or not");
  const std::string text = encode_push_error(11, error);
  const auto errc_of = [](int code) { return code == 11 ? Errc::kNoSpace : Errc::kInternal; };
  const Error back = decode_push_error(text, errc_of);
  EXPECT_EQ(back.code(), error.code());
  EXPECT_EQ(back.to_string(), error.to_string());
  EXPECT_EQ(decode_push_error("nonsense", errc_of).code(), Errc::kInternal);
  EXPECT_EQ(decode_push_error("error x\n", errc_of).code(), Errc::kInternal);
}

}  // namespace
}  // namespace pgark
