// Leases, fencing, promotion and rejoin against real PostgreSQL servers.
#include <filesystem>

#include "agent/tests/failover_fixture.h"

namespace trunkline::agent::testing {
namespace {

TEST_F(FailoverTest, WithoutLeasesAStandbyCarriesThePrimaryAndWithoutEitherItEnds) {
  form(1);
  const pid_t before = running_postmaster(a_.node(one_.id).data);
  a_.grant(one_.id, 0);
  const auto until = Clock::now() + seconds(5);
  while (Clock::now() < until) {
    query(a_, one_, "insert into public.t values (1)");
    ::usleep(50'000);
  }
  EXPECT_EQ(running_postmaster(a_.node(one_.id).data), before);
  a_.stop_agent();  // as good as frozen: nothing more comes from it
  b_.stop_agent();
  stop_all_nodes(b_.options(), seconds(5));
  int64_t lease = 0;
  while (!dead(a_, one_)) {
    if (const auto status = keeper(a_, one_)) lease = std::max(lease, status->lease_until_ms);
    ::usleep(500);
    if (lease > 0 && boot_ms() > lease + 5000) break;
  }
  const int64_t ended = await_dead(a_, one_);
  std::printf("ended %lld ms after its lease\n", static_cast<long long>(ended - lease));
  EXPECT_GE(ended, lease);
  EXPECT_TRUE(await_keeper("fenced"));

  // An agent that comes back starts nothing without a lease, and something with one.
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return n.role().state() == v1::TASK_STATE_IN_PROGRESS && n.lease_ms() == 0;
  }));
  EXPECT_TRUE(dead(a_, one_));
  a_.grant(one_.id, 1);
  ASSERT_TRUE(a_.await_node(one_.id, is_open));
}

TEST_F(FailoverTest, LeaseOfAnotherTermIsNone) {
  form(0);
  b_.stop_agent();
  stop_all_nodes(b_.options(), seconds(5));
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) { return n.lease_term() == 1; }));
  a_.grant(one_.id, 2);
  await_dead(a_, one_);
}

TEST_F(FailoverTest, FrozenKeeperDoesNotLetThePrimaryOutliveItsLease) {
  form(1);
  const auto status = keeper(a_, one_);
  ASSERT_TRUE(status);
  a_.grant(one_.id, 0);
  ::kill(status->keeper_pid, SIGSTOP);
  const int64_t ended = await_dead(a_, one_);
  std::printf("ended %lld ms after the lease that was seen last\n",
              static_cast<long long>(ended - status->lease_until_ms));
  EXPECT_GE(ended, status->lease_until_ms);
  ::kill(status->keeper_pid, SIGCONT);
  a_.grant(one_.id, 1);
  ASSERT_TRUE(a_.await_node(one_.id, is_open));
}

TEST_F(FailoverTest, KilledKeeperOfAGuardedPrimaryIsReplacedAndTheGuardStays) {
  form(1);
  const auto before = keeper(a_, one_);
  ASSERT_TRUE(before);
  ::kill(before->keeper_pid, SIGKILL);
  std::optional<KeeperStatus> next;
  for (int i = 0; i < 1000 && (!next || next->keeper_pid == before->keeper_pid); ++i) {
    ::usleep(10'000);
    next = keeper(a_, one_);
  }
  ASSERT_TRUE(next);
  EXPECT_EQ(next->postmaster_pid, before->postmaster_pid);
  EXPECT_EQ(next->guard, before->guard);
  a_.grant(one_.id, 0);
  b_.stop_agent();
  stop_all_nodes(b_.options(), seconds(5));
  await_dead(a_, one_);
}

TEST_F(FailoverTest, KilledKeeperWithoutAnAgentEndsThePrimaryWithItsLease) {
  form(1);
  a_.stop_agent();
  const auto status = keeper(a_, one_);
  ASSERT_TRUE(status);
  ::kill(status->keeper_pid, SIGKILL);
  const int64_t ended = await_dead(a_, one_);
  EXPECT_GE(ended, status->lease_until_ms);
}

TEST_F(FailoverTest, CrashUnderALeaseIsRestartedInPlace) {
  form(1);
  const auto start = Clock::now();
  ::kill(running_postmaster(a_.node(one_.id).data), SIGKILL);
  ASSERT_TRUE(
      a_.await_node(one_.id, [](const auto& n) { return n.restarts() == 1 && is_open(n); }));
  std::printf("kill -9 to open: %.0f ms\n", ms_since(start));
}

TEST_F(FailoverTest, PromotionAfterACrashAndTheOldPrimaryIsRewound) {
  form(0);
  const auto start = Clock::now();
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  std::printf("fencing a standby: %.0f ms\n", ms_since(start));
  EXPECT_FALSE(b_.newest_node(two_.id).wal_receiver_streaming());
  // What the standby never got.
  query(a_, one_, "insert into public.t select generate_series(1001, 1010)");
  query(a_, one_, "create table public.forked as select generate_series(1, 1000) as x");
  ::kill(running_postmaster(a_.node(one_.id).data), SIGKILL);
  const auto crash = Clock::now();
  order_fenced(a_, one_, 3, 2);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  std::printf("fencing a primary: %.0f ms\n", ms_since(crash));
  EXPECT_EQ(a_.newest_node(one_.id).postgres(), v1::POSTGRES_STATE_STOPPED);
  EXPECT_TRUE(dead(a_, one_));
  // It stays fenced across restarts of agents.
  a_.stop_agent();
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  EXPECT_TRUE(dead(a_, one_));

  promote_two(3, 2, {one_.id}, 0);
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return n.timeline() == 2 && n.history_size() == 1 && n.term() == 2;
  }));
  query(b_, two_, "insert into public.t select generate_series(2001, 2020)");
  const auto report = b_.newest_node(two_.id);
  const auto rejoin = Clock::now();
  order_role(a_, one_, standby_of(two_, report, 4, 2));
  ASSERT_TRUE(a_.await_node(one_.id, is_streaming, seconds(60)));
  std::printf("rewound and streaming: %.0f ms\n", ms_since(rejoin));
  EXPECT_TRUE(await_value(a_, one_, "select count(*) from public.t", "120"));
  EXPECT_TRUE(await_value(a_, one_, "select to_regclass('public.forked') is null", "t"));
  EXPECT_EQ(rows(a_, one_), rows(b_, two_));
  // What it wrote alone is kept: the segments from the fork on, of the timeline that it left.
  size_t kept = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(a_.node(one_.id).forked + "/term-1")) {
    kept += entry.path().filename().string().starts_with("00000001") ? 1 : 0;
  }
  EXPECT_GT(kept, 0u);
  EXPECT_EQ(value(a_, one_, "select count(*) from pg_replication_slots"), "0");
  EXPECT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return n.sync_version() == 3 && n.standbys_size() == 1;
  }));
}

TEST_F(FailoverTest, CleanSwitchoverNeedsNoRewind) {
  form(1);
  const auto start = Clock::now();
  order_fenced(a_, one_, 3, 2, 2000);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  const uint64_t end = a_.newest_node(one_.id).flush_lsn();
  ASSERT_TRUE(b_.await_node(two_.id, [&](const auto& n) {
    return n.flush_lsn() == end && n.timeline() == 1;
  }));
  std::printf("order to its last WAL on the standby: %.0f ms\n", ms_since(start));
  promote_two(3, 2, {one_.id}, 1);
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) { return n.history_size() == 1; }));
  const auto rejoin = Clock::now();
  order_role(a_, one_, standby_of(two_, b_.newest_node(two_.id), 4, 2));
  ASSERT_TRUE(a_.await_node(one_.id, is_streaming, seconds(60)));
  std::printf("following after a switchover: %.0f ms\n", ms_since(rejoin));
  EXPECT_FALSE(exists(a_.node(one_.id).forked));
  // Synchronous from the first commit on, with the old primary as the voter.
  query(b_, two_, "insert into public.t values (7)");
  EXPECT_TRUE(await_value(a_, one_, "select count(*) from public.t", "101"));
  // And back, to a timeline that leaves out two that others may have begun.
  order_fenced(b_, two_, 4, 5, 2000);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  const uint64_t next = b_.newest_node(two_.id).flush_lsn();
  ASSERT_TRUE(a_.await_node(one_.id, [&](const auto& n) {
    return n.flush_lsn() == next && n.timeline() == 2;
  }));
  order_role(a_, one_, primary(6, 5, {two_.id}, 1, 4));
  ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return is_open(n) && n.timeline() == 5 && n.history_size() == 2 &&
           n.history(0).timeline() == 2 && n.history(1).timeline() == 5;
  }));
  order_role(b_, two_, standby_of(one_, a_.newest_node(one_.id), 5, 5));
  ASSERT_TRUE(b_.await_node(two_.id, is_streaming, seconds(60)));
  query(a_, one_, "insert into public.t values (8)");
  EXPECT_TRUE(await_value(b_, two_, "select count(*) from public.t", "102"));
  EXPECT_FALSE(exists(b_.node(two_.id).forked));
}

TEST_F(FailoverTest, PromotionThatTheGroupForgotIsNotFollowed) {
  TestHost c(platform_, "host-c", "127.31.77.23");
  const TestNode three = make_node(c);
  ASSERT_NO_FATAL_FAILURE(form_with(c, three));
  order_fenced(b_, two_, 2, 2);
  order_fenced(a_, one_, 4, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  promote_two(3, 2, {}, 0);
  query(b_, two_, "create table public.lost as select 1 as x");
  order_fenced(c, three, 2, 3);
  order_fenced(b_, two_, 4, 3);
  ASSERT_TRUE(c.await_node(three.id, is_fenced));
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  order_role(c, three, primary(3, 3, {two_.id}, 0, 4));
  ASSERT_TRUE(c.await_node(three.id, [](const auto& n) {
    return is_open(n) && n.timeline() == 3 && n.history_size() == 1;
  }));
  query(c, three, "create table public.kept as select 1 as x");
  order_role(b_, two_, standby_of(three, c.newest_node(three.id), 5, 3));
  ASSERT_TRUE(b_.await_node(two_.id, is_streaming, seconds(60)));
  EXPECT_TRUE(await_value(b_, two_, "select to_regclass('public.kept') is not null", "t"));
  EXPECT_EQ(value(b_, two_, "select to_regclass('public.lost') is null"), "t");
}

// pg_rewind takes two timelines with one number for the same.
TEST_F(FailoverTest, TimelineOfTheSameNumberThatForkedElsewhereIsNotFollowed) {
  TestHost c(platform_, "host-c", "127.31.77.23");
  const TestNode three = make_node(c);
  ASSERT_NO_FATAL_FAILURE(form_with(c, three));
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  query(a_, one_, "insert into public.t select generate_series(101, 200)");
  ASSERT_TRUE(await_value(c, three, "select count(*) from public.t", "200"));
  order_fenced(c, three, 2, 2);
  ASSERT_TRUE(c.await_node(three.id, is_fenced));
  order_fenced(a_, one_, 4, 2);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));

  promote_two(3, 2, {}, 0);
  query(b_, two_, "insert into public.t select generate_series(1001, 2000)");
  v1::AssignRole role = primary(3, 3, {two_.id}, 0, 4);
  role.set_timeline(2);
  order_fenced(b_, two_, 4, 3);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  order_role(c, three, role);
  ASSERT_TRUE(c.await_node(three.id, [](const auto& n) {
    return is_open(n) && n.timeline() == 2 && n.history_size() == 1;
  }));
  query(c, three, "insert into public.t values (7)");
  order_role(b_, two_, standby_of(three, c.newest_node(three.id), 5, 3));
  ASSERT_TRUE(b_.await_node(two_.id, is_streaming, seconds(60)));
  EXPECT_TRUE(await_value(b_, two_, "select count(*) from public.t", "201"));
  EXPECT_EQ(rows(b_, two_), rows(c, three));
}

TEST_F(FailoverTest, PreparedPrimaryHasCheckpointed) {
  form(1);
  const std::string before =
      value(a_, one_, "select redo_lsn from pg_control_checkpoint()");
  v1::Task task;
  task.set_node_id(one_.id);
  task.set_instance_id(one_.instance_id);
  task.mutable_prepare_stop()->set_prepare_id(7);
  a_.agent().on_task(task.SerializeAsString());
  ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) { return n.prepared_id() == 7; }));
  EXPECT_EQ(value(a_, one_, "select redo_lsn > '" + before + "' from pg_control_checkpoint()"),
            "t");
  order_fenced(a_, one_, 3, 2, 2000);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  EXPECT_TRUE(a_.newest_node(one_.id).wal_end_exact());
}

// Its standbys follow a node before its promotion, and through it.
TEST_F(FailoverTest, SlotsAreThereBeforeAPromotionAndGoWithTheRole) {
  form(0);
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  // Its guard awaits a lease of the term, so it goes no further.
  v1::Task task;
  task.set_node_id(two_.id);
  task.set_instance_id(two_.instance_id);
  *task.mutable_assign_role() = primary(3, 2, {one_.id}, 0, 3);
  b_.agent().on_task(task.SerializeAsString());
  EXPECT_TRUE(b_.await_node(two_.id, [&](const auto& n) { return n.slots_size() == 1; }));
  EXPECT_EQ(value(b_, two_, "select pg_is_in_recovery()"), "t");
  order_role(b_, two_, standby_of(one_, a_.newest_node(one_.id), 4, 3));
  EXPECT_TRUE(b_.await_node(two_.id, [&](const auto& n) {
    return n.slots_size() == 0 && n.wal_receiver_streaming() && role_done(n, 4);
  }));
}

// Its keeper holds, its signal file is still there.
TEST_F(FailoverTest, ServerThatDiesBeforeItsPromotionTakesEffectIsPromotedAgain) {
  form(0);
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  const std::string old_rows = rows(b_, two_);
  const pid_t startup = freeze_replay(b_, two_);
  ASSERT_GT(startup, 0);
  order_role(b_, two_, primary(3, 2, {one_.id}, 0, 3));
  const auto until = Clock::now() + seconds(30);
  while (!keeper(b_, two_)->held && Clock::now() < until) ::usleep(1000);
  ASSERT_TRUE(keeper(b_, two_)->held);
  ASSERT_TRUE(std::filesystem::exists(b_.node(two_.id).data + "/standby.signal"));
  ::kill(running_postmaster(b_.node(two_.id).data), SIGKILL);
  ::kill(startup, SIGKILL);
  EXPECT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return is_open(n) && n.timeline() == 2 && n.term() == 2;
  }, seconds(60)));
  EXPECT_EQ(rows(b_, two_), old_rows);
}

TEST_F(FailoverTest, StandbyThatWasNotFencedIsNotPromoted) {
  form(0);
  v1::AssignRole role = primary(5, 2, {one_.id}, 0, 3);
  role.set_timeline(0);
  order_role(b_, two_, role);
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return n.role().failure().code() == "not_fenced";
  }));
  EXPECT_EQ(value(b_, two_, "select pg_is_in_recovery()"), "t");
}

TEST_F(FailoverTest, FencedStandbyThatIsRestartedReportsAllThatItHas) {
  form(0);
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  const uint64_t end = b_.newest_node(two_.id).flush_lsn();
  b_.stop_agent();
  stop_all_nodes(b_.options(), seconds(5));
  b_.start_agent();
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  EXPECT_EQ(b_.newest_node(two_.id).flush_lsn(), end);
}

TEST_F(FailoverTest, ProbeTellsAServerFromNone) {
  form(0);
  const auto probe = [&](uint64_t id) {
    v1::Task task;
    task.set_node_id(two_.id);
    task.set_instance_id(two_.instance_id);
    task.mutable_probe_upstream()->set_probe_id(id);
    b_.agent().on_task(task.SerializeAsString());
    EXPECT_TRUE(b_.await_node(two_.id, [&](const auto& n) { return n.probe().probe_id() == id; }));
    return b_.newest_node(two_.id).probe().answered();
  };
  EXPECT_TRUE(probe(1));
  const pid_t postmaster = running_postmaster(a_.node(one_.id).data);
  ::kill(postmaster, SIGSTOP);
  EXPECT_FALSE(probe(2)) << "a frozen one accepts connections but does not answer";
  ::kill(postmaster, SIGCONT);
  a_.stop_agent();
  stop_all_nodes(a_.options(), seconds(5));
  EXPECT_FALSE(probe(3));
}

}  // namespace
}  // namespace trunkline::agent::testing
