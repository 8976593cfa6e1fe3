#include "testing/temp_servers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <pqxx/pqxx>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace trunkline::testing {
namespace {

namespace fs = std::filesystem;

std::string postgres_bin(const std::string& program) {
  for (const char* major : {"15", "16", "17"}) {
    const std::string path = std::string("/usr/lib/postgresql/") + major + "/bin/" + program;
    if (fs::exists(path)) return path;
  }
  throw std::runtime_error("PostgreSQL is not installed");
}

template <class Ready>
void await(const char* what, Ready ready) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!ready()) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw std::runtime_error(std::string(what) + " did not come up");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

bool accepts(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool ok = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return ok;
}

}  // namespace

Child::~Child() {
  if (running()) kill(SIGKILL);
}

void Child::start(const std::vector<std::string>& argv, const std::string& log_path,
                  bool unprivileged) {
  std::vector<char*> args;
  for (const auto& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  const passwd* nobody = unprivileged && geteuid() == 0 ? getpwnam("nobody") : nullptr;
  const uid_t uid = nobody ? nobody->pw_uid : 0;
  const gid_t gid = nobody ? nobody->pw_gid : 0;
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int log = open(log_path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644);
  dup2(log, 1);
  dup2(log, 2);
  if (uid != 0 && (setgroups(0, nullptr) != 0 || setgid(gid) != 0 || setuid(uid) != 0)) _exit(126);
  execv(args[0], args.data());
  _exit(127);
}

void Child::kill(int signal) {
  ::kill(pid_, signal);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

TempDirectory::TempDirectory() {
  char path[] = "/tmp/tl-test-XXXXXX";
  if (mkdtemp(path) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = path;
  if (geteuid() == 0) {
    const passwd* nobody = getpwnam("nobody");
    if (chown(path, nobody->pw_uid, nobody->pw_gid) != 0) throw std::runtime_error("chown failed");
  }
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

TempPostgres::TempPostgres(TempPostgresOptions options) : options_(std::move(options)) {
  Child initdb;
  const std::string log = directory_.path() + "/initdb.log";
  initdb.start({postgres_bin("initdb"), "-D", directory_.path() + "/data", "-U", "postgres", "-A",
                "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"},
               log, true);
  int status = 0;
  waitpid(initdb.pid(), &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw std::runtime_error("initdb failed, see " + log);
  }
  if (options_.tcp_port != 0) {
    std::ofstream(directory_.path() + "/data/pg_hba.conf")
        << "local all all trust\nhost all all all scram-sha-256\n";
  }
  start();
}

TempPostgres::~TempPostgres() {
  if (server_.running()) server_.kill(SIGQUIT);
}

void TempPostgres::start() {
  std::vector<std::string> argv = {postgres_bin("postgres"), "-D", directory_.path() + "/data",
                                   "-k", directory_.path(), "-c", "fsync=off", "-c",
                                   "shared_buffers=64MB", "-c"};
  if (options_.tcp_port == 0) {
    argv.push_back("listen_addresses=");
  } else {
    argv.insert(argv.end(), {"listen_addresses=127.0.0.1", "-c",
                             "port=" + std::to_string(options_.tcp_port)});
  }
  for (const auto& setting : options_.settings) argv.insert(argv.end(), {"-c", setting});
  server_.start(argv, directory_.path() + "/postgres.log", true);
  await("PostgreSQL", [&] {
    try {
      pqxx::connection connection(dsn());
      return true;
    } catch (const std::exception&) {
      return false;
    }
  });
}

void TempPostgres::crash() { server_.kill(SIGQUIT); }
void TempPostgres::restart() { start(); }

std::string TempPostgres::dsn(const std::string& database, const std::string& user) const {
  const std::string port =
      options_.tcp_port == 0 ? "" : " port=" + std::to_string(options_.tcp_port);
  return "host=" + directory_.path() + port + " dbname=" + database + " user=" + user;
}

void TempPostgres::execute(const std::string& database, const std::string& sql) const {
  pqxx::connection connection(dsn(database));
  pqxx::nontransaction session(connection);
  session.exec(sql);
}

void TempPostgres::create_platform_databases() {
  for (const char* role :
       {"tl_provisioner", "tl_replication", "tl_metering", "tl_lookup", "tl_reader"}) {
    execute("postgres", std::string("CREATE ROLE ") + role + " LOGIN");
  }
  execute("postgres", "CREATE ROLE tl_owner NOLOGIN");
  execute("postgres", "CREATE DATABASE trunkline_log OWNER tl_owner");
  execute("postgres", "CREATE DATABASE trunkline_lookup OWNER tl_lookup");
  execute("postgres", "CREATE DATABASE trunkline_metering OWNER tl_metering");
  apply_log_schema();
}

void TempPostgres::apply_log_schema() const {
  std::ifstream file(TRUNKLINE_LOG_SCHEMA);
  std::stringstream sql;
  sql << file.rdbuf();
  if (sql.str().empty()) throw std::runtime_error("no schema at " TRUNKLINE_LOG_SCHEMA);
  execute("trunkline_log", sql.str());
}

TempNats::TempNats() {
  port_ = free_port();
  start();
}

void TempNats::start() {
  server_.start({"/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", std::to_string(port_), "-js",
                 "-sd", directory_.path() + "/jetstream", "--user", "test", "--pass", "test"},
                directory_.path() + "/nats.log", true);
  await("nats-server", [&] { return accepts(port_); });
}

void TempNats::crash() { server_.kill(SIGKILL); }

void TempNats::restart(bool wiped) {
  if (wiped) fs::remove_all(directory_.path() + "/jetstream");
  start();
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    close(fd);
    throw std::runtime_error("no free port");
  }
  close(fd);
  return ntohs(address.sin_port);
}

}  // namespace trunkline::testing
