// Real servers for tests, each in a directory of its own under /tmp, gone when destroyed.
// As root they run as user `nobody`. Throw std::runtime_error if they do not come up.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace trunkline::testing {

// A child process that is killed when the owner goes.
class Child {
 public:
  Child() = default;
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  // Output goes to `log_path`; `unprivileged` drops root to nobody.
  void start(const std::vector<std::string>& argv, const std::string& log_path, bool unprivileged);
  void kill(int signal);  // and waits for the end
  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct TempPostgresOptions {
  int tcp_port = 0;                   // on 127.0.0.1 too, by SCRAM-SHA-256; 0: unix socket only
  std::vector<std::string> settings;  // "name=value"
};

// PostgreSQL on a unix socket, superuser `postgres` trusted there, fsync off.
class TempPostgres {
 public:
  explicit TempPostgres(TempPostgresOptions options = {});
  ~TempPostgres();
  std::string dsn(const std::string& database = "postgres",
                  const std::string& user = "postgres") const;
  // Roles tl_*, database trunkline_log with the event log's schema, databases trunkline_lookup and
  // trunkline_metering owned by the service's role.
  void create_platform_databases();
  void apply_log_schema() const;  // as every start of a platform does
  void crash();    // SIGQUIT: immediate shutdown
  void restart();  // after crash()
  void execute(const std::string& database, const std::string& sql) const;

 private:
  void start();
  const TempPostgresOptions options_;
  TempDirectory directory_;
  Child server_;
};

// nats-server with JetStream on a free loopback port; user `test`, password `test`.
class TempNats {
 public:
  TempNats();
  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  void crash();               // SIGKILL
  void restart(bool wiped);   // after crash(), on the same port; wiped: JetStream's files are gone
 private:
  void start();
  TempDirectory directory_;
  int port_ = 0;
  Child server_;
};

// A TCP port on 127.0.0.1 that was free a moment ago.
int free_port();

}  // namespace trunkline::testing
