// A running proxy: its threads, its listeners, its sessions. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "proxy/io/worker.h"
#include "runtime/ticker.h"

namespace trunkline::proxy {

class ProxyServer {
 public:
  // Listens on the shared port when it returns; throws std::runtime_error if it cannot.
  explicit ProxyServer(ProxyOptions options);
  ~ProxyServer();
  ProxyServer(const ProxyServer&) = delete;
  ProxyServer& operator=(const ProxyServer&) = delete;

  ProxyContext& context() { return context_; }
  EndpointTable& endpoints() { return context_.endpoints; }
  // The shared ones, also if 0 was asked for.
  uint16_t port() const { return port_; }
  uint16_t pooled_port() const { return pooled_port_; }

 private:
  struct Listener {
    ProxyServer* server = nullptr;
    int fd = -1;
    Watch watch;
    Entrance entrance;
  };
  using ListenerPointer = std::unique_ptr<Listener>;
  void route_changed(const RouteView* before, const RouteView& now);
  void open_port(uint16_t port, const EndpointName& endpoint);
  void serve_port(uint16_t port);
  void close_port(uint16_t port, const EndpointName& endpoint);
  int listen_on(uint16_t port) const;
  ListenerPointer listener_on(int fd, Entrance entrance);
  uint16_t listen_for_all(uint16_t port, Way way);
  void start_pools();
  void retire(ListenerPointer listener);
  static void on_acceptable(void* self, uint32_t events);
  bool take_newcomer(PeerAddress address);
  void accept_from(Listener& listener);
  void pause(Listener& listener);

  ProxyContext context_;
  std::vector<std::unique_ptr<Worker>> workers_;
  // Of the first worker's thread: by port, and those for pools.
  std::map<uint16_t, ListenerPointer> listeners_;
  std::map<uint16_t, std::vector<EndpointName>> claims_;  // in the order in which they came
  std::set<uint16_t> open_again_;
  std::map<std::pair<InstanceId, EndpointKind>, ListenerPointer> pool_listeners_;
  uint16_t port_ = 0;
  uint16_t pooled_port_ = 0;
  std::vector<std::thread> threads_;
  runtime::Ticker settling_;
  std::unique_ptr<Pools> pools_;
};

}  // namespace trunkline::proxy
