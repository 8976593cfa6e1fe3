// The PgBouncers of the endpoints whose pool is in use: one process each, started for the first
// session, ended some time after the last, started again when it dies. They end with this process,
// however it ends. All but what is said to be the pools' own thread is thread-safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/io/endpoints.h"

namespace trunkline::proxy {

struct PoolOptions {
  std::string folder;  // of the pools' own; short: it holds sockets
  std::string program = "/usr/sbin/pgbouncer";
  std::string user = "nobody";  // if this process is root: PgBouncer refuses to be
  std::chrono::milliseconds idle_time{60'000};
  size_t most = 1'000;  // that run at once
};

class Pools {
 public:
  enum class State { coming, up, impossible, crowded };
  // Called on the pools' own thread, with a socket that listens for connections of the endpoint's
  // pool and belongs to who is called; and when the endpoint is gone.
  using Opened = std::function<void(const EndpointName&, int fd)>;
  using Closed = std::function<void(const EndpointName&)>;

  Pools(PoolOptions options, const EndpointTable& endpoints, Opened opened, Closed closed);
  ~Pools();
  Pools(const Pools&) = delete;
  Pools& operator=(const Pools&) = delete;

  void stop();  // ends them all; nothing is called back any more

  // One session more or fewer. Between them the pool is kept up.
  void enter(const EndpointName& name);
  void leave(const EndpointName& name);
  State state(const EndpointName& name) const;
  std::string folder(const EndpointName& name) const;  // where it listens (kPoolClientPort)
  void route_changed(const RouteView& now);
  size_t running() const;
  size_t most() const { return options_.most; }

 private:
  using Key = std::pair<InstanceId, EndpointKind>;
  struct Pool;
  // The pools' own thread.
  void run();
  void tend(Pool& pool);
  void start(Pool& pool);
  bool write_files(Pool& pool);
  void bury(Pool& pool);
  void forget(Pool& pool);
  void pass_on_log(Pool& pool);
  std::chrono::milliseconds time_left(const Pool& pool) const;
  void wait_for_news(const std::vector<Pool*>& all);

  void set_state(Pool& pool, State state);
  void wake() const;

  bool is_crowded() const;

  const PoolOptions options_;
  const EndpointTable& endpoints_;
  const Opened opened_;
  const Closed closed_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  int wake_ = -1;
  mutable std::mutex mutex_;
  bool stopping_ = false;
  std::map<Key, std::unique_ptr<Pool>> pools_;  // none is ever taken out
  bool complained_ = false;
  std::thread thread_;
};

// A session's place in a pool, until it is destroyed.
class PoolPlace {
 public:
  PoolPlace(Pools& pools, EndpointName name) : pools_(pools), name_(std::move(name)) {
    pools_.enter(name_);
  }
  ~PoolPlace() { pools_.leave(name_); }
  PoolPlace(const PoolPlace&) = delete;
  PoolPlace& operator=(const PoolPlace&) = delete;

 private:
  Pools& pools_;
  const EndpointName name_;
};

}  // namespace trunkline::proxy
