#include "cli/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace pgark {
namespace {

TEST(SignalsDeathTest, CancelOnTheFirstAndEndOnTheSecond) {
  EXPECT_EXIT(
      {
        CancelToken token;
        install_signal_handlers(token);
        if (token.cancelled() || received_signal() != 0) ::_exit(1);
        ::raise(SIGINT);
        if (!token.cancelled() || received_signal() != SIGINT) ::_exit(2);
        ::raise(SIGTERM);
        ::_exit(3);
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(SignalsDeathTest, SurviveABrokenPipeAndKeepWhatAParentIgnores) {
  EXPECT_EXIT(
      {
        ::signal(SIGHUP, SIG_IGN);
        CancelToken token;
        install_signal_handlers(token);
        ::raise(SIGPIPE);
        ::raise(SIGHUP);
        ::_exit(token.cancelled() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace pgark
