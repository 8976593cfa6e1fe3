// A primary that ended for want of a lease, with nobody there to grant one.
#include "agent/tests/failover_fixture.h"

namespace trunkline::agent::testing {
namespace {

// The voters' hosts stand still for longer than they may be unheard, and nobody is there to grant
// a lease: the primary ends, and comes back with its voters.
class ClosedTest : public FailoverTest {
 protected:
  void let_it_close() {
    form(1);
    a_.grant(one_.id, 0);
    b_.stop_agent();
    signal_two(SIGSTOP);
    await_dead(a_, one_);
    ASSERT_TRUE(await_keeper("closed"));
  }
  void signal_two(int signal) {
    for (const pid_t pid : postgres_processes_in(b_.node(two_.id).data)) ::kill(pid, signal);
  }
  std::string client() { return as_client(one_, "nobody", "nothing", "postgres"); }
  bool await_client(const std::string& error) {
    const auto until = Clock::now() + seconds(30);
    while (Clock::now() < until && client().find(error) == std::string::npos) ::usleep(5000);
    return client().find(error) != std::string::npos;
  }
};

TEST_F(ClosedTest, VotersBringAPrimaryBackWhenNobodyGrantsLeases) {
  let_it_close();
  EXPECT_TRUE(await_client("pg_hba.conf rejects"));
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return n.postgres() == v1::POSTGRES_STATE_STARTING && n.lease_ms() == 0;
  }));
  // It stays closed under another keeper.
  const pid_t before = keeper(a_, one_)->keeper_pid;
  const pid_t server = running_postmaster(a_.node(one_.id).data);
  ::kill(before, SIGKILL);
  ASSERT_TRUE(await_keeper("closed", before));
  EXPECT_EQ(running_postmaster(a_.node(one_.id).data), server);
  EXPECT_NE(client().find("pg_hba.conf rejects"), std::string::npos);

  signal_two(SIGCONT);
  ASSERT_TRUE(a_.await_node(one_.id, is_open));
  EXPECT_EQ(running_postmaster(a_.node(one_.id).data), server);
  EXPECT_TRUE(await_client("password authentication failed"));
  query(a_, one_, "insert into public.t values (7)");
  EXPECT_EQ(value(b_, two_, "select count(*) from public.t"), "101");
  // And it is guarded again.
  signal_two(SIGSTOP);
  await_dead(a_, one_);
  signal_two(SIGCONT);
}

TEST_F(ClosedTest, ALeaseOpensIt) {
  let_it_close();
  a_.grant(one_.id, 1);
  ASSERT_TRUE(a_.await_node(one_.id, is_open));
  EXPECT_TRUE(await_client("password authentication failed"));
  signal_two(SIGCONT);
}

TEST_F(ClosedTest, ItIsFencedLikeAnyOther) {
  let_it_close();
  order_fenced(a_, one_, 3, 2);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  EXPECT_TRUE(dead(a_, one_));
  signal_two(SIGCONT);
}

}  // namespace
}  // namespace trunkline::agent::testing
