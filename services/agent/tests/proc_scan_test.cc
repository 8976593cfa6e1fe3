#include "agent/keeper/proc_scan.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trunkline::agent::testing {
namespace {

pid_t sleeper() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    while (true) ::pause();
  }
  return pid;
}

TEST(AwaitEnd, SaysWhetherAllHaveEnded) {
  const pid_t killed = sleeper();
  const pid_t alive = sleeper();
  ::kill(killed, SIGKILL);
  EXPECT_TRUE(await_end({killed}, 60'000)) << "a zombie has ended";
  EXPECT_FALSE(await_end({killed, alive}, 20));
  ::kill(alive, SIGKILL);
  EXPECT_TRUE(await_end({killed, alive}, 60'000));
  ::waitpid(killed, nullptr, 0);
  ::waitpid(alive, nullptr, 0);
  EXPECT_TRUE(await_end({killed, alive}, 0)) << "who is not there has ended";
}

}  // namespace
}  // namespace trunkline::agent::testing
