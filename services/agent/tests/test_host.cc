#include "agent/tests/test_host.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "runtime/random.h"

namespace trunkline::agent::testing {
namespace {

NodeUser root_or_self() {
  return find_node_user(::geteuid() == 0 ? "nobody" : "");
}

void openssl(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {"/usr/bin/openssl"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  run_program(argv, NodeUser{}, false);
}

v1::Task task_for(const TestNode& node) {
  v1::Task task;
  task.set_node_id(node.id);
  task.set_instance_id(node.instance_id);
  task.set_task_id(node.id + "/test");
  return task;
}

uint32_t free_port(const std::string& address) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  ::inet_pton(AF_INET, address.c_str(), &any.sin_addr);
  socklen_t size = sizeof any;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  return ntohs(any.sin_port);
}

}  // namespace

// Above what set-up gives to homes.
UidRange free_uids() {
  static uint32_t given = 0;
  if (::geteuid() != 0) return {};
  const auto slot = (static_cast<uint32_t>(::getpid()) * 16 + given++) % 1000;
  return {2'080'000'000 + slot * 65536, 65536};
}

TestPlatform::TestPlatform() {
  char name[] = "/tmp/agent-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
  home_ = name;
  ::chmod(name, 0711);
  sockets_ = home_ + "/s";
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
           "-days", "2", "-subj", "/CN=test ca", "-keyout", home_ + "/ca.key", "-out",
           home_ + "/ca.crt"});
}

TestPlatform::~TestPlatform() {
  if (std::getenv("AGENT_TEST_KEEP") == nullptr) remove_tree(home_);
}

void TestPlatform::make_issuer(const std::string& host, const std::string& address) const {
  const std::string tls = home_ + "/hosts/" + host + "/tls";
  if (exists(tls)) return;
  run_program({"/bin/mkdir", "-p", tls}, NodeUser{}, false);
  write_file_atomically(tls + "/extensions",
                        "basicConstraints=critical,CA:TRUE,pathlen:0\n"
                        "keyUsage=critical,keyCertSign\n"
                        "nameConstraints=critical,permitted;DNS:" + host +
                            ",permitted;IP:" + address + "/255.255.255.255" +
                            ",permitted;dirName:host\n[host]\nOU=" + host + "\n",
                        0600, false);
  openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
           "/OU=" + host + "/CN=issuer", "-keyout", tls + "/issuer.key", "-out",
           tls + "/issuer.csr"});
  openssl({"x509", "-req", "-in", tls + "/issuer.csr", "-CA", home_ + "/ca.crt", "-CAkey",
           home_ + "/ca.key", "-CAcreateserial", "-days", "2", "-extfile", tls + "/extensions",
           "-out", tls + "/issuer.crt"});
  run_program({"/bin/cp", home_ + "/ca.crt", tls + "/ca.crt"}, NodeUser{}, false);
  ::chmod(tls.c_str(), 0700);
  ::chmod((tls + "/issuer.key").c_str(), 0600);
}

TestHost::TestHost(const TestPlatform& platform, const std::string& host,
                   const std::string& address, UidRange node_uids) {
  platform.make_issuer(host, address);
  options_.home = platform.home();
  options_.host = host;
  options_.zone = host;
  options_.address = address;
  options_.socket_dir = platform.sockets();
  options_.node_user = ::geteuid() == 0 ? "nobody" : "";
  options_.node_uids = node_uids;
  options_.direct_clients = true;
  options_.keeper = TRUNKLINE_KEEPER;
  options_.images = discover_images();
  ::mkdir(platform.sockets().c_str(), 0711);
  // initdb takes a second or more, so tests share what the first of them made.
  const std::string cache = TRUNKLINE_TEMPLATE_CACHE;
  const std::string templates = paths().templates_dir;
  if (exists(cache)) {
    run_program({"/bin/cp", "-a", cache, templates}, NodeUser{}, false);
    start_agent();
    return;
  }
  start_agent();
  const std::string making = cache + "." + std::to_string(::getpid());
  run_program({"/bin/mkdir", "-p", making + "/postgresql-15"}, NodeUser{}, false);
  const NodeUser user = root_or_self();
  for (const std::string& path : {making, making + "/postgresql-15"}) {
    if (::chown(path.c_str(), user.uid, user.gid) != 0) throw std::runtime_error(path);
  }
  run_program({"/bin/cp", "-a", templates + "/postgresql-15/data", making + "/postgresql-15/"},
              NodeUser{}, false);
  if (::rename(making.c_str(), cache.c_str()) != 0) remove_tree(making);
}

TestHost::~TestHost() {
  agent_.reset();
  stop_all_nodes(options_, seconds(5));
}

void TestHost::start_agent() {
  {
    const std::lock_guard lock(mutex_);
    report_.Clear();
  }
  agent_ = std::make_unique<HostAgent>(options_);
  agent_->start([this, agent = agent_.get()](const v1::HostReport& report) {
    v1::LeaseGrant grant;
    {
      const std::lock_guard lock(mutex_);
      // As every receiver: a report that cannot be read is none.
      v1::HostReport read;
      if (!read.ParseFromString(report.SerializeAsString())) return;
      report_ = std::move(read);
      for (const auto& [id, lease] : leases_) *grant.add_leases() = lease;
      changed_.notify_all();
    }
    grant.set_agent_id(report.agent_id());
    grant.set_sequence(report.sequence());
    if (grant.leases_size() > 0) agent->on_lease(grant.SerializeAsString());
  });
  const std::string images = paths().templates_dir + "/postgresql-15/";
  for (int i = 0; i < 3000 && !exists(images + "data"); ++i) ::usleep(20'000);
}

void TestHost::start_agent(const HostOptions& options) {
  stop_agent();
  options_ = options;
  start_agent();
}

bool TestHost::await(const std::function<bool(const v1::HostReport&)>& fits, milliseconds longest) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, longest, [&] { return fits(report_); });
}

bool TestHost::await_node(const std::string& id,
                          const std::function<bool(const v1::NodeReport&)>& fits,
                          milliseconds longest) {
  const bool fine = await(
      [&](const v1::HostReport& report) {
        for (const auto& node : report.nodes()) {
          if (node.node_id() == id) return fits(node);
        }
        return false;
      },
      longest);
  if (!fine) std::fprintf(stderr, "last report: %s\n", newest_node(id).DebugString().c_str());
  return fine;
}

void TestHost::grant(const std::string& node_id, uint64_t term, uint32_t duration_ms) {
  const std::lock_guard lock(mutex_);
  v1::NodeLease& lease = leases_[node_id];
  lease.set_node_id(node_id);
  lease.set_term(term);
  lease.set_duration_ms(duration_ms);
  if (term == 0) leases_.erase(node_id);
}

v1::HostReport TestHost::newest() {
  const std::lock_guard lock(mutex_);
  return report_;
}

v1::NodeReport TestHost::newest_node(const std::string& id) {
  const v1::HostReport report = newest();
  for (const auto& node : report.nodes()) {
    if (node.node_id() == id) return node;
  }
  return {};
}

TestNode make_node(const TestHost& host) {
  TestNode node;
  node.id = runtime::new_uuid();
  node.instance_id = runtime::new_uuid();
  node.address.set_host(host.options().host);
  node.address.set_zone(host.options().zone);
  node.address.set_address(host.options().address);
  node.address.set_port(free_port(host.options().address));
  return node;
}

void order_box(TestHost& host, const TestNode& node, uint64_t generation, uint32_t ram_mb) {
  v1::Task task = task_for(node);
  auto& ensure = *task.mutable_ensure_node();
  ensure.set_generation(generation);
  ensure.set_image("postgresql-15");
  ensure.mutable_size()->set_cpu(1);
  ensure.mutable_size()->set_ram_mb(ram_mb);
  ensure.mutable_size()->set_disk_gb(8);
  *ensure.mutable_address() = node.address;
  host.agent().on_task(task.SerializeAsString());
}

void order_role(TestHost& host, const TestNode& node, const v1::AssignRole& role) {
  v1::Task task = task_for(node);
  *task.mutable_assign_role() = role;
  if (role.role() == v1::ROLE_PRIMARY) host.grant(node.id, role.term());
  if (role.role() != v1::ROLE_PRIMARY) host.grant(node.id, 0);
  host.agent().on_task(task.SerializeAsString());
}

void order_fenced(TestHost& host, const TestNode& node, uint64_t generation, uint64_t term,
                  uint32_t patience_ms) {
  v1::AssignRole role;
  role.set_generation(generation);
  role.set_term(term);
  role.set_role(v1::ROLE_FENCED);
  role.set_patience_ms(patience_ms);
  order_role(host, node, role);
}

void order_primary(TestHost& host, const TestNode& node, uint64_t generation,
                   const std::vector<std::string>& standbys, const std::vector<std::string>& sync,
                   uint64_t sync_version, bool opened_before) {
  v1::AssignRole role;
  role.set_generation(generation);
  role.set_term(1);
  role.set_role(v1::ROLE_PRIMARY);
  for (const auto& id : standbys) role.add_standby_node_ids(id);
  for (const auto& id : sync) role.add_sync_candidates(id);
  role.set_sync_number(sync.empty() ? 0 : 1);
  role.set_sync_version(sync_version);
  role.set_opened_before(opened_before);
  order_role(host, node, role);
}

void order_standby(TestHost& host, const TestNode& node, const TestNode& upstream,
                   uint64_t generation) {
  v1::Task task = task_for(node);
  auto& role = *task.mutable_assign_role();
  role.set_generation(generation);
  role.set_term(1);
  role.set_role(v1::ROLE_STANDBY);
  role.set_upstream_node_id(upstream.id);
  *role.mutable_upstream() = upstream.address;
  host.agent().on_task(task.SerializeAsString());
}

void order_remove(TestHost& host, const TestNode& node) {
  v1::Task task = task_for(node);
  task.mutable_remove_node();
  host.agent().on_task(task.SerializeAsString());
}

void order_objects(TestHost& host, const TestNode& node, const v1::ApplyObjects& objects) {
  v1::Task task = task_for(node);
  *task.mutable_apply_objects() = objects;
  host.agent().on_task(task.SerializeAsString());
}

bool is_open(const v1::NodeReport& node) {
  return node.postgres() == v1::POSTGRES_STATE_OPEN;
}
bool is_streaming(const v1::NodeReport& node) {
  return node.postgres() == v1::POSTGRES_STATE_RECOVERING && node.wal_receiver_streaming();
}

uid_t server_user(const TestHost& host, const TestNode& node) {
  struct stat owner {};
  ::stat(host.node(node.id).data.c_str(), &owner);
  return owner.st_uid;
}

PgConnection superuser_session(const TestHost& host, const TestNode& node,
                               const std::string& database) {
  return PgConnection(host.node(node.id).socket_dir, server_user(host, node), node.address.port(),
                      database, seconds(5));
}

PgRows query(const TestHost& host, const TestNode& node, const std::string& sql,
             const std::string& database) {
  return superuser_session(host, node, database).exec(sql, {}, seconds(30));
}

std::string value(const TestHost& host, const TestNode& node, const std::string& sql,
                  const std::string& database) {
  return query(host, node, sql, database).at(0).at(0).value_or("(null)");
}

bool await_value(const TestHost& host, const TestNode& node, const std::string& sql,
                 const std::string& wanted, const std::string& database, milliseconds longest) {
  const auto until = std::chrono::steady_clock::now() + longest;
  std::string last;
  while (std::chrono::steady_clock::now() < until) {
    try {
      last = value(host, node, sql, database);
    } catch (const std::exception& e) {
      last = e.what();
    }
    if (last == wanted) return true;
    ::usleep(20'000);
  }
  std::fprintf(stderr, "%s: %s, not %s\n", sql.c_str(), last.c_str(), wanted.c_str());
  return false;
}

std::string as_client(const TestNode& node, const std::string& user, const std::string& password,
                      const std::string& database, const std::string& sql,
                      const std::string& extra) {
  const std::string conninfo = "host=" + node.address.address() +
                               " port=" + std::to_string(node.address.port()) + " user=" + user +
                               " password='" + password + "' dbname=" + database +
                               " connect_timeout=5 " + extra;
  PGconn* connection = PQconnectdb(conninfo.c_str());
  std::string error = PQstatus(connection) == CONNECTION_OK ? "" : PQerrorMessage(connection);
  if (error.empty() && !sql.empty()) {
    PGresult* result = PQexec(connection, sql.c_str());
    const auto status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
      error = PQresultErrorMessage(result);
    }
    PQclear(result);
  }
  PQfinish(connection);
  return error;
}

}  // namespace trunkline::agent::testing
