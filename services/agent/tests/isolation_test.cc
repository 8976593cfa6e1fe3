// What a tenant that has broken out into its node's user can reach.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/node_certificate.h"
#include "agent/keeper/proc_scan.h"
#include "agent/tests/test_host.h"

namespace trunkline::agent::testing {
namespace {

uid_t owner(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
  return info.st_uid;
}

std::string output_as(const NodeUser& user, const std::vector<std::string>& argv, bool* worked) {
  ChildProcess child(argv, user, true);
  *worked = child.wait(seconds(20)) && child.exit_code() == 0;
  return child.output();
}
bool works_as(const NodeUser& user, const std::vector<std::string>& argv) {
  bool worked = false;
  output_as(user, argv, &worked);
  return worked;
}

class IsolationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give each node a user of its own";
  }
  TestNode formed(TestHost& host, const std::vector<std::string>& standbys = {}) {
    TestNode node = make_node(host);
    order_box(host, node);
    order_primary(host, node, 1, standbys);
    EXPECT_TRUE(host.await_node(node.id, is_open));
    return node;
  }
  NodeUser user_of(const TestHost& host, const TestNode& node) {
    NodeUser user;
    user.uid = owner(host.node(node.id).dir);
    user.gid = user.uid;
    user.switched = true;
    user.library = std::string(TRUNKLINE_NODE_LIBRARY);
    return user;
  }
  // Asks the node's server for what a copy begins with, as the replicator, with another's key.
  std::string copies(const TestHost& host, const TestNode& from, const TestNode& by) {
    const std::string tls = host.node(by.id).tls;
    bool worked = false;
    const std::string said = output_as(
        user_of(host, by),
        {"/usr/lib/postgresql/15/bin/psql", "-XAt", "-c", "IDENTIFY_SYSTEM",
         "replication=true dbname=postgres user=trunkline_replicator host=" +
             from.address.address() + " port=" + std::to_string(from.address.port()) +
             " sslmode=verify-ca sslrootcert=" + tls + "/ca.crt sslcert=" + tls +
             "/node.crt sslkey=" + tls + "/node.key"},
        &worked);
    return worked ? "" : said;
  }
  const TestPlatform platform_;
};

TEST_F(IsolationTest, ANodesUserReachesNothingOfAnybodyElse) {
  TestHost host(platform_, "host-a", "127.31.80.11");
  const TestNode own = formed(host);
  const TestNode other = formed(host);
  const NodeUser thief = user_of(host, own);
  ASSERT_NE(thief.uid, user_of(host, other).uid);
  const NodePaths mine = host.node(own.id);
  const NodePaths theirs = host.node(other.id);
  // What it can, so that the rest says something.
  EXPECT_TRUE(works_as(thief, {"/bin/cat", mine.data + "/PG_VERSION"}));
  EXPECT_TRUE(works_as(thief, {"/bin/cat", mine.tls + "/node.key"}));
  EXPECT_TRUE(works_as(thief, {"/usr/bin/test", "-S", mine.control}));
  const std::string port = ".s.PGSQL." + std::to_string(other.address.port());
  for (const auto& path :
       {theirs.data + "/PG_VERSION", theirs.tls + "/node.key", theirs.tls + "/node.crt",
        theirs.log, theirs.control, theirs.socket_dir + "/" + port, theirs.keeper_pid,
        host.paths().tls_dir + "/issuer.key", host.paths().tls_dir + "/issuer.crt",
        host.paths().templates_dir + "/postgresql-15/data/PG_VERSION",
        host.paths().manifests_dir + "/" + other.id + ".json",
        host.paths().host_dir + "/node-users"}) {
    ASSERT_TRUE(exists(path)) << path;
    EXPECT_FALSE(works_as(thief, {"/bin/cat", path})) << path;
    EXPECT_FALSE(works_as(thief, {"/usr/bin/test", "-w", path})) << path;
  }
  EXPECT_FALSE(works_as(thief, {"/bin/ls", host.paths().nodes_dir})) << "names of neighbours";
  EXPECT_FALSE(works_as(thief, {"/usr/lib/postgresql/15/bin/psql", "-h", theirs.socket_dir, "-p",
                                std::to_string(other.address.port()), "-U", "postgres", "-c",
                                "select 1"}));
  const pid_t server = running_postmaster(theirs.data);
  EXPECT_FALSE(works_as(thief, {"/bin/kill", "-0", std::to_string(server)}));
  EXPECT_FALSE(works_as(thief, {"/bin/cat", "/proc/" + std::to_string(server) + "/environ"}));
  // Nor does it become anybody else by a program that has more rights.
  EXPECT_EQ(value(host, own, "select count(*) from pg_stat_file('postmaster.pid')"), "1");
  const std::string status =
      read_file("/proc/" + std::to_string(running_postmaster(mine.data)) + "/status").value_or("");
  EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos) << status;
  // Nothing of it is left, and its number is not given to the next.
  const std::vector<std::string> sleeper = {"/bin/sleep", "600"};
  ChildProcess stray(sleeper, thief, true);
  order_remove(host, own);
  ASSERT_TRUE(host.await([&](const auto& report) {
    for (const auto& node : report.nodes()) {
      if (node.node_id() == own.id) return false;
    }
    return true;
  }));
  EXPECT_TRUE(stray.wait(seconds(10))) << "a process of the node's user";
  EXPECT_FALSE(exists(mine.dir));
  EXPECT_FALSE(exists(mine.socket_dir));
  EXPECT_NE(user_of(host, formed(host)).uid, thief.uid);
}

v1::AssignRole primary_beside(const TestNode& peer) {
  v1::AssignRole role;
  role.set_generation(1);
  role.set_term(1);
  role.set_role(v1::ROLE_PRIMARY);
  role.add_standby_node_ids(peer.id);
  role.add_peers()->set_node_id(peer.id);
  role.mutable_peers(0)->set_host("host-a");
  return role;
}

TEST_F(IsolationTest, OnlyPeersOfItsGroupCopyANode) {
  TestHost host(platform_, "host-a", "127.31.80.12");
  const TestNode peer = formed(host);
  const TestNode stranger = formed(host);
  const TestNode node = make_node(host);
  order_box(host, node);
  v1::AssignRole role = primary_beside(peer);
  order_role(host, node, role);
  ASSERT_TRUE(host.await_node(node.id, is_open));
  EXPECT_EQ(copies(host, node, peer), "");
  EXPECT_NE(copies(host, node, stranger).find("authentication failed"), std::string::npos);
  // Peers that change are others at once.
  role.set_generation(2);
  role.set_standby_node_ids(0, stranger.id);
  role.mutable_peers(0)->set_node_id(stranger.id);
  order_role(host, node, role);
  ASSERT_TRUE(host.await_node(node.id, [](const auto& n) {
    return n.role().generation() == 2 && n.role().state() == v1::TASK_STATE_SUCCEEDED;
  }));
  EXPECT_EQ(copies(host, node, stranger), "");
  EXPECT_NE(copies(host, node, peer).find("authentication failed"), std::string::npos);
}

TEST_F(IsolationTest, ClientsComeByAProxy) {
  TestHost host(platform_, "host-a", "127.31.80.13");
  host.stop_agent();
  host.change_options().direct_clients = false;
  host.start_agent();
  const TestNode node = formed(host);
  query(host, node, "create role ann login password 'secret'");
  for (const char* how : {"sslmode=disable", "sslmode=require"}) {
    const std::string error = as_client(node, "ann", "secret", "postgres", "", how);
    const bool is_refused = error.find("no pg_hba.conf entry") != std::string::npos ||
                            error.find("valid client certificate") != std::string::npos;
    EXPECT_TRUE(is_refused) << error;
  }
  // By the socket a password is asked for; the database is closed to all.
  TestNode by_socket = node;
  by_socket.address.set_address(host.node(node.id).socket_dir);
  const auto said = [&](const char* user, const char* password) {
    return as_client(by_socket, user, password, "postgres");
  };
  EXPECT_NE(said("ann", "secret").find("permission denied for database"), std::string::npos);
  EXPECT_NE(said("ann", "wrong").find("password authentication failed"), std::string::npos);
  EXPECT_NE(said("trunkline_replicator", "x").find("rejects"), std::string::npos);
}

// Without a door these take every place of the server, also those that a superuser has kept.
TEST_F(IsolationTest, WhoIsNotExpectedAtThePortTakesNoPlace) {
  TestHost host(platform_, "host-a", "127.31.80.15");
  host.stop_agent();
  host.change_options().direct_clients = false;
  host.start_agent();
  const TestNode peer = formed(host);
  const TestNode node = make_node(host);
  order_box(host, node, 1, 256);
  order_role(host, node, primary_beside(peer));
  ASSERT_TRUE(host.await_node(node.id, is_open));
  NodeUser stranger;
  stranger.uid = stranger.gid = 4711;
  stranger.switched = true;
  const std::string flood =
      "ulimit -n 1024; for i in $(seq 400); do exec {fd}<>/dev/tcp/" + node.address.address() +
      "/" + std::to_string(node.address.port()) +
      "; done; echo begun >&2; read -t 20 -u $fd line; echo ended $? >&2; sleep 60";
  ChildProcess silent({"/bin/bash", "-c", flood}, stranger, true);
  while (silent.output().find("begun") == std::string::npos) {
    ASSERT_FALSE(silent.wait(milliseconds(50))) << silent.output();
  }
  EXPECT_EQ(value(host, node, "select 1"), "1");
  EXPECT_EQ(copies(host, node, peer), "");
  EXPECT_LT(std::stoi(value(host, node, "select count(*) from pg_stat_activity")), 20);
  while (silent.output().find("ended 1") == std::string::npos) {
    ASSERT_FALSE(silent.wait(milliseconds(50))) << silent.output();
  }
}

TEST_F(IsolationTest, AnIssuerSpeaksForNoOtherHost) {
  const TestHost host(platform_, "host-a", "127.31.80.16");
  for (const std::string name : {"host-a", "host-b"}) {
    const std::string dir = platform_.home() + "/made-" + name;
    make_directory(dir, 0700);
    NodeCertificateOrder order{host.paths().tls_dir, dir, "11111111-1111-4111-8111-111111111111",
                               name, "127.31.80.16"};
    const std::string made = ensure_node_certificate(order, NodeUser{});
    EXPECT_EQ(ensure_node_certificate(order, NodeUser{}), made) << "it is kept";
    ChildProcess verify({"/usr/bin/openssl", "verify", "-CAfile", dir + "/tls/ca.crt", "-untrusted",
                         dir + "/tls/node.crt", dir + "/tls/node.crt"},
                        NodeUser{}, false);
    ASSERT_TRUE(verify.wait(seconds(10)));
    EXPECT_EQ(verify.exit_code() == 0, name == "host-a") << verify.output();
  }
}

TEST_F(IsolationTest, ANodeOfTheReleaseBeforeGetsItsOwnUserWhenItIsStartedNext) {
  TestHost host(platform_, "host-a", "127.31.80.14", UidRange{});
  const TestNode node = formed(host);
  query(host, node, "create table public.t as select 1 as i");
  const NodePaths paths = host.node(node.id);
  const uid_t shared = owner(paths.dir);
  const pid_t server = running_postmaster(paths.data);
  host.stop_agent();
  host.change_options().node_uids = free_uids();
  host.start_agent();
  ASSERT_TRUE(host.await_node(node.id, is_open));
  EXPECT_EQ(running_postmaster(paths.data), server) << "a new agent restarts no database";
  EXPECT_EQ(owner(paths.dir), shared);
  host.stop_agent();
  stop_all_nodes(host.options(), seconds(10));
  // Cut off in the midst of it.
  ASSERT_EQ(::lchown((paths.data + "/base").c_str(), 4711, 4711), 0);
  ASSERT_EQ(::lchown((paths.data + "/postgresql.conf").c_str(), 4711, 4711), 0);
  host.start_agent();
  ASSERT_TRUE(host.await_node(node.id, is_open));
  const uid_t own = owner(paths.dir);
  EXPECT_NE(own, shared);
  for (const char* file : {"", "/base", "/postgresql.conf", "/PG_VERSION", "/pg_wal"}) {
    EXPECT_EQ(owner(paths.data + file), own) << file;
  }
  EXPECT_EQ(owner("/proc/" + std::to_string(running_postmaster(paths.data))), own);
  EXPECT_EQ(value(host, node, "select i from public.t"), "1");
}

TEST_F(IsolationTest, AFileThatIsAlsoElsewhereIsNotGivenAway) {
  const std::string tree = platform_.home() + "/tree";
  const std::string neighbour = platform_.home() + "/neighbour";
  make_directory(tree, 0700);
  make_directory(tree + "/below", 0700);
  write_file_atomically(neighbour, "theirs", 0600, false);
  NodeUser user;
  user.uid = user.gid = 4711;
  ASSERT_EQ(::symlink(neighbour.c_str(), (tree + "/link").c_str()), 0);
  NodeUsers::give_tree(tree, user);
  EXPECT_EQ(owner(tree + "/below"), 4711u);
  EXPECT_EQ(owner(tree + "/link"), 4711u);
  EXPECT_EQ(owner(neighbour), 0u) << "a link is not followed";
  ASSERT_EQ(::link(neighbour.c_str(), (tree + "/below/hard").c_str()), 0);
  user.uid = user.gid = 4712;
  EXPECT_THROW(NodeUsers::give_tree(tree, user), std::runtime_error);
  EXPECT_EQ(owner(neighbour), 0u);
  EXPECT_EQ(owner(tree), 4711u) << "all or nothing";
  // Both names its own: a server that crashed while it renamed WAL.
  ASSERT_EQ(::unlink(neighbour.c_str()), 0);
  ASSERT_EQ(::link((tree + "/below/hard").c_str(), (tree + "/again").c_str()), 0);
  NodeUsers::give_tree(tree, user);
  EXPECT_EQ(owner(tree + "/again"), 4712u);
}

// As an ordinary user: one user for all, who sees its own files only where the machine allows.
TEST(Sandbox, AServerSeesItsOwnFilesOnly) {
  const TestPlatform platform;
  const std::string home = platform.home() + "/hidden";
  for (const char* part : {"", "/own", "/other"}) make_directory(home + part, 0777);
  write_file_atomically(home + "/own/file", "x", 0644, false);
  write_file_atomically(home + "/other/file", "x", 0644, false);
  NodeUser user = find_node_user(::geteuid() == 0 ? "nobody" : "");
  const auto child = [&](const std::string& command) {
    return std::vector<std::string>{SANDBOX_TEST_CHILD, home, home + "/own", command};
  };
  if (!works_as(user, child("true"))) GTEST_SKIP() << "the machine gives no user namespaces";
  EXPECT_TRUE(works_as(user, child("cat " + home + "/own/file")));
  EXPECT_FALSE(works_as(user, child("cat " + home + "/other/file")));
  EXPECT_FALSE(works_as(user, child("umount " + home)));
  EXPECT_FALSE(works_as(user, child("unshare -Ur umount " + home)));
  // Nor by a look into a process outside.
  ChildProcess outside({"/bin/sleep", "60"}, user, true);
  std::string pid;
  for (int i = 0; i < 500 && pid.empty(); ++i) {
    bool worked = false;
    pid = output_as(user, {"/usr/bin/pgrep", "-n", "-x", "sleep", "-u", std::to_string(user.uid)},
                    &worked);
  }
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  ASSERT_FALSE(pid.empty());
  EXPECT_TRUE(works_as(user, {"/bin/cat", "/proc/" + pid + "/environ"}));
  EXPECT_FALSE(works_as(user, child("cat /proc/" + pid + "/environ")));
  EXPECT_FALSE(works_as(user, child("ls /proc/" + pid + "/cwd/")));
}

TEST(Host, ANameThatNobodyWouldHearIsRefusedWithTheRule) {
  for (const char* name : {"a.b", "Host-A", "-a"}) {
    HostOptions options;
    options.host = name;
    try {
      HostAgent agent(options);
      ADD_FAILURE() << name;
    } catch (const std::runtime_error& e) {
      EXPECT_NE(std::string(e.what()).find("lower-case letters, digits, dashes"), std::string::npos)
          << e.what();
    }
  }
}

}  // namespace
}  // namespace trunkline::agent::testing
