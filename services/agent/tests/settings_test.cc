// What PostgreSQL is told.
#include <gtest/gtest.h>

#include "agent/domain/postgres_settings.h"
#include "agent/domain/sql_text.h"

namespace trunkline::agent {
namespace {

const char kNode[] = "11111111-1111-4111-8111-111111111111";
const char kOther[] = "22222222-2222-4222-8222-222222222222";

ConfigInput input(NodeRole role) {
  ConfigInput in;
  in.node_id = kNode;
  in.ensure = {1, "postgresql-15", {2, 1024, 8}, {"host-a", "a", "127.31.0.1", 5432}};
  in.role.role = role;
  in.role.upstream_node_id = kOther;
  in.role.upstream = {"host-b", "b", "127.31.0.2", 5433};
  in.socket_dir = "/run/s/host-a/x";
  in.tls_dir = "/srv/tls";
  in.upstream_key = "/srv/key";
  in.size = in.ensure.size;
  in.keeps_floor = role != NodeRole::primary;
  return in;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(PostgresqlConf, LoadsTheGuardBesideStatistics) {
  ConfigInput in = input(NodeRole::primary);
  EXPECT_EQ(postgresql_conf(in).find("shared_preload_libraries"), std::string::npos);
  in.guard = "/srv/bin/trunkline-guard-15.so";
  EXPECT_TRUE(has_line(postgresql_conf(in),
                       "shared_preload_libraries = '/srv/bin/trunkline-guard-15.so'"));
  in.statements = true;
  EXPECT_TRUE(has_line(
      postgresql_conf(in),
      "shared_preload_libraries = '/srv/bin/trunkline-guard-15.so, pg_stat_statements'"));
  in.guard = "";
  EXPECT_TRUE(
      has_line(postgresql_conf(in), "shared_preload_libraries = 'pg_stat_statements'"));
}

TEST(SizedSettings, FollowRamAndCpu) {
  struct Row {
    NodeSize size;
    SizedSettings want;
  };
  const Row rows[] = {
      // cpu, ram_mb, disk_gb -> connections, buffers, cache, work_mem, maintenance, workers, …
      {{1, 512, 8}, {51, 128, 384, 3855, 32, 8, 1, 819, 1024, {170, 576}}},
      {{2, 1024, 8}, {102, 256, 768, 3855, 64, 8, 2, 819, 1024, {341, 1088}}},
      {{8, 16384, 100}, {1638, 4096, 12288, 3840, 1024, 12, 8, 10240, 12800, {5461, 16448}}},
      {{128, 1048576, 1024},
       {5000, 262144, 786432, 80530, 2048, 132, 128, 16384, 131072, {349525, 1048640}}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(sized_settings(row.size), row.want) << row.size.ram_mb;
  }
}

TEST(SizedSettings, ConnectionsCannotUseMoreThanTheirPart) {
  for (const uint64_t ram_mb : {512u, 700u, 4096u, 65536u, 1048576u}) {
    const SizedSettings s = sized_settings({4, ram_mb, 100});
    EXPECT_LE(s.shared_buffers_mb * 1024 + s.work_mem_kb * s.max_connections, ram_mb * 1024);
  }
}

// Whatever is promised to sessions, one that takes all that it may leaves the node alive.
TEST(MemoryRules, OneProcessNeverTakesItsNodeDown) {
  for (const uint64_t ram_mb : {512u, 600u, 1024u, 4096u, 65536u, 1048576u}) {
    const SizedSettings s = sized_settings({4, ram_mb, 100});
    const uint64_t limit_mb = node_limit_mb(ram_mb);
    // PostgreSQL asks for 3 % more and 10 MB; a process of its own has 3 MB, of which there are 15.
    const uint64_t shared_mb = s.shared_buffers_mb * 103 / 100 + s.max_connections / 16 + 10;
    const uint64_t others_mb = 45;
    EXPECT_LE(shared_mb + others_mb + 2 * s.process.own_mb, limit_mb) << ram_mb;
    // 76 MB of programs are mapped, and of no node's own.
    EXPECT_LE(s.process.mapped_mb - 76 + others_mb, limit_mb) << ram_mb;
    // Its program, LLVM and what it maps for a moment as it is loaded: 222 MB.
    EXPECT_GE(s.process.mapped_mb, shared_mb + 222 + s.process.own_mb) << ram_mb;
    EXPECT_GE(s.process.own_mb * 1024, 4 * s.work_mem_kb) << ram_mb;
    EXPECT_GE(s.process.own_mb, s.maintenance_work_mem_mb + 64) << ram_mb;
  }
}

TEST(MemoryRules, ThePlatformKeepsAPartOfItsHost) {
  struct Row {
    uint64_t ram_mb;
    uint64_t nodes_mb;
  };
  for (const Row& row : {Row{0, 0}, Row{256, 128}, Row{1024, 768}, Row{4096, 3840},
                         Row{65536, 61440}, Row{1048576, 1044480}}) {
    EXPECT_EQ(host_limit_mb(row.ram_mb), row.nodes_mb) << row.ram_mb;
  }
}

TEST(PostgresqlConf, ProcessesHaveTheirMemoryWhereTheGuardIsThereToSeeToIt) {
  ConfigInput in = input(NodeRole::primary);
  EXPECT_EQ(postgresql_conf(in).find("trunkline.process"), std::string::npos);
  in.guard = "/srv/bin/trunkline-guard-15.so";
  EXPECT_TRUE(has_line(postgresql_conf(in), "trunkline.process_memory_mb = 341"));
  EXPECT_TRUE(has_line(postgresql_conf(in), "trunkline.process_mapped_mb = 1088"));
  in.keeps_floor = true;
  in.floor.max_connections = 5000;
  EXPECT_TRUE(has_line(postgresql_conf(in), "trunkline.process_mapped_mb = 1394"));
}

TEST(SizedSettings, CountOnNoMoreMemoryThanTheHostHas) {
  EXPECT_EQ(sized_settings({1, 1048576, 8}, 4096), sized_settings({1, 4096, 8}));
  EXPECT_EQ(sized_settings({1, 1024, 8}, 4096), sized_settings({1, 1024, 8}));
  ConfigInput in = input(NodeRole::primary);
  in.size.ram_mb = 1048576;
  in.host_ram_mb = 4096;
  EXPECT_TRUE(has_line(postgresql_conf(in), "shared_buffers = 1024MB"));
}

TEST(PostgresqlConf, HasWhatReplicationAndSafetyNeed) {
  const std::string conf = postgresql_conf(input(NodeRole::primary));
  for (const char* line :
       {"wal_level = replica", "hot_standby = on", "wal_log_hints = on", "restart_after_crash = on",
        "wal_receiver_status_interval = 1s", "password_encryption = scram-sha-256", "ssl = on",
        "ssl_min_protocol_version = 'TLSv1.2'", "listen_addresses = '127.31.0.1'", "port = 5432",
        "shared_buffers = 256MB", "log_min_error_statement = panic", "log_statement = none",
        "default_transaction_read_only = off", "unix_socket_permissions = 0700",
        "synchronous_standby_names = ''"}) {
    EXPECT_TRUE(has_line(conf, line)) << line;
  }
  EXPECT_EQ(conf.find("primary_conninfo"), std::string::npos);
}

TEST(PostgresqlConf, FullDiskStartsSessionsReadOnly) {
  ConfigInput in = input(NodeRole::primary);
  in.read_only = true;
  EXPECT_TRUE(has_line(postgresql_conf(in), "default_transaction_read_only = on"));
}

TEST(PostgresqlConf, TemporaryFilesAreLimitedByTheOrder) {
  EXPECT_TRUE(has_line(postgresql_conf(input(NodeRole::primary)), "temp_file_limit = 2048MB"));
}

// So the server is known to have read pg_hba.conf, too.
TEST(PostgresqlConf, ClosedForWantOfDiskIsAnotherText) {
  ConfigInput in = input(NodeRole::primary);
  const std::string open = postgresql_conf(in);
  in.closed = true;
  EXPECT_NE(config_mark(open), config_mark(postgresql_conf(in)));
}

TEST(PostgresqlConf, StandbyNeverHasLessThanItsDataNeeds) {
  ConfigInput in = input(NodeRole::standby);
  in.floor = {400, 40};
  EXPECT_TRUE(has_line(postgresql_conf(in), "max_connections = 400"));
  EXPECT_TRUE(has_line(postgresql_conf(in), "max_worker_processes = 40"));
  in.role.role = NodeRole::primary;
  EXPECT_TRUE(has_line(postgresql_conf(in), "max_connections = 400")) << "its standbys need it";
  in.keeps_floor = false;
  EXPECT_TRUE(has_line(postgresql_conf(in), "max_connections = 102"));
}

TEST(PostgresqlConf, StandbyFollowsByNameAndCertificate) {
  const ConfigInput in = input(NodeRole::standby);
  const std::string conninfo = primary_conninfo(kNode, in.role, "/srv/tls", "/srv/key");
  EXPECT_EQ(conninfo,
            "user=trunkline_replicator host='host-b' hostaddr='127.31.0.2' port=5433"
            " sslmode=verify-full sslrootcert='/srv/tls/ca.crt' sslcert='/srv/tls/node.crt'"
            " sslkey='/srv/key' application_name='11111111-1111-4111-8111-111111111111'"
            " connect_timeout=3 gssencmode=disable keepalives_idle=2 keepalives_interval=1"
            " keepalives_count=3 tcp_user_timeout=5000");
  const std::string conf = postgresql_conf(in);
  EXPECT_TRUE(has_line(conf, "primary_conninfo = " + quote_setting(conninfo)));
  EXPECT_TRUE(has_line(conf, "primary_slot_name = 'tl_11111111_1111_4111_8111_111111111111'"));
}

TEST(PostgresqlConf, MarkTellsTextsApart) {
  const std::string one = postgresql_conf(input(NodeRole::primary));
  ConfigInput changed = input(NodeRole::primary);
  changed.size.ram_mb = 2048;
  const std::string two = postgresql_conf(changed);
  EXPECT_EQ(config_mark(one).size(), 16u);
  EXPECT_NE(config_mark(one), config_mark(two));
  EXPECT_EQ(config_mark(one), config_mark(postgresql_conf(input(NodeRole::primary))));
  EXPECT_EQ(config_mark("nothing"), "");
}

TEST(SyncNames, AnyOfTheCandidatesOrNothing) {
  struct Row {
    NodeRole role;
    std::vector<std::string> candidates;
    uint32_t number;
    const char* want;
  };
  const Row rows[] = {
      {NodeRole::primary, {"a", "b"}, 1, "ANY 1 (\"a\", \"b\")"},
      {NodeRole::primary, {"a", "b"}, 2, "ANY 2 (\"a\", \"b\")"},
      {NodeRole::primary, {"a"}, 0, ""},
      {NodeRole::primary, {}, 0, ""},
      {NodeRole::standby, {"a"}, 1, kNoSyncSet},
      {NodeRole::fenced, {"a"}, 1, kNoSyncSet},
  };
  for (const Row& row : rows) {
    RoleSpec role;
    role.role = row.role;
    role.sync_candidates = row.candidates;
    role.sync_number = row.number;
    EXPECT_EQ(synchronous_standby_names(role), row.want);
  }
}

// The order is the policy, so the whole text is the test.
TEST(PgHba, OrderOfRules) {
  const std::string head =
      "# Written by the Trunkline agent; the first line that fits decides.\n"
      "local   all          postgres              peer map=trunkline\n"
      "local   replication  all                   reject\n"
      "local   all          trunkline_replicator  reject\n";
  const std::string middle =
      "hostssl replication  trunkline_replicator  all  cert map=trunkline_peers clientname=DN\n"
      "host    replication  all                   all  reject\n"
      "hostssl postgres     trunkline_replicator  all  cert map=trunkline_peers clientname=DN\n"
      "host    all          trunkline_replicator  all  reject\n"
      "host    all          postgres              all  reject\n";
  const std::string local = "local   all          all                   ";
  EXPECT_EQ(pg_hba_conf(Clients::by_proxy),
            head + local + "scram-sha-256\n" + middle +
                "hostssl all          all                   all  scram-sha-256"
                " clientcert=verify-ca\n");
  EXPECT_EQ(pg_hba_conf(Clients::direct),
            head + local + "scram-sha-256\n" + middle +
                "host    all          all                   all  scram-sha-256\n");
  EXPECT_EQ(pg_hba_closed_conf(),
            head + local + "reject\n" + middle +
                "host    all          all                   all  reject\n");
}

TEST(PostgresqlConf, FencedNodeFollowsNobodyAndWaitsForNoQuery) {
  const std::string conf = postgresql_conf(input(NodeRole::fenced));
  EXPECT_EQ(conf.find("primary_conninfo"), std::string::npos);
  EXPECT_EQ(conf.find("primary_slot_name"), std::string::npos);
  EXPECT_TRUE(has_line(conf, "max_standby_streaming_delay = 0"));
  EXPECT_TRUE(has_line(conf, "max_standby_archive_delay = 0"));
}

TEST(PgIdent, TheAgentAndTheKeeperAreTheSuperuser) {
  const std::string both = pg_ident_conf("root", "node", {});
  EXPECT_NE(both.find("trunkline        \"root\"  postgres\n"), std::string::npos);
  EXPECT_NE(both.find("trunkline        \"node\"  postgres\n"), std::string::npos);
  const std::string text = pg_ident_conf("trunkline", "trunkline", {});
  EXPECT_NE(text.find("trunkline        \"trunkline\"  postgres\n"), std::string::npos);
  EXPECT_EQ(text.find("  postgres\n"), text.rfind("  postgres\n"));
}

TEST(PgIdent, OnlyPeersOfTheGroupCopyANode) {
  RoleSpec role;
  role.role = NodeRole::primary;
  role.peers = {{kOther, "host-b", ""}};
  const std::string text = pg_ident_conf("root", "node", role);
  EXPECT_TRUE(has_line(text, std::string("trunkline_peers  \"CN=") + kOther +
                                 ",OU=host-b\"  trunkline_replicator"));
  EXPECT_TRUE(has_line(text, "trunkline_peers  \"CN=host-b\"  trunkline_replicator"));
  EXPECT_EQ(text.find("/^"), std::string::npos) << "no pattern";
  role.peers.clear();
  EXPECT_EQ(pg_ident_conf("root", "node", role).find("trunkline_peers"), std::string::npos);
  // From a replication service of the release before.
  role.standby_node_ids = {kOther};
  EXPECT_NE(pg_ident_conf("root", "node", role).find("trunkline_peers  \"/^CN="),
            std::string::npos);
}

TEST(PostgresqlConf, WhoIsLetInChangesTheMark) {
  ConfigInput in = input(NodeRole::primary);
  const std::string before = config_mark(postgresql_conf(in));
  in.access = "another text of pg_ident.conf";
  EXPECT_NE(config_mark(postgresql_conf(in)), before);
}

TEST(PostgresqlConf, TheProxysGroupReachesTheSocketWhereItMayEnter) {
  ConfigInput in = input(NodeRole::primary);
  in.socket_for_group = true;
  EXPECT_TRUE(has_line(postgresql_conf(in), "unix_socket_permissions = 0770"));
}

TEST(Quoting, HostileTexts) {
  EXPECT_EQ(quote_identifier("a\"; drop table x; --"), "\"a\"\"; drop table x; --\"");
  EXPECT_EQ(quote_literal("o'neill\\"), "'o''neill\\'");
  EXPECT_EQ(quote_setting("c:\\x'y"), "'c:\\\\x''y'");
  EXPECT_EQ(quote_conninfo("a'b\\c d"), "'a\\'b\\\\c d'");
}

TEST(SlotName, ThereAndBack) {
  EXPECT_EQ(slot_name(kNode), "tl_11111111_1111_4111_8111_111111111111");
  EXPECT_EQ(node_of_slot(slot_name(kNode)), kNode);
  for (const char* foreign :
       {"", "tl_", "tl_x", "backup", "TL_11111111_1111_4111_8111_111111111111"}) {
    EXPECT_EQ(node_of_slot(foreign), "") << foreign;
  }
}

}  // namespace
}  // namespace trunkline::agent
