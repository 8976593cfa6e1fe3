// What stands in the way of a failover, against real PostgreSQL servers: sessions that hear
// nothing, standbys that are behind, locks that a tenant has taken, servers that answer and do not
// serve, lines in a log.
#include <libpq-fe.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/tests/failover_fixture.h"

namespace trunkline::agent::testing {
namespace {

constexpr char kPassword[] = "a password of a tenant";

// A client of a tenant, over TCP, that is not waited for.
class Tenant {
 public:
  explicit Tenant(const TestNode& node) {
    const std::string conninfo = "host=" + node.address.address() +
                                 " port=" + std::to_string(node.address.port()) +
                                 " user=tenant password='" + kPassword +
                                 "' dbname=postgres connect_timeout=5";
    connection_ = PQconnectdb(conninfo.c_str());
    EXPECT_EQ(PQstatus(connection_), CONNECTION_OK) << PQerrorMessage(connection_);
  }
  ~Tenant() { PQfinish(connection_); }
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;
  void send(const std::string& sql) { EXPECT_EQ(PQsendQuery(connection_, sql.c_str()), 1); }
  std::string run(const std::string& sql) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const std::string error = PQresultErrorMessage(result);
    PQclear(result);
    return error;
  }

 private:
  PGconn* connection_;
};

class WayTest : public FailoverTest {
 protected:
  void form_with_tenant(uint32_t sync_number) {
    form(sync_number);
    query(a_, one_, std::string("create role tenant login password '") + kPassword + "'");
    query(a_, one_,
          "grant connect on database postgres to tenant;"
          "create table public.held (x int); grant all on public.held, public.t to tenant;"
          "insert into public.held values (1)");
    ASSERT_TRUE(await_value(b_, two_, "select count(*) from public.held", "1"));
  }
  // Minutes within a library, deaf to everything but SIGKILL; it holds a lock on a table.
  static std::string deaf_query() {
    return "select xpath('count(//a[count(//a) > 0])',"
           " ('<r>' || repeat('<a/>', 100000) || '</r>')::xml) from public.held";
  }
  bool runs_deaf(TestHost& host, const TestNode& node) {
    return await_value(host, node,
                       "select count(*) from pg_stat_activity where usename = 'tenant'"
                       " and state = 'active' and query like '%xpath%' and pid <> pg_backend_pid()"
                       " and clock_timestamp() - query_start > interval '300 ms'",
                       "1");
  }
  std::string replay_waits() {
    return value(b_, two_,
                 "select count(*) from pg_stat_activity where backend_type = 'startup'"
                 " and wait_event_type = 'Lock'");
  }
};

TEST_F(WayTest, DeafQueryOnAStandbyDoesNotHoldUpItsPromotion) {
  form_with_tenant(0);
  Tenant reader(two_);
  reader.send(deaf_query());
  ASSERT_TRUE(runs_deaf(b_, two_));
  query(a_, one_, "drop table public.held");
  ASSERT_TRUE(await_value(b_, two_,
                          "select count(*) from pg_stat_activity where backend_type = 'startup'"
                          " and wait_event_type = 'Lock'",
                          "1"));
  order_fenced(a_, one_, 3, 2);
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  EXPECT_EQ(replay_waits(), "1") << "what it has is known without";
  const auto start = Clock::now();
  promote_two(3, 2, {one_.id}, 0);
  EXPECT_LT(ms_since(start), 8000);
  EXPECT_EQ(value(b_, two_, "select to_regclass('public.held') is null"), "t");
  EXPECT_TRUE(b_.await_node(two_.id, [](const auto& n) { return n.timeline() == 2; }));
}

// It is asked to be primary, cannot yet, and is told otherwise: at once, and for good.
TEST_F(WayTest, PromotionThatIsHeldUpIsWithdrawnWhenAnotherTermBegins) {
  form(0);
  order_fenced(b_, two_, 2, 2);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  const pid_t startup = freeze_replay(b_, two_);
  ASSERT_GT(startup, 0);
  order_role(b_, two_, primary(3, 2, {one_.id}, 0, 3));
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) { return n.role().step() == "promoting"; }));
  const auto start = Clock::now();
  order_fenced(b_, two_, 4, 3);
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) { return is_fenced(n) && n.term() == 3; }));
  std::printf("withdrawn and fenced: %.0f ms\n", ms_since(start));
  EXPECT_LT(ms_since(start), 8000);
  EXPECT_EQ(value(b_, two_, "select pg_is_in_recovery()"), "t");
  EXPECT_EQ(b_.newest_node(two_.id).timeline(), 1u);
}

// Numbers of timelines that it must leave out lie there while it is promoted.
TEST_F(WayTest, HeirThatDiesBeforeItsPromotionTakesEffectIsPromotedPastNumbersOfOthers) {
  form(0);
  order_fenced(b_, two_, 2, 5);
  ASSERT_TRUE(b_.await_node(two_.id, is_fenced));
  const std::string old_rows = rows(b_, two_);
  const pid_t startup = freeze_replay(b_, two_);
  ASSERT_GT(startup, 0);
  order_role(b_, two_, primary(3, 5, {one_.id}, 0, 3));
  const std::string borrowed = b_.node(two_.id).data + "/pg_wal/00000004.history";
  const auto until = Clock::now() + seconds(30);
  while ((!keeper(b_, two_)->held || !exists(borrowed)) && Clock::now() < until) ::usleep(1000);
  ASSERT_TRUE(exists(borrowed));
  ::kill(running_postmaster(b_.node(two_.id).data), SIGKILL);
  ::kill(startup, SIGKILL);
  EXPECT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return is_open(n) && n.timeline() == 5 && n.term() == 5;
  }, seconds(60)));
  EXPECT_EQ(rows(b_, two_), old_rows);
}

TEST_F(WayTest, DeafQueryOnAPrimaryDoesNotKeepASwitchoverFromItsEnd) {
  form_with_tenant(1);
  Tenant client(one_);
  client.send(deaf_query());
  ASSERT_TRUE(runs_deaf(a_, one_));
  const auto start = Clock::now();
  order_fenced(a_, one_, 3, 2, 500);
  a_.grant(one_.id, 1);  // of the term before, as it still may have
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced, seconds(40)));
  std::printf("stopped in spite of a deaf session: %.0f ms\n", ms_since(start));
  EXPECT_TRUE(a_.newest_node(one_.id).wal_end_exact());
  const uint64_t end = a_.newest_node(one_.id).flush_lsn();
  EXPECT_TRUE(b_.await_node(two_.id, [&](const auto& n) { return n.flush_lsn() == end; }));
}

// Its receiver is stopped, so it confirms nothing, as one that has much to catch up with.
TEST_F(WayTest, StandbyThatIsBehindDoesNotMakeAStopUnclean) {
  form(0);
  query(a_, one_, "alter system set wal_sender_timeout = '60s'");
  query(a_, one_, "select pg_reload_conf()");
  const pid_t receiver = std::atoi(
      value(b_, two_, "select pid from pg_stat_activity where backend_type = 'walreceiver'")
          .c_str());
  ASSERT_GT(receiver, 0);
  ::kill(receiver, SIGSTOP);
  ASSERT_TRUE(await_value(a_, one_,
                          "select reply_time < clock_timestamp() - interval '3 s'"
                          " from pg_stat_replication",
                          "t"));
  query(a_, one_, "insert into public.t select generate_series(1, 100)");
  const auto start = Clock::now();
  order_fenced(a_, one_, 3, 2, 300);
  ASSERT_TRUE(a_.await_node(one_.id, is_fenced));
  std::printf("stopped beside a standby that is behind: %.0f ms\n", ms_since(start));
  EXPECT_TRUE(a_.newest_node(one_.id).wal_end_exact());
  EXPECT_LT(ms_since(start), 4000);
  ::kill(receiver, SIGCONT);
}

TEST_F(WayTest, LocksThatATenantHasTakenCostNothingButHisSession) {
  form_with_tenant(0);
  Tenant greedy(one_);
  greedy.send(
      "do $$ begin for i in 1 .. 1000000 loop perform pg_advisory_lock(i); end loop;"
      " exception when others then perform pg_sleep(60); end $$");
  const auto is_full = [&] {
    try {
      superuser_session(a_, one_);
      return false;
    } catch (const PgError& e) {
      EXPECT_EQ(e.sqlstate(), "53200") << e.what();
      return e.sqlstate() == "53200";
    }
  };
  const auto until = Clock::now() + seconds(20);
  while (!is_full() && Clock::now() < until) ::usleep(5000);
  const auto restarts = a_.newest_node(one_.id).restarts();
  // Never seen otherwise than open while it was so, until objects are looked at: then he goes.
  v1::ApplyObjects objects;
  objects.set_objects_version(5);
  order_objects(a_, one_, objects);
  bool always_open = true;
  const auto freed = Clock::now() + seconds(20);
  while (is_full() && Clock::now() < freed) {
    const auto n = a_.newest_node(one_.id);
    always_open = always_open && (is_open(n) || n.answers());
    ::usleep(20'000);
  }
  EXPECT_TRUE(always_open);
  EXPECT_FALSE(is_full());
  EXPECT_EQ(a_.newest_node(one_.id).restarts(), restarts);
  EXPECT_TRUE(a_.await_node(one_.id, is_open));
}

// With the facts that were read before, and from a session that has to be opened first.
TEST_F(WayTest, ServerThatRefusesItsAgentLives) {
  order_box(a_, one_);
  order_primary(a_, one_);
  ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) { return is_open(n) && role_done(n, 1); }));
  std::vector<PgConnection> all;
  try {
    for (int i = 0; i < 200; ++i) all.push_back(superuser_session(a_, one_));
    FAIL() << "the server takes any number of sessions";
  } catch (const PgError& e) {
    EXPECT_EQ(e.sqlstate(), "53300") << e.what();
  }
  EXPECT_TRUE(is_open(a_.newest_node(one_.id)));
  a_.stop_agent();
  ASSERT_THROW(
      {
        while (all.size() < 400) all.push_back(superuser_session(a_, one_));
      },
      PgError);
  a_.start_agent();
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) { return n.answers() && !is_open(n); }));
  all.clear();
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) { return !n.answers() && is_open(n); }));
}

TEST_F(WayTest, PrimaryThatTakesNoSessionsSaysThatItStalls) {
  form(0);
  EXPECT_EQ(a_.newest_node(one_.id).stalled_ms(), 0u);
  const pid_t postmaster = running_postmaster(a_.node(one_.id).data);
  ::kill(postmaster, SIGSTOP);
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return is_open(n) && n.stalled_ms() >= 2000;  // its session goes on
  }));
  ::kill(postmaster, SIGCONT);
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return is_open(n) && n.stalled_ms() == 0;
  }));
}

TEST_F(WayTest, LinesInALogRebuildNobodyAndWalThatIsGoneDoes) {
  form(0);
  b_.stop_agent();
  query(b_, two_,
        "do $$ begin raise log E'x\n2026-01-01 FATAL:  requested WAL segment 0 has already been"
        " removed\nFATAL:  database system identifier differs between the primary and standby';"
        " end $$");
  b_.start_agent();
  ASSERT_TRUE(b_.await_node(two_.id, is_streaming));
  query(b_, two_,
        "do $$ begin raise log 'requested WAL segment 0 has already been removed'; end $$");
  const auto inode = [&] {
    struct stat status {};
    ::stat((b_.node(two_.id).data + "/PG_VERSION").c_str(), &status);
    return status.st_ino;
  };
  const auto before = inode();
  b_.stop_agent();
  stop_all_nodes(b_.options(), seconds(5));
  // While it is down its primary forgets what it needs.
  query(a_, one_, "alter system set max_slot_wal_keep_size = '1MB'");
  query(a_, one_, "alter system set wal_keep_size = 0");
  query(a_, one_, "select pg_reload_conf()");
  for (int i = 0; i < 6; ++i) {
    query(a_, one_, "insert into public.t values (1)");
    query(a_, one_, "select pg_switch_wal()");
  }
  query(a_, one_, "checkpoint");
  query(a_, one_, "checkpoint");
  EXPECT_EQ(inode(), before);
  b_.start_agent();
  ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) {
    return is_streaming(n) && n.flush_lsn() > 0;
  }, seconds(60)));
  EXPECT_NE(inode(), before) << "it cannot have gone on";
  EXPECT_TRUE(await_value(b_, two_, "select count(*) from public.t", "106"));
}

TEST_F(WayTest, RoleThatCannotBeSavedIsTriedUntilItCan) {
  form(0);
  const std::string manifests = a_.paths().manifests_dir;
  std::filesystem::rename(manifests, manifests + ".away");
  order_fenced(a_, one_, 3, 2);
  ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return n.role().generation() == 3 && n.role().failure().code() == "manifest_not_saved";
  }));
  EXPECT_TRUE(is_open(a_.newest_node(one_.id))) << "nothing is done for what a restart forgets";
  std::filesystem::rename(manifests + ".away", manifests);
  EXPECT_TRUE(a_.await_node(one_.id, is_fenced));
}

TEST_F(WayTest, KeeperAndItsSecondGoBeforeOthersWhereTheyMay) {
  form(1);
  const auto status = keeper(a_, one_);
  ASSERT_TRUE(status);
  const auto locked_kb = [](pid_t pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("VmLck:")) return std::strtol(line.c_str() + 6, nullptr, 10);
    }
    return -1l;
  };
  const auto is_realtime = [](pid_t pid) {
    return (::sched_getscheduler(pid) & ~SCHED_RESET_ON_FORK) == SCHED_RR;
  };
  std::printf("memory locked: %d, realtime: %d\n", status->memory_locked, status->realtime);
  EXPECT_EQ(locked_kb(status->keeper_pid) > 0, status->memory_locked);
  EXPECT_EQ(is_realtime(status->keeper_pid), status->realtime);
  int seconds_found = 0;
  for (const pid_t child : children_of(status->keeper_pid)) {
    if (child == status->postmaster_pid) continue;
    ++seconds_found;
    EXPECT_EQ(locked_kb(child) > 0, status->memory_locked);
    EXPECT_EQ(is_realtime(child), status->realtime);
  }
  EXPECT_EQ(seconds_found, 1);
  EXPECT_FALSE(is_realtime(status->postmaster_pid));
  EXPECT_EQ(locked_kb(status->postmaster_pid), 0);
  rlimit limit{};
  ::prlimit(status->postmaster_pid, RLIMIT_RTPRIO, nullptr, &limit);
  rlimit own{};
  ::getrlimit(RLIMIT_RTPRIO, &own);
  EXPECT_EQ(limit.rlim_max, own.rlim_max) << "a server has no more than its agent";
}

}  // namespace
}  // namespace trunkline::agent::testing
