// What memory a tenant's session may take, on real servers: one that takes too much gets an error,
// and nobody else notices.
#include <libpq-fe.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "agent/tests/failover_fixture.h"

namespace trunkline::agent::testing {
namespace {

constexpr char kOutOfMemory[] = "53200";

// A session as superuser, whose result is an error's SQLSTATE, or the first value.
class Session {
 public:
  Session(const TestHost& host, const TestNode& node) {
    const std::string conninfo = "host=" + host.node(node.id).socket_dir +
                                 " port=" + std::to_string(node.address.port()) +
                                 " user=postgres dbname=postgres connect_timeout=5";
    connection_ = PQconnectdb(conninfo.c_str());
    EXPECT_EQ(PQstatus(connection_), CONNECTION_OK) << PQerrorMessage(connection_);
  }
  ~Session() { PQfinish(connection_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  void send(const std::string& sql) { EXPECT_EQ(PQsendQuery(connection_, sql.c_str()), 1); }
  std::string result() {
    std::string out;
    while (PGresult* result = PQgetResult(connection_)) {
      const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
      if (state != nullptr) {
        out = state;
      } else if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0) {
        out = PQgetvalue(result, 0, 0);
      } else if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        out = PQerrorMessage(connection_);
      }
      PQclear(result);
    }
    return out;
  }
  std::string run(const std::string& sql) {
    send(sql);
    return result();
  }

 private:
  PGconn* connection_;
};

const std::string kSortOfAll =
    "select count(*) from (select repeat(md5(g::text), 30) x from generate_series(1, 3000000) g"
    " order by 1 offset 0) s";

int oom_score(pid_t pid) {
  int score = 0;
  std::ifstream("/proc/" + std::to_string(pid) + "/oom_score_adj") >> score;
  return score;
}

// The soft limit, as /proc/<pid>/limits has it.
std::string limit_of(pid_t pid, const std::string& name) {
  std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
  for (std::string line; std::getline(limits, line);) {
    std::string value;
    if (line.starts_with(name)) std::istringstream(line.substr(name.size())) >> value;
    if (!value.empty()) return value;
  }
  return "";
}

class MemoryTest : public FailoverTest {
 protected:
  void open_one() {
    order_box(a_, one_);
    order_primary(a_, one_);
    ASSERT_TRUE(a_.await_node(one_.id, is_open, seconds(60)));
  }
  pid_t pid_of(TestHost& host, const TestNode& node, const std::string& type) {
    return std::atoi(value(host, node, "select pid from pg_stat_activity where backend_type = '" +
                                           type + "' limit 1")
                         .c_str());
  }
};

TEST_F(MemoryTest, OneThatTakesTooMuchGetsAnErrorAndOthersLiveOn) {
  open_one();
  Session other(a_, one_);
  const std::string pid = other.run("select pg_backend_pid()");
  Session greedy(a_, one_);
  greedy.run("set work_mem = '20GB'");
  for (int round = 0; round < 3; ++round) EXPECT_EQ(greedy.run(kSortOfAll), kOutOfMemory);
  // What a parallel hash join takes is shared: of nobody's own.
  greedy.run("create table public.big as select g id, repeat(md5(g::text), 6) v"
             " from generate_series(1, 1500000) g; analyze public.big");
  greedy.run("set max_parallel_workers_per_gather = 4; set max_parallel_workers = 8;"
             "set parallel_setup_cost = 0; set parallel_tuple_cost = 0;"
             "set min_parallel_table_scan_size = 0; set enable_mergejoin = off;"
             "set enable_nestloop = off; set hash_mem_multiplier = 10");
  EXPECT_EQ(greedy.run("select count(*) from public.big x join public.big y using (id, v)"),
            kOutOfMemory);
  EXPECT_EQ(greedy.run("do $$ declare a text[]; begin loop a := a || repeat('x', 1000000);"
                       " end loop; end $$"),
            kOutOfMemory);
  EXPECT_EQ(other.run("select pg_backend_pid()"), pid);
  EXPECT_EQ(a_.newest_node(one_.id).restarts(), 0u);
}

TEST_F(MemoryTest, TwoAtOnceFitToo) {
  open_one();
  Session other(a_, one_);
  const std::string pid = other.run("select pg_backend_pid()");
  Session first(a_, one_);
  Session second(a_, one_);
  for (Session* greedy : {&first, &second}) {
    greedy->run("set work_mem = '20GB'");
    greedy->send(kSortOfAll);
  }
  EXPECT_EQ(first.result(), kOutOfMemory);
  EXPECT_EQ(second.result(), kOutOfMemory);
  EXPECT_EQ(other.run("select pg_backend_pid()"), pid);
}

// More than fit: where there are control groups the kernel takes sessions, not the postmaster.
TEST_F(MemoryTest, ManyAtOnceDoNotCostThePostmaster) {
  open_one();
  const pid_t postmaster = running_postmaster(a_.node(one_.id).data);
  query(a_, one_, "create table public.kept as select 1 as x");
  std::vector<std::unique_ptr<Session>> greedy;
  for (int i = 0; i < 6; ++i) greedy.push_back(std::make_unique<Session>(a_, one_));
  for (auto& session : greedy) session->run("set work_mem = '20GB'");
  for (auto& session : greedy) session->send(kSortOfAll);
  for (auto& session : greedy) std::printf("ended by: %.60s\n", session->result().c_str());
  EXPECT_TRUE(await_value(a_, one_, "select count(*) from public.kept", "1"));
  EXPECT_EQ(running_postmaster(a_.node(one_.id).data), postmaster);
  EXPECT_EQ(a_.newest_node(one_.id).restarts(), 0u);
}

TEST_F(MemoryTest, WhatIsLargeAndHonestHasRoom) {
  open_one();
  Session honest(a_, one_);
  honest.run("create table public.big as select g id, repeat(md5(g::text), 4) v"
             " from generate_series(1, 400000) g");
  honest.run("set work_mem = '64MB'; set maintenance_work_mem = '96MB'");
  EXPECT_EQ(honest.run("select count(*) from (select v from public.big order by v offset 0) s"),
            "400000");
  EXPECT_EQ(honest.run("create index on public.big (v)"), "");
  EXPECT_EQ(honest.run("delete from public.big where id % 3 = 0"), "");
  EXPECT_EQ(honest.run("vacuum analyze public.big"), "");
  honest.run("set max_parallel_workers_per_gather = 2; set max_parallel_workers = 8;"
             "set parallel_setup_cost = 0; set parallel_tuple_cost = 0;"
             "set min_parallel_table_scan_size = 0; set enable_mergejoin = off;"
             "set enable_nestloop = off; set jit_above_cost = 0; set jit_inline_above_cost = 0;"
             "set jit_optimize_above_cost = 0");
  EXPECT_EQ(honest.run("select count(*) from public.big x join public.big y using (id, v)"),
            "266667");
  EXPECT_EQ(honest.run("select count(*) from (select v, count(*) from public.big group by v) s"),
            "266667");
}

// A record of WAL that one could write is replayed by a process with more room than that had.
TEST_F(MemoryTest, WhatCanBeWrittenCanBeReplayed) {
  form(0);
  const pid_t startup = pid_of(b_, two_, "startup");
  EXPECT_EQ(limit_of(startup, "Max data size"), "unlimited");
  EXPECT_EQ(limit_of(startup, "Max address space"), "unlimited");
  const pid_t ordinary = pid_of(a_, one_, "checkpointer");
  EXPECT_EQ(limit_of(ordinary, "Max data size"), std::to_string(uint64_t{170} << 20));
  EXPECT_EQ(limit_of(ordinary, "Max address space"), std::to_string(uint64_t{576} << 20));
  Session writer(a_, one_);
  const std::string end =
      writer.run("select pg_logical_emit_message(false, 'x', repeat('x', n * 1000000))"
                 " from generate_series(140, 140) n");
  ASSERT_NE(end, kOutOfMemory);
  EXPECT_TRUE(await_value(b_, two_, "select pg_last_wal_replay_lsn() >= '" + end + "'", "t",
                          "postgres", seconds(60)));
  EXPECT_EQ(pid_of(b_, two_, "startup"), startup);
  ::kill(pid_of(a_, one_, "checkpointer"), SIGKILL);
  EXPECT_TRUE(
      await_value(a_, one_, "select not pg_is_in_recovery()", "t", "postgres", seconds(60)));
}

// Unlike one whose postmaster died, which may be a machine that is not well.
TEST_F(MemoryTest, WhoStartsAnewAfterTheDeathOfAProcessSaysSo) {
  form(0);
  const pid_t held = pid_of(a_, one_, "background writer");
  const pid_t dead = pid_of(a_, one_, "walwriter");
  ::kill(held, SIGSTOP);  // is waited for, for 5 s
  ::kill(dead, SIGKILL);
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) {
    return n.recovers() && n.postgres() == v1::POSTGRES_STATE_STARTING && !n.answers();
  }));
  EXPECT_TRUE(a_.await_node(one_.id, [](const auto& n) { return is_open(n) && !n.recovers(); }));
  EXPECT_EQ(a_.newest_node(one_.id).restarts(), 0u);

  ::kill(running_postmaster(a_.node(one_.id).data), SIGKILL);
  bool recovers = false;
  EXPECT_TRUE(a_.await_node(one_.id, [&](const auto& n) {
    recovers |= n.recovers();
    return is_open(n) && n.restarts() == 1;
  }));
  EXPECT_FALSE(recovers);
}

// Before the postmaster, whose death is another thing.
TEST_F(MemoryTest, WhereMemoryIsShortBackendsGoFirst) {
  open_one();
  const pid_t postmaster = running_postmaster(a_.node(one_.id).data);
  for (const pid_t child : children_of(postmaster)) {
    EXPECT_GE(oom_score(child), oom_score(postmaster) + 300) << child;
  }
}

}  // namespace
}  // namespace trunkline::agent::testing
